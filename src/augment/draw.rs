//! From a policy to the numbers of one sample's transforms, before any voxel is touched.
//!
//! The random stream is part of the format: the same seed gives the same draws in
//! every later version. One draw takes, in this order, one number of [0, 1)
//! ([`unit()`]) each unless said otherwise:
//!
//! 1. elastic: coin, alpha, sigma, and a 64-bit noise key
//! 2. rotation: coin, x, y, z
//! 3. scale: coin, side, factor
//! 4. gamma: coin, then per channel side, exponent
//! 5. mirroring: axis 0, 1, 2
//!
//! All of them are taken whether or not a transform is switched on, so that two
//! policies with the same stream differ only where the policies do.

use crate::data::Axes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::search::distribution::unit;
use crate::search::policy::{Interval, Policy};

/// What identifies one sample's draw; each has a random stream of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamKey {
    /// The run's seed.
    pub seed: u64,
    /// Fold of the cross-validation.
    pub fold: u32,
    /// Epoch, from 0.
    pub epoch: u32,
    /// Iteration within the epoch.
    pub iteration: u64,
    /// Sample within the batch.
    pub sample: u32,
    /// Candidate policy within the iteration.
    pub candidate: u32,
}

impl StreamKey {
    /// The stream: ChaCha8 keyed by the six numbers, little endian, in this order.
    pub fn rng(&self) -> ChaCha8Rng {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..12].copy_from_slice(&self.fold.to_le_bytes());
        key[12..16].copy_from_slice(&self.epoch.to_le_bytes());
        key[16..24].copy_from_slice(&self.iteration.to_le_bytes());
        key[24..28].copy_from_slice(&self.sample.to_le_bytes());
        key[28..].copy_from_slice(&self.candidate.to_le_bytes());
        ChaCha8Rng::from_seed(key)
    }
}

/// Elastic displacement `alpha * gaussian(noise(key), sigma)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elastic {
    /// Factor on the smoothed noise, voxels.
    pub alpha: f64,
    /// Standard deviation of the smoothing, voxels.
    pub sigma: f64,
    /// Key of the counter-based noise.
    pub key: u64,
}

/// One sample's transforms; an absent one is not applied.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draw {
    /// Elastic displacement.
    #[serde(default)]
    pub elastic: Option<Elastic>,
    /// Angles x, y, z in degrees; x turns in the plane of axes 1 and 2 (H, W), y
    /// in 0 and 2, z in 0 and 1.
    #[serde(default)]
    pub rotation: Option<[f64; 3]>,
    /// Factor on the sampling grid.
    #[serde(default)]
    pub scale: Option<f64>,
    /// Exponent for each channel.
    #[serde(default)]
    pub gamma: Option<Vec<f64>>,
    /// Mirrored axes D, H, W.
    #[serde(default)]
    pub mirror: [bool; 3],
}

impl Draw {
    /// False if every voxel stays where it is, so that the sample is copied bit for bit.
    pub fn is_spatial(&self) -> bool {
        self.is_warp() || self.mirror.contains(&true)
    }

    /// True if voxels are interpolated; mirroring alone only reorders them.
    pub fn is_warp(&self) -> bool {
        self.elastic.is_some() || self.rotation.is_some() || self.scale.is_some()
    }

    /// The linear part M of the warp, row-major, axes D, H, W, for row vectors:
    /// `source = (c + disp) M + centre` with `c = o - (P - 1) / 2` for the output
    /// voxel o, mirrored first where `mirror` says so. `M = Rx Ry Rz * scale` with
    /// (batchgenerators' `augment_spatial`)
    ///
    /// `Rx = [[1,0,0],[0,cos,-sin],[0,sin,cos]]`, `Ry = [[cos,0,sin],[0,1,0],[-sin,0,cos]]`,
    /// `Rz = [[cos,-sin,0],[sin,cos,0],[0,0,1]]`.
    ///
    /// With `dummy_2d` (strongly anisotropic patches) the slices stay slices: only
    /// angle x, and no scaling along D.
    pub fn affine(&self, dummy_2d: bool) -> [[f64; 3]; 3] {
        let [x, y, z] = self.rotation.unwrap_or_default();
        let (y, z) = if dummy_2d { (0.0, 0.0) } else { (y, z) };
        let (sx, cx) = x.to_radians().sin_cos();
        let (sy, cy) = y.to_radians().sin_cos();
        let (sz, cz) = z.to_radians().sin_cos();
        let rx = [[1.0, 0.0, 0.0], [0.0, cx, -sx], [0.0, sx, cx]];
        let ry = [[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]];
        let rz = [[cz, -sz, 0.0], [sz, cz, 0.0], [0.0, 0.0, 1.0]];
        let mut m = product(&product(&rx, &ry), &rz);
        let factor = self.scale.unwrap_or(1.0);
        for row in &mut m {
            row[0] *= if dummy_2d { 1.0 } else { factor };
            row[1] *= factor;
            row[2] *= factor;
        }
        m
    }
}

