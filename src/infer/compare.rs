//! Finds the summaries of what is to be compared.

use super::cross_validate::{gather, read_summary};
use crate::metrics::comparison::{NamedSummary, average};
use crate::numbers::edges;
use crate::run::{RunConfig, folds_of, has_weights};
use crate::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The summary of a setting: of one source ([`find_summary`]), or the average of several, joined by
/// commas, which are the same training with other seeds. `NAME=` before them names it.
///
/// # Errors
/// As [`find_summary`]; as [`average`].
pub fn find_setting(text: &str) -> Result<NamedSummary> {
    let (name, sources) = match text.split_once('=') {
        Some((name, sources)) if !name.is_empty() && !Path::new(text).exists() => (name, sources),
        _ => (text, text),
    };
    if !sources.contains(',') || Path::new(sources).exists() {
        return Ok(NamedSummary { name: name.into(), ..find_summary(Path::new(sources))? });
    }
    let runs: Vec<NamedSummary> =
        sources.split(',').map(|source| find_summary(Path::new(source))).collect::<Result<_>>()?;
    average(name, &runs)
}

/// Flags of a training that name places and means; they have no bearing on a comparison. Seeds of
/// one setting differ on purpose.
const BESIDE: [&str; 11] = [
    "dataset",
    "out",
    "fold",
    "cache",
    "threads",
    "seed",
    "validate",
    "host_memory_bytes",
    "strict",
    "checked_shaders",
    "memory_bytes",
];

/// What the settings that [`find_setting`] takes were trained with: flag by flag the values that
/// differ between them, in the order of the settings ("epochs: 6 | 4"). Sources that are no run
/// folders say nothing of their training, and are left out.
///
/// # Errors
/// As [`RunConfig::read`].
pub fn different_flags(settings: &[String]) -> Result<Vec<String>> {
    let mut of_settings = Vec::new();
    for text in settings {
        let sources = match text.split_once('=') {
            Some((name, sources)) if !name.is_empty() && !Path::new(text).exists() => sources,
            _ => text.as_str(),
        };
        let whole = !sources.contains(',') || Path::new(sources).exists();
        let list: Vec<&str> = if whole { vec![sources] } else { sources.split(',').collect() };
        let mut flags: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for run in list.into_iter().map(Path::new).filter(|run| RunConfig::path(run).is_file()) {
            for record in records(run)? {
                for (flag, value) in trained_with(&record) {
                    flags.entry(flag).or_default().insert(value);
                }
            }
        }
        if !flags.is_empty() {
            of_settings.push(flags);
        }
    }
    let names: BTreeSet<&String> = of_settings.iter().flat_map(BTreeMap::keys).collect();
    let value = |flags: &BTreeMap<String, BTreeSet<String>>, name: &String| match flags.get(name) {
        Some(values) => values.iter().cloned().collect::<Vec<_>>().join("/"),
        None => "-".into(),
    };
    let differ = names.into_iter().filter_map(|name| {
        let values: Vec<String> = of_settings.iter().map(|flags| value(flags, name)).collect();
        let same = values.iter().all(|v| *v == values[0]);
        (!same).then(|| format!("{name}: {}", values.join(" | ")))
    });
    Ok(differ.collect())
}

/// The records of a run's trained folds; that of the run where no fold is trained.
fn records(run: &Path) -> Result<Vec<RunConfig>> {
    let folds = folds_of(run)?.into_iter().filter(|fold| has_weights(run, *fold));
    let records: Vec<RunConfig> =
        folds.map(|fold| RunConfig::of_fold(run, fold)).collect::<Result<_>>()?;
    if records.is_empty() { Ok(vec![RunConfig::read(run)?]) } else { Ok(records) }
}

/// Flags of a training, and what was resolved, as text.
fn trained_with(config: &RunConfig) -> Vec<(String, String)> {
    let mut flags = vec![
        ("data set".to_string(), config.dataset.name.clone()),
        ("voxels in mm".into(), edges(config.preprocessing.spacing_mm)),
        ("patch".into(), config.plan.patch.map(|edge| edge.to_string()).join(" x ")),
        ("mirror".into(), serde_json::to_string(&config.mirror).unwrap_or_default()),
    ];
    let resolved = ["patch", "mirror", "spacing_mm"];
    let mut add = |name: &str, value: &Value| {
        if !BESIDE.contains(&name) && !resolved.contains(&name) {
            flags.push((name.replace('_', " "), value.to_string()));
        }
    };
    for (name, value) in config.training.as_object().into_iter().flatten() {
        match value.as_object() {
            Some(inner) => inner.iter().for_each(|(part, value)| add(part, value)),
            None => add(name, value),
        }
    }
    flags
}

/// The summary of a run folder (the validation cases of all its folds), of a folder of predictions
/// (its `summary.json`), or the `summary.json` itself.
///
/// # Errors
/// [`Error::Input`] when there is none or it is broken.
pub fn find_summary(source: &Path) -> Result<NamedSummary> {
    let inside = source.join("summary.json");
    let summary = if source.is_file() {
        read_summary(source)?
    } else if RunConfig::path(source).is_file() {
        gather(source)?.summary
    } else if inside.is_file() {
        read_summary(&inside)?
    } else {
        return Err(Error::Input(format!(
            "'{}' is no run, no summary.json and no folder that holds one; `evaluate` writes it",
            source.display()
        )));
    };
    Ok(NamedSummary { name: source.display().to_string(), summary })
}
