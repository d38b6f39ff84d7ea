//! What a data set is like: spacings, shapes, how much of the volumes is empty, CT intensities;
//! and what follows from it.

use super::normalise::percentile;
use super::{Intensities, LoadedImage, Preprocessing};
use crate::data::channels::Normalisation;
use crate::numbers::edges;
use crate::{Error, Result, host};
use serde::{Deserialize, Serialize};

/// Share of the volumes that cropping removes, above which statistics are taken over non-zero
/// voxels (nnU-Net v1).
const EMPTY_SHARE: f64 = 0.25;
/// How many times finer the other axes must be for the coarsest to have its own rule.
const ANISOTROPY: f64 = 3.0;
/// Ratio of spacings from which the network has flat kernels, so that the coarsest axis must be
/// the first.
const FLAT_KERNEL: f64 = 2.0;

/// What is known of one case; D, H, W of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseFacts {
    /// The case's name.
    pub name: String,
    /// Edges of the whole volume.
    pub shape: [usize; 3],
    /// Edges after cropping to the non-zero box.
    pub crop_shape: [usize; 3],
    /// Voxel size in mm.
    pub spacing_mm: [f64; 3],
}

/// What is known of a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Whether volumes were turned to RAS first.
    pub reorient: bool,
    /// One entry a case, sorted as the cases are.
    pub cases: Vec<CaseFacts>,
    /// A CT channel's intensities over every tenth foreground voxel of each case; `None` for
    /// other channels.
    pub ct: Vec<Option<Intensities>>,
    /// How each channel is normalised; by its name, so that no file needs to keep it.
    #[serde(skip)]
    pub normalisation: Vec<Normalisation>,
}

impl Fingerprint {
    /// Of one image by itself; `inside`: which of its voxels are foreground.
    pub fn of_image(
        image: &LoadedImage,
        inside: impl Fn(usize) -> bool,
        normalisation: &[Normalisation],
    ) -> Self {
        let case = CaseFacts {
            name: String::new(),
            shape: image.original_shape,
            crop_shape: image.shape,
            spacing_mm: image.spacing_mm,
        };
        let ct = intensities(foreground_values(image, inside, normalisation), normalisation);
        let (reorient, normalisation) = (!image.turn.is_identity(), normalisation.to_vec());
        Fingerprint { reorient, cases: vec![case], ct, normalisation }
    }

    /// How to prepare the cases; to another spacing (D, H, W of the file, mm) if one is given.
    pub fn preprocessing(&self, spacing_mm: Option<[f64; 3]>) -> Preprocessing {
        let target = spacing_mm.unwrap_or_else(|| target_spacing(&self.cases));
        let axes = coarse_axis_first(target);
        let volume = |s: [usize; 3]| s.iter().product::<usize>() as f64;
        let removed = |c: &CaseFacts| 1.0 - volume(c.crop_shape) / volume(c.shape);
        let mean = self.cases.iter().map(removed).sum::<f64>() / self.cases.len().max(1) as f64;
        let ct = if self.ct.iter().any(Option::is_some) { self.ct.clone() } else { Vec::new() };
        // Files say it only where earlier versions could not.
        let plain = |by: &Normalisation| matches!(by, Normalisation::Zscore | Normalisation::Ct);
        let normalisation = match self.normalisation.iter().all(plain) {
            true => Vec::new(),
            false => self.normalisation.clone(),
        };
        let masked = self.normalisation.contains(&Normalisation::Zscore);
        Preprocessing {
            spacing_mm: axes.map(|axis| target[axis]),
            reorient: self.reorient,
            axes,
            nonzero_mask: masked && mean > EMPTY_SHARE,
            ct,
            normalisation,
        }
    }

    /// Median edges of the prepared cases.
    pub fn median_shape(&self, by: &Preprocessing) -> [usize; 3] {
        let shapes = self.cases.iter().map(|c| prepared_shape(c.crop_shape, c.spacing_mm, by));
        let shapes: Vec<[usize; 3]> = shapes.collect();
        std::array::from_fn(|axis| {
            median(shapes.iter().map(|s| s[axis] as f64)).round_ties_even() as usize
        })
    }

    /// Refuses a data set in which a wrong spacing would blow a case up.
    ///
    /// # Errors
    /// [`Error::Input`] naming the first such case.
    pub fn check_sizes(&self, by: &Preprocessing) -> Result<()> {
        let channels = self.ct.len();
        self.cases.iter().try_for_each(|c| {
            check_prepared_size(|| c.name.clone(), channels, c.crop_shape, c.spacing_mm, by)
        })
    }