fn product(a: &[[f64; 3]; 3], b: &[[f64; 3]; 3]) -> [[f64; 3]; 3] {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
}

/// Draws one sample's transforms. `channels` exponents are drawn for gamma;
/// axes that are not `mirrored` stay as they are without changing anything else.
pub fn draw(policy: &Policy, channels: usize, mirrored: Axes, rng: &mut ChaCha8Rng) -> Draw {
    let coin = unit(rng);
    let chosen = policy.one_of.then(|| choose(policy, coin));
    let on = |transform: usize, coin: f64, p: f64| match chosen {
        Some(only) => only == transform,
        None => coin < p,
    };
    // Factors and exponents around 1: a fair side first, except where exactly one
    // transform is drawn uniformly over the whole interval.
    let around_one = |interval: Interval, rng: &mut ChaCha8Rng| {
        let (side, u) = (unit(rng), unit(rng));
        if policy.one_of { within(interval, u) } else { sided(interval, side, u) }
    };

    let elastic = Elastic {
        alpha: within(policy.elastic_alpha, unit(rng)),
        sigma: within(policy.elastic_sigma, unit(rng)),
        key: rng.next_u64(),
    };
    let elastic = on(0, coin, policy.p_elastic).then_some(elastic);

    let coin = unit(rng);
    let planes = [policy.rotation_x, policy.rotation_y, policy.rotation_z];
    let rotation = planes.map(|interval| within(interval, unit(rng)));
    let rotation = on(1, coin, policy.p_rotation).then_some(rotation);

    let coin = unit(rng);
    let scale = around_one(policy.scale, rng);
    let scale = on(2, coin, policy.p_scale).then_some(scale);

    let coin = unit(rng);
    let gamma: Vec<f64> = (0..channels).map(|_| around_one(policy.gamma, rng)).collect();
    let gamma = on(3, coin, policy.p_gamma).then_some(gamma);

    let mirror = std::array::from_fn(|axis| unit(rng) < 0.5 && mirrored.0[axis]);
    Draw { elastic, rotation, scale, gamma, mirror }
}

/// Which one of elastic 0, rotation 1, scale 2, gamma 3, in proportion to the probabilities.
fn choose(policy: &Policy, u: f64) -> usize {
    let weights = [policy.p_elastic, policy.p_rotation, policy.p_scale, policy.p_gamma];
    let mark = u * weights.iter().sum::<f64>();
    let (mut sum, mut last) = (0.0, 0);
    for (i, &w) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
        sum += w;
        last = i;
        if mark < sum {
            break;
        }
    }
    last
}

/// The point at `u` of [0, 1) in the interval; equal ends give that value.
fn within(interval: Interval, u: f64) -> f64 {
    (interval.low + (interval.high - interval.low) * u).min(interval.high)
}

