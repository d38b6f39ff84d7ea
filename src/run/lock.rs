//! One training a fold folder at a time.

use crate::{Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

/// Held as long as a training writes into a folder; the operating system releases it when the
/// process ends, however it ends.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// Locks a folder.
    ///
    /// # Errors
    /// [`Error::Input`] when another process holds it, [`Error::Io`] when it cannot be locked.
    pub fn acquire(folder: &Path) -> Result<Self> {
        let path = folder.join(".lock");
        let io = |e| Error::io("lock", &path, e);
        let mut options = OpenOptions::new();
        let file = options.create(true).write(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => Ok(RunLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::Input(format!(
                "another training is writing to '{}'; wait for it, or give another --out",
                folder.display()
            ))),
            Err(TryLockError::Error(e)) => Err(io(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = RunLock::acquire(folder.path()).unwrap();
        assert!(RunLock::acquire(folder.path()).unwrap_err().to_string().contains("--out"));
        drop(first);
        RunLock::acquire(folder.path()).unwrap();
    }
}
