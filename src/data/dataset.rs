//! Data sets on disk: `dataset.json` of the Medical Segmentation Decathlon
//! (nnU-Net v1 too) or of nnU-Net v2, and its training cases.

use super::channels::{self, Normalisation};
use super::labels::{self, Labels};
use super::names::name_fault;
use super::{keys, layout, split};
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    /// Whether the file names an image reader of nnU-Net that turns scans to RAS.
    pub reorient: bool,
    /// Labelled training cases sorted by name.
    pub cases: Vec<Case>,
    /// What is noteworthy about the file and the folders, and is no error.
    pub remarks: Vec<Remark>,
}

/// What a remark is about, and how much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// A warning about `dataset.json`.
    Json,
    /// A key of `dataset.json` that is not read.
    UnknownKey,
    /// How the files are found, where nothing is left out by it.
    Layout,
    /// Volumes that no case uses: a warning.
    UnusedVolume,
    /// Other files beside the volumes.
    OtherFile,
    /// How the cases are split.
    Splits,
}

/// Something noteworthy that is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// What it is about.
    pub topic: Topic,
    /// A sentence: what is so; what can be done.
    pub sentence: String,
}

impl Remark {
    /// The sentence as training prints it.
    pub fn line(&self) -> String {
        match self.topic {
            Topic::Json | Topic::UnknownKey | Topic::UnusedVolume => {
                format!("warning: {}", self.sentence)
            }
            Topic::Layout | Topic::OtherFile | Topic::Splits => format!("note: {}", self.sentence),
        }
    }
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
    /// Sentences about what is wrong, in the order of the file's parts.
    pub faults: Vec<String>,
    /// Files that the cases need but that do not exist, with the case's name.
    pub missing: Vec<(String, PathBuf)>,
}

/// Collects what is wrong with a `dataset.json`, and what is noteworthy.
pub(super) struct Faults {
    path: PathBuf,
    pub list: Vec<String>,
    pub remarks: Vec<Remark>,
}

impl Faults {
    pub fn new(path: PathBuf) -> Self {
        Faults { path, list: Vec::new(), remarks: Vec::new() }
    }

    /// An error; `what` continues a sentence that begins with the file's name.
    pub fn add(&mut self, what: impl std::fmt::Display) {
        self.list.push(format!("'{}' {what}", self.path.display()));
    }

    /// A warning about the file.
    pub fn warn(&mut self, what: impl std::fmt::Display) {
        self.remark(Topic::Json, what);
    }

    /// A remark about the file.
    pub fn remark(&mut self, topic: Topic, what: impl std::fmt::Display) {
        let sentence = format!("'{}' {what}", self.path.display());
        self.remarks.push(Remark { topic, sentence });
    }

    /// An error unless the numbers are 0, 1, 2...
    pub fn check_sequence(&mut self, map: &BTreeMap<usize, String>, what: &str) {
        if map.is_empty() || map.keys().enumerate().any(|(i, &n)| i != n) {
            let numbers: Vec<String> = map.keys().map(usize::to_string).collect();
            self.add(format!(
                "numbers its {what} [{}], but they must run 0, 1, 2... without a gap; renumber them",
                numbers.join(", ")
            ));
        }
    }
}

/// The folder of a data set that a user names, perhaps by its `dataset.json`.
pub fn folder_of(path: &Path) -> PathBuf {
    let is_json = path.file_name().is_some_and(|n| n.eq_ignore_ascii_case("dataset.json"));
    match path.parent() {
        Some(folder) if is_json && path.is_file() => match folder.as_os_str().is_empty() {
            true => PathBuf::from("."),
            false => folder.to_owned(),
        },
        _ => path.to_owned(),
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
        if let Some((case, first)) = found.missing.first() {
            return Err(Error::Input(format!(
                "'{}' needs files that do not exist: '{}' of the case '{case}'{}; add them or take the cases out",
                found.dataset.dir.join("dataset.json").display(),
                first.display(),
                match found.missing.len() - 1 {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                }
            )));
        }
        Ok(found.dataset)
    }

    /// Reads as much of the data set in `dir` as can be read and gathers all
    /// that is wrong with its `dataset.json` and the files that its cases need.
    ///
    /// # Errors
    /// No folder, or no `dataset.json` that is a JSON object.
    pub fn inspect(dir: &Path) -> Result<Inspection> {
        let dir = folder_of(dir);
        let dir = dir.as_path();
        if !dir.is_dir() {
            let what = if dir.exists() { "is no folder" } else { "does not exist" };
            return Err(Error::Input(format!(
                "the data set folder '{}' {what}; give the folder that holds dataset.json",
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
        let root: Map<String, Value> = serde_json::from_str(&text).map_err(|e| {
            Error::Input(format!("'{}' is not a JSON object: {e}; correct it", path.display()))
        })?;
        let mut faults = Faults::new(path);
        keys::check(&root, &mut faults);
        let reorient = keys::turns_to_ras(&root, &mut faults);
        let modalities = channels::parse(&root, &mut faults);
        let declaration = labels::parse(&text);
        declaration.faults.iter().for_each(|fault| faults.add(fault));
        declaration.remarks.iter().for_each(|remark| faults.warn(remark));
        // Where the channels are unknown, one is looked for.
        let before = faults.list.len();
        let mut cases = layout::cases(dir, &root, modalities.len().max(1), &mut faults)?;
        // Where no case could be found for a reason, the rest follows from it.
        let explained = cases.is_empty() && faults.list.len() > before;
        if !explained {
            layout::unused(dir, &cases, &mut faults);
        }
        if let Some(sentence) = split::pickle_beside(dir) {
            faults.remarks.push(Remark { topic: Topic::Splits, sentence });
        }
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
        let count = root.get("numTraining").and_then(Value::as_u64);
        if let Some(n) = count.filter(|&n| n != cases.len() as u64 && !cases.is_empty()) {
            faults.warn(format!(
                "says numTraining {n}, but there are {} cases; correct the number or add the cases",
                cases.len()
            ));
        }
        if cases.is_empty() && !explained {
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
        let labels::Declaration { labels, declared, names_first, faults: of_labels, .. } =
            declaration;
        Ok(Inspection {
            dataset: Self {
                dir: dir.to_path_buf(),
                name,
                modalities,
                labels,
                reorient,
                cases,
                remarks: faults.remarks,
            },
            declared,
            labels_sound: of_labels.is_empty(),
            names_first,
            faults: faults.list,
            missing,
        })
    }

    /// Names of the cases that have a label map.
    pub fn labelled_names(&self) -> Vec<String> {
        self.cases.iter().filter(|c| c.label.is_some()).map(|c| c.name.clone()).collect()
    }

    /// How each channel is normalised.
    pub fn normalisation(&self) -> Vec<Normalisation> {
        self.modalities.iter().map(|name| Normalisation::of_name(name)).collect()
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