/// U(low, 1) if low < 1 and the fair coin says so, else U(max(low, 1), high). An
/// interval wholly below 1 has one side only and is taken as it is.
fn sided(interval: Interval, side: f64, u: f64) -> f64 {
    let Interval { low, high } = interval;
    if low >= 1.0 || high < 1.0 {
        within(interval, u)
    } else if side < 0.5 {
        within(Interval::new(low, 1.0), u)
    } else {
        within(Interval::new(1.0, high), u)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: StreamKey =
        StreamKey { seed: 1, fold: 2, epoch: 3, iteration: 4, sample: 5, candidate: 6 };

    #[test]
    fn every_part_of_the_key_counts() {
        let keys = [
            KEY,
            StreamKey { seed: 2, ..KEY },
            StreamKey { fold: 3, ..KEY },
            StreamKey { epoch: 2, ..KEY },
            StreamKey { iteration: 5, ..KEY },
            StreamKey { sample: 6, ..KEY },
            StreamKey { candidate: 5, ..KEY },
        ];
        let first: std::collections::HashSet<u64> =
            keys.iter().map(|k| k.rng().next_u64()).collect();
        assert_eq!(first.len(), keys.len());
    }

    #[test]
    fn probabilities_do_not_shift_the_stream() {
        let all = Policy {
            p_elastic: 1.0,
            p_scale: 1.0,
            p_rotation: 1.0,
            p_gamma: 1.0,
            ..Policy::nnunet()
        };
        let full = draw(&all, 2, Axes::ALL, &mut KEY.rng());
        let only = draw(&Policy { p_gamma: 1.0, ..Policy::none() }, 2, Axes::ALL, &mut KEY.rng());
        assert_eq!((full.gamma, full.mirror), (only.gamma, only.mirror));
        assert!(only.elastic.is_none() && only.rotation.is_none() && only.scale.is_none());
    }

    #[test]
    fn equal_ends_give_that_value() {
        for value in [0.8, 1.0, 1.3] {
            let interval = Interval::new(value, value);
            let policy = Policy { p_scale: 1.0, scale: interval, ..Policy::none() };
            assert_eq!(draw(&policy, 1, Axes::NONE, &mut KEY.rng()).scale, Some(value));
        }
    }

    #[test]
    fn an_axis_turns_in_its_plane() {
        let turned = |rotation, c: [f64; 3]| -> [f64; 3] {
            let m = Draw { rotation: Some(rotation), ..Draw::default() }.affine(false);
            std::array::from_fn(|j| {
                let x: f64 = (0..3).map(|i| c[i] * m[i][j]).sum();
                (x * 1e9).round() / 1e9
            })
        };
        assert_eq!(turned([90.0, 0.0, 0.0], [0.0, 1.0, 0.0]), [0.0, 0.0, -1.0]);
        assert_eq!(turned([0.0, 90.0, 0.0], [1.0, 0.0, 0.0]), [0.0, 0.0, 1.0]);
        assert_eq!(turned([0.0, 0.0, 90.0], [1.0, 0.0, 0.0]), [0.0, -1.0, 0.0]);
        // Rx first, then Rz: H goes to -W by x, and z leaves W alone.
        assert_eq!(turned([90.0, 0.0, 90.0], [0.0, 1.0, 0.0]), [0.0, 0.0, -1.0]);
        assert_eq!(turned([90.0, 0.0, 90.0], [0.0, 0.0, 1.0]), [1.0, 0.0, 0.0]);
    }

    /// Differences of batchgenerators' coordinates (golden `spatial_affine_only_2ch`).
    #[test]
    fn affine_is_that_of_batchgenerators() {
        let rotation = [0.5f64, 0.4, -0.6].map(f64::to_degrees);
        let draw = Draw { rotation: Some(rotation), scale: Some(1.5), ..Draw::default() };
        let golden = [
            [1.1402766704559326, 0.7801052530606588, 0.5841275105873743],
            [-0.5121489097090328, 1.2445758931777056, -0.6623702294686261],
            [-0.8291396413530622, 0.3040833813803537, 1.2124605902603693],
        ];
        for (ours, theirs) in draw.affine(false).iter().flatten().zip(golden.iter().flatten()) {
            assert!((ours - theirs).abs() < 1e-6, "{ours} instead of {theirs}");
        }
    }

    #[test]
    fn affine_of_slices_leaves_the_slice_axis() {
        let draw = Draw { rotation: Some([30.0, 20.0, 10.0]), scale: Some(2.0), ..Draw::default() };
        let m = draw.affine(true);
        assert_eq!(m[0], [1.0, 0.0, 0.0]);
        assert_eq!([m[1][0], m[2][0]], [0.0, 0.0]);
        assert!((m[1][1] - 2.0 * 30f64.to_radians().cos()).abs() < 1e-12);
        let full = draw.affine(false);
        for row in full {
            let length: f64 = row.iter().map(|x| x * x).sum();
            assert!((length - 4.0).abs() < 1e-12);
        }
        assert_eq!(Draw::default().affine(false)[1], [0.0, 1.0, 0.0]);
        assert!(!Draw::default().is_spatial());
        assert!(Draw { mirror: [false, true, false], ..Draw::default() }.is_spatial());
    }
}
