//! Finds the summaries of what is to be compared.

use super::cross_validate::{gather, read_summary};
use crate::metrics::comparison::NamedSummary;
use crate::run::RunConfig;
use crate::{Error, Result};
use std::path::Path;

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
