//! The learned policy of a run.

use super::{FoldId, RunConfig, fold_folder, folds_of};
use crate::search::file::PolicyFile;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// What names nnU-Net's policy in place of a file or a run.
pub const DEFAULT_POLICY: &str = "default";

/// The policy of a source: [`DEFAULT_POLICY`], a file, or a run's fold; and the name or the file's
/// path.
///
/// # Errors
/// [`Error::Usage`] for a fold of the name; as [`find_policy`] and [`PolicyFile::read`].
pub fn open_policy(source: &Path, fold: Option<FoldId>) -> Result<(PathBuf, PolicyFile)> {
    match fold {
        None if source.as_os_str() == DEFAULT_POLICY => {
            Ok((source.to_owned(), PolicyFile::nnunet()))
        }
        Some(fold) if source.as_os_str() == DEFAULT_POLICY => Err(Error::Usage(format!(
            "--fold {fold} goes with a run, but 'default' is nnU-Net's policy; leave it out"
        ))),
        _ => {
            let path = find_policy(source, fold)?;
            let file = PolicyFile::read(&path)?;
            Ok((path, file))
        }
    }
}

/// The policy file of a path: the path itself, or that of a run's fold, the first that has one if
/// no fold is given.
///
/// # Errors
/// [`Error::Usage`] for a fold of a file; [`Error::Input`] when there is no such file or fold.
pub fn find_policy(path: &Path, fold: Option<FoldId>) -> Result<PathBuf> {
    let missing = |what: String| Err(Error::Input(what));
    if path.is_file() {
        return match fold {
            None => Ok(path.to_owned()),
            Some(fold) => Err(Error::Usage(format!(
                "--fold {fold} goes with a run, but '{}' is a file; leave it out",
                path.display()
            ))),
        };
    }
    if !path.is_dir() {
        return missing(format!(
            "'{}' does not exist; give a policy.json, the folder of a run, or default",
            path.display()
        ));
    }
    let of_fold = |fold: FoldId| fold_folder(path, fold).join("policy.json");
    match fold {
        Some(fold) if of_fold(fold).is_file() => Ok(of_fold(fold)),
        Some(fold) => missing(format!(
            "the run '{}' has no policy.json in fold {fold}; give another --fold",
            path.display()
        )),
        None => match folds_of(path)?.into_iter().map(of_fold).find(|file| file.is_file()) {
            Some(file) => Ok(file),
            None => missing(format!(
                "'{}' has no policy.json in any fold; give the folder of a run that searched",
                path.display()
            )),
        },
    }
}

/// The record of the fold whose policy file [`find_policy`] found in a run.
///
/// # Errors
/// As [`RunConfig::read`].
pub fn policy_config(run: &Path, policy: &Path) -> Result<RunConfig> {
    let folder = policy.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    match folder.and_then(FoldId::of_folder) {
        Some(fold) => RunConfig::of_fold(run, fold),
        None => RunConfig::read(run),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_stands_for_its_first_policy() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        assert!(find_policy(run, None).unwrap_err().to_string().contains("any fold"));
        std::fs::create_dir(run.join("fold_2")).unwrap();
        let file = run.join("fold_2/policy.json");
        std::fs::write(&file, "{}").unwrap();
        assert_eq!(find_policy(run, None).unwrap(), file);
        assert_eq!(find_policy(run, Some(2.into())).unwrap(), file);
        assert_eq!(find_policy(&file, None).unwrap(), file);
        assert!(find_policy(run, Some(0.into())).is_err());
        assert_eq!(find_policy(&file, Some(0.into())).unwrap_err().exit_code(), 2);
        assert!(find_policy(&run.join("none"), None).is_err());
    }
}
