//! Names of the trainings that a run folder holds: the folds of a cross-validation, and one on all
//! cases.

use super::{CheckpointKind, checkpoint_path, state_paths};
use crate::{Error, Result};
use serde::{Serialize, Serializer};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// One training of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FoldId {
    /// A fold of the cross-validation, from 0.
    Number(usize),
    /// All labelled cases, without validation cases (nnU-Net's fold `all`).
    Full,
}

impl FoldId {
    /// The fold of a folder's name such as `fold_0` or `fold_full`.
    pub fn of_folder(name: &str) -> Option<Self> {
        name.strip_prefix("fold_")?.parse().ok()
    }

    /// A number for random streams that differs between the folds of a run.
    pub fn key(self) -> u32 {
        match self {
            FoldId::Number(number) => number as u32,
            FoldId::Full => u32::MAX,
        }
    }
}

impl Default for FoldId {
    fn default() -> Self {
        FoldId::Number(0)
    }
}

impl From<usize> for FoldId {
    fn from(number: usize) -> Self {
        FoldId::Number(number)
    }
}

impl fmt::Display for FoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FoldId::Number(number) => write!(f, "{number}"),
            FoldId::Full => f.write_str("full"),
        }
    }
}

impl FromStr for FoldId {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || format!("'{text}' is not a fold; give a number from 0, or full");
        match text {
            "full" => Ok(FoldId::Full),
            // `01` and `+1` would be second names of the same folder.
            _ => match text.parse::<usize>() {
                Ok(number) if number.to_string() == text => Ok(FoldId::Number(number)),
                _ => Err(wrong()),
            },
        }
    }
}

impl Serialize for FoldId {
    /// A number, or the text `full`.
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            FoldId::Number(number) => serializer.serialize_u64(*number as u64),
            FoldId::Full => serializer.serialize_str("full"),
        }
    }
}

/// The folder of one fold of a run.
pub fn fold_folder(run: &Path, fold: impl Into<FoldId>) -> PathBuf {
    run.join(format!("fold_{}", fold.into()))
}

/// The folds of a run that have a folder: numbers in order, then `full`.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be read.
pub fn folds_of(run: &Path) -> Result<Vec<FoldId>> {
    let entries = std::fs::read_dir(run).map_err(|e| Error::io("read the run", run, e))?;
    let mut folds: Vec<FoldId> = entries
        .filter_map(|entry| FoldId::of_folder(entry.ok()?.file_name().to_str()?))
        .filter(|&fold| fold_folder(run, fold).is_dir())
        .collect();
    folds.sort_unstable();
    Ok(folds)
}

/// Whether a fold has been trained, wholly or in part: it has a state or weights.
pub fn has_weights(run: &Path, fold: FoldId) -> bool {
    let [last, previous] = state_paths(run, fold);
    let [best, done] =
        [CheckpointKind::Best, CheckpointKind::Final].map(|kind| checkpoint_path(run, fold, kind));
    [last, previous, best, done].iter().any(|path| path.is_file())
}

/// The folds of a run that have a checkpoint of this kind: numbers in order, then `full`.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be read; [`Error::Input`] when no fold has one.
pub fn trained_folds(run: &Path, kind: CheckpointKind) -> Result<Vec<FoldId>> {
    let mut folds = folds_of(run)?;
    folds.retain(|&fold| checkpoint_path(run, fold, kind).is_file());
    if folds.is_empty() {
        let wanted = checkpoint_path(run, 0, kind);
        return Err(Error::Input(format!(
            "the run '{}' has no '{}' in any fold; let the training finish, or name another run \
             or --checkpoint",
            run.display(),
            wanted.file_name().unwrap_or_default().to_string_lossy()
        )));
    }
    Ok(folds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_have_one_spelling() {
        for fold in [FoldId::Number(0), FoldId::Number(12), FoldId::Full] {
            assert_eq!(fold.to_string().parse(), Ok(fold));
            assert_eq!(FoldId::of_folder(&format!("fold_{fold}")), Some(fold));
        }
        for text in ["", "all", "+1", "01", "-1", "Full", "1.0"] {
            assert!(text.parse::<FoldId>().is_err(), "{text}");
        }
        assert_eq!(FoldId::of_folder("fold_07"), None);
        assert!(FoldId::Number(usize::MAX) < FoldId::Full);
    }

    #[test]
    fn folders_are_listed_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["fold_full", "fold_10", "fold_2", "fold_x", "cache"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let folds = folds_of(folder.path()).unwrap();
        assert_eq!(folds, [FoldId::Number(2), FoldId::Number(10), FoldId::Full]);
    }
}