    /// Voxels of the largest prepared case.
    pub fn largest_case(&self, by: &Preprocessing) -> usize {
        let voxels = |c: &CaseFacts| -> usize {
            prepared_shape(c.crop_shape, c.spacing_mm, by).iter().product()
        };
        self.cases.iter().map(voxels).max().unwrap_or(0)
    }
}

/// Every tenth foreground voxel of each CT channel; nothing for other channels.
pub(super) fn foreground_values(
    image: &LoadedImage,
    inside: impl Fn(usize) -> bool,
    normalisation: &[Normalisation],
) -> Vec<Vec<f32>> {
    let planes = image.image.chunks_exact(image.shape.iter().product::<usize>().max(1));
    let values = |(plane, by): (&[f32], &Normalisation)| -> Vec<f32> {
        let is_ct = *by == Normalisation::Ct;
        let voxels = plane.iter().enumerate().filter(|(i, _)| is_ct && inside(*i));
        voxels.step_by(10).map(|(_, v)| *v).collect()
    };
    planes.zip(normalisation).map(values).collect()
}

/// The intensities of CT channels, of the values of each; `None` for other channels.
pub(super) fn intensities(
    values: Vec<Vec<f32>>,
    normalisation: &[Normalisation],
) -> Vec<Option<Intensities>> {
    let of = |(values, by): (Vec<f32>, &Normalisation)| {
        (*by == Normalisation::Ct).then(|| Intensities::of(values))
    };
    values.into_iter().zip(normalisation).map(of).collect()
}

/// Edges along the prepared axes of a crop (D, H, W of the file).
pub(super) fn prepared_shape(
    crop_shape: [usize; 3],
    spacing_mm: [f64; 3],
    by: &Preprocessing,
) -> [usize; 3] {
    let (shape, spacing) = (by.permuted(crop_shape), by.permuted(spacing_mm));
    if same_spacing(spacing, by.spacing_mm) {
        return shape;
    }
    crate::data::resample::resampled_shape(shape, spacing, by.spacing_mm)
}

/// Most values of a prepared image: they are counted by 32 bits.
const MOST_VALUES: usize = u32::MAX as usize;

/// Bytes a value of a prepared image that making it takes, resampling included.
const PREPARING_BYTES: u64 = 8;

/// Refuses an image (edges and spacing D, H, W of the file) that would have too many values when it
/// is prepared; `name` is that of its file or case.
pub(super) fn check_prepared_size(
    name: impl Fn() -> String,
    channels: usize,
    crop_shape: [usize; 3],
    spacing_mm: [f64; 3],
    by: &Preprocessing,
) -> Result<()> {
    let shape = prepared_shape(crop_shape, spacing_mm, by);
    let values = shape.iter().try_fold(channels, |n, &edge| n.checked_mul(edge));
    if let Some(values) = values.filter(|&n| n <= MOST_VALUES) {
        return host::check(values as u64 * PREPARING_BYTES, || {
            format!("preparing '{}' on a grid of {} mm", name(), edges(by.file_spacing_mm()))
        });
    }
    Err(Error::Input(format!(
        "'{}' has {crop_shape:?} voxels of {} mm (z, y, x), far too many on a grid of {} mm; correct the spacing in its header, or give a coarser --spacing",
        name(),
        edges(spacing_mm),
        edges(by.file_spacing_mm())
    )))
}

/// Whether two spacings differ by less than a thousandth.
fn same_spacing(a: [f64; 3], b: [f64; 3]) -> bool {
    a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-3 * a.max(*b))
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    percentile(&sorted(values), 50.0)
}

/// The spacing that cases are resampled to (nnU-Net v1, ExperimentPlanner3D_v21): the median of
/// each axis; where the coarsest axis is more than 3 times the others and has fewer voxels than a
/// third of them, its 10th percentile, but no finer than the others. D, H, W of the file, mm.
pub fn target_spacing(cases: &[CaseFacts]) -> [f64; 3] {
    let spacings = |axis: usize| sorted(cases.iter().map(|c| c.spacing_mm[axis]));
    let mut target: [f64; 3] = std::array::from_fn(|axis| percentile(&spacings(axis), 50.0));
    let edges: [f64; 3] =
        std::array::from_fn(|axis| median(cases.iter().map(|c| c.crop_shape[axis] as f64)));
    let worst = (0..3).fold(0, |worst, a| if target[a] > target[worst] { a } else { worst });
    let others = (0..3).filter(|&axis| axis != worst);
    let coarsest_other = others.clone().map(|axis| target[axis]).fold(0.0, f64::max);
    let fewest_others = others.map(|axis| edges[axis]).fold(f64::INFINITY, f64::min);
    if target[worst] > ANISOTROPY * coarsest_other && edges[worst] * ANISOTROPY < fewest_others {
        let finer = percentile(&spacings(worst), 10.0);
        target[worst] =
            if finer < coarsest_other { coarsest_other.max(finer) + 1e-5 } else { finer };
    }
    target
}

