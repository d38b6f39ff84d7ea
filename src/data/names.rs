//! What a file name means: its NIfTI ending, the case, the channel. `train`, `predict`,
//! `evaluate` and `check` all ask here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Endings of NIfTI files in small letters, longer ones first. Files may have them in capitals.
pub const ENDINGS: [&str; 6] = [".nii.gz", ".hdr.gz", ".img.gz", ".nii", ".hdr", ".img"];

/// Splits a file name into stem and NIfTI ending as it is written; the ending is empty where the
/// name has none.
pub fn split_ending(name: &str) -> (&str, &str) {
    for ending in ENDINGS {
        if let Some(at) = name.len().checked_sub(ending.len())
            && name.is_char_boundary(at)
            && name[at..].eq_ignore_ascii_case(ending)
        {
            return name.split_at(at);
        }
    }
    (name, "")
}

/// The file's name without folders; empty for a path without one.
pub fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The file's name without folder and NIfTI ending: the case, perhaps with a channel number.
pub fn case_name(path: &Path) -> String {
    split_ending(&file_name(path)).0.to_string()
}

/// The file's NIfTI ending as [`ENDINGS`] has it; that of a pair is `.hdr`.
/// Empty where there is none.
pub fn ending_of(name: &str) -> String {
    split_ending(name).1.to_ascii_lowercase().replace(".img", ".hdr")
}

/// The stem and number of nnU-Net's `CASE_0000`, if the name has this form. Whether the number is a
/// channel or part of the case's name, the name alone does not tell.
pub fn channel_of(stem: &str) -> Option<(&str, usize)> {
    let (name, number) = stem.rsplit_once('_')?;
    let digits = number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit());
    (digits && !name.is_empty()).then(|| number.parse().ok().map(|n| (name, n)))?
}

/// The name of a channel's file.
pub fn channel_file(case: &str, channel: usize, ending: &str) -> String {
    format!("{case}_{channel:04}{ending}")
}

/// Whether most case names have the form `CASE_0000`, so that a file of that form is a case of its
/// own rather than a channel.
pub fn are_numbered<'a>(cases: impl Iterator<Item = &'a str>) -> bool {
    let (mut all, mut numbered) = (0usize, 0usize);
    for name in cases {
        all += 1;
        numbered += usize::from(channel_of(name).is_some());
    }
    2 * numbered > all
}

/// Whether the file is hidden, as `.DS_Store` or the `._a.nii.gz` that macOS adds to archives.
pub fn is_hidden(path: &Path) -> bool {
    file_name(path).starts_with('.')
}

/// Whether a path names a volume: a NIfTI file that is not hidden. A pair goes by its `.hdr`.
pub fn is_volume(path: &Path) -> bool {
    let name = file_name(path);
    let ending = split_ending(&name).1.to_ascii_lowercase();
    !ending.is_empty() && !ending.starts_with(".img") && !is_hidden(path) && path.is_file()
}

/// The files of a folder, sorted by path; subfolders are not among them.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Volumes; a pair goes by its `.hdr`.
    pub volumes: Vec<PathBuf>,
    /// All other files, but the `.img` of a pair.
    pub others: Vec<PathBuf>,
}

impl Listing {
    /// Lists a folder.
    ///
    /// # Errors
    /// As the operating system.
    pub fn of(folder: &Path) -> std::io::Result<Self> {
        let mut found = Listing::default();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if is_volume(&path) {
                found.volumes.push(path);
            } else if path.is_file() {
                found.others.push(path);
            }
        }
        found.volumes.sort();
        found.others.sort();
        let pair = |path: &Path| ending_of(&file_name(path)).starts_with(".hdr");
        let headers: BTreeSet<String> =
            found.volumes.iter().filter(|p| pair(p)).map(|p| case_name(p)).collect();
        found.others.retain(|p| is_hidden(p) || !pair(p) || !headers.contains(&case_name(p)));
        Ok(found)
    }
}

