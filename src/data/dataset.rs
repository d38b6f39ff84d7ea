//! Data sets on disk: `dataset.json` of the Medical Segmentation Decathlon
//! (nnU-Net v1 too) or of nnU-Net v2, and the cases that it stands for.

use super::labels::{self, Labels};
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// One case: its images (one file with all channels, or one file a channel) and
/// its label map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// File name without folder, ending and channel number.
    pub name: String,
    /// Image files in channel order.
    pub images: Vec<PathBuf>,
    /// Label file, if there is one.
    pub label: Option<PathBuf>,
}

/// A data set: what its `dataset.json` says. No image has been opened yet.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The folder.
    pub dir: PathBuf,
    /// Name as in the file, else the folder's.
    pub name: String,
    /// Name of each channel.
    pub modalities: Vec<String>,
    /// What is segmented.
    pub labels: Labels,
    /// Whether any channel is named CT (in whatever case).
    pub is_ct: bool,
    /// Labelled training cases sorted by name.
    pub cases: Vec<Case>,
}

/// A data set as far as its `dataset.json` can be followed, and all that is
/// wrong with it.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What could be read: channels, labels or cases may be missing.
    pub dataset: Dataset,
    /// Values that label maps may hold, with their names; the ignore label is one of them.
    pub declared: BTreeMap<u16, String>,
    /// Whether nothing is wrong with the labels.
    pub labels_sound: bool,
    /// Whether labels are written name to number, as nnU-Net v2 does.
    pub names_first: bool,
    /// `numTraining`, where the file has it.
    pub num_training: Option<u64>,
    /// Sentences about what is wrong, in the order of the file's parts.
    pub faults: Vec<String>,
    /// Files that the cases need but that do not exist, with the case's name.
    pub missing: Vec<(String, PathBuf)>,
}

/// Collects what is wrong with a `dataset.json`.
struct Faults {
    path: PathBuf,
    list: Vec<String>,
}

impl Faults {
    fn add(&mut self, what: impl std::fmt::Display) {
        self.list.push(format!("'{}' {what}", self.path.display()));
    }
}

impl Dataset {
    /// Opens the data set in `dir` and lists its labelled training cases.
    ///
    /// # Errors
    /// A missing folder or `dataset.json`, broken JSON (with line and column),
    /// labels without the background 0, listed files that are missing or lie
    /// outside the folder, no labelled case.
    pub fn open(dir: &Path) -> Result<Self> {
        let found = Self::inspect(dir)?;
        if let Some(first) = found.faults.into_iter().next() {
            return Err(Error::Input(first));
        }
        if let Some((_, first)) = found.missing.first() {
            return Err(Error::Input(format!(
                "'{}' stands for {} file(s) that do not exist, the first is '{}'; add them or take the cases out",
                dir.join("dataset.json").display(),
                found.missing.len(),
                first.display()
            )));
        }
        Ok(found.dataset)
    }

