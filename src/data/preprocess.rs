//! Preprocessing (nnU-Net v1's): crop to the non-zero box, normalise, and sample
//! foreground voxels. Every array is D, H, W.

use super::dataset::{Case, Dataset};
use super::nifti::{self, Header, voxel_name};
use super::rng::{self, Purpose};
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Foreground voxels kept a class and case.
pub const FOREGROUND_SAMPLES: usize = 10_000;
/// Seed of the foreground sample, which belongs to the data, not to a run.
const FOREGROUND_SEED: u64 = 1234;

/// Intensities of foreground voxels of one channel over a data set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intensities {
    /// 0.5 percentile.
    pub low: f64,
    /// 99.5 percentile.
    pub high: f64,
    /// Mean.
    pub mean: f64,
    /// Population standard deviation.
    pub std: f64,
}

impl Intensities {
    fn of(mut values: Vec<f32>) -> Self {
        let (mean, std) = mean_std(values.iter().map(|&v| v as f64));
        values.sort_by(f32::total_cmp);
        let percentile = |q: f64| {
            let at = q / 100.0 * values.len().saturating_sub(1) as f64;
            let get = |i: usize| {
                values.get(i.min(values.len().saturating_sub(1))).copied().unwrap_or(0.0) as f64
            };
            let (a, b) = (get(at as usize), get(at as usize + 1));
            a + (b - a) * at.fract()
        };
        Intensities { low: percentile(0.5), high: percentile(99.5), mean, std }
    }
}

/// What preprocessing a data set decided; prediction repeats it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Voxel size D, H, W in mm that all cases have.
    pub spacing_mm: [f64; 3],
    /// Whether statistics are taken over non-zero voxels, with 0 outside.
    pub nonzero_mask: bool,
    /// For CT data, the intensities of each channel's foreground; else empty.
    pub ct: Vec<Intensities>,
}

/// An image that is cropped and normalised.
#[derive(Clone, Debug)]
pub struct PreparedImage {
    /// Number of channels C.
    pub channels: usize,
    /// D, H, W after cropping.
    pub shape: [usize; 3],
    /// C, D, H, W values.
    pub image: Vec<f32>,
    /// First voxel of the crop in the original, D, H, W.
    pub crop_start: [usize; 3],
    /// D, H, W before cropping.
    pub original_shape: [usize; 3],
    /// Voxel size D, H, W in mm.
    pub spacing_mm: [f64; 3],
    /// Header of the (first) image file.
    pub header: Header,
}

/// A labelled case, ready for sampling.
#[derive(Clone, Debug)]
pub struct PreparedCase {
    /// The case's name.
    pub name: String,
    /// Number of channels C.
    pub channels: usize,
    /// D, H, W after cropping.
    pub shape: [usize; 3],
    /// C, D, H, W values.
    pub image: Vec<f32>,
    /// D, H, W labels.
    pub labels: Vec<u8>,
    /// For class 1, 2...: flat indices of up to [`FOREGROUND_SAMPLES`] of its
    /// voxels, sorted.
    pub foreground: Vec<Vec<u32>>,
    /// First voxel of the crop in the original, D, H, W.
    pub crop_start: [usize; 3],
    /// D, H, W before cropping.
    pub original_shape: [usize; 3],
    /// Voxel size D, H, W in mm.
    pub spacing_mm: [f64; 3],
    /// Header of the (first) image file.
    pub header: Header,
}

/// All cases and what they were prepared by.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// In the order asked for.
    pub cases: Vec<PreparedCase>,
    /// Parameters.
    pub preprocessing: Preprocessing,
}

fn bad(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::Input(format!("'{}' {what}", path.display()))
}

