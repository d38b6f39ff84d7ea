//! Single convolutions: forward, and both gradients together, as autodiff makes them.

use crate::bench::{Bench, Case, Result, timed};
use crate::cases::{LAYERS, Layer};
use crate::{Job, random};
use burn::prelude::*;
use burn::tensor::module::{conv_transpose3d, conv3d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};

/// A tensor of random values.
fn tensor(shape: [usize; 5], device: &Device) -> Tensor<5> {
    let values = random::values(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}

impl Layer {
    fn kernel(&self) -> [usize; 3] {
        self.kernel.map(|k| k as usize)
    }

    /// Channels of input and output.
    fn channels(&self) -> [usize; 2] {
        [self.input.iter().sum::<u32>() as usize, self.output as usize]
    }

    fn operands(&self, device: &Device) -> (Tensor<5>, Tensor<5>) {
        let ([d, h, w], edge) = (self.kernel(), self.edge as usize);
        let [input, output] = self.channels();
        let [first, second] = if self.transposed { [input, output] } else { [output, input] };
        let x = tensor([1, input, edge, edge, edge], device);
        (x, tensor([first, second, d, h, w], device))
    }

    fn apply(&self, x: Tensor<5>, weight: Tensor<5>) -> Tensor<5> {
        let (stride, dilation) = ([self.stride as usize; 3], [1; 3]);
        if self.transposed {
            let options = ConvTransposeOptions::new(stride, [0; 3], [0; 3], dilation, 1);
            conv_transpose3d(x, weight, None, options)
        } else {
            let options = ConvOptions::new(stride, self.kernel().map(|k| k / 2), dilation, 1);
            conv3d(x, weight, None, options)
        }
    }

    /// Of one direction; each gradient has as many.
    fn flops(&self) -> f64 {
        let edge = if self.transposed { self.edge } else { self.edge / self.stride } as usize;
        let [input, output] = self.channels();
        2.0 * (edge.pow(3) * self.kernel().iter().product::<usize>() * input * output) as f64
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
    LAYERS.iter().filter(|layer| !layer.uneven).flat_map(jobs).collect()
}
