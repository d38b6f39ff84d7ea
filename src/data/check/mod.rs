//! Checks a data set: every file is read, and everything that is wrong is found
//! in one pass.

mod across;
mod case;
mod finding;
mod labels;
mod quick;
mod summary;

pub use finding::{Finding, Kind, Severity};
pub use labels::LabelSuggestion;
pub use quick::quick;
pub use summary::{ChannelSummary, LabelSummary, Spread, Summary};

use super::dataset::{Case, Dataset, Inspection, Remark, Topic, folder_of};
use super::inputs::{Inputs, find_images};
use super::names::{Listing, are_numbered, case_name};
use super::patients::{PATIENT_FILES, patients};
use super::split::{self, Fold, SPLITS_FILE};
use crate::{Error, Result};
use case::{CaseFacts, examine};
use rayon::prelude::*;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A share of the training cases that a search sets aside; any one needs as many cases.
const SEARCH_SHARE: f64 = 0.25;

/// Version of the report's JSON.
pub const REPORT_VERSION: u32 = 1;

/// All that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// The data set's folder.
    pub dataset: PathBuf,
    /// Number of findings that are errors.
    pub errors: usize,
    /// Number of findings that are warnings.
    pub warnings: usize,
    /// Number of findings that are notes.
    pub notes: usize,
    /// Errors first; files are given from the data set's folder on.
    pub findings: Vec<Finding>,
    /// The data set in numbers, if `dataset.json` could be read at all.
    pub summary: Option<Summary>,
}

impl Report {
    fn new(dir: &Path, mut findings: Vec<Finding>, summary: Option<Summary>) -> Self {
        for finding in &mut findings {
            let inside = finding.file.as_ref().and_then(|f| f.strip_prefix(dir).ok());
            if let Some(inside) = inside.map(Path::to_path_buf) {
                finding.file = Some(inside).filter(|f| !f.as_os_str().is_empty());
            }
        }
        // Stable: within a severity the order of the checks stays.
        findings.sort_by_key(|f| f.severity);
        let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
        let [errors, warnings, notes] =
            [Severity::Error, Severity::Warning, Severity::Note].map(count);
        Self {
            version: REPORT_VERSION,
            dataset: dir.to_path_buf(),
            errors,
            warnings,
            notes,
            findings,
            summary,
        }
    }
}