/// Reads a case's image files and crops to the box of voxels where any channel
/// is not 0 (all of it where all are 0). Not yet normalised.
///
/// # Errors
/// Unreadable files, channels of differing grids or a count other than
/// `channels`, NaN or infinite voxels.
pub fn load_image(images: &[std::path::PathBuf], channels: usize) -> Result<PreparedImage> {
    let mut whole: Option<nifti::Volume> = None;
    for path in images {
        let v = nifti::read_image(path)?;
        if let Some(i) = v.data.iter().position(|x| !x.is_finite()) {
            return Err(bad(
                path,
                format!(
                    "has the value {} at voxel {}; replace it by a finite one",
                    v.data[i],
                    voxel_name(i % v.shape.iter().product::<usize>(), v.shape)
                ),
            ));
        }
        match &mut whole {
            None => whole = Some(v),
            Some(w) => {
                if let Some(d) = w.header.geometry_difference(&v.header, 1e-3) {
                    return Err(bad(
                        path,
                        format!(
                            "differs from the case's first channel in {d}; bring all channels to one grid"
                        ),
                    ));
                }
                w.data.extend_from_slice(&v.data);
                w.channels += v.channels;
            }
        }
    }
    let (Some(v), Some(path)) = (whole, images.first()) else {
        return Err(Error::Input("a case has no image file; add one".into()));
    };
    if v.channels != channels {
        return Err(bad(
            path,
            format!(
                "has {} channel(s), but dataset.json names {channels}; correct one of them",
                v.channels
            ),
        ));
    }
    let (start, shape) = nonzero_box(&v.data, v.shape);
    let image = crop(&v.data, v.channels, v.shape, start, shape);
    Ok(PreparedImage {
        channels,
        shape,
        image,
        crop_start: start,
        original_shape: v.shape,
        spacing_mm: v.spacing_mm,
        header: v.header,
    })
}

/// First voxel and shape of the smallest box that holds every voxel where any
/// channel of `data` (C, D, H, W) is not 0; everything if there is none.
pub fn nonzero_box(data: &[f32], shape: [usize; 3]) -> ([usize; 3], [usize; 3]) {
    let [d, h, w] = shape;
    let (mut low, mut high) = ([usize::MAX; 3], [0usize; 3]);
    for (row, line) in data.chunks_exact(w.max(1)).enumerate() {
        if let Some(first) = line.iter().position(|&v| v != 0.0) {
            let last = line.iter().rposition(|&v| v != 0.0).unwrap_or(first);
            let at = [row / h % d, row % h];
            for (axis, (a, b)) in
                [(at[0], at[0]), (at[1], at[1]), (first, last)].into_iter().enumerate()
            {
                low[axis] = low[axis].min(a);
                high[axis] = high[axis].max(b);
            }
        }
    }
    if low[0] == usize::MAX {
        return ([0; 3], shape);
    }
    (low, [0, 1, 2].map(|a| high[a] - low[a] + 1))
}

/// Cuts the box at `start` of `shape` out of `data` (C, D, H, W with `from` as
/// D, H, W). The box must lie inside.
pub fn crop<T: Copy>(
    data: &[T],
    channels: usize,
    from: [usize; 3],
    start: [usize; 3],
    shape: [usize; 3],
) -> Vec<T> {
    if from == shape {
        return data.to_vec();
    }
    let mut out = Vec::with_capacity(channels * shape.iter().product::<usize>());
    for c in 0..channels {
        for z in start[0]..start[0] + shape[0] {
            for y in start[1]..start[1] + shape[1] {
                let at = ((c * from[0] + z) * from[1] + y) * from[2] + start[2];
                out.extend_from_slice(&data[at..at + shape[2]]);
            }
        }
    }
    out
}

/// Normalises `image` (C planes of `voxels`) in place: z-score a channel with
/// the population deviation, `(x - mean) / (std + 1e-8)`; over the voxels where
/// any channel is not 0 and with 0 outside if `nonzero_mask`; CT channels are
/// clipped and scaled by the data set's intensities instead (nnU-Net v1).
pub fn normalise(image: &mut [f32], voxels: usize, preprocessing: &Preprocessing) {
    if voxels == 0 {
        return;
    }
    let ct = &preprocessing.ct;
    let mask: Option<Vec<bool>> = (preprocessing.nonzero_mask && ct.is_empty()).then(|| {
        let mut mask = vec![false; voxels];
        for plane in image.chunks_exact(voxels) {
            mask.iter_mut().zip(plane).for_each(|(m, &v)| *m |= v != 0.0);
        }
        mask
    });
    let inside = |i: usize| mask.as_ref().is_none_or(|m| m[i]);
    for (c, plane) in image.chunks_exact_mut(voxels).enumerate() {
        let (mean, std) = if let Some(t) = ct.get(c) {
            plane.iter_mut().for_each(|v| *v = (*v as f64).clamp(t.low, t.high) as f32);
            (t.mean, t.std)
        } else {
            mean_std(plane.iter().enumerate().filter(|(i, _)| inside(*i)).map(|(_, &v)| v as f64))
        };
        for (i, v) in plane.iter_mut().enumerate() {
            *v = if inside(i) { ((*v as f64 - mean) / (std + 1e-8)) as f32 } else { 0.0 };
        }
    }
}

