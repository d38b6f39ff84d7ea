//! Intensities of data sets and the normalisation of images.

use super::Preprocessing;
use serde::{Deserialize, Serialize};

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

/// Normalises `image` (C planes of `voxels`) in place: z-score a channel with
/// the population deviation, `(x - mean) / (std + 1e-8)`; over the voxels where
/// any channel is not 0 and with 0 outside if `nonzero_mask`; CT channels are
/// clipped and scaled by the data set's intensities instead (nnU-Net v1).
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
        let ct = preprocessing.ct.get(c).copied().flatten();
        let mask = mask.filter(|_| ct.is_none());
        let inside = |i: usize| mask.is_none_or(|m| m[i]);
        let (mean, std) = if let Some(t) = ct {
            plane.iter_mut().for_each(|v| *v = f64::from(*v).clamp(t.low, t.high) as f32);
            (t.mean, t.std)
        } else {
            let values = plane.iter().enumerate().filter(|(i, _)| inside(*i));
            mean_std(values.map(|(_, &v)| f64::from(v)))
        };
        for (i, v) in plane.iter_mut().enumerate() {
            let scaled = (f64::from(*v) - mean) / (std + 1e-8);
            *v = if inside(i) { scaled as f32 } else { 0.0 };
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
        };
        let mut image = vec![-1000.0, 0.0, 200.0, 900.0, 0.0, 0.0, 1.0, 3.0];
        normalise(&mut image, 4, &by);
        assert_eq!(image[..4], [-4.0, -2.0, 2.0, 4.0]);
        // The first voxel of the second channel lies inside as the first channel is not 0 there.
        assert!(image[4] < 0.0 && image[5] == 0.0 && image[7] > image[6]);
    }
}
