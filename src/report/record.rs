//! What a fold's files say, as far as they can be read while a training writes them.

use crate::infer::cross_validate::read_summary;
use crate::metrics::Summary;
use crate::run::{CheckpointKind, FoldId, RunConfig, checkpoint_path, fold_folder};
use crate::search::file::PolicyFile;
use crate::search::log::{LoggedLine, PolicyLine};
use crate::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A line of `metrics.jsonl`. Numbers that are missing or null were not measured or not finite.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct EpochRecord {
    /// Number, from 1.
    pub epoch: u64,
    /// Mean training loss.
    pub loss: Option<f64>,
    /// Mean loss of validation patches.
    #[serde(default)]
    pub val_loss: Option<f64>,
    /// Dice of each foreground class on validation patches; empty without a validation.
    #[serde(default)]
    pub dice: Vec<Option<f64>>,
    /// Moving average of the mean of `dice`.
    #[serde(default)]
    pub dice_average: Option<f64>,
    #[serde(default)]
    pub learning_rate: Option<f64>,
    /// Wall time.
    #[serde(default)]
    pub seconds: f64,
    /// Wall time of the validation within.
    #[serde(default)]
    pub validation_seconds: Option<f64>,
    /// Steps skipped for non-finite gradients.
    #[serde(default)]
    pub skipped: u64,
    /// Delta of ASNG.
    #[serde(default)]
    pub delta: Option<f64>,
    /// Mean entropy of theta, nats.
    #[serde(default)]
    pub mean_entropy: Option<f64>,
    /// Mean validation loss of the search's candidates.
    #[serde(default)]
    pub search_loss: Option<f64>,
}

/// A fold of a run, as its files have it at this moment.
pub(super) struct FoldRecord {
    pub run: PathBuf,
    pub fold: FoldId,
    pub config: RunConfig,
    /// Text of the fold's `config.json`, of the run's in runs of earlier versions.
    pub config_text: String,
    pub epochs: Vec<EpochRecord>,
    /// Lines of `policy.jsonl` by the number of their epoch, from 1.
    pub policies: BTreeMap<u64, PolicyLine>,
    pub policy: Option<PolicyFile>,
    /// Metrics of the fold's validation cases, once they are predicted.
    pub summary: Option<Summary>,
    /// Whether the final weights are there.
    pub trained: bool,
    /// Sentences about files that could not be used.
    pub faults: Vec<String>,
}

impl FoldRecord {
    /// Reads what there is.
    ///
    /// # Errors
    /// As [`RunConfig::of_fold`].
    pub fn read(run: &Path, fold: FoldId) -> Result<Self> {
        let config = RunConfig::of_fold(run, fold)?;
        let path = RunConfig::record_path(run, fold);
        let config_text =
            std::fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
        let folder = fold_folder(run, fold);
        let mut faults = Vec::new();
        let epochs: Vec<EpochRecord> = lines(&folder.join("metrics.jsonl"), &mut faults);
        let policies: Vec<LoggedLine> = lines(&folder.join("policy.jsonl"), &mut faults);
        let policies = policies.into_iter().map(LoggedLine::into_line);
        let policies = policies.map(|line| (line.epoch, line));
        let policy = present(&folder.join("policy.json"), PolicyFile::read, &mut faults);
        let summary = present(&folder.join("validation/summary.json"), read_summary, &mut faults);
        Ok(FoldRecord {
            run: run.to_owned(),
            fold,
            config,
            config_text,
            epochs,
            policies: policies.collect(),
            policy,
            summary,
            trained: checkpoint_path(run, fold, CheckpointKind::Final).is_file(),
            faults,
        })
    }

    /// Name of a label or region by its key in `summary.json`.
    pub fn label(&self, key: &str) -> String {
        let named = self.config.dataset.labels.name_of(key);
        named.unwrap_or_else(|| format!("label {key}"))
    }

    /// Names of what is segmented, in the order of an epoch's Dice.
    pub fn targets(&self) -> Vec<String> {
        self.config.dataset.labels.targets().iter().map(|t| self.label(&t.key)).collect()
    }

    /// An option of the training, as `config.json` has it; null where it has none. `path`: names
    /// from the outside to the inside.
    pub fn option(&self, path: &[&str]) -> &serde_json::Value {
        path.iter().fold(&self.config.training, |value, name| &value[*name])
    }

    /// Whether the fold has validation cases, as far as is known.
    pub fn validates(&self) -> bool {
        self.config.fold(self.fold).is_none_or(|fold| !fold.val.is_empty())
    }

    /// Why nothing was validated so far.
    pub fn no_validation(&self) -> &'static str {
        if self.validates() { "no validation yet" } else { "no validation cases" }
    }

    /// How many epochs the training has.
    pub fn planned_epochs(&self) -> Option<u64> {
        self.option(&["epochs"]).as_u64()
    }

    /// Whether results on the validation cases are optimistic.
    pub fn optimistic(&self) -> bool {
        self.config.validation_used_in_search
            || self.summary.as_ref().is_some_and(|s| s.validation_used_in_search)
    }
}

/// A file's content, if it is there; what is wrong with it is added to `faults`.
fn present<T>(
    path: &Path,
    read: impl Fn(&Path) -> Result<T>,
    faults: &mut Vec<String>,
) -> Option<T> {
    if !path.is_file() {
        return None;
    }
    read(path).map_err(|e| faults.push(e.to_string())).ok()
}

/// The lines of a log: a last one that is still being written is left out, others that cannot be
/// read are added to `faults`. A log that is not there yet has none.
fn lines<T: DeserializeOwned>(path: &Path, faults: &mut Vec<String>) -> Vec<T> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(e) => {
            faults.push(format!("'{}' cannot be read: {e}", path.display()));
            return Vec::new();
        }
    };
    let mut all = Vec::new();
    for (i, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(value) if line.ends_with(b"\n") => all.push(value),
            Err(e) if line.ends_with(b"\n") => faults.push(format!(
                "line {} of '{}' is left out, as it is no epoch ({e})",
                i + 1,
                path.display()
            )),
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_as_far_as_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut faults = Vec::new();
        assert!(lines::<EpochRecord>(&path, &mut faults).is_empty() && faults.is_empty());
        let text =
            "{\"epoch\":1,\"loss\":null}\nnonsense\n{\"epoch\":2,\"loss\":0.5}\n{\"epoch\":3,";
        std::fs::write(&path, text).unwrap();
        let epochs: Vec<EpochRecord> = lines(&path, &mut faults);
        assert_eq!(epochs.iter().map(|e| e.epoch).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((epochs[0].loss, epochs[1].loss), (None, Some(0.5)));
        assert_eq!(faults.len(), 1);
        assert!(faults[0].contains("line 2") && faults[0].contains("metrics.jsonl"), "{faults:?}");
        // A last line that is whole but for its end may still grow.
        std::fs::write(&path, "{\"epoch\":1,\"loss\":1.0}\n{\"epoch\":2,\"loss\":2}").unwrap();
        assert_eq!(lines::<EpochRecord>(&path, &mut Vec::new()).len(), 1);
    }
}
