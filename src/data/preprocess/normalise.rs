//! Intensities of data sets and the normalisation of images.

use super::Preprocessing;
use crate::data::channels::Normalisation;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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
    /// Of all given values.
    pub fn of(mut values: Vec<f32>) -> Self {
        let (mean, std) = mean_std(values.iter().map(|&v| f64::from(v)));
        values.sort_by(f32::total_cmp);
        let sorted: Vec<f64> = values.into_iter().map(f64::from).collect();
        let (low, high) = (percentile(&sorted, 0.5), percentile(&sorted, 99.5));
        Intensities { low, high, mean, std }
    }
}

/// Percentile `q` (0 to 100) of sorted values, between neighbours linearly, as NumPy's; 0 of
/// nothing.
pub(super) fn percentile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = q / 100.0 * last as f64;
    let (low, high) = (at.floor() as usize, (at.ceil() as usize).min(last));
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}

/// The voxels of `image` (C planes of `voxels`) where any channel is not 0.
pub(super) fn nonzero_mask(image: &[f32], voxels: usize) -> Vec<bool> {
    let mut mask = vec![false; voxels];
    for plane in image.chunks_exact(voxels.max(1)) {
        mask.iter_mut().zip(plane).for_each(|(m, &v)| *m |= v != 0.0);
    }
    mask
}

/// Normalises `image` (C planes of `voxels`) in place, each channel as its [`Normalisation`] says:
/// - z-score with the population deviation, `(x - mean) / (std + 1e-8)`; over the voxels where any
///   channel is not 0 and with 0 outside if `nonzero_mask` (nnU-Net v1);
/// - CT: clipped and scaled by the data set's intensities (nnU-Net v1);
/// - as it is, `(x - min) / max(max - min, 1e-8)`, or `x / 255` (nnU-Net v2's NoNormalization,
///   RescaleTo01Normalization and RGBTo01Normalization), never masked.
pub fn normalise(image: &mut [f32], voxels: usize, preprocessing: &Preprocessing) {
    let mask = preprocessing.nonzero_mask.then(|| nonzero_mask(image, voxels));
    normalise_within(image, voxels, preprocessing, mask.as_deref());
}

/// As [`normalise`], with the mask given.
pub(super) fn normalise_within(
    image: &mut [f32],
    voxels: usize,
    preprocessing: &Preprocessing,
    mask: Option<&[bool]>,
) {
    if voxels == 0 {
        return;
    }
    for (c, plane) in image.chunks_exact_mut(voxels).enumerate() {
        match (preprocessing.normalisation(c), preprocessing.intensities(c)) {
            (Normalisation::NoNorm, _) => {}
            (Normalisation::RescaleTo01, _) => {
                let (low, high) = range(plane);
                scale(plane, f64::from(low), (f64::from(high) - f64::from(low)).max(1e-8));
            }
            (Normalisation::RgbTo01, _) => scale(plane, 0.0, RGB_MAX),
            (Normalisation::Ct, Some(of)) => {
                plane.iter_mut().for_each(|v| *v = f64::from(*v).clamp(of.low, of.high) as f32);
                scale(plane, of.mean, of.std + 1e-8);
            }
            (Normalisation::Zscore | Normalisation::Ct, _) => zscore(plane, mask),
        }
    }
}

/// The largest value of a colour channel.
const RGB_MAX: f64 = 255.0;

/// `(x - offset) / divisor` of every voxel.
fn scale(plane: &mut [f32], offset: f64, divisor: f64) {
    plane.iter_mut().for_each(|v| *v = ((f64::from(*v) - offset) / divisor) as f32);
}

/// Z-score of the voxels inside the mask, 0 outside.
fn zscore(plane: &mut [f32], mask: Option<&[bool]>) {
    let inside = |i: usize| mask.is_none_or(|m| m[i]);
    let values = plane.iter().enumerate().filter(|(i, _)| inside(*i));
    let (mean, std) = mean_std(values.map(|(_, &v)| f64::from(v)));
    scale(plane, mean, std + 1e-8);
    if let Some(mask) = mask {
        let outside = plane.iter_mut().zip(mask).filter(|(_, inside)| !**inside);
        outside.for_each(|(v, _)| *v = 0.0);
    }
}

/// Least and greatest value; infinity and its negative of nothing.
fn range(plane: &[f32]) -> (f32, f32) {
    plane.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)))
}