/// Checks the data set in `dir` on `threads` threads (0: as many as there are
/// cores). After each case `progress` gets the number of cases done, that of all,
/// and the case's name.
///
/// # Errors
/// No such folder, or threads that cannot be started. All else is in the report.
pub fn check(
    dir: &Path,
    threads: usize,
    progress: &(dyn Fn(usize, usize, &str) + Sync),
) -> Result<Report> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| {
        Error::Usage(format!("cannot start {threads} threads ({e}); use fewer with --threads"))
    })?;
    let dir = folder_of(dir);
    let dir = dir.as_path();
    let inspection = match Dataset::inspect(dir) {
        Ok(inspection) => inspection,
        Err(error) if !dir.is_dir() => return Err(error),
        Err(error) => {
            let file = dir.join("dataset.json");
            let finding = Finding::from_error(Severity::Error, Kind::DatasetJson, &error, &file);
            return Ok(Report::new(dir, vec![finding], None));
        }
    };
    let dataset = &inspection.dataset;
    let mut findings = of_dataset_json(&inspection);
    let numbered = are_numbered(dataset.cases.iter().map(|case| case.name.as_str()));
    let test_cases = test_cases(dir, dataset.modalities.len(), numbered, &mut findings);
    let tasks: Vec<(&Case, bool)> = dataset
        .cases
        .iter()
        .map(|c| (c, false))
        .chain(test_cases.iter().map(|c| (c, true)))
        .collect();
    let done = AtomicUsize::new(0);
    let normalisation = dataset.normalisation();
    let read = |&(case, test): &(&Case, bool)| {
        let facts = examine(case, &normalisation, test);
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, tasks.len(), &case.name);
        facts
    };
    let mut cases: Vec<CaseFacts> = pool.install(|| tasks.par_iter().map(read).collect());
    for case in &mut cases {
        findings.append(&mut case.findings);
    }
    let training: Vec<&CaseFacts> = cases.iter().filter(|c| !c.test).collect();
    let (found, suggestion) = labels::label_values(&training, &inspection);
    findings.extend(found);
    let headers: Vec<_> = training.iter().map(|c| (c.name.as_str(), &c.headers)).collect();
    let mut found = across::of_headers(&headers);
    let tests: Vec<_> =
        cases.iter().filter(|c| c.test).map(|c| (c.name.as_str(), &c.headers)).collect();
    let trained = across::orientations(training.iter().map(|c| &c.headers));
    found.extend(across::test_orientations(&trained, &tests));
    // A data set that asks for RAS has one orientation.
    found.retain(|finding| finding.kind != Kind::Orientation || !dataset.reorient);
    findings.extend(found);
    let (folds, found) = splits(dataset);
    findings.extend(found);
    findings.extend(across::duplicates(&cases, dataset.modalities.len(), &folds));
    findings.extend(labels::sides(&dataset.labels));
    findings.extend(inspection.dataset.remarks.iter().map(of_remark));
    // With errors there is no training yet.
    if findings.iter().all(|f| f.severity != Severity::Error) {
        findings.extend(unsearchable(dataset, &folds));
    }
    let summary = Summary::of(&cases, &inspection, suggestion);
    Ok(Report::new(dir, findings, Some(summary)))
}

/// What is noteworthy about `dataset.json` and the folders.
fn of_remark(remark: &Remark) -> Finding {
    let (severity, kind) = match remark.topic {
        Topic::Json => (Severity::Warning, Kind::DatasetJson),
        Topic::UnknownKey | Topic::Layout => (Severity::Note, Kind::DatasetJson),
        Topic::UnusedVolume => (Severity::Warning, Kind::UnusedFile),
        Topic::OtherFile => (Severity::Note, Kind::UnusedFile),
        Topic::Splits => (Severity::Note, Kind::Splits),
    };
    Finding::from_sentence(severity, kind, &remark.sentence)
}

/// What is wrong with `dataset.json` and the files it lists.
fn of_dataset_json(inspection: &Inspection) -> Vec<Finding> {
    let file = inspection.dataset.dir.join("dataset.json");
    let error =
        |s: &String| Finding::from_sentence(Severity::Error, Kind::DatasetJson, s).of_file(&file);
    let mut findings: Vec<Finding> = inspection.faults.iter().map(error).collect();
    let warning = |what: String, remedy: &str| {
        Finding::new(Severity::Warning, Kind::DatasetJson, what, remedy).of_file(&file)
    };
    let background = inspection.declared.get(&0);
    if let Some(name) = background.filter(|n| !n.eq_ignore_ascii_case("background")) {
        let what = format!("names the label 0 '{name}', but 0 is taken as background");
        findings.push(warning(what, "rename it, or renumber the labels"));
    }
    for (case, file) in &inspection.missing {
        let finding = Finding::new(
            Severity::Error,
            Kind::MissingFile,
            "does not exist, but its case needs it",
            "add it or take the case out",
        );
        findings.push(finding.of_case(case).of_file(file));
    }
    findings
}

