//! Overlap metrics of two folders or two files, as nnU-Net v2's `summary.json` has them.

use crate::data::dataset::case_name;
use crate::data::nifti::{LabelVolume, read_labels};
use crate::error::{Error, Result};
use crate::metrics::overlap::overlaps;
use crate::metrics::summary::{CaseMetrics, Summary, overlap_metrics};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Largest difference of spacing, origin or direction that counts as the same geometry.
const GEOMETRY_TOLERANCE: f64 = 1e-3;

/// Pairs of prediction and reference: two files, or all files of a folder with a reference of the
/// same name, whose ending (`.nii` or `.nii.gz`) may differ.
///
/// # Errors
/// [`Error::Input`] when nothing matches or a prediction has no reference.
pub fn pairs(prediction: &Path, reference: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    if prediction.is_file() {
        let reference =
            if reference.is_dir() { partner(prediction, reference)? } else { reference.to_owned() };
        return Ok(vec![(prediction.to_owned(), reference)]);
    }
    let entries =
        std::fs::read_dir(prediction).map_err(|e| Error::io("read folder", prediction, e))?;
    if !reference.is_dir() {
        return Err(Error::Input(format!(
            "'{}' is a folder but '{}' is not; give the folder of the references",
            prediction.display(),
            reference.display()
        )));
    }
    let mut list = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io("read folder", prediction, e))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let volume = name.ends_with(".nii.gz") || name.ends_with(".nii");
        if volume && !name.starts_with('.') && path.is_file() {
            let partner = partner(&path, reference)?;
            list.push((path, partner));
        }
    }
    list.sort();
    if list.is_empty() {
        return Err(Error::Input(format!(
            "'{}' holds no .nii or .nii.gz file to evaluate",
            prediction.display()
        )));
    }
    if let Some(w) = list.windows(2).find(|w| w[0].1 == w[1].1) {
        return Err(Error::Input(format!(
            "'{}' and '{}' are predictions of the same case; remove one",
            w[0].0.display(),
            w[1].0.display()
        )));
    }
    Ok(list)
}

/// The reference of a prediction in a folder.
fn partner(prediction: &Path, folder: &Path) -> Result<PathBuf> {
    let same = folder.join(prediction.file_name().unwrap_or_default());
    let name = case_name(prediction);
    let endings = [".nii.gz", ".nii"].map(|ending| folder.join(format!("{name}{ending}")));
    let found = std::iter::once(&same).chain(&endings).find(|path| path.is_file());
    found.cloned().ok_or_else(|| {
        Error::Input(format!(
            "'{}' has no reference '{}'; references must have the same file names",
            prediction.display(),
            same.display()
        ))
    })
}

/// Metrics of all pairs. `labels`: the foreground values that count, or empty for all that occur
/// in a reference or a prediction.
///
/// # Errors
/// [`Error::Input`] naming the files whose shape or geometry differ.
pub fn evaluate(pairs: &[(PathBuf, PathBuf)], labels: &[u16]) -> Result<Summary> {
    let mut wanted: BTreeSet<u16> = labels.iter().copied().collect();
    if wanted.is_empty() {
        let occurring = |path: &PathBuf| -> Result<BTreeSet<u16>> {
            let labels = read_labels(path)?.labels;
            let mut seen = vec![false; usize::from(u16::MAX) + 1];
            labels.iter().for_each(|&label| seen[usize::from(label)] = true);
            Ok((1..=u16::MAX).filter(|&label| seen[usize::from(label)]).collect())
        };
        let all: Vec<Result<BTreeSet<u16>>> =
            pairs.par_iter().flat_map_iter(|(a, b)| [a, b]).map(occurring).collect();
        for labels in all {
            wanted.extend(labels?);
        }
    }
    let wanted: Vec<u16> = wanted.into_iter().collect();
    let case = |(prediction, reference): &(PathBuf, PathBuf)| -> Result<CaseMetrics> {
        let (found, truth) = (read_labels(prediction)?, read_labels(reference)?);
        same_geometry(prediction, &found, reference, &truth)?;
        let metrics = wanted
            .iter()
            .zip(overlaps(&found.labels, &truth.labels, &wanted)?)
            .map(|(label, overlap)| (label.to_string(), overlap_metrics(&overlap)))
            .collect();
        Ok(CaseMetrics {
            metrics,
            prediction_file: prediction.display().to_string(),
            reference_file: reference.display().to_string(),
        })
    };
    // The first error in order, whichever thread finds it.
    let cases: Vec<Result<CaseMetrics>> = pairs.par_iter().map(case).collect();
    Ok(Summary::of(cases.into_iter().collect::<Result<_>>()?))
}

fn same_geometry(
    prediction: &Path,
    found: &LabelVolume,
    reference: &Path,
    truth: &LabelVolume,
) -> Result<()> {
    let difference = if found.shape == truth.shape {
        found.header.geometry_difference(&truth.header, GEOMETRY_TOLERANCE)
    } else {
        Some(format!("shape {:?} against {:?}", found.shape, truth.shape))
    };
    match difference {
        None => Ok(()),
        Some(what) => Err(Error::Input(format!(
            "'{}' and '{}' are not on the same grid ({what}); resample the prediction to its \
             reference first",
            prediction.display(),
            reference.display()
        ))),
    }
}
