//! Puts the validation cases of a run's folds together.

use crate::data::names::case_name;
use crate::metrics::summary::{CaseMetrics, Summary};
use crate::run::{CheckpointKind, RunConfig, checkpoint_path, fold_folder};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One fold's validation cases.
#[derive(Clone, Debug)]
pub struct FoldSummary {
    /// Number of the fold.
    pub fold: usize,
    /// Over the fold's cases.
    pub summary: Summary,
}

/// The validation cases of all folds.
#[derive(Clone, Debug)]
pub struct CrossValidation {
    /// Over all cases, sorted by name; each occurs once.
    pub summary: Summary,
    /// The folds that are there.
    pub folds: Vec<FoldSummary>,
    /// A sentence for each fold that is not there or not complete, with what adds it.
    pub missing: Vec<String>,
}

/// The summary of a fold's validation cases in a run folder.
fn summary_path(run: &Path, fold: usize) -> PathBuf {
    fold_folder(run, fold).join("validation").join("summary.json")
}

/// Reads a `summary.json`.
///
/// # Errors
/// [`Error::Io`], or [`Error::Input`] when it is no summary; both name the path.
pub fn read_summary(path: &Path) -> Result<Summary> {
    let text = crate::files::read_text(path).map_err(|e| Error::io("read", path, e))?;
    Summary::from_json(&text)
        .map_err(|e| Error::Input(format!("'{}' cannot be used: {e}", path.display())))
}

/// Gathers the `fold_*/validation/summary.json` of a run: of each fold the validation cases of the
/// split. Folds without validation cases take no part, and neither does `fold_full`.
///
/// # Errors
/// [`Error::Input`] when the folder is no run, no fold is validated, a summary is broken, a fold was
/// trained by another split than the run's, or two folds hold the same case.
pub fn gather(run: &Path) -> Result<CrossValidation> {
    let config = RunConfig::read(run)?;
    let (mut folds, mut missing) = (Vec::new(), Vec::new());
    let mut fold_of: BTreeMap<String, usize> = BTreeMap::new();
    for (fold, part) in config.split.iter().enumerate().filter(|(_, part)| !part.val.is_empty()) {
        let path = summary_path(run, fold);
        if !path.is_file() {
            missing.push(how_to_add(run, &config, fold));
            continue;
        }
        let record = RunConfig::of_fold(run, fold)?;
        // Earlier versions did not record what the cases hold.
        let known = !record.cases.is_empty() && !config.cases.is_empty();
        if record.split.get(fold) != Some(part) || (known && record.cases != config.cases) {
            return Err(Error::Input(format!(
                "fold {fold} of '{}' was trained on other cases or by another split than config.json \
                 of the run names, so its results cannot be put together with those of other folds; \
                 train it again",
                run.display()
            )));
        }
        let wanted: BTreeSet<&str> = part.val.iter().map(String::as_str).collect();
        let whole = read_summary(&path)?;
        let used_in_search = whole.validation_used_in_search;
        let mut cases: BTreeMap<String, CaseMetrics> = BTreeMap::new();
        for case in whole.metric_per_case {
            let name = case_name(Path::new(&case.prediction_file));
            if !wanted.contains(name.as_str()) {
                continue;
            }
            if let Some(other) = fold_of.insert(name.clone(), fold) {
                return Err(Error::Input(format!(
                    "the case '{name}' is validated twice, in fold {other} and in '{}'; each case \
                     must be in the validation of one fold",
                    path.display()
                )));
            }
            cases.insert(name, case);
        }
        let absent: Vec<&str> =
            wanted.into_iter().filter(|name| !cases.contains_key(*name)).collect();
        if !absent.is_empty() {
            missing.push(format!(
                "fold {fold} lacks {} of its cases: {}; {}",
                absent.len(),
                absent.join(", "),
                validate_by(run, &config, fold)
            ));
        }
        if !cases.is_empty() {
            let mut summary = Summary::of(cases.into_values().collect());
            summary.validation_used_in_search = used_in_search;
            folds.push(FoldSummary { fold, summary });
        }
    }
    if folds.is_empty() {
        return Err(Error::Input(match missing.first() {
            Some(first) => {
                format!("no fold of '{}' is validated: {first}", run.display())
            }
            None => format!(
                "'{}' has no folds with validation cases in its split; train by another split",
                RunConfig::path(run).display()
            ),
        }));
    }
    let mut cases: Vec<CaseMetrics> =
        folds.iter().flat_map(|f| f.summary.metric_per_case.clone()).collect();
    cases.sort_by_cached_key(|case| case_name(Path::new(&case.prediction_file)));
    let mut summary = Summary::of(cases);
    summary.validation_used_in_search =
        folds.iter().any(|fold| fold.summary.validation_used_in_search);
    Ok(CrossValidation { summary, folds, missing })
}

/// Which command adds a fold that has no summary.
fn how_to_add(run: &Path, config: &RunConfig, fold: usize) -> String {
    if checkpoint_path(run, fold, CheckpointKind::Final).is_file() {
        return format!(
            "fold {fold} is trained but not validated; {}",
            validate_by(run, config, fold)
        );
    }
    format!(
        "fold {fold} is not trained; run `asng-wgpu train {} --out {} --fold {fold}` with the \
         other flags of the run",
        shell(&config.find_data(run)),
        shell(run)
    )
}

fn validate_by(run: &Path, config: &RunConfig, fold: usize) -> String {
    let (model, dataset) = (shell(run), config.find_data(run));
    let validation = shell(&fold_folder(run, fold).join("validation"));
    let (images, labels) = (shell(&dataset.join("imagesTr")), shell(&dataset.join("labelsTr")));
    format!(
        "run `asng-wgpu predict -m {model} --fold {fold} -i {images} -o {validation}` and \
         `asng-wgpu evaluate {validation} {labels}`"
    )
}

/// A path as a word of a command line.
fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "-_./\\:".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