/// Mean and population deviation, two passes; (0, 0) of nothing.
fn mean_std(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (n, sum) = values.clone().fold((0u64, 0.0), |(n, s), v| (n + 1, s + v));
    if n == 0 {
        return (0.0, 0.0);
    }
    let mean = sum / n as f64;
    let square: f64 = values.map(|v| (v - mean) * (v - mean)).sum();
    (mean, (square / n as f64).sqrt())
}

/// Loads one image by a run's parameters, for prediction.
///
/// # Errors
/// As [`load_image`]; besides a spacing other than the run's.
pub fn prepare_image(
    images: &[std::path::PathBuf],
    channels: usize,
    by: &Preprocessing,
) -> Result<PreparedImage> {
    let mut p = load_image(images, channels)?;
    if let (Some(path), false) = (images.first(), same_spacing(p.spacing_mm, by.spacing_mm)) {
        return Err(bad(
            path,
            format!(
                "has voxels of {:?} mm, but the run was trained on {:?} mm (z, y, x); resample it first",
                p.spacing_mm, by.spacing_mm
            ),
        ));
    }
    let voxels = p.shape.iter().product();
    normalise(&mut p.image, voxels, by);
    Ok(p)
}

fn same_spacing(a: [f64; 3], b: [f64; 3]) -> bool {
    a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-3 * a.max(*b))
}

/// Loads one labelled case, cropped but not normalised.
fn load_case(dataset: &Dataset, case: &Case) -> Result<PreparedCase> {
    let Some(path) = &case.label else {
        return Err(Error::Input(format!(
            "the case '{}' has no label map; add one to labelsTr",
            case.name
        )));
    };
    let p = load_image(&case.images, dataset.modalities.len())?;
    let l = nifti::read_labels(path)?;
    // The origin is not compared: it does not matter for training.
    if l.shape != p.original_shape || !same_spacing(l.spacing_mm, p.spacing_mm) {
        return Err(bad(
            path,
            format!(
                "has shape {:?} and spacing {:?} mm, but the image of '{}' has {:?} and {:?} mm (z, y, x); bring both to one grid",
                l.shape, l.spacing_mm, case.name, p.original_shape, p.spacing_mm
            ),
        ));
    }
    let classes = dataset.labels.len();
    if let Some(i) = l.labels.iter().position(|&v| v as usize >= classes) {
        return Err(bad(
            path,
            format!(
                "has the label {} at voxel {}, but dataset.json lists only 0 to {}; correct one of them",
                l.labels[i],
                voxel_name(i, l.shape),
                classes - 1
            ),
        ));
    }
    let labels: Vec<u8> =
        crop(&l.labels, 1, l.shape, p.crop_start, p.shape).into_iter().map(|v| v as u8).collect();
    let foreground = foreground(&labels, classes);
    Ok(PreparedCase {
        name: case.name.clone(),
        channels: p.channels,
        shape: p.shape,
        image: p.image,
        labels,
        foreground,
        crop_start: p.crop_start,
        original_shape: p.original_shape,
        spacing_mm: p.spacing_mm,
        header: p.header,
    })
}

/// Flat indices of up to [`FOREGROUND_SAMPLES`] voxels of each class from 1 to
/// `classes - 1`: all, or a fixed random choice; sorted.
pub fn foreground(labels: &[u8], classes: usize) -> Vec<Vec<u32>> {
    let mut found = vec![Vec::new(); classes.saturating_sub(1)];
    for (i, &l) in labels.iter().enumerate() {
        if let Some(list) = (l as usize).checked_sub(1).and_then(|c| found.get_mut(c)) {
            list.push(i as u32);
        }
    }
    for (c, list) in found.iter_mut().enumerate() {
        if list.len() > FOREGROUND_SAMPLES {
            let mut rng = rng::stream(FOREGROUND_SEED, Purpose::Foreground, &[c as u64 + 1]);
            for i in 0..FOREGROUND_SAMPLES {
                let j = i + rng::below(&mut rng, (list.len() - i) as u64) as usize;
                list.swap(i, j);
            }
            list.truncate(FOREGROUND_SAMPLES);
            list.sort_unstable();
            list.shrink_to_fit();
        }
    }
    found
}

