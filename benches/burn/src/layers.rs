//! Single convolutions: forward, and both gradients together, as autodiff makes them.

use crate::bench::{Bench, Case, Result, timed};
use crate::{Job, random};
use burn::prelude::*;
use burn::tensor::module::{conv_transpose3d, conv3d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};

/// One layer, batch 1; the list is that of the main package's `kernels`.
struct Layer {
    name: &'static str,
    kernel: [usize; 3],
    stride: usize,
    transposed: bool,
    input: usize,
    output: usize,
    edge: usize,
}

const fn plain(name: &'static str, input: usize, output: usize, edge: usize) -> Layer {
    Layer { name, kernel: [3; 3], stride: 1, transposed: false, input, output, edge }
}

const LAYERS: &[Layer] = &[
    plain("k3s1 32to32 64x64x64", 32, 32, 64),
    plain("k3s1 64to64 32x32x32", 64, 64, 32),
    plain("k3s1 128to128 16x16x16", 128, 128, 16),
    plain("k3s1 64to32 64x64x64", 64, 32, 64),
    plain("k3s1 1to32 64x64x64", 1, 32, 64),
    Layer { stride: 2, ..plain("k3s2 32to64 64x64x64", 32, 64, 64) },
    Layer { kernel: [1, 3, 3], ..plain("k133s1 32to32 64x64x64", 32, 32, 64) },
    Layer {
        kernel: [2; 3],
        stride: 2,
        transposed: true,
        ..plain("k2s2 transposed 64to32 32x32x32", 64, 32, 32)
    },
];

/// A tensor of random values.
fn tensor(shape: [usize; 5], device: &Device) -> Tensor<5> {
    let values = random::values(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}

impl Layer {
    fn operands(&self, device: &Device) -> (Tensor<5>, Tensor<5>) {
        let ([d, h, w], edge) = (self.kernel, self.edge);
        let channels =
            if self.transposed { [self.input, self.output] } else { [self.output, self.input] };
        let x = tensor([1, self.input, edge, edge, edge], device);
        (x, tensor([channels[0], channels[1], d, h, w], device))
    }

    fn apply(&self, x: Tensor<5>, weight: Tensor<5>) -> Tensor<5> {
        let (stride, dilation) = ([self.stride; 3], [1; 3]);
        if self.transposed {
            let options = ConvTransposeOptions::new(stride, [0; 3], [0; 3], dilation, 1);
            conv_transpose3d(x, weight, None, options)
        } else {
            let options = ConvOptions::new(stride, self.kernel.map(|k| k / 2), dilation, 1);
            conv3d(x, weight, None, options)
        }
    }

    /// Of one direction; each gradient has as many.
    fn flops(&self) -> f64 {
        let edge = if self.transposed { self.edge } else { self.edge / self.stride };
        let taps: usize = self.kernel.iter().product();
        2.0 * (edge.pow(3) * taps * self.input * self.output) as f64
    }

    fn forward(&self, bench: &mut Bench, name: &str) -> Result<()> {
        let device = bench.device.clone();
        let (x, weight) = self.operands(&device);
        let case = Case { bench: "kernels", name, flops: self.flops() };
        bench.row(&case, || timed(&device, || self.apply(x.clone(), weight.clone())).1)
    }

    fn backward(&self, bench: &mut Bench, name: &str) -> Result<()> {
        let device = bench.device.clone().autodiff();
        let (x, weight) = self.operands(&device);
        let (x, weight) = (x.require_grad(), weight.require_grad());
        let case = Case { bench: "kernels", name, flops: 2.0 * self.flops() };
        bench.row(&case, || {
            // The forward pass is done before the clock starts.
            let (y, _) = timed(&device, || self.apply(x.clone(), weight.clone()));
            timed(&device, || y.backward()).1
        })
    }
}

/// Both directions of all layers.
pub fn jobs() -> Vec<Job> {
    let jobs = |layer: &'static Layer| -> [Job; 2] {
        let name = |direction| format!("conv3d {direction} {}", layer.name);
        let forward = Box::new(|bench: &mut Bench, name: &str| layer.forward(bench, name));
        let backward = Box::new(|bench: &mut Bench, name: &str| layer.backward(bench, name));
        [
            Job { name: name("forward"), long: false, run: forward },
            Job { name: name("backward"), long: false, run: backward },
        ]
    };
    LAYERS.iter().flat_map(jobs).collect()
}
