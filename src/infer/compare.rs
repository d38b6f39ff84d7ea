//! Finds the summaries of what is to be compared.

use super::cross_validate::{gather, read_summary};
use crate::metrics::comparison::{NamedSummary, average};
use crate::run::RunConfig;
use crate::{Error, Result};
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