/// At most five names in quotes, and the number of the others.
pub fn named(files: &[impl AsRef<Path>]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> =
        files.iter().take(SHOWN).map(|f| format!("'{}'", file_name(f.as_ref()))).collect();
    match files.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Names of devices on Windows, with any ending.
const RESERVED: [&str; 4] = ["con", "prn", "aux", "nul"];

/// Why files cannot be named after a case, if so: outputs go by the names of cases, and none may
/// leave its folder. `windows`: by the rules of Windows too.
pub fn name_fault(name: &str, windows: bool) -> Option<&'static str> {
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_ascii_lowercase();
    let port = |p: &str| {
        stem.strip_prefix(p).is_some_and(|n| n.len() == 1 && n.bytes().all(|b| b.is_ascii_digit()))
    };
    if name.is_empty() {
        Some("is empty")
    } else if name == "." || name == ".." || name.contains('/') {
        Some("leads to another folder")
    } else if name.contains(char::is_control) {
        Some("has a character that cannot be printed")
    } else if name.len() > 200 {
        Some("has more than 200 bytes")
    } else if windows && name.contains(['\\', ':', '*', '?', '"', '<', '>', '|']) {
        Some("has a character that Windows does not allow")
    } else if windows && (RESERVED.contains(&stem.as_str()) || port("com") || port("lpt")) {
        Some("is a device on Windows")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_known_in_any_case() {
        for (name, stem, ending) in [
            ("a.nii.gz", "a", ".nii.gz"),
            ("a.NII.GZ", "a", ".nii.gz"),
            ("a.Nii", "a", ".nii"),
            ("a.b.hdr", "a.b", ".hdr"),
            ("a.IMG.gz", "a", ".hdr.gz"),
            ("a.nrrd", "a.nrrd", ""),
            ("é.gz", "é.gz", ""),
            ("é", "é", ""),
        ] {
            assert_eq!((split_ending(name).0, ending_of(name).as_str()), (stem, ending));
            assert_eq!(case_name(&Path::new("folder").join(name)), stem);
        }
    }

    #[test]
    fn channels_have_four_digits() {
        assert_eq!(channel_of("a_0012"), Some(("a", 12)));
        assert_eq!(channel_of("a_0000_0001"), Some(("a_0000", 1)));
        for name in ["a", "a_000", "a_00000", "_0000", "a0000", "a_00x0", "a_+001"] {
            assert_eq!(channel_of(name), None, "{name}");
        }
        assert!(are_numbered(["word_0000", "word_0001", "x"].into_iter()));
        assert!(!are_numbered(["word_0000", "x"].into_iter()));
        assert!(!are_numbered([].into_iter()));
    }

    #[test]
    fn a_pair_is_one_volume() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.hdr", "a.img", "b.img", "c.NII", "._c.nii", ".DS_Store", "notes.txt"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        std::fs::create_dir(folder.path().join("d.nii")).unwrap();
        let found = Listing::of(folder.path()).unwrap();
        let names = |of: &[PathBuf]| of.iter().map(|p| file_name(p)).collect::<Vec<_>>().join(" ");
        assert_eq!(names(&found.volumes), "a.hdr c.NII");
        assert_eq!(names(&found.others), ".DS_Store ._c.nii b.img notes.txt");
    }

    #[test]
    fn names_that_files_cannot_have_are_refused() {
        for name in ["la_003", "a.b-c 1", "..a", "common", "com10", "Ünïcode", "a\\b", "aux"] {
            assert_eq!(name_fault(name, false), None, "{name}");
        }
        for name in ["", ".", "..", "../x", "/etc/x", "a/b", "a\0", "a\nb", &"x".repeat(201)] {
            assert!(name_fault(name, false).is_some(), "{name:?}");
        }
        for name in ["aux", "CON", "nul.a", "com1", "LPT9.x", "a\\b", "c:x", "a?", "prn "] {
            assert!(name_fault(name, true).is_some(), "{name:?}");
        }
        for name in ["la_003", "common", "com10", "auxiliary", "a.con"] {
            assert_eq!(name_fault(name, true), None, "{name}");
        }
    }
}