/// Why values from `low` to `high` are no colours from 0 to 255, if so; continues after the name of
/// their file or channel.
pub fn rgb_fault(low: f64, high: f64) -> Option<String> {
    (low < 0.0 || high > RGB_MAX).then(|| {
        format!(
            "has values from {low} to {high}, but a channel named rgb_to_0_1 has values from 0 to 255; correct the image or the channel's name"
        )
    })
}

/// Refuses an image (C planes of `voxels`) with a channel that is no colour where one is expected;
/// `files`: of its channels, or the one that holds all of them.
///
/// # Errors
/// [`Error::Input`] naming file and channel.
pub(super) fn check_colours(
    image: &[f32],
    voxels: usize,
    of: impl Fn(usize) -> Normalisation,
    files: &[PathBuf],
) -> Result<()> {
    for (c, plane) in image.chunks_exact(voxels.max(1)).enumerate() {
        if of(c) != Normalisation::RgbTo01 {
            continue;
        }
        let (low, high) = range(plane);
        if let Some(what) = rgb_fault(f64::from(low), f64::from(high)) {
            let file = files.get(c).or(files.first()).cloned().unwrap_or_default();
            return Err(Error::Input(format!("channel {c} of '{}' {what}", file.display())));
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_numpys() {
        let values = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(percentile(&values, 50.0), 3.0);
        assert_eq!(percentile(&values, 10.0), 1.3);
        assert_eq!(percentile(&values, 100.0), 8.0);
        assert_eq!(percentile(&[], 50.0), 0.0);
    }

    #[test]
    fn a_ct_channel_is_scaled_by_the_data_set_and_has_no_mask() {
        let ct = Intensities { low: -100.0, high: 300.0, mean: 100.0, std: 50.0 };
        let by = Preprocessing {
            spacing_mm: [1.0; 3],
            reorient: false,
            axes: [0, 1, 2],
            nonzero_mask: true,
            ct: vec![Some(ct), None],
            normalisation: Vec::new(),
        };
        let mut image = vec![-1000.0, 0.0, 200.0, 900.0, 0.0, 0.0, 1.0, 3.0];
        normalise(&mut image, 4, &by);
        assert_eq!(image[..4], [-4.0, -2.0, 2.0, 4.0]);
        // The first voxel of the second channel lies inside as the first channel is not 0 there.
        assert!(image[4] < 0.0 && image[5] == 0.0 && image[7] > image[6]);
    }

    /// One channel normalised so, with a mask of non-zero voxels.
    fn normalised(by: Normalisation, mut image: Vec<f32>) -> Vec<f32> {
        let by = Preprocessing {
            spacing_mm: [1.0; 3],
            reorient: false,
            axes: [0, 1, 2],
            nonzero_mask: true,
            ct: Vec::new(),
            normalisation: vec![by],
        };
        let voxels = image.len();
        normalise(&mut image, voxels, &by);
        image
    }

    #[test]
    fn a_channel_without_normalisation_stays() {
        let values = vec![-7.5, 0.0, 1e6];
        assert_eq!(normalised(Normalisation::NoNorm, values.clone()), values);
    }

    #[test]
    fn a_channel_is_rescaled_by_its_own_range() {
        let image = normalised(Normalisation::RescaleTo01, vec![-10.0, 0.0, 30.0]);
        assert_eq!(image, [0.0, 0.25, 1.0]);
        // The divisor has a floor.
        assert_eq!(normalised(Normalisation::RescaleTo01, vec![5.0, 5.0]), [0.0, 0.0]);
    }

    #[test]
    fn a_colour_is_divided_by_255_and_lies_in_its_range() {
        let image = normalised(Normalisation::RgbTo01, vec![0.0, 51.0, 255.0]);
        assert_eq!(image, [0.0, 0.2, 1.0]);
        let files = ["a_0000.nii", "a_0001.nii"].map(PathBuf::from);
        let check = |image: &[f32], colours: [bool; 2]| {
            let of = |c: usize| match colours[c] {
                true => Normalisation::RgbTo01,
                false => Normalisation::Zscore,
            };
            check_colours(image, 2, of, &files).map_err(|e| e.to_string())
        };
        assert_eq!(check(&[-1.0, 0.0, 0.0, 255.0], [false, true]), Ok(()));
        for image in [[0.0, 0.0, 0.0, 256.0], [0.0, 0.0, -0.5, 1.0]] {
            let error = check(&image, [true, true]).unwrap_err();
            assert!(error.starts_with("channel 1 of 'a_0001.nii' has values from"), "{error}");
        }
    }
}
