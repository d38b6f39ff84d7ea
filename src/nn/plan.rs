//! The shape of a network: levels, kernels, strides, features. Plain data.

use super::heads::Heads;
use crate::error::{Error, Result};

/// Most features of any level (nnU-Net v1).
pub const MAX_FEATURES: u32 = 320;

/// Most samples of a batch.
pub const MOST_BATCH: u32 = 1024;
/// Most voxels of a batch.
pub const MOST_VOXELS: u64 = 1 << 30;

/// Everything that determines a U-Net and its training batch. Axes are D, H, W.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct NetworkPlan {
    /// Input channels.
    pub in_channels: u32,
    /// Output channels: labels with the background, or regions.
    pub classes: u32,
    /// What the output channels are; softmax in files that do not say.
    #[serde(default, skip_serializing_if = "Heads::is_softmax")]
    pub heads: Heads,
    /// Features of the full-resolution level; doubled a level, at most [`MAX_FEATURES`].
    pub base_features: u32,
    /// Patch edges in voxels.
    pub patch: [u32; 3],
    /// Samples a batch.
    pub batch: u32,
    /// In training, the samples pass through the network one after the other and their gradients
    /// are added up.
    #[serde(default, skip_serializing_if = "is_false")]
    pub accumulate: bool,
    /// Stride between level i and i + 1.
    pub pools: Vec<[u32; 3]>,
    /// Kernel edges of each level on the way down (one more than `pools`).
    pub kernels: Vec<[u32; 3]>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl NetworkPlan {
    /// A plan by nnU-Net's rules from the spacing: an axis is pooled while it keeps at least 4
    /// voxels and no other axis is finer by a factor of 2; a kernel edge is 1 while the axis'
    /// spacing is more than twice the finest. `levels` = 0 lets the rules decide. The heads are
    /// softmax; set [`NetworkPlan::heads`] for regions.
    pub fn from_spacing(
        in_channels: u32,
        classes: u32,
        base_features: u32,
        patch: [u32; 3],
        batch: u32,
        spacing_mm: [f64; 3],
        levels: u32,
    ) -> Self {
        let (pools, kernels) = topology(patch, spacing_mm, levels, |edge| edge.is_multiple_of(2));
        let accumulate = false;
        NetworkPlan {
            in_channels,
            classes,
            heads: Heads::Softmax,
            base_features,
            patch,
            batch,
            accumulate,
            pools,
            kernels,
        }
    }

    /// Number of levels.
    pub fn levels(&self) -> usize {
        self.kernels.len()
    }

    /// Features of a level.
    pub fn features(&self, level: usize) -> u32 {
        self.base_features.saturating_mul(1 << level.min(16)).min(MAX_FEATURES)
    }

    /// Edges of a level's volumes.
    pub fn spatial(&self, level: usize) -> [u32; 3] {
        let mut edges = self.patch;
        for pool in &self.pools[..level] {
            for axis in 0..3 {
                edges[axis] /= pool[axis];
            }
        }
        edges
    }

    /// Loss weights of the heads, head 0 = full resolution: 2^-i, the lowest 0 where there are
    /// several, normalised to sum 1 (nnU-Net v1, MultipleOutputLoss2).
    pub fn head_weights(&self) -> Vec<f32> {
        let heads = self.pools.len();
        let raw: Vec<f64> = (0..heads)
            .map(|i| if i > 0 && i + 1 == heads { 0.0 } else { 0.5f64.powi(i as i32) })
            .collect();
        let sum: f64 = raw.iter().sum();
        raw.iter().map(|w| (w / sum) as f32).collect()
    }

    /// Checks the plan.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the flag that is wrong and what would do.
    pub fn validate(&self) -> Result<()> {
        let usage = |text: String| Err(Error::Usage(text));
        if !(1..=8).contains(&self.in_channels) {
            return usage(format!("{} input channels; 1 to 8 are supported", self.in_channels));
        }
        self.heads.validate(self.classes)?;
        if self.base_features == 0 || self.base_features > MAX_FEATURES {
            return usage(format!(
                "--features {} is out of range; use 1 to {MAX_FEATURES}",
                self.base_features
            ));
        }
        if !(1..=MOST_BATCH).contains(&self.batch) {
            return usage(format!(
                "--batch-size {} is out of range; use 1 to {MOST_BATCH}",
                self.batch
            ));
        }
        let voxels = self.patch.iter().try_fold(u64::from(self.batch), |n, &edge| {
            n.checked_mul(u64::from(edge)).filter(|&n| n <= MOST_VOXELS)
        });
        if voxels.is_none() {
            return usage(format!(
                "--patch {} with --batch-size {} has more than {MOST_VOXELS} voxels, which no \
                 device holds; use a smaller patch",
                edges_text(self.patch),
                self.batch
            ));
        }
        if !(2..=7).contains(&self.levels()) || self.pools.len() + 1 != self.levels() {
            return usage(format!(
                "{} levels are not possible for a patch of {}; use --levels 2 to 7 and a patch \
                 with even edges of at least 8",
                self.levels(),
                edges_text(self.patch)
            ));
        }
        let ok_kernel = |k: &[u32; 3]| matches!(k[0], 1 | 3) && k[1] == 3 && k[2] == 3;
        let ok_pool = |p: &[u32; 3]| p.iter().all(|e| (1..=2).contains(e));
        if !self.kernels.iter().all(ok_kernel) || !self.pools.iter().all(ok_pool) {
            return usage("kernels must be 1x3x3 or 3x3x3 and strides 1 or 2 an axis".into());
        }
        for axis in 0..3 {
            let product: u32 = self.pools.iter().map(|p| p[axis]).product();
            if self.patch[axis] == 0 || !self.patch[axis].is_multiple_of(product) {
                let good = (self.patch[axis] / product).max(1) * product;
                return usage(format!(
                    "--patch {} does not suit {} levels: its {} edge must be a multiple of \
                     {product}, {good} for example",
                    edges_text(self.patch),
                    self.levels(),
                    ["D", "H", "W"][axis]
                ));
            }
        }
        Ok(())
    }
}

