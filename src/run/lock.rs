//! One training per fold folder at a time.

use crate::{Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a process that is about to end is waited for: one that was interrupted still writes its
/// state.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Held as long as a training writes into a folder; the operating system releases it when the
/// process ends, however it ends.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// Locks a folder. Where another process holds it, says so in a `note` once and waits a few
    /// seconds for that process to end; not where its log grows, as it then trains on.
    ///
    /// # Errors
    /// [`Error::Input`] when another process still holds it, [`Error::Io`] when it cannot be locked.
    pub fn acquire(folder: &Path, note: &mut dyn FnMut(&str)) -> Result<Self> {
        Self::acquire_within(folder, PATIENCE, note)
    }

    fn acquire_within(
        folder: &Path,
        patience: Duration,
        note: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        let path = lock_path(folder);
        let io = |e| Error::io("lock", &path, e);
        let mut options = OpenOptions::new();
        let file = options.create(true).write(true).truncate(false).open(&path).map_err(io)?;
        let begin = Instant::now();
        let logged = || std::fs::metadata(folder.join("metrics.jsonl")).map_or(0, |log| log.len());
        let before = logged();
        let mut noted = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(RunLock { _file: file }),
                Err(TryLockError::WouldBlock)
                    if begin.elapsed() < patience && logged() == before =>
                {
                    if !std::mem::replace(&mut noted, true) {
                        note(&format!(
                            "another process holds '{}'; waiting up to {} s for it to end",
                            folder.display(),
                            patience.as_secs()
                        ));
                    }
                    std::thread::sleep(PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Input(format!(
                        "another training is writing to '{}'; wait for it, or give another --out",
                        folder.display()
                    )));
                }
                Err(TryLockError::Error(e)) => return Err(io(e)),
            }
        }
    }

    /// Whether a process holds the lock of a folder; creates nothing.
    pub fn is_held(folder: &Path) -> bool {
        File::open(lock_path(folder))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

fn lock_path(folder: &Path) -> PathBuf {
    folder.join(".lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!RunLock::is_held(folder.path()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut notes = Vec::new();
        let mut acquire = |patience| {
            let mut note = |sentence: &str| notes.push(sentence.to_owned());
            RunLock::acquire_within(folder.path(), patience, &mut note)
        };
        let first = acquire(Duration::ZERO).unwrap();
        assert!(RunLock::is_held(folder.path()));
        let error = acquire(2 * PAUSE).unwrap_err().to_string();
        assert!(error.contains("--out"), "{error}");
        drop(first);
        assert!(!RunLock::is_held(folder.path()));
        acquire(Duration::ZERO).unwrap();
        // Said once, however often it was tried.
        assert_eq!(notes.len(), 1, "{notes:?}");
    }

    #[test]
    fn a_process_that_trains_on_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let _first = RunLock::acquire(folder.path(), &mut |_| ()).unwrap();
        // The log grows while the lock is waited for.
        let mut note = |_: &str| std::fs::write(folder.path().join("metrics.jsonl"), "{}").unwrap();
        let forever = Duration::from_secs(3600);
        let error = RunLock::acquire_within(folder.path(), forever, &mut note).unwrap_err();
        assert!(error.to_string().contains("another training"), "{error}");
    }

    #[test]
    fn a_process_that_ends_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let first = RunLock::acquire(folder.path(), &mut |_| ()).unwrap();
        let ending = std::thread::spawn(move || {
            std::thread::sleep(3 * PAUSE);
            drop(first);
        });
        RunLock::acquire(folder.path(), &mut |_| ()).unwrap();
        ending.join().unwrap();
    }
}