/// The cases of imagesTs, with label maps of labelsTs where these are.
pub(super) fn test_cases(
    dir: &Path,
    channels: usize,
    numbered: bool,
    findings: &mut Vec<Finding>,
) -> Vec<Case> {
    let folder = dir.join("imagesTs");
    if Listing::of(&folder).is_ok_and(|found| found.volumes.is_empty()) || !folder.is_dir() {
        return Vec::new();
    }
    let labels = Listing::of(&dir.join("labelsTs")).unwrap_or_default().volumes;
    let label = |case: &str| labels.iter().find(|path| case_name(path) == case).cloned();
    let warning = |s: &String| Finding::from_sentence(Severity::Warning, Kind::UnusedFile, s);
    match find_images(std::slice::from_ref(&folder), channels.max(1), numbered) {
        Ok(Inputs { mut cases, notes }) => {
            for case in &mut cases {
                case.label = label(&case.name);
            }
            let notes = notes.iter().map(|n| n.trim_start_matches("warning: ").to_owned());
            findings.extend(notes.map(|n| warning(&n)));
            cases
        }
        Err(error) => {
            findings.push(Finding::from_error(Severity::Error, Kind::Channels, &error, &folder));
            Vec::new()
        }
    }
}

/// The folds, if they can be made, and what is wrong with the files that say how.
fn splits(dataset: &Dataset) -> (Vec<Fold>, Vec<Finding>) {
    let names = dataset.labelled_names();
    let mut findings = Vec::new();
    let from = |severity, kind, s: &str| Finding::from_sentence(severity, kind, s);
    let patients = match patients(&dataset.dir, &names) {
        Ok(patients) => patients,
        Err(e) => {
            let [json, csv] = PATIENT_FILES.map(|name| dataset.dir.join(name));
            let file = if json.is_file() { json } else { csv };
            findings.push(Finding::from_error(Severity::Error, Kind::Patients, &e, &file));
            None
        }
    };
    let path = dataset.dir.join(SPLITS_FILE);
    if !path.exists() {
        // Too few cases are a fault of their own.
        return match split::folds(dataset) {
            Ok(folds) => (folds, findings),
            Err(e) => {
                if findings.is_empty() && !names.is_empty() {
                    let file = dataset.dir.join("dataset.json");
                    findings.push(Finding::from_error(Severity::Error, Kind::Splits, &e, &file));
                }
                (Vec::new(), findings)
            }
        };
    }
    let text = match crate::files::read_text(&path) {
        Ok(text) => text,
        Err(e) => {
            let what = format!("cannot be read ({e})");
            let finding = Finding::new(Severity::Error, Kind::Splits, what, "make it readable");
            findings.push(finding.of_file(&path));
            return (Vec::new(), findings);
        }
    };
    let (folds, faults) = split::inspect_folds(&text, &names, &path);
    findings.extend(faults.iter().map(|s| from(Severity::Error, Kind::Splits, s)));
    if faults.is_empty() {
        let idle: Vec<String> = names
            .iter()
            .filter(|n| folds.iter().all(|f| !f.train.contains(n) && !f.val.contains(n)))
            .cloned()
            .collect();
        if !idle.is_empty() {
            let verb = if idle.len() > 1 { "are" } else { "is" };
            let what =
                format!("leaves out cases: {} {verb} in no fold", finding::how_many("case", &idle));
            let finding = Finding::new(Severity::Warning, Kind::Splits, what, "add them to a fold");
            findings.push(finding.of_file(&path));
        }
    }
    if let Some(patients) = &patients {
        let leaks = split::patient_leaks(&folds, patients);
        findings.extend(leaks.iter().map(|s| from(Severity::Warning, Kind::Patients, s)));
    }
    (folds, findings)
}

/// Folds that are too small for the search of `train` without further flags.
fn unsearchable(dataset: &Dataset, folds: &[Fold]) -> Vec<Finding> {
    let patients = patients(&dataset.dir, &dataset.labelled_names()).ok().flatten();
    let split = |fold: &Fold| {
        split::inner_split_of(&fold.train, patients.as_ref(), SEARCH_SHARE, 0).map(drop)
    };
    let sentences = split::unsearchable(folds, split);
    let finding = |s: &String| Finding::from_sentence(Severity::Warning, Kind::Splits, s);
    sentences.iter().map(finding).collect()
}