/// Most levels that the rules make by themselves.
const MOST_LEVELS: u32 = 6;

/// Pools and kernels by nnU-Net's rules, of axes whose edge `can_halve`.
fn topology(
    patch: [u32; 3],
    spacing_mm: [f64; 3],
    levels: u32,
    can_halve: impl Fn(u32) -> bool,
) -> (Vec<[u32; 3]>, Vec<[u32; 3]>) {
    let (mut edges, mut spacing) = (patch, spacing_mm);
    let mut pools = Vec::new();
    let mut kernels = vec![kernel_of(spacing)];
    let most = if levels == 0 { MOST_LEVELS } else { levels };
    while kernels.len() < most as usize {
        let finest = spacing.iter().copied().fold(f64::INFINITY, f64::min);
        let pool: [u32; 3] = std::array::from_fn(|axis| {
            let large = edges[axis] >= 8 && can_halve(edges[axis]);
            if large && spacing[axis] / finest < 2.0 { 2 } else { 1 }
        });
        if pool == [1, 1, 1] {
            break;
        }
        for axis in 0..3 {
            edges[axis] /= pool[axis];
            spacing[axis] *= f64::from(pool[axis]);
        }
        pools.push(pool);
        kernels.push(kernel_of(spacing));
    }
    (pools, kernels)
}

/// What each edge of a patch must be a multiple of, so that the rules can pool it as often as its
/// size allows.
pub fn divisors(patch: [u32; 3], spacing_mm: [f64; 3], levels: u32) -> [u32; 3] {
    let (pools, _) = topology(patch, spacing_mm, levels, |_| true);
    std::array::from_fn(|axis| pools.iter().map(|pool| pool[axis]).product())
}

