//! Tiles of a sliding window and their Gaussian weights (nnU-Net v1, predict_3D).

/// First voxels of the tiles along one axis: `n = ceil((image - patch) / (patch step)) + 1`
/// tiles, evenly spaced, rounded half to even.
pub fn tile_starts(image: usize, patch: usize, step: f64) -> Vec<usize> {
    if image <= patch {
        return vec![0];
    }
    let span = (image - patch) as f64;
    let last = (span / (patch as f64 * step)).ceil() as usize;
    (0..=last).map(|i| (i as f64 * span / last as f64).round_ties_even() as usize).collect()
}

/// Weights of a tile's voxels, D,H,W: a Gaussian of sigma = edge / 8 about voxel edge / 2, cut at
/// 4 sigma, at most 1, and nowhere less than the smallest positive value.
pub fn gaussian(patch: [usize; 3]) -> Vec<f32> {
    let axes = patch.map(|edge| {
        let sigma = edge as f64 / 8.0;
        let radius = (4.0 * sigma + 0.5).floor();
        let value = |i: usize| {
            let distance = i as f64 - (edge / 2) as f64;
            if distance.abs() > radius { 0.0 } else { (-0.5 * (distance / sigma).powi(2)).exp() }
        };
        (0..edge).map(value).collect::<Vec<f64>>()
    });
    let mut weights = Vec::with_capacity(patch.iter().product());
    for d in &axes[0] {
        for h in &axes[1] {
            weights.extend(axes[2].iter().map(|w| (d * h * w) as f32));
        }
    }
    let smallest = weights.iter().copied().filter(|&w| w > 0.0).fold(1.0, f32::min);
    weights.iter_mut().filter(|w| **w == 0.0).for_each(|w| *w = smallest);
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_agree_with_nnunet() {
        assert_eq!(tile_starts(110, 64, 0.5), vec![0, 23, 46]);
        assert_eq!(tile_starts(150, 64, 0.5), vec![0, 29, 57, 86]);
        assert_eq!(tile_starts(64, 64, 0.5), vec![0]);
        assert_eq!(tile_starts(33, 16, 0.25), vec![0, 3, 7, 10, 14, 17]);
        assert_eq!(tile_starts(17, 16, 0.25), vec![0, 1]);
    }

    #[test]
    fn tiles_cover_every_voxel() {
        for image in 1..200 {
            let starts = tile_starts(image, 16, 0.5);
            assert_eq!(*starts.last().unwrap(), image.saturating_sub(16));
            assert!(starts.windows(2).all(|w| w[1] > w[0] && w[1] - w[0] <= 8));
        }
    }
}
