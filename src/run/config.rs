//! `config.json`: everything that a run resolved before it began.

use super::{FoldId, fold_folder};
use crate::data::labels::Labels;
use crate::data::preprocess::CaseDigest;
use crate::data::split::{self, Fold};
use crate::data::{Axes, Preprocessing};
use crate::nn::plan::NetworkPlan;
use crate::ops::warp::Interpolation;
use crate::{Error, Result, files};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Version of the file's layout that is written and read.
pub const CONFIG_VERSION: u32 = 1;

/// What a run keeps of its data set's `dataset.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetSummary {
    /// Name.
    pub name: String,
    /// Folder, as given.
    pub dir: PathBuf,
    /// Name of each channel.
    pub channels: Vec<String>,
    /// What is segmented: `labels` are the names of the labels, background first; their numbers, an
    /// ignore label and regions follow where they are not 0, 1, 2... alone.
    #[serde(flatten)]
    pub labels: Labels,
}

/// Content of `config.json`: what predicting and repeating a run needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunConfig {
    /// Layout, [`CONFIG_VERSION`].
    pub version: u32,
    /// Version of the program that wrote it, with its commit.
    pub program: String,
    /// Adapter the run began on.
    pub adapter: String,
    /// Its driver.
    pub driver: String,
    /// The data set.
    pub dataset: DatasetSummary,
    /// How images are prepared.
    pub preprocessing: Preprocessing,
    /// The network.
    pub plan: NetworkPlan,
    /// The axes that training mirrored, so that prediction may.
    pub mirror: Axes,
    /// How augmentation reads cases between voxels.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// Whether the search looked at the fold's own validation cases, which makes results on
    /// them optimistic.
    pub validation_used_in_search: bool,
    /// All flags of the training, resolved.
    pub training: serde_json::Value,
    /// Number of labelled cases by the orientation in which their images are stored, such as
    /// `RAS`; empty in files of versions that did not note it.
    #[serde(default)]
    pub orientations: BTreeMap<String, usize>,
    /// Training and validation cases of all folds.
    pub split: Vec<Fold>,
    /// Absolute path of the data set's folder; none in runs of earlier versions.
    #[serde(default)]
    pub data_folder: Option<PathBuf>,
    /// What the files of each labelled case hold, by its name; empty in runs of earlier versions.
    #[serde(default)]
    pub cases: BTreeMap<String, CaseDigest>,
    /// Digests of what flags name by a file, by what it is called in messages.
    #[serde(default)]
    pub digests: BTreeMap<String, String>,
}

impl RunConfig {
    /// The file's path in a run folder: what all folds share, as the first of them recorded it.
    pub fn path(run: &Path) -> PathBuf {
        run.join("config.json")
    }

    /// The path of a fold's own record. Runs of earlier versions have none.
    pub fn fold_path(run: &Path, fold: impl Into<FoldId>) -> PathBuf {
        fold_folder(run, fold).join("config.json")
    }

    /// Writes the file of the run atomically.
    ///
    /// # Errors
    /// [`Error::Io`] naming the path.
    pub fn write(&self, run: &Path) -> Result<()> {
        self.write_to(&Self::path(run))
    }

    /// Writes a fold's own record atomically.
    ///
    /// # Errors
    /// [`Error::Io`] naming the path.
    pub fn write_fold(&self, run: &Path, fold: impl Into<FoldId>) -> Result<()> {
        self.write_to(&Self::fold_path(run, fold))
    }

    fn write_to(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::io("encode", path, std::io::Error::other(e)))?;
        files::replace(path, format!("{text}\n").as_bytes())
    }

    /// Reads and checks a fold's own record; the file of the run where the fold has none, as in runs
    /// of earlier versions.
    ///
    /// # Errors
    /// As [`RunConfig::read`].
    pub fn of_fold(run: &Path, fold: impl Into<FoldId>) -> Result<Self> {
        match Self::record_path(run, fold) {
            path if path == Self::path(run) => Self::read(run),
            path => Self::read_from(&path),
        }
    }

    /// The file that [`RunConfig::of_fold`] reads.
    pub fn record_path(run: &Path, fold: impl Into<FoldId>) -> PathBuf {
        let path = Self::fold_path(run, fold);
        if path.is_file() { path } else { Self::path(run) }
    }

    /// Reads and checks the file of a run folder.
    ///
    /// # Errors
    /// [`Error::Input`] when the folder is no run, is of another version, or the file is broken.
    pub fn read(run: &Path) -> Result<Self> {
        let path = Self::path(run);
        if matches!(path.try_exists(), Ok(false)) {
            return Err(Error::Input(format!(
                "'{}' is no run: it has no config.json; give the folder that `train` wrote",
                run.display()
            )));
        }
        Self::read_from(&path)
    }

    fn read_from(path: &Path) -> Result<Self> {
        let text = files::read_text(path).map_err(|e| Error::io("read", path, e))?;
        let refuse = |why: String| {
            Error::Input(format!("'{}' cannot be used: {why}; train again", path.display()))
        };
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| refuse(e.to_string()))?;
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(CONFIG_VERSION) => {}
            Some(version) => {
                return Err(refuse(format!(
                    "it has version {version}, this program reads {CONFIG_VERSION}"
                )));
            }
            None => return Err(refuse("it has no version".into())),
        }
        let config: RunConfig =
            serde_path_to_error::deserialize(value).map_err(|e| refuse(e.to_string()))?;
        config.plan.validate()?;
        config.preprocessing.validate().map_err(|e| refuse(e.to_string()))?;
        Ok(config)
    }

    /// The cases of one of the run's trainings: a fold of its split; of [`FoldId::Full`] all cases,
    /// none of them for validation. None where the split lacks the fold.
    pub fn fold(&self, fold: FoldId) -> Option<Fold> {
        match fold {
            FoldId::Number(number) => self.split.get(number).cloned(),
            FoldId::Full => Some(split::full(self.cases.keys().cloned())),
        }
    }

    /// The data set's folder, wherever this process runs: by its absolute path, else as it was
    /// given, else from the run's folder or one above it, where both were moved together. Where it
    /// is in none of these places, the first.
    pub fn find_data(&self, run: &Path) -> PathBuf {
        let given = &self.dataset.dir;
        let first = self.data_folder.clone().unwrap_or_else(|| given.clone());
        let run = std::path::absolute(run).unwrap_or_else(|_| run.to_owned());
        let above = run.ancestors().map(|folder| folder.join(given));
        let mut places = [first.clone(), given.clone()].into_iter().chain(above);
        places.find(|place| place.join("dataset.json").is_file()).unwrap_or(first)
    }
}
