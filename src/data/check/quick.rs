//! The part of the check that needs only headers.

use super::case::{CaseHeaders, read_headers};
use super::finding::{Finding, Kind, Severity};
use super::{across, labels};
use crate::data::dataset::{Case, Dataset};
use crate::data::names::are_numbered;
use crate::{Error, Result};
use rayon::prelude::*;

/// Errors that are listed; of others the number is told.
const MOST: usize = 10;

/// Reads the headers of all files of a data set and compares grids; gives
/// sentences of warning, each with what it is about: odd geometry, orientations that differ, spacings far
/// from the others', label names that mean a side of the body. Of warnings about
/// single files only the first of a kind is told, with their number.
///
/// # Errors
/// Unreadable headers, channels that are missing or on different grids, label
/// maps on other grids than their images: all together, one a line.
pub fn quick(dataset: &Dataset) -> Result<Vec<(Kind, String)>> {
    let channels = dataset.modalities.len();
    let read = |case: &Case| read_headers(case, channels);
    let (headers, found): (Vec<CaseHeaders>, Vec<Vec<Finding>>) =
        dataset.cases.par_iter().map(read).unzip();
    let (errors, warnings): (Vec<Finding>, Vec<Finding>) =
        found.into_iter().flatten().partition(|f| f.severity == Severity::Error);
    if !errors.is_empty() {
        return Err(Error::Input(listing(&errors)));
    }
    let named: Vec<(&str, &CaseHeaders)> =
        dataset.cases.iter().map(|c| c.name.as_str()).zip(&headers).collect();
    let mut sentences = firsts(&warnings);
    let told = |finding: Finding| (finding.kind, finding.sentence());
    sentences.extend(across::of_headers(&named).into_iter().map(told));
    // What is wrong with the images to test on is for `check` to tell.
    let numbered = are_numbered(dataset.cases.iter().map(|case| case.name.as_str()));
    let tests = super::test_cases(&dataset.dir, channels, numbered, &mut Vec::new());
    let read = |case: &Case| (case.name.clone(), read_headers(case, 0).0);
    let tests: Vec<(String, CaseHeaders)> = tests.par_iter().map(read).collect();
    let tests: Vec<(&str, &CaseHeaders)> = tests.iter().map(|(n, h)| (n.as_str(), h)).collect();
    let trained = across::orientations(headers.iter());
    sentences.extend(across::test_orientations(&trained, &tests).map(told));
    sentences.extend(labels::sides(&dataset.labels).into_iter().map(told));
    Ok(sentences)
}

/// One error as it is; several one a line, [`MOST`] at most.
fn listing(errors: &[Finding]) -> String {
    if let [one] = errors {
        return one.sentence();
    }
    let mut lines = vec![format!("the data set has {} errors:", errors.len())];
    lines.extend(errors.iter().take(MOST).map(|f| format!("    {}", f.sentence())));
    if errors.len() > MOST {
        lines.push(format!("    and {} more; `check` lists all", errors.len() - MOST));
    }
    lines.join("\n")
}

/// The first warning of each kind, with the number of the others.
fn firsts(warnings: &[Finding]) -> Vec<(Kind, String)> {
    let mut sentences = Vec::new();
    for (i, warning) in warnings.iter().enumerate() {
        if warnings[..i].iter().any(|w| w.kind == warning.kind) {
            continue;
        }
        let more = warnings[i + 1..].iter().filter(|w| w.kind == warning.kind).count();
        let sentence = warning.sentence();
        let sentence = match more {
            0 => sentence,
            n => format!("{sentence} ({n} more files are alike)"),
        };
        sentences.push((warning.kind, sentence));
    }
    sentences
}