    /// Reads as much of the data set in `dir` as can be read and gathers all
    /// that is wrong with its `dataset.json` and the files it stands for.
    ///
    /// # Errors
    /// No folder, or no `dataset.json` that is a JSON object.
    pub fn inspect(dir: &Path) -> Result<Inspection> {
        if !dir.is_dir() {
            return Err(Error::Input(format!(
                "the data set folder '{}' does not exist; give the folder that holds dataset.json",
                dir.display()
            )));
        }
        let path = dir.join("dataset.json");
        let text = crate::files::read_text(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::Input(format!(
                "'{}' has no dataset.json; give the folder of a data set in MSD or nnU-Net layout",
                dir.display()
            )),
            _ => Error::io("read", &path, e),
        })?;
        let root: Map<String, Value> = serde_json::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|e| {
                Error::Input(format!("'{}' is not a JSON object: {e}; correct it", path.display()))
            })?;
        let mut faults = Faults { path, list: Vec::new() };
        let modalities = modalities(&root, &mut faults);
        let declaration = labels::parse(text.trim_start_matches('\u{feff}'));
        declaration.faults.iter().for_each(|fault| faults.add(fault));
        // Where the channels are unknown, one is looked for.
        let channels = modalities.len().max(1);
        let mut cases = match root.get("training").and_then(Value::as_array) {
            Some(list) => listed_cases(dir, list, channels, &mut faults),
            None => found_cases(dir, &root, channels, &mut faults)?,
        };
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        cases.retain(|case| match name_fault(&case.name, cfg!(windows)) {
            None => true,
            Some(fault) => {
                faults.add(format!("has a case named {:?}, which {fault}; rename it", case.name));
                false
            }
        });
        let mut twice: Vec<&str> =
            cases.windows(2).filter(|w| w[0].name == w[1].name).map(|w| &*w[0].name).collect();
        twice.dedup();
        for name in twice {
            faults.add(format!("has two cases of the name '{name}'; rename one"));
        }
        let missing: Vec<(String, PathBuf)> = cases
            .iter()
            .flat_map(|c| c.images.iter().chain(&c.label).map(|f| (c.name.clone(), f.clone())))
            .filter(|(_, file)| !file.is_file())
            .collect();
        if cases.is_empty() {
            faults.add(
                "has no labelled training cases; add images to imagesTr and label maps to labelsTr",
            );
        }
        let name = match root.get("name").and_then(Value::as_str) {
            Some(n) if !n.is_empty() => n.to_string(),
            _ => dir
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_else(|| "dataset".into()),
        };
        let is_ct = modalities.iter().any(|m| m.eq_ignore_ascii_case("ct"));
        let labels::Declaration { labels, declared, names_first, faults: of_labels } = declaration;
        Ok(Inspection {
            dataset: Self { dir: dir.to_path_buf(), name, modalities, labels, is_ct, cases },
            declared,
            labels_sound: of_labels.is_empty(),
            names_first,
            num_training: root.get("numTraining").and_then(Value::as_u64),
            faults: faults.list,
            missing,
        })
    }

    /// Names of the cases that have a label map.
    pub fn labelled_names(&self) -> Vec<String> {
        self.cases.iter().filter(|c| c.label.is_some()).map(|c| c.name.clone()).collect()
    }

    /// Which channels are CT.
    pub fn ct_channels(&self) -> Vec<bool> {
        self.modalities.iter().map(|m| m.eq_ignore_ascii_case("ct")).collect()
    }

    /// The cases of the given names, in that order.
    ///
    /// # Errors
    /// A name that is not a case of the data set.
    pub fn select(&self, names: &[String]) -> Result<Vec<Case>> {
        names
            .iter()
            .map(|n| {
                self.cases.iter().find(|c| c.name == *n).cloned().ok_or_else(|| {
                    Error::Input(format!(
                        "'{}' has no case '{n}'; correct the split",
                        self.dir.display()
                    ))
                })
            })
            .collect()
    }
}

/// `modality` or `channel_names`: number -> name, numbers 0, 1, 2...
fn modalities(root: &Map<String, Value>, faults: &mut Faults) -> Vec<String> {
    let value = root.get("channel_names").or_else(|| root.get("modality"));
    let Some(map) = value.and_then(Value::as_object) else {
        faults.add("lacks the object 'modality' or 'channel_names' (number to name); add it");
        return Vec::new();
    };
    let mut by_number = BTreeMap::new();
    for (key, name) in map {
        match (key.parse::<usize>(), name.as_str()) {
            (Ok(n), Some(s)) => {
                by_number.insert(n, s.to_string());
            }
            _ => faults.add(format!(
                "has the channel '{key}', which is not a number with a name; correct it"
            )),
        }
    }
    in_sequence(&by_number, faults);
    by_number.into_values().collect()
}

