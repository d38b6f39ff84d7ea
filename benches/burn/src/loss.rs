//! Deep supervision by cross entropy plus soft Dice, from tensor operations: Burn has neither the
//! Dice loss nor one for voxels.

use burn::prelude::*;
use burn::tensor::activation::log_softmax;

/// Added above and below in a Dice ratio.
const SMOOTH: f32 = 1e-5;

/// Weighted sum over heads; head i has 2^-i of the resolution, and none where its weight is 0.
/// Labels: N, 1, D, H, W.
pub fn deep_supervision(
    heads: &[Option<Tensor<5>>],
    weights: &[f32],
    labels: &Tensor<5, Int>,
) -> Tensor<1> {
    let weighted =
        heads.iter().zip(weights).enumerate().filter_map(|(level, (logits, &weight))| {
            let logits = logits.clone()?;
            Some(dice_cross_entropy(logits, downsample(labels.clone(), level)) * weight)
        });
    weighted.reduce(|sum, head| sum + head).expect("a network has a head with a weight")
}

/// The label in the middle of what a voxel of the level covers, as of all levels the nearest.
fn downsample(labels: Tensor<5, Int>, level: usize) -> Tensor<5, Int> {
    if level == 0 {
        return labels;
    }
    let step = 1 << level;
    let every = s![step / 2..;step];
    labels.slice([s![..], s![..], every, every, every])
}

/// Cross entropy, minus the mean of the Dice of all classes but the background, per sample.
fn dice_cross_entropy(logits: Tensor<5>, labels: Tensor<5, Int>) -> Tensor<1> {
    let [samples, classes, d, h, w] = logits.dims();
    let flat = [samples, classes, d * h * w];
    let log_p = log_softmax(logits.reshape(flat), 1);
    let targets = one_hot(labels.reshape([samples, 1, d * h * w]), classes);
    let cross_entropy = -(log_p.clone() * targets.clone()).sum_dim(1).mean();
    let p = log_p.exp();
    let hit = (p.clone() * targets.clone()).sum_dim(2);
    let both = p.sum_dim(2) + targets.sum_dim(2);
    let dice = (hit * 2.0 + SMOOTH) / (both + SMOOTH);
    cross_entropy - dice.slice([s![..], s![1..], s![..]]).mean()
}

/// N, 1, V to N, classes, V.
fn one_hot(labels: Tensor<3, Int>, classes: usize) -> Tensor<3> {
    let [samples, _, voxels] = labels.dims();
    let all = Tensor::<1, Int>::arange(0..classes as i64, &labels.device());
    let shape = [samples, classes, voxels];
    labels.expand(shape).equal(all.reshape([1, classes, 1]).expand(shape)).float()
}
