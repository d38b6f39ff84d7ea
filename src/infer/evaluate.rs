//! Overlap and surface metrics of two folders or two files, as nnU-Net v2's `summary.json` has
//! them, with the surface metrics added.

use super::pairs::missing_reference;
use crate::data::labels::{Labels, Target};
use crate::data::nifti::{LabelVolume, read_labels};
use crate::error::{Error, Result};
use crate::metrics::overlap::{Overlap, overlaps};
use crate::metrics::summary::{CaseMetrics, Metrics, Summary, overlap_metrics, surface_values};
use crate::metrics::surface::{SurfaceMetrics, surface_metrics};
use crate::numbers::MOST_NAMED;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Tolerance of the normalised surface Dice, mm, where none is given.
pub const NSD_TOLERANCE_MM: f64 = 1.0;
/// The file that declares labels.
const DATASET_FILE: &str = "dataset.json";
/// Most cases in memory at a time. A case takes about 8 bytes a voxel; its surface metrics use
/// all cores by themselves.
const CASES_AT_A_TIME: usize = 4;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct EvaluateOptions<'a> {
    /// The labels or regions that count, or empty for all foreground values that occur in a file.
    pub targets: &'a [Target],
    /// The value of reference voxels that do not count.
    pub ignore: Option<u16>,
    /// Tolerance of the normalised surface Dice in mm, or none to leave the surface metrics out.
    pub nsd_tolerance_mm: Option<f64>,
}

/// What an evaluation came to.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The metrics.
    pub summary: Summary,
    /// A sentence for each pair whose grids differ by more than round-off, but less than half a
    /// voxel.
    pub warnings: Vec<String>,
}

/// How the grids of a pair are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grids {
    /// By shape and place, by the rule of [`Header::differences`](crate::data::Header::differences).
    Placed,
    /// By their shapes alone.
    Shapes,
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
) -> Result<Evaluation> {
    evaluate_within(pairs, options, Grids::Placed, progress)
}