/// Whether a voxel size (in any order of axes, mm) is strongly anisotropic: its coarsest edge is more than
/// 3 times the next one.
pub fn is_anisotropic(spacing_mm: [f64; 3]) -> bool {
    let edges = sorted(spacing_mm.into_iter());
    edges[2] > ANISOTROPY * edges[1]
}

/// The order of axes in which prepared cases have theirs: the file's, but with the coarsest axis
/// first where its voxels are more than twice the finest, because flat kernels are flat along D.
pub fn coarse_axis_first(spacing_mm: [f64; 3]) -> [usize; 3] {
    let finest = spacing_mm.iter().copied().fold(f64::INFINITY, f64::min);
    let coarse =
        (0..3).fold(0, |coarse, a| if spacing_mm[a] > spacing_mm[coarse] { a } else { coarse });
    match coarse {
        1 if spacing_mm[1] > FLAT_KERNEL * finest => [1, 0, 2],
        2 if spacing_mm[2] > FLAT_KERNEL * finest => [2, 0, 1],
        _ => [0, 1, 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(shape: [usize; 3], spacing_mm: [f64; 3]) -> CaseFacts {
        CaseFacts { name: String::new(), shape, crop_shape: shape, spacing_mm }
    }

    #[test]
    fn the_target_is_the_median_but_for_a_coarse_axis() {
        let isotropic: Vec<CaseFacts> =
            [0.8, 1.0, 1.3].map(|s| case([100; 3], [s, 1.0, 1.0])).to_vec();
        assert_eq!(target_spacing(&isotropic), [1.0; 3]);
        let coarse: Vec<CaseFacts> =
            [3.0, 4.0, 5.0].map(|s| case([20, 300, 300], [s, 0.6, 0.6])).to_vec();
        let target = target_spacing(&coarse);
        assert!((target[0] - 3.2).abs() < 1e-12, "{target:?}");
        // Many slices: the median stays.
        let deep: Vec<CaseFacts> =
            [3.0, 4.0, 5.0].map(|s| case([200, 300, 300], [s, 0.6, 0.6])).to_vec();
        assert_eq!(target_spacing(&deep), [4.0, 0.6, 0.6]);
        // Never finer than the others.
        let mixed: Vec<CaseFacts> =
            [0.1, 4.0, 5.0].map(|s| case([20, 300, 300], [s, 0.9, 0.9])).to_vec();
        assert!(target_spacing(&mixed)[0] >= 0.9);
    }

    #[test]
    fn the_coarsest_axis_comes_first() {
        assert_eq!(coarse_axis_first([3.6, 0.6, 0.6]), [0, 1, 2]);
        assert_eq!(coarse_axis_first([0.6, 3.6, 0.6]), [1, 0, 2]);
        assert_eq!(coarse_axis_first([0.6, 0.6, 3.6]), [2, 0, 1]);
        assert_eq!(coarse_axis_first([0.6, 0.6, 1.0]), [0, 1, 2]);
    }

    #[test]
    fn empty_volumes_have_a_mask() {
        let full = case([10; 3], [1.0; 3]);
        let half = CaseFacts { crop_shape: [10, 10, 4], ..full.clone() };
        let of = |cases: Vec<CaseFacts>, ct, normalisation| {
            Fingerprint { reorient: false, cases, ct, normalisation }.preprocessing(None)
        };
        let mri = |cases| of(cases, vec![None], vec![Normalisation::Zscore]);
        assert!(mri(vec![half.clone()]).nonzero_mask);
        assert!(mri(vec![half.clone(), full.clone()]).nonzero_mask);
        assert!(!mri(vec![full]).nonzero_mask);
        let ct = Intensities { low: 0.0, high: 1.0, mean: 0.5, std: 0.1 };
        let ct = of(vec![half.clone()], vec![Some(ct)], vec![Normalisation::Ct]);
        assert!(!ct.nonzero_mask && ct.normalisation.is_empty());
        // As in nnU-Net, other channels have no mask of their own.
        for by in [Normalisation::NoNorm, Normalisation::RescaleTo01, Normalisation::RgbTo01] {
            let plain = of(vec![half.clone()], vec![None], vec![by]);
            assert!(!plain.nonzero_mask && plain.normalisation == [by]);
            let both = of(vec![half.clone()], vec![None; 2], vec![by, Normalisation::Zscore]);
            assert!(both.nonzero_mask);
        }
    }
}
