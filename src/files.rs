//! Files that are written whole or not at all.

use crate::{Error, Result};
use std::io::{Read, Write};
use std::path::Path;

/// Replaces a file's content: a temporary file in the same folder is written, synced and renamed,
/// so that a killed process or a full disk leaves the earlier content intact. A link keeps
/// pointing where it does; a device or pipe (`/dev/stdout`) is written to as it is.
///
/// # Errors
/// [`Error::Io`] naming the path.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    write(path, content).map_err(|e| unwritten(path, e))
}

fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let path = target.as_path();
    if std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
        return std::fs::OpenOptions::new().write(true).open(path)?.write_all(content);
    }
    let file = synced(path, content)?;
    file.persist(path).map_err(|e| e.error)?;
    sync_folder(path);
    Ok(())
}

/// As [`replace`], but the earlier content is kept as the file `previous` of the same folder. There
/// is a moment with `previous` alone, and none without a whole file.
///
/// # Errors
/// [`Error::Io`] naming the path.
pub fn replace_keeping(path: &Path, previous: &Path, content: &[u8]) -> Result<()> {
    let write = || {
        let file = synced(path, content)?;
        if path.exists() {
            std::fs::rename(path, previous)?;
        }
        file.persist(path).map_err(|e| e.error)?;
        sync_folder(path);
        Ok(())
    };
    write().map_err(|e| unwritten(path, e))
}

/// The error of a file that could not be written, with what helps where the disk is full.
pub(crate) fn unwritten(path: &Path, source: std::io::Error) -> Error {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match source.kind() {
        FileTooLarge | QuotaExceeded | StorageFull => Error::Io {
            context: format!(
                "cannot write '{}' for lack of space; the files before it are whole, so free some \
                 space and repeat the command",
                path.display()
            ),
            source,
        },
        _ => Error::io("write", path, source),
    }
}

/// A temporary file beside `path` with this content, safely on the disk.
fn synced(path: &Path, content: &[u8]) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = temporary(path, ".tmp")?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Makes a rename in the folder of `path` outlast a power failure, where the system can.
fn sync_folder(path: &Path) {
    // The content is on the disk, whole under one name or the other, even where this fails.
    #[cfg(unix)]
    let _ = std::fs::File::open(folder_of(path)).and_then(|folder| folder.sync_all());
    #[cfg(not(unix))]
    let _ = path;
}

/// Removes the temporary files that killed processes left in a folder.
///
/// # Errors
/// [`Error::Io`] naming the folder or file.
pub fn remove_unfinished(folder: &Path) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("read", folder, e))?;
    for entry in entries.filter_map(std::result::Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(TEMPORARY) {
            let path = entry.path();
            std::fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
    }
    Ok(())
}

/// Cuts lines off the end of a file of lines: what comes after the last of the leading lines that
/// are whole and that `keep` wants. A file that is not there stays so.
///
/// # Errors
/// [`Error::Io`] naming the path.
pub fn keep_lines(path: &Path, keep: impl Fn(&[u8]) -> bool) -> Result<()> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("read", path, e)),
    };
    let lines = bytes.split_inclusive(|b| *b == b'\n');
    let kept: usize = lines.take_while(|l| l.ends_with(b"\n") && keep(l)).map(<[u8]>::len).sum();
    if kept == bytes.len() {
        return Ok(());
    }
    replace(path, &bytes[..kept])
}

/// What the names of temporary files begin with.
const TEMPORARY: &str = ".writing-";

/// A temporary file beside `path`, to be persisted to it; it vanishes when dropped.
///
/// # Errors
/// As the operating system.
pub fn temporary(path: &Path, suffix: &str) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY).suffix(suffix);
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

/// Most bytes of a text that is read: none that this program or a data set has comes near it, but a
/// device such as `/dev/zero` never ends.
const MOST_TEXT: u64 = 256 << 20;

/// Reads a text of UTF-8, without the byte order mark that some editors put first.
///
/// # Errors
/// As the operating system; a text in another encoding, or of more than 256 MiB.
pub fn read_text(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MOST_TEXT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_TEXT {
        return Err(std::io::Error::other("it has more than 256 MiB, which no such text has"));
    }
    let wrong = |what: String| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    if let Some(name) = wide_encoding(&bytes) {
        return Err(wrong(format!("it is a text in {name}; save it in UTF-8")));
    }
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let before = String::from_utf8_lossy(&bytes[..at]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        wrong(format!(
            "its text is not UTF-8: the byte 0x{:02X} in line {line}, column {column} (byte {at}) \
             belongs to another encoding, perhaps Latin-1 or Windows-1252; save it in UTF-8",
            bytes[at]
        ))
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// The encoding of a text whose characters have two or four bytes each, by its byte order mark or by
/// the zeros in its first character.
fn wide_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        [0xff, 0xfe, ..] => Some("UTF-16 (little endian, with a byte order mark)"),
        [0xfe, 0xff, ..] => Some("UTF-16 (big endian, with a byte order mark)"),
        [first, 0, ..] if *first != 0 => Some("UTF-16 (little endian)"),
        [0, second, ..] if *second != 0 => Some("UTF-16 (big endian)"),
        _ => None,
    }
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

    #[test]
    fn the_earlier_content_can_be_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (path, previous) = (folder.path().join("last"), folder.path().join("previous"));
        for content in [b"one", b"two", b"six"] {
            replace_keeping(&path, &previous, content).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"six");
        assert_eq!(std::fs::read(&previous).unwrap(), b"two");
        std::fs::write(folder.path().join(".writing-xyz.tmp"), "half a fi").unwrap();
        std::fs::write(folder.path().join(".writing-1.nii.gz"), "half a fi").unwrap();
        std::fs::write(folder.path().join("mine.tmp"), "").unwrap();
        remove_unfinished(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn texts_are_utf8_and_others_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read_text(&path).map_err(|e| e.to_string())
        };
        assert_eq!(read("é {}".as_bytes()).unwrap(), "é {}");
        assert_eq!(read("\u{feff}{}".as_bytes()).unwrap(), "{}");
        assert_eq!(read(b"").unwrap(), "");
        for (bytes, words) in [
            (&b"{\n \"\xe9\""[..], "0xE9 in line 2, column 3 (byte 4)"),
            (b"\xc3\xa9\xff", "line 1, column 2"),
            (b"{\xc3", "0xC3 in line 1, column 2"),
            (b"\xff\xfe{\0}\0", "UTF-16 (little endian, with a byte order mark)"),
            (b"\xfe\xff\0{\0}", "UTF-16 (big endian, with a byte order mark)"),
            (b"{\0}\0", "UTF-16 (little endian)"),
            (b"\xff\xfe\0\0{\0\0\0", "UTF-32"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(error.contains(words) && error.ends_with("in UTF-8"), "{words}: {error}");
        }
    }

    #[test]
    fn lines_are_cut_off_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let cut = |content: &str| {
            std::fs::write(&path, content).unwrap();
            keep_lines(&path, |line| line.starts_with(b"a")).unwrap();
            std::fs::read_to_string(&path).unwrap()
        };
        assert_eq!(cut("a1\na2\n"), "a1\na2\n");
        assert_eq!(cut("a1\na2"), "a1\n");
        assert_eq!(cut("a1\nb\na2\n"), "a1\n");
        assert_eq!(cut(""), "");
        keep_lines(&folder.path().join("none"), |_| true).unwrap();
    }
}
