//! The main package's U-Net, made of Burn's layers.

use asng_wgpu::nn::plan::NetworkPlan;
use burn::nn::conv::{Conv3d, Conv3dConfig, ConvTranspose3d, ConvTranspose3dConfig};
use burn::nn::{
    Initializer, InstanceNorm, InstanceNormConfig, LeakyRelu, LeakyReluConfig, PaddingConfig3d,
};
use burn::prelude::*;

/// Convolution, instance norm, leaky ReLU.
#[derive(Module, Debug)]
struct Block {
    conv: Conv3d,
    norm: InstanceNorm,
    activation: LeakyRelu,
}

/// Two blocks.
#[derive(Module, Debug)]
struct Stage {
    first: Block,
    second: Block,
}

/// One level on the way up.
#[derive(Module, Debug)]
struct Up {
    transposed: ConvTranspose3d,
    stage: Stage,
    head: Conv3d,
}

/// The network: stages down, full resolution first, and up, full resolution first.
#[derive(Module, Debug)]
pub struct UNet {
    down: Vec<Stage>,
    up: Vec<Up>,
}

/// Kaiming normal for a leaky ReLU of slope 0.01.
fn initializer() -> Initializer {
    Initializer::KaimingNormal { gain: (2.0 / 1.0001f64).sqrt(), fan_out_only: false }
}

fn edges(of: [u32; 3]) -> [usize; 3] {
    of.map(|edge| edge as usize)
}

impl Block {
    fn new(channels: [usize; 2], kernel: [u32; 3], stride: [u32; 3], device: &Device) -> Self {
        let [d, h, w] = edges(kernel).map(|k| k / 2);
        let conv = Conv3dConfig::new(channels, edges(kernel))
            .with_stride(edges(stride))
            .with_padding(PaddingConfig3d::Explicit(d, h, w))
            .with_initializer(initializer());
        Block {
            conv: conv.init(device),
            norm: InstanceNormConfig::new(channels[1]).init(device),
            activation: LeakyReluConfig::new().with_negative_slope(0.01).init(),
        }
    }

    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        self.activation.forward(self.norm.forward(self.conv.forward(x)))
    }
}

impl Stage {
    fn new(channels: [usize; 2], kernel: [u32; 3], stride: [u32; 3], device: &Device) -> Self {
        let first = Block::new(channels, kernel, stride, device);
        Stage { first, second: Block::new([channels[1]; 2], kernel, [1; 3], device) }
    }

    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        self.second.forward(self.first.forward(x))
    }
}

impl Up {
    fn new(plan: &NetworkPlan, level: usize, device: &Device) -> Self {
        let features = plan.features(level) as usize;
        let below = plan.features(level + 1) as usize;
        let pool = edges(plan.pools[level]);
        let transposed = ConvTranspose3dConfig::new([below, features], pool)
            .with_stride(pool)
            .with_bias(false)
            .with_initializer(initializer());
        let head = Conv3dConfig::new([features, plan.classes as usize], [1; 3])
            .with_bias(false)
            .with_initializer(initializer());
        let kernel = plan.kernels[level + 1];
        Up {
            transposed: transposed.init(device),
            stage: Stage::new([2 * features, features], kernel, [1; 3], device),
            head: head.init(device),
        }
    }
}

impl UNet {
    /// The network of a plan.
    pub fn new(plan: &NetworkPlan, device: &Device) -> Self {
        let down = (0..plan.levels()).map(|level| {
            let features = plan.features(level) as usize;
            let (input, stride) = match level {
                0 => (plan.in_channels as usize, [1; 3]),
                _ => (plan.features(level - 1) as usize, plan.pools[level - 1]),
            };
            Stage::new([input, features], plan.kernels[level], stride, device)
        });
        let up = (0..plan.pools.len()).map(|level| Up::new(plan, level, device));
        UNet { down: down.collect(), up: up.collect() }
    }

    /// Logits of the heads that are wanted, full resolution first.
    pub fn forward(&self, image: Tensor<5>, wanted: &[bool]) -> Vec<Option<Tensor<5>>> {
        let (mut skips, mut x) = (Vec::new(), image);
        for stage in &self.down {
            x = stage.forward(x);
            skips.push(x.clone());
        }
        skips.pop();
        let mut heads = vec![None; self.up.len()];
        for (level, up) in self.up.iter().enumerate().rev() {
            let skip = skips.pop().expect("each level on the way up has one on the way down");
            x = up.stage.forward(Tensor::cat(vec![up.transposed.forward(x), skip], 1));
            heads[level] = wanted[level].then(|| up.head.forward(x.clone()));
        }
        heads
    }
}

/// Operations of the convolutions of a training step: forward, and two gradients of each but the
/// first, whose input needs none.
pub fn step_flops(plan: &NetworkPlan) -> f64 {
    let product = |of: [u32; 3]| of.iter().map(|&e| f64::from(e)).product::<f64>();
    let features = |level: usize| f64::from(plan.features(level));
    let voxels = |level: usize| product(plan.spatial(level)) * f64::from(plan.batch);
    let taps = |level: usize| product(plan.kernels[level]);
    let (first, weights) = (f64::from(plan.in_channels), plan.head_weights());
    let mut sum = 2.0 * voxels(0) * taps(0) * first * features(0);
    for level in 0..plan.levels() {
        let own = features(level);
        if level > 0 {
            sum += 3.0 * voxels(level) * taps(level) * features(level - 1) * own;
        }
        sum += 3.0 * voxels(level) * taps(level) * own * own;
        if let Some(&weight) = weights.get(level) {
            let head = if weight > 0.0 { f64::from(plan.classes) } else { 0.0 };
            let blocks = taps(level + 1) * 3.0 * own;
            sum += 3.0 * voxels(level) * own * (features(level + 1) + blocks + head);
        }
    }
    2.0 * sum
}