fn in_sequence(map: &BTreeMap<usize, String>, faults: &mut Faults) {
    if map.is_empty() || map.keys().enumerate().any(|(i, &n)| i != n) {
        let numbers: Vec<String> = map.keys().map(usize::to_string).collect();
        faults.add(format!(
            "numbers its channels [{}], but they must run 0, 1, 2... without a gap; renumber them",
            numbers.join(", ")
        ));
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

/// A path of dataset.json inside `dir`, unless its text leads out of it. What links in the folder
/// point to is not looked at: whoever made them meant it, and large data sets are often linked.
fn inside(dir: &Path, relative: &str, faults: &mut Faults) -> Option<PathBuf> {
    let mut clean = dir.to_path_buf();
    for part in Path::new(relative).components() {
        match part {
            Component::CurDir => {}
            Component::Normal(p) => clean.push(p),
            _ => {
                faults.add(format!(
                    "names '{relative}', which leaves the folder; use paths below it"
                ));
                return None;
            }
        }
    }
    Some(clean)
}

/// Splits a file name into stem and NIfTI ending.
fn split_ending(name: &str) -> (&str, &str) {
    for ending in [".nii.gz", ".nii", ".hdr", ".img", ".hdr.gz", ".img.gz"] {
        if let Some(stem) = name.strip_suffix(ending) {
            return (stem, ending);
        }
    }
    (name, "")
}

/// The case name that a file stands for: its name without the NIfTI ending.
pub fn case_name(path: &Path) -> String {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    split_ending(&name).0.to_string()
}

fn hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'))
}

/// `CASE_0000.nii.gz`... beside each other for a case stem.
fn channel_files(folder: &Path, stem: &str, ending: &str, channels: usize) -> Vec<PathBuf> {
    (0..channels).map(|c| folder.join(format!("{stem}_{c:04}{ending}"))).collect()
}

/// The image files of an entry: as listed (MSD), else one a channel (nnU-Net v1).
fn resolve(image: PathBuf, channels: usize) -> Vec<PathBuf> {
    if !image.exists()
        && let Some(folder) = image.parent()
    {
        let name = image.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let (stem, ending) = split_ending(&name);
        let files = channel_files(folder, stem, ending, channels);
        if files.first().is_some_and(|f| f.exists()) {
            return files;
        }
    }
    vec![image]
}

/// Cases by the list `training`.
fn listed_cases(dir: &Path, list: &[Value], channels: usize, faults: &mut Faults) -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, entry) in list.iter().enumerate() {
        let text = |key| entry.get(key).and_then(Value::as_str);
        let (Some(image), Some(label)) = (text("image"), text("label")) else {
            faults
                .add(format!("has no 'image' and 'label' in entry {i} of 'training'; correct it"));
            continue;
        };
        if let (Some(image), Some(label)) = (inside(dir, image, faults), inside(dir, label, faults))
            && !hidden(&image)
        {
            let name = case_name(&label);
            cases.push(Case { name, images: resolve(image, channels), label: Some(label) });
        }
    }
    cases
}

/// Cases of nnU-Net v2: by the object `dataset`, else the files of `labelsTr`.
fn found_cases(
    dir: &Path,
    root: &Map<String, Value>,
    channels: usize,
    faults: &mut Faults,
) -> Result<Vec<Case>> {
    if let Some(map) = root.get("dataset").and_then(Value::as_object) {
        return Ok(map.iter().filter_map(|(name, e)| entry_case(dir, name, e, faults)).collect());
    }
    let ending = root.get("file_ending").and_then(Value::as_str).unwrap_or(".nii.gz");
    let folder = dir.join("labelsTr");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", &folder, e)),
    };
    let images = dir.join("imagesTr");
    let mut cases = Vec::new();
    for entry in entries {
        let label = entry.map_err(|e| Error::io("list", &folder, e))?.path();
        let file = label.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(stem) = file.strip_suffix(ending).filter(|_| !hidden(&label)) {
            let files = channel_files(&images, stem, ending, channels);
            cases.push(Case { name: stem.to_string(), images: files, label: Some(label.clone()) });
        }
    }
    Ok(cases)
}

/// A case of the object `dataset`: `{"images": [...], "label": "..."}`.
fn entry_case(dir: &Path, name: &str, entry: &Value, faults: &mut Faults) -> Option<Case> {
    let images = entry.get("images").and_then(Value::as_array);
    let images: Option<Vec<&str>> = images.map(|l| l.iter().filter_map(Value::as_str).collect());
    let label = entry.get("label").and_then(Value::as_str);
    let (Some(images), Some(label)) = (images, label) else {
        faults.add(format!("has no 'images' and 'label' for the case '{name}'; correct it"));
        return None;
    };
    let images: Option<Vec<PathBuf>> = images.iter().map(|p| inside(dir, p, faults)).collect();
    let label = inside(dir, label, faults)?;
    Some(Case { name: name.to_string(), images: images?, label: Some(label) })
}

#[cfg(test)]
mod tests {
    use super::*;

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