/// As [`evaluate`], voxel by voxel: only the shapes must agree, and the reference's spacing counts.
/// For predictions of training cases, whose image and label files may place the same voxels
/// differently. By the foreground labels or regions of a data set, and its ignore label.
///
/// # Errors
/// As [`evaluate`], of shapes only.
pub fn evaluate_voxels(pairs: &[(PathBuf, PathBuf)], labels: &Labels) -> Result<Summary> {
    let options = EvaluateOptions {
        targets: &labels.targets(),
        ignore: labels.ignore(),
        nsd_tolerance_mm: Some(NSD_TOLERANCE_MM),
    };
    evaluate_within(pairs, options, Grids::Shapes, &|_| ()).map(|done| done.summary)
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
    grids: Grids,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Evaluation> {
    let measured = over_pairs(pairs, progress, |prediction, reference| {
        measure(prediction, reference, options, grids)
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
    let mut keys: BTreeSet<String> = options.targets.iter().map(|t| t.key.clone()).collect();
    if keys.is_empty() {
        keys.extend(cases.iter().flat_map(|case| case.metrics.keys().cloned()));
    }
    let warnings = cases.iter_mut().filter_map(|case| case.warning.take()).collect();
    let surface = options.nsd_tolerance_mm.is_some();
    let complete = |(case, (prediction, reference)): (Measured, &(PathBuf, PathBuf))| CaseMetrics {
        metrics: keys.iter().map(|key| (key.clone(), case.of(key, surface))).collect(),
        prediction_file: prediction.display().to_string(),
        reference_file: reference.display().to_string(),
    };
    let summary = Summary::of(cases.into_iter().zip(pairs).map(complete).collect());
    Ok(Evaluation { summary, warnings })
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
    for error in errors.iter().take(MOST_NAMED) {
        text += &format!("\n    {}", error.sentence());
    }
    if errors.len() > MOST_NAMED {
        text += &format!("\n    and {} more", errors.len() - MOST_NAMED);
    }
    Error::Input(text)
}

/// The metrics of the labels or regions of one case, by their keys.
struct Measured {
    /// Voxels that count.
    voxels: u64,
    metrics: BTreeMap<String, Metrics>,
    warning: Option<String>,
}

impl Measured {
    /// The metrics of a label, which the case need not have.
    fn of(&self, key: &str, surface: bool) -> Metrics {
        self.metrics.get(key).cloned().unwrap_or_else(|| {
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
    grids: Grids,
) -> Result<Measured> {
    if !reference.is_file() {
        return Err(missing_reference(prediction, reference));
    }
    let mut found = read_labels(prediction)?;
    let mut truth = read_labels(reference).map_err(no_label_map)?;
    let warning = same_geometry(prediction, &found, reference, &truth, grids)?;
    let unlabelled =
        options.ignore.map_or(0, |i| leave_out(&mut found.labels, &mut truth.labels, i));
    let of_value =
        |value: u16| Target { name: String::new(), key: value.to_string(), values: vec![value] };
    let targets = match options.targets {
        [] => {
            let ignored = |value: &u16| Some(*value) == options.ignore;
            let values = occurring(&found.labels, &truth.labels).into_iter();
            values.filter(|value| !ignored(value)).map(of_value).collect()
        }
        targets => targets.to_vec(),
    };
    let grid = Grid { shape: truth.shape, spacing_mm: truth.spacing_mm, unlabelled };
    // Single labels are counted together, each region by itself.
    let single = |t: &&Target| t.values.len() == 1;
    let values: Vec<u16> = targets.iter().filter(single).flat_map(|t| t.values.clone()).collect();
    let of_values = measures(&found.labels, &truth.labels, &values, &grid, options)?;
    let keys = targets.iter().filter(single).map(|t| t.key.clone());
    let mut metrics: BTreeMap<String, Metrics> = keys.zip(of_values).collect();
    for region in targets.iter().filter(|t| !single(t)) {
        let mask = |map: &[u16]| -> Vec<u16> {
            map.iter().map(|value| u16::from(region.values.contains(value))).collect()
        };
        let (found, truth) = (mask(&found.labels), mask(&truth.labels));
        let of_region = measures(&found, &truth, &[1], &grid, options)?;
        metrics.extend(of_region.into_iter().map(|m| (region.key.clone(), m)));
    }
    Ok(Measured { voxels: truth.labels.len() as u64 - unlabelled, metrics, warning })
}

/// Makes background of both maps where the reference has the value `ignore`, so that no object is
/// there; gives the number of these voxels.
pub fn leave_out(found: &mut [u16], truth: &mut [u16], ignore: u16) -> u64 {
    let mut count = 0;
    for (found, truth) in found.iter_mut().zip(truth).filter(|(_, truth)| **truth == ignore) {
        (*found, *truth) = (0, 0);
        count += 1;
    }
    count
}

/// The grid of a pair of maps.
struct Grid {
    shape: [usize; 3],
    spacing_mm: [f64; 3],
    /// Voxels that do not count; they are background in both maps.
    unlabelled: u64,
}

/// The metrics of each of `labels` between two maps.
fn measures(
    found: &[u16],
    truth: &[u16],
    labels: &[u16],
    grid: &Grid,
    options: EvaluateOptions,
) -> Result<Vec<Metrics>> {
    let overlaps = overlaps(found, truth, labels)?.into_iter();
    let counted = overlaps.map(|o| Overlap { tn: o.tn - grid.unlabelled, ..o });
    let mut metrics: Vec<Metrics> = counted.map(|o| overlap_metrics(&o)).collect();
    if let Some(nsd_tolerance) = options.nsd_tolerance_mm {
        let (shape, spacing) = (grid.shape, grid.spacing_mm);
        let surfaces = surface_metrics(found, truth, shape, spacing, labels, nsd_tolerance);
        for (metrics, surface) in metrics.iter_mut().zip(&surfaces) {
            metrics.extend(surface_values(surface));
        }
    }
    Ok(metrics)
}

/// The foreground values of two maps, ascending.
fn occurring(a: &[u16], b: &[u16]) -> Vec<u16> {
    let mut seen = vec![false; usize::from(u16::MAX) + 1];
    a.iter().chain(b).for_each(|&label| seen[usize::from(label)] = true);
    (1..=u16::MAX).filter(|&label| seen[usize::from(label)]).collect()
}

/// The labels that the `dataset.json` of the references declares, and its path: it lies in their
/// folder or in the one above; none where there is no such file.
///
/// # Errors
/// As [`Labels::read`].
pub fn declared_labels(reference: &Path) -> Result<Option<(PathBuf, Labels)>> {
    let folder = if reference.is_dir() { Some(reference) } else { reference.parent() };
    let beside = folder.into_iter().flat_map(|folder| {
        // `.` and `..` have no name to take off.
        let above = match folder.file_name().and(folder.parent()) {
            Some(parent) => parent.to_owned(),
            None => folder.join(".."),
        };
        [folder.join(DATASET_FILE), above.join(DATASET_FILE)]
    });
    match beside.into_iter().find(|path| path.is_file()) {
        Some(path) => Labels::read(&path).map(|labels| Some((path, labels))),
        None => Ok(None),
    }
}

/// The error of a reference that cannot be read as a label map, with a likely cause.
fn no_label_map(error: Error) -> Error {
    let other_content = |why: &str| {
        why.contains("but a label map has one") || why.contains("but labels are whole numbers")
    };
    match error {
        Error::Input(why) if other_content(&why) => Error::Input(format!(
            "{why} (it was given as the reference: the predictions come first, the references second)"
        )),
        other => other,
    }
}

/// Refuses two maps on different grids; gives a warning for grids that differ a little.
fn same_geometry(
    prediction: &Path,
    found: &LabelVolume,
    reference: &Path,
    truth: &LabelVolume,
    grids: Grids,
) -> Result<Option<String>> {
    let error = match grids {
        Grids::Placed => found.header.error_of_grid(&truth.header),
        Grids::Shapes => (found.shape != truth.shape)
            .then(|| format!("shape {:?} against {:?} (z, y, x)", found.shape, truth.shape)),
    };
    let (prediction, reference) = (prediction.display(), reference.display());
    if let Some(what) = error {
        return Err(Error::Input(format!(
            "'{prediction}' and '{reference}' are not on the same grid ({what}); resample the \
             prediction to its reference first"
        )));
    }
    let warning = (grids == Grids::Placed).then(|| found.header.warning_of_grid(&truth.header));
    Ok(warning.flatten().map(|what| {
        format!(
            "'{prediction}' and '{reference}' do not lie exactly on one grid ({what}); they are \
             compared voxel by voxel"
        )
    }))
}
