//! `results.jsonl`: what every finished run reached, one line a run, so that the tables can be made
//! again, and a series continued, without the run folders.

use super::Result;
use super::settings::Setting;
use asng_wgpu::data::names::case_name;
use asng_wgpu::infer::compare::find_summary;
use asng_wgpu::metrics::comparison::NamedSummary;
use asng_wgpu::metrics::summary::{CaseMetrics, Number, Summary};
use asng_wgpu::{Error, files};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Measures that are compared, and how many digits they are printed with.
pub const METRICS: [(&str, usize); 2] = [("Dice", 4), ("HD95", 2)];

/// One finished run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finished {
    /// `few` or `all` training cases.
    pub cases: String,
    pub setting: String,
    pub seed: u64,
    /// Flags of `train` beside data, seed and folders.
    pub flags: Vec<String>,
    pub epochs: usize,
    /// Median over the epochs.
    pub seconds: f64,
    /// Means over the epochs, of which the last may be without a search.
    pub augment_share: f64,
    pub policy_share: f64,
    /// Case -> label -> the values of [`METRICS`]; none where one is not defined.
    pub values: BTreeMap<String, BTreeMap<String, [Option<f64>; 2]>>,
}

/// What is read of an epoch.
#[derive(Deserialize)]
struct Epoch {
    seconds: f64,
    augment_share: f64,
    policy_share: f64,
}

impl Finished {
    /// Reads a run that has ended.
    pub fn read(run: &Path, setting: &Setting, seed: u64, flags: Vec<String>) -> Result<Self> {
        let log = run.join("fold_0/metrics.jsonl");
        let text = std::fs::read_to_string(&log).map_err(|e| Error::io("read", &log, e))?;
        let epochs: Vec<Epoch> =
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let mut seconds: Vec<f64> = epochs.iter().map(|epoch| epoch.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let mean = |value: fn(&Epoch) -> f64| {
            epochs.iter().map(value).sum::<f64>() / epochs.len().max(1) as f64
        };
        let summary = find_summary(run)?.summary;
        let values = summary.metric_per_case.iter().map(|case| {
            let labels = case.metrics.iter().map(|(label, metrics)| {
                let finite = |(name, _)| {
                    metrics.get(name).map(|v: &Number| v.value()).filter(|v| v.is_finite())
                };
                (label.clone(), METRICS.map(finite))
            });
            (case_name(Path::new(&case.prediction_file)), labels.collect())
        });
        Ok(Finished {
            cases: setting.cases.name().into(),
            setting: setting.name.into(),
            seed,
            flags,
            epochs: epochs.len(),
            seconds: seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN),
            augment_share: mean(|epoch| epoch.augment_share),
            policy_share: mean(|epoch| epoch.policy_share),
            values: values.collect(),
        })
    }

    /// Whether this is a run of the setting.
    pub fn is_of(&self, setting: &Setting) -> bool {
        self.setting == setting.name && self.cases == setting.cases.name()
    }

    /// The values as `compare` takes them.
    pub fn summary(&self) -> NamedSummary {
        let cases = self.values.iter().map(|(case, labels)| {
            let metrics = labels.iter().map(|(label, values)| {
                let numbers = METRICS.iter().zip(values).map(|((name, _), value)| {
                    ((*name).to_owned(), Number::Float(value.unwrap_or(f64::NAN)))
                });
                (label.clone(), numbers.collect())
            });
            CaseMetrics {
                metrics: metrics.collect(),
                prediction_file: format!("{case}.nii.gz"),
                reference_file: String::new(),
            }
        });
        let name = format!("{} {}, seed {}", self.cases, self.setting, self.seed);
        NamedSummary { name, summary: Summary::of(cases.collect()) }
    }
}

/// All finished runs of a folder, with their file.
pub struct Results {
    path: PathBuf,
    pub runs: Vec<Finished>,
}

impl Results {
    /// Opens `results.jsonl` of a folder; none is an empty one.
    ///
    /// # Errors
    /// A line that is no run.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("results.jsonl");
        if !path.exists() {
            return Ok(Results { path, runs: Vec::new() });
        }
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
        let runs = text.lines().zip(1..).map(|(line, number)| {
            serde_json::from_str(line).map_err(|e| {
                Error::Input(format!(
                    "line {number} of '{}' is no run ({e}); remove it, the run is made again",
                    path.display()
                ))
            })
        });
        let runs = runs.collect::<Result<_>>()?;
        Ok(Results { path, runs })
    }

    /// The run of a setting and seed.
    ///
    /// # Errors
    /// It was made with other flags.
    pub fn find(
        &self,
        setting: &Setting,
        seed: u64,
        flags: &[String],
    ) -> Result<Option<&Finished>> {
        let Some(run) = self.runs.iter().find(|run| run.is_of(setting) && run.seed == seed) else {
            return Ok(None);
        };
        if run.flags != flags {
            return Err(Error::Input(format!(
                "'{}' holds '{}', seed {seed}, with other flags ({}); give another folder or remove \
                 the line",
                self.path.display(),
                setting.name,
                run.flags.join(" ")
            )));
        }
        Ok(Some(run))
    }

    /// Adds a run and writes the file.
    pub fn add(&mut self, run: Finished) -> Result<()> {
        self.runs.push(run);
        let mut text = String::new();
        for run in &self.runs {
            let line = serde_json::to_string(run)
                .map_err(|e| Error::Input(format!("a result cannot be written: {e}")))?;
            text.push_str(&line);
            text.push('\n');
        }
        files::replace(&self.path, text.as_bytes())
    }
}
