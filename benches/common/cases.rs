//! What is measured: layers and training steps. `benches/burn` measures the same, so the names join both.

use asng_wgpu::nn::plan::NetworkPlan;

/// One convolution, batch 1.
pub struct Layer {
    pub name: &'static str,
    pub kernel: [u32; 3],
    pub stride: u32,
    pub transposed: bool,
    /// Channels of the input's segments.
    pub input: &'static [u32],
    pub output: u32,
    pub edge: u32,
    /// Shows what channels cost that fill no tile of ours; compared with nobody.
    pub uneven: bool,
}

const fn plain(name: &'static str, input: &'static [u32], output: u32, edge: u32) -> Layer {
    let (kernel, stride, transposed, uneven) = ([3; 3], 1, false, false);
    Layer { name, kernel, stride, transposed, input, output, edge, uneven }
}

/// The layers of a U-Net.
pub const LAYERS: &[Layer] = &[
    plain("k3s1 32to32 64x64x64", &[32], 32, 64),
    Layer { uneven: true, ..plain("k3s1 30to30 64x64x64", &[30], 30, 64) },
    Layer { uneven: true, ..plain("k3s1 33to33 64x64x64", &[33], 33, 64) },
    plain("k3s1 64to64 32x32x32", &[64], 64, 32),
    plain("k3s1 128to128 16x16x16", &[128], 128, 16),
    plain("k3s1 64to32 64x64x64", &[32, 32], 32, 64),
    plain("k3s1 1to32 64x64x64", &[1], 32, 64),
    Layer { stride: 2, ..plain("k3s2 32to64 64x64x64", &[32], 64, 64) },
    Layer { kernel: [1, 3, 3], ..plain("k133s1 32to32 64x64x64", &[32], 32, 64) },
    Layer {
        kernel: [2; 3],
        stride: 2,
        transposed: true,
        ..plain("k2s2 transposed 64to32 32x32x32", &[64], 32, 32)
    },
];

/// One training step.
pub struct Step {
    pub patch: [u32; 3],
    pub features: u32,
    pub levels: u32,
    /// Left out by --quick.
    pub long: bool,
}

/// The steps.
pub const STEPS: &[Step] = &[
    Step { patch: [40, 56, 40], features: 12, levels: 4, long: false },
    Step { patch: [64, 64, 64], features: 32, levels: 5, long: true },
];
/// Samples of a step.
pub const BATCH: u32 = 2;
/// Classes of its labels.
pub const CLASSES: u32 = 3;

impl Step {
    /// The name of its row.
    pub fn name(&self) -> String {
        let ([d, h, w], f, l) = (self.patch, self.features, self.levels);
        format!("unet step {d}x{h}x{w} b{BATCH} f{f} l{l}")
    }

    /// Its network.
    pub fn plan(&self) -> NetworkPlan {
        let (patch, spacing) = (self.patch, [1.0; 3]);
        NetworkPlan::from_spacing(1, CLASSES, self.features, patch, BATCH, spacing, self.levels)
    }
}
