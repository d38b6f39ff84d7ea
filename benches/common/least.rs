//! What a training step cannot do without: the memory and the traffic of a U-Net, counted from its
//! plan. Four bytes a value.

use asng_wgpu::nn::unet::UNet;
use asng_wgpu::ops::ConvVariant;

/// Bytes of a step.
pub struct Least {
    /// Saved activations (of each block the convolution's output and, where convolutions do not
    /// normalise on load, its activation; of each step up the upsampled half), parameters with
    /// gradient and two moments, one tensor of level 0.
    pub memory: u64,
    /// Reads and writes with every fusion: normalisation and activation while a convolution loads,
    /// statistics and masks while it stores; each operand passes once.
    pub traffic: u64,
}

impl Least {
    /// For a training step of a network.
    pub fn of(net: &UNet, variant: ConvVariant) -> Self {
        let plan = &net.plan;
        let a_block = if variant.fuses_norms() { 1 } else { 2 };
        let values = |level: usize, channels: u32| {
            let voxels: u64 = plan.spatial(level).iter().map(|&e| u64::from(e)).product();
            voxels * u64::from(plan.batch) * u64::from(channels)
        };
        let (mut saved, mut traffic) = (0, 0);
        // Forward: x in, z out. Input gradient: dz and the values behind the mask in, dx out. Weight
        // gradient: x and dz in.
        let mut convolution = |x: u64, z: u64, mask: u64| traffic += x + z + z + mask + x + x + z;
        for level in 0..plan.levels() {
            let own = values(level, plan.features(level));
            let input = match level {
                0 => values(0, plan.in_channels),
                _ => values(level - 1, plan.features(level - 1)),
            };
            convolution(input, own, if level == 0 { 0 } else { input });
            convolution(own, own, own);
            saved += 2 * a_block * own;
            if level + 1 < plan.levels() {
                let below = values(level + 1, plan.features(level + 1));
                convolution(below, own, below);
                convolution(2 * own, own, 2 * own);
                convolution(own, own, own);
                saved += (2 * a_block + 1) * own;
                // The head, and its logits through the loss.
                let logits = values(level, plan.classes);
                convolution(own, logits, own);
            }
        }
        let parameters = net.parameters.elements();
        // The norm reads the gradient; Adam reads gradient, parameters and three moments and writes
        // all but the gradient.
        let traffic = traffic + 10 * parameters;
        let largest = values(0, plan.features(0));
        Least { memory: 4 * (saved + 4 * parameters + largest), traffic: 4 * traffic }
    }
}