/// Intensities of each channel over every tenth foreground voxel of each case.
fn intensities(cases: &[PreparedCase], channels: usize) -> Vec<Intensities> {
    (0..channels)
        .map(|c| {
            let mut values: Vec<f32> = Vec::new();
            for case in cases {
                let n = case.labels.len();
                let plane = &case.image[c * n..(c + 1) * n];
                let inside = plane.iter().zip(&case.labels).filter(|(_, l)| **l > 0);
                values.extend(inside.step_by(10).map(|(v, _)| *v));
            }
            Intensities::of(values)
        })
        .collect()
}

/// The parameters that a data set of this one case would have: for looking at a case by itself.
pub fn of_case(image: &PreparedImage, labels: &[u32], is_ct: bool) -> Preprocessing {
    let volume = |s: [usize; 3]| s.iter().product::<usize>() as f64;
    let removed = 1.0 - volume(image.shape) / volume(image.original_shape);
    let foreground = labels.iter().map(|&l| l > 0);
    Preprocessing {
        spacing_mm: image.spacing_mm,
        nonzero_mask: !is_ct && removed > 0.25,
        ct: if is_ct {
            (0..image.channels)
                .map(|c| {
                    let plane = &image.image[c * labels.len()..][..labels.len()];
                    let inside = plane.iter().zip(foreground.clone()).filter(|(_, f)| *f);
                    Intensities::of(inside.step_by(10).map(|(v, _)| *v).collect())
                })
                .collect()
        } else {
            Vec::new()
        },
    }
}

/// Loads, crops and normalises `cases` on `threads` threads (0: as many as
/// there are cores). The non-zero mask rule and CT intensities are decided over
/// these cases.
///
/// # Errors
/// The first case in order that cannot be read or is inconsistent; spacings
/// that differ between cases by more than a thousandth.
pub fn prepare_all(dataset: &Dataset, cases: &[Case], threads: usize) -> Result<Prepared> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| {
        Error::Usage(format!("cannot start {threads} threads ({e}); use fewer with --threads"))
    })?;
    let loaded: Vec<Result<PreparedCase>> =
        pool.install(|| cases.par_iter().map(|c| load_case(dataset, c)).collect());
    let mut prepared = loaded.into_iter().collect::<Result<Vec<_>>>()?;
    let Some(first) = prepared.first() else {
        return Err(Error::Input(format!(
            "'{}' has no cases to prepare; add some",
            dataset.dir.display()
        )));
    };
    let spacing_mm = first.spacing_mm;
    if let Some(other) = prepared.iter().find(|c| !same_spacing(c.spacing_mm, spacing_mm)) {
        return Err(Error::Input(format!(
            "the case '{}' has voxels of {:?} mm but '{}' has {:?} mm (z, y, x); resample all cases of '{}' to one spacing",
            first.name,
            spacing_mm,
            other.name,
            other.spacing_mm,
            dataset.dir.display()
        )));
    }
    let volume = |s: [usize; 3]| s.iter().product::<usize>() as f64;
    let removed: f64 =
        prepared.iter().map(|c| 1.0 - volume(c.shape) / volume(c.original_shape)).sum();
    let preprocessing = Preprocessing {
        spacing_mm,
        nonzero_mask: !dataset.is_ct && removed / prepared.len() as f64 > 0.25,
        ct: if dataset.is_ct {
            intensities(&prepared, dataset.modalities.len())
        } else {
            Vec::new()
        },
    };
    pool.install(|| {
        prepared.par_iter_mut().for_each(|c| {
            let voxels = c.labels.len();
            normalise(&mut c.image, voxels, &preprocessing);
        })
    });
    Ok(Prepared { cases: prepared, preprocessing })
}
