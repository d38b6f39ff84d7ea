//! Sliding window prediction of one prepared case.

use super::window::{gaussian, tile_starts};
use crate::error::Result;
use crate::gpu::{Gpu, Lifetime, Memory, MemoryPlan, Program, Recording};
use crate::nn::unet::UNet;
use crate::ops::tensor::{Storage, Tensors, View, host};
use crate::ops::{ConvVariant, Lowering};

/// A network ready to predict patches.
pub struct Predictor {
    memory: Memory,
    tensors: Tensors,
    net: UNet,
    program: Program,
    image: View,
    logits: View,
}

/// How a case is predicted.
#[derive(Clone, Copy, Debug)]
pub struct WindowOptions {
    /// Tile step as a share of the patch.
    pub step: f64,
    /// Average over the 8 flips of the three axes.
    pub mirror: bool,
}

impl Predictor {
    /// Uploads the weights (flat, as [`UNet::parameters`] places them) and records one forward pass.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device has too little memory.
    pub fn new(gpu: &Gpu, net: UNet, weights: &[f32], variant: ConvVariant) -> Result<Self> {
        let plan = &net.plan;
        let mut tensors = Tensors::new(gpu.caps());
        let keep = Lifetime::Persistent;
        let bytes = net.parameters.elements() * 4;
        let parameters = tensors.slots.buffer("parameters", bytes, keep);
        let channels = [plan.in_channels];
        let image = tensors.add("image", 1, &channels, plan.patch, Storage::Buffer, keep)?.view();
        let output =
            tensors.add("output", 1, &[plan.classes], plan.patch, Storage::Buffer, keep)?.view();
        let mut recording = Recording::new();
        let mut l = Lowering { tensors: &mut tensors, recording: &mut recording, variant };
        let activations = net.forward(&mut l, parameters, image, &[true])?;
        for &logits in &activations.logits {
            crate::ops::stage::Stage { from: logits, to: output }.lower(&mut l);
        }
        let placed = MemoryPlan::new(&tensors.slots, &[&recording]);
        let memory = Memory::new(gpu, &tensors.slots, &placed)?;
        gpu.write(&memory, parameters, 0, weights)?;
        let program = Program::new(gpu, &memory, &recording)?;
        Ok(Predictor { memory, tensors, net, program, image, logits: output })
    }

    /// Class probabilities of an image (C,D,H,W): classes,D,H,W.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device was lost.
    pub fn probabilities(
        &self,
        gpu: &Gpu,
        image: &[f32],
        shape: [usize; 3],
        options: WindowOptions,
    ) -> Result<Vec<f32>> {
        let plan = &self.net.plan;
        let patch = plan.patch.map(|e| e as usize);
        let (channels, classes) = (plan.in_channels as usize, plan.classes as usize);
        // Padded to at least the patch, the smaller half in front.
        let padded: [usize; 3] = std::array::from_fn(|i| shape[i].max(patch[i]));
        let front: [usize; 3] = std::array::from_fn(|i| (padded[i] - shape[i]) / 2);
        let starts: [Vec<usize>; 3] =
            std::array::from_fn(|i| tile_starts(padded[i], patch[i], options.step));
        let single = starts.iter().all(|s| s.len() == 1);
        let voxels: usize = patch.iter().product();
        let weights = if single { vec![1.0; voxels] } else { gaussian(patch) };
        let whole: usize = shape.iter().product();
        let mut sums = vec![0f32; classes * whole];
        let mut totals = vec![0f32; whole];
        let flips = if options.mirror { 8 } else { 1 };
        for &d in &starts[0] {
            for &h in &starts[1] {
                for &w in &starts[2] {
                    let start = [d, h, w];
                    // Position of a tile's voxel in the unpadded image.
                    let position = |v: usize| -> Option<usize> {
                        let at = [v / (patch[1] * patch[2]), v / patch[2] % patch[1], v % patch[2]];
                        let mut index = 0;
                        for axis in 0..3 {
                            let p = (start[axis] + at[axis]).checked_sub(front[axis])?;
                            if p >= shape[axis] {
                                return None;
                            }
                            index = index * shape[axis] + p;
                        }
                        Some(index)
                    };
                    let mut tile = vec![0f32; channels * voxels];
                    for v in 0..voxels {
                        if let Some(p) = position(v) {
                            for c in 0..channels {
                                tile[c * voxels + v] = image[c * whole + p];
                            }
                        }
                    }
                    let mut mean = vec![0f32; classes * voxels];
                    for flip in 0..flips {
                        let turned = flipped(&tile, channels, patch, flip);
                        host::upload(gpu, &self.memory, &self.tensors, self.image, &turned)?;
                        self.program.submit(gpu)?;
                        let mut logits =
                            host::download(gpu, &self.memory, &self.tensors, self.logits)?;
                        softmax(&mut logits, classes);
                        let back = flipped(&logits, classes, patch, flip);
                        for (m, p) in mean.iter_mut().zip(back) {
                            *m += p / flips as f32;
                        }
                    }
                    for v in 0..voxels {
                        if let Some(p) = position(v) {
                            totals[p] += weights[v];
                            for c in 0..classes {
                                sums[c * whole + p] += weights[v] * mean[c * voxels + v];
                            }
                        }
                    }
                }
            }
        }
        for class in sums.chunks_exact_mut(whole) {
            class.iter_mut().zip(&totals).for_each(|(sum, total)| *sum /= total);
        }
        Ok(sums)
    }
}

/// The most probable class of each voxel; the lowest on ties.
pub fn argmax(probabilities: &[f32], classes: usize) -> Vec<u16> {
    let voxels = probabilities.len() / classes;
    (0..voxels)
        .map(|v| {
            let mut best = 0;
            for c in 1..classes {
                if probabilities[c * voxels + v] > probabilities[best * voxels + v] {
                    best = c;
                }
            }
            best as u16
        })
        .collect()
}

/// Mirrors C,D,H,W along D, H, W where the flip's bits 0, 1, 2 are set.
fn flipped(data: &[f32], channels: usize, [d, h, w]: [usize; 3], flip: usize) -> Vec<f32> {
    if flip == 0 {
        return data.to_vec();
    }
    let turn =
        |i: usize, edge: usize, bit: usize| if flip >> bit & 1 == 1 { edge - 1 - i } else { i };
    let mut out = Vec::with_capacity(data.len());
    for c in 0..channels {
        for z in 0..d {
            for y in 0..h {
                for x in 0..w {
                    let row = (c * d + turn(z, d, 0)) * h + turn(y, h, 1);
                    out.push(data[row * w + turn(x, w, 2)]);
                }
            }
        }
    }
    out
}

/// Softmax over the classes of classes,V in place.
fn softmax(values: &mut [f32], classes: usize) {
    let voxels = values.len() / classes;
    for v in 0..voxels {
        let top = (0..classes).map(|c| values[c * voxels + v]).fold(f32::MIN, f32::max);
        let mut sum = 0.0;
        for c in 0..classes {
            let e = (values[c * voxels + v] - top).exp();
            values[c * voxels + v] = e;
            sum += e;
        }
        for c in 0..classes {
            values[c * voxels + v] /= sum;
        }
    }
}
