//! Overlap and surface metrics of two folders or two files, as nnU-Net v2's `summary.json` has
//! them, with the surface metrics added.

use super::pairs::missing_reference;
use crate::data::nifti::{LabelVolume, read_labels};
use crate::error::{Error, Result};
use crate::metrics::overlap::{Overlap, overlaps};
use crate::metrics::summary::{CaseMetrics, Metrics, Summary, overlap_metrics, surface_values};
use crate::metrics::surface::{SurfaceMetrics, surface_metrics};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Largest difference of spacing, origin or direction that counts as the same geometry.
const GEOMETRY_TOLERANCE: f64 = 1e-3;
/// Tolerance of the normalised surface Dice, mm, where none is given.
pub const NSD_TOLERANCE_MM: f64 = 1.0;
/// Most cases in memory at a time. A case takes about 8 bytes a voxel; its surface metrics use
/// all cores by themselves.
const CASES_AT_A_TIME: usize = 4;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct EvaluateOptions<'a> {
    /// The foreground values that count, or empty for all that occur in a file.
    pub labels: &'a [u16],
    /// Tolerance of the normalised surface Dice in mm, or none to leave the surface metrics out.
    pub nsd_tolerance_mm: Option<f64>,
}

/// Metrics of all pairs of prediction and reference. `progress` is given the number of finished
/// pairs, from any thread.
///
/// # Errors
/// [`Error::Input`] that names every pair whose files cannot be read, or whose shape or geometry
/// differ; all pairs have been tried then.
pub fn evaluate(
    pairs: &[(PathBuf, PathBuf)],
    options: EvaluateOptions,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Summary> {
    evaluate_within(pairs, options, GEOMETRY_TOLERANCE, progress)
}

/// As [`evaluate`], voxel by voxel: only the shapes must agree, and the reference's spacing counts.
/// For predictions of training cases, whose image and label files may place the same voxels
/// differently. `labels`: as [`EvaluateOptions::labels`].
///
/// # Errors
/// As [`evaluate`], of shapes only.
pub fn evaluate_voxels(pairs: &[(PathBuf, PathBuf)], labels: &[u16]) -> Result<Summary> {
    let options = EvaluateOptions { labels, nsd_tolerance_mm: Some(NSD_TOLERANCE_MM) };
    evaluate_within(pairs, options, f64::INFINITY, &|_| ())
}

/// Whether the summary at a path, which a new one is about to replace, says that a search looked at
/// its cases. What is no summary says nothing.
pub fn used_in_search(path: &Path) -> bool {
    let earlier = crate::files::read_text(path).ok();
    earlier
        .and_then(|text| Summary::from_json(&text).ok())
        .is_some_and(|summary| summary.validation_used_in_search)
}

fn evaluate_within(
    pairs: &[(PathBuf, PathBuf)],
    options: EvaluateOptions,
    tolerance_mm: f64,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Summary> {
    let measured = over_pairs(pairs, progress, |prediction, reference| {
        measure(prediction, reference, options, tolerance_mm)
    });
    let mut cases = Vec::new();
    let mut bad = Vec::new();
    for outcome in measured {
        match outcome {
            Ok(case) => cases.push(case),
            Err(error) => bad.push(error),
        }
    }
    if !bad.is_empty() {
        return Err(all_of(bad, pairs.len()));
    }
    let mut labels: BTreeSet<u16> = options.labels.iter().copied().collect();
    if labels.is_empty() {
        labels.extend(cases.iter().flat_map(|case| case.labels.keys()));
    }
    let surface = options.nsd_tolerance_mm.is_some();
    let complete = |(case, (prediction, reference)): (Measured, &(PathBuf, PathBuf))| CaseMetrics {
        metrics: labels.iter().map(|label| (label.to_string(), case.of(*label, surface))).collect(),
        prediction_file: prediction.display().to_string(),
        reference_file: reference.display().to_string(),
    };
    Ok(Summary::of(cases.into_iter().zip(pairs).map(complete).collect()))
}

/// Works on the pairs in order, a few at a time, and gives the outcomes in their order.
fn over_pairs<T: Send>(
    pairs: &[(PathBuf, PathBuf)],
    progress: &(dyn Fn(usize) + Sync),
    work: impl Fn(&Path, &Path) -> Result<T> + Sync,
) -> Vec<Result<T>> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let outcomes = Mutex::new(Vec::new());
    let worker = || {
        while let Some((i, (prediction, reference))) = {
            let i = next.fetch_add(1, Ordering::Relaxed);
            pairs.get(i).map(|pair| (i, pair))
        } {
            let outcome = work(prediction, reference);
            outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((i, outcome));
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    let workers = rayon::current_num_threads().min(CASES_AT_A_TIME).min(pairs.len());
    // Threads of their own: a worker of rayon's that waits for a case's surfaces would begin
    // another case, without bound.
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(worker);
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(i, _)| *i);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// One error of several, each with its causes.
fn all_of(mut errors: Vec<Error>, pairs: usize) -> Error {
    if errors.len() == 1 && pairs == 1 {
        return errors.remove(0);
    }
    let mut text = format!("{} of {pairs} pairs cannot be evaluated:", errors.len());
    for error in &errors {
        text += &format!("\n    {error}");
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            text += &format!(": {inner}");
            cause = inner.source();
        }
    }
    Error::Input(text)
}

/// The metrics of the labels of one case.
struct Measured {
    voxels: u64,
    labels: BTreeMap<u16, Metrics>,
}

impl Measured {
    /// The metrics of a label, which the case need not have.
    fn of(&self, label: u16, surface: bool) -> Metrics {
        self.labels.get(&label).cloned().unwrap_or_else(|| {
            let mut metrics = overlap_metrics(&Overlap { tn: self.voxels, ..Overlap::default() });
            if surface {
                metrics.extend(surface_values(&SurfaceMetrics::NONE));
            }
            metrics
        })
    }
}

fn measure(
    prediction: &Path,
    reference: &Path,
    options: EvaluateOptions,
    tolerance_mm: f64,
) -> Result<Measured> {
    if !reference.is_file() {
        return Err(missing_reference(prediction, reference));
    }
    let (found, truth) = (read_labels(prediction)?, read_labels(reference)?);
    same_geometry(prediction, &found, reference, &truth, tolerance_mm)?;
    let labels = match options.labels {
        [] => occurring(&found.labels, &truth.labels),
        labels => labels.to_vec(),
    };
    let overlaps = overlaps(&found.labels, &truth.labels, &labels)?;
    let mut metrics: Vec<Metrics> = overlaps.iter().map(overlap_metrics).collect();
    if let Some(nsd_tolerance) = options.nsd_tolerance_mm {
        let (shape, spacing) = (truth.shape, truth.spacing_mm);
        let surfaces =
            surface_metrics(&found.labels, &truth.labels, shape, spacing, &labels, nsd_tolerance);
        for (metrics, surface) in metrics.iter_mut().zip(&surfaces) {
            metrics.extend(surface_values(surface));
        }
    }
    Ok(Measured {
        voxels: truth.labels.len() as u64,
        labels: labels.into_iter().zip(metrics).collect(),
    })
}

/// The foreground values of two maps, ascending.
fn occurring(a: &[u16], b: &[u16]) -> Vec<u16> {
    let mut seen = vec![false; usize::from(u16::MAX) + 1];
    a.iter().chain(b).for_each(|&label| seen[usize::from(label)] = true);
    (1..=u16::MAX).filter(|&label| seen[usize::from(label)]).collect()
}

fn same_geometry(
    prediction: &Path,
    found: &LabelVolume,
    reference: &Path,
    truth: &LabelVolume,
    tolerance_mm: f64,
) -> Result<()> {
    let difference = if found.shape == truth.shape {
        found.header.geometry_difference(&truth.header, tolerance_mm)
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
