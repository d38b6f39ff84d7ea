//! The learned policy of a run.

use super::{FoldId, fold_folder, folds_of};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The policy file that `path` stands for: itself, or that of a run's fold, the first that has
/// one if no fold is given.
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
            "'{}' does not exist; give a policy.json or the folder of a run",
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