/// The smallest patch of at least these edges that suits the rules.
pub fn divisible_patch(edges: [usize; 3], spacing_mm: [f64; 3], levels: u32) -> [u32; 3] {
    let mut patch = edges.map(|edge| (edge.clamp(1, 1 << 16)) as u32);
    if patch.iter().all(|&edge| edge < 8) {
        patch = [8; 3];
    }
    let divisors = divisors(patch, spacing_mm, levels);
    std::array::from_fn(|axis| patch[axis].next_multiple_of(divisors[axis]))
}

fn kernel_of(spacing: [f64; 3]) -> [u32; 3] {
    let finest = spacing.iter().copied().fold(f64::INFINITY, f64::min);
    // Only the slowest axis may be flat: the kernels of the network are 1x3x3 and 3x3x3.
    [if spacing[0] / finest > 2.0 { 1 } else { 3 }, 3, 3]
}

fn edges_text([d, h, w]: [u32; 3]) -> String {
    format!("{d},{h},{w}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isotropic_data_pools_all_axes() {
        let plan = NetworkPlan::from_spacing(1, 3, 12, [40, 56, 40], 2, [1.0; 3], 4);
        assert_eq!(plan.pools, vec![[2, 2, 2]; 3]);
        assert_eq!(plan.kernels, vec![[3, 3, 3]; 4]);
        assert_eq!(plan.spatial(3), [5, 7, 5]);
        plan.validate().unwrap();
    }

    #[test]
    fn anisotropic_data_keeps_the_coarse_axis_first() {
        let plan = NetworkPlan::from_spacing(2, 3, 32, [20, 320, 256], 2, [3.6, 0.6, 0.6], 0);
        assert_eq!(plan.pools[0], [1, 2, 2]);
        assert_eq!(plan.kernels[0], [1, 3, 3]);
        assert_eq!(plan.pools[2], [2, 2, 2]);
        plan.validate().unwrap();
    }

    #[test]
    fn head_weights_halve_and_the_lowest_is_dropped() {
        let plan = NetworkPlan::from_spacing(1, 2, 8, [32, 32, 32], 1, [1.0; 3], 4);
        let weights = plan.head_weights();
        assert!((weights[0] - 2.0 / 3.0).abs() < 1e-7 && weights[2] == 0.0);
    }

    #[test]
    fn patches_are_made_divisible() {
        assert_eq!(divisible_patch([35, 50, 36], [1.0; 3], 0), [40, 56, 40]);
        assert_eq!(divisible_patch([20, 320, 256], [3.6, 0.6, 0.6], 0), [20, 320, 256]);
        assert_eq!(divisible_patch([5, 6, 7], [1.0; 3], 0), [8; 3]);
        assert_eq!(divisible_patch([61; 3], [1.0; 3], 3), [64; 3]);
        for edges in [[9, 33, 70], [128, 31, 8], [17, 17, 200], [3, 90, 41]] {
            for spacing in [[1.0; 3], [5.0, 1.0, 1.0], [2.5, 0.7, 0.7]] {
                let patch = divisible_patch(edges, spacing, 0);
                assert!((0..3).all(|i| patch[i] as usize >= edges[i]));
                let plan = NetworkPlan::from_spacing(1, 2, 8, patch, 2, spacing, 0);
                plan.validate().unwrap_or_else(|e| panic!("{edges:?} {spacing:?}: {e}"));
            }
        }
    }

    #[test]
    fn a_wrong_patch_is_refused_with_one_that_fits() {
        let mut plan = NetworkPlan::from_spacing(1, 2, 8, [32, 32, 32], 1, [1.0; 3], 4);
        plan.patch = [32, 33, 32];
        let text = plan.validate().unwrap_err().to_string();
        assert!(text.contains("--patch 32,33,32") && text.contains("32 for example"), "{text}");
    }
}
