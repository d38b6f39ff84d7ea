//! Overlap metrics of two folders or two files, as nnU-Net v2's `summary.json` has them.

use crate::data::nifti::{LabelVolume, read_labels};
use crate::error::{Error, Result};
use crate::metrics::overlap::overlaps;
use crate::metrics::summary::{CaseMetrics, Summary, overlap_metrics};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Largest difference of spacing, origin or direction that counts as the same geometry.
const GEOMETRY_TOLERANCE: f64 = 1e-3;

/// Pairs of prediction and reference: two files, or all files of a folder with a reference of the
/// same name.
///
/// # Errors
/// [`Error::Input`] when nothing matches or a prediction has no reference.
pub fn pairs(prediction: &Path, reference: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    if prediction.is_file() {
        return Ok(vec![(prediction.to_owned(), reference.to_owned())]);
    }
    let entries =
        std::fs::read_dir(prediction).map_err(|e| Error::io("read folder", prediction, e))?;
    let mut list = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io("read folder", prediction, e))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with('.') || !(name.ends_with(".nii.gz") || name.ends_with(".nii")) {
            continue;
        }
        let partner = reference.join(&name);
        if !partner.is_file() {
            return Err(Error::Input(format!(
                "'{}' has no reference '{}'; references must have the same file names",
                path.display(),
                partner.display()
            )));
        }
        list.push((path, partner));
    }
    list.sort();
    if list.is_empty() {
        return Err(Error::Input(format!(
            "'{}' holds no .nii or .nii.gz file to evaluate",
            prediction.display()
        )));
    }
    Ok(list)
}

/// Metrics of all pairs. `labels`: the foreground values that count, or empty for all that occur
/// in a reference or a prediction.
///
/// # Errors
/// [`Error::Input`] naming the files whose shape or geometry differ.
pub fn evaluate(pairs: &[(PathBuf, PathBuf)], labels: &[u16]) -> Result<Summary> {
    let mut wanted: BTreeSet<u16> = labels.iter().copied().collect();
    if wanted.is_empty() {
        for (prediction, reference) in pairs {
            for path in [prediction, reference] {
                wanted.extend(read_labels(path)?.labels.iter().filter(|&&label| label > 0));
            }
        }
    }
    let wanted: Vec<u16> = wanted.into_iter().collect();
    let mut cases = Vec::new();
    for (prediction, reference) in pairs {
        let (found, truth) = (read_labels(prediction)?, read_labels(reference)?);
        same_geometry(prediction, &found, reference, &truth)?;
        let metrics = wanted
            .iter()
            .zip(overlaps(&found.labels, &truth.labels, &wanted)?)
            .map(|(label, overlap)| (label.to_string(), overlap_metrics(&overlap)))
            .collect();
        cases.push(CaseMetrics {
            metrics,
            prediction_file: prediction.display().to_string(),
            reference_file: reference.display().to_string(),
        });
    }
    Ok(Summary::of(cases))
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
