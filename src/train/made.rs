//! The folders that a training creates before it has begun.

use crate::error::Result;
use crate::files;
use crate::run::{FoldId, RunLock, fold_folder, folds_of};
use std::path::{Path, PathBuf};

/// Folders of a training that is not yet accepted: what was not there before is removed when this
/// goes out of scope, unless [`MadeFolders::keep`] is called. A refused training so leaves its run
/// as it was.
pub(super) struct MadeFolders {
    run: PathBuf,
    fold: PathBuf,
    /// The fold's folder and those above it that were not there, the innermost first.
    new: Vec<PathBuf>,
    /// The run's own cache, where it was not there.
    new_cache: Option<PathBuf>,
    had_lock: bool,
    keep: bool,
}

impl MadeFolders {
    /// Creates the folder of a fold.
    ///
    /// # Errors
    /// [`crate::Error::Io`] naming the folder.
    pub fn create(run: &Path, fold: FoldId) -> Result<Self> {
        let folder = fold_folder(run, fold);
        let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let new = folder.ancestors().take_while(missing).map(Path::to_owned).collect();
        let cache = run.join("cache");
        let made = MadeFolders {
            run: run.to_owned(),
            new,
            new_cache: (!cache.exists()).then_some(cache),
            had_lock: folder.join(".lock").exists(),
            fold: folder,
            keep: false,
        };
        files::create_folder(&made.fold)?;
        Ok(made)
    }

    /// The training begins: what it made stays.
    pub fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // What cannot be removed stays: the error that ends the training is the one to report.
        if self.new.contains(&self.fold) {
            let _ = std::fs::remove_dir_all(&self.fold);
        } else if !self.had_lock {
            let _ = std::fs::remove_file(self.fold.join(".lock"));
        }
        // Another fold of the run may have begun meanwhile, and read from the cache.
        let others = folds_of(&self.run).unwrap_or_default();
        let used = others.iter().any(|fold| RunLock::is_held(&fold_folder(&self.run, *fold)));
        if let Some(cache) = self.new_cache.as_ref().filter(|_| !used) {
            let _ = std::fs::remove_dir_all(cache);
        }
        for folder in &self.new {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_there_is_removed_and_all_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("runs/a");
        drop(MadeFolders::create(&run, FoldId::Full).unwrap());
        assert!(!folder.path().join("runs").exists());
        let made = MadeFolders::create(&run, 0.into()).unwrap();
        std::fs::create_dir(run.join("cache")).unwrap();
        std::fs::write(run.join("cache/case"), "x").unwrap();
        std::fs::write(folder.path().join("runs/note"), "mine").unwrap();
        drop(made);
        assert!(!run.exists() && folder.path().join("runs/note").exists());
        MadeFolders::create(&run, 0.into()).unwrap().keep();
        std::fs::create_dir(run.join("cache")).unwrap();
        let again = MadeFolders::create(&run, 0.into()).unwrap();
        std::fs::write(run.join("fold_0/.lock"), "").unwrap();
        drop(again);
        drop(MadeFolders::create(&run, 1.into()).unwrap());
        assert!(run.join("fold_0").exists() && run.join("cache").exists());
        assert!(!run.join("fold_0/.lock").exists() && !run.join("fold_1").exists());
    }
}
