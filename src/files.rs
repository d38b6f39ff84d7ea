//! Files that are written whole or not at all.

use crate::{Error, Result};
use std::io::Write;
use std::path::Path;

/// Replaces a file's content: a temporary file in the same folder is written, synced and renamed,
/// so that a killed process or a full disk leaves the earlier content intact. A link keeps
/// pointing where it does; a device or pipe (`/dev/stdout`) is written to as it is.
///
/// # Errors
/// [`Error::Io`] naming the path.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    write(path, content).map_err(|e| Error::io("write", path, e))
}

fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let path = target.as_path();
    if std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
        return std::fs::OpenOptions::new().write(true).open(path)?.write_all(content);
    }
    let mut file = temporary(path, ".tmp")?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// A temporary file beside `path`, to be persisted to it; it vanishes when dropped.
///
/// # Errors
/// As the operating system.
pub fn temporary(path: &Path, suffix: &str) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".writing-").suffix(suffix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As an ordinary new file: the process' umask applies.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder_of(path))
}

/// The folder a file lies in; the current one for a bare name.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates a folder and those above it.
///
/// # Errors
/// [`Error::Io`] naming the path.
pub fn create_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| Error::io("create folder", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.json");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            let link = folder.path().join("link.json");
            std::os::unix::fs::symlink(&path, &link).unwrap();
            replace(&link, b"three").unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"three");
            assert!(link.is_symlink());
            replace(Path::new("/dev/null"), b"gone").unwrap();
            assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
        }
        let error = replace(&folder.path().join("none/file"), b"x").unwrap_err().to_string();
        assert!(error.contains("none"), "{error}");
    }
}
