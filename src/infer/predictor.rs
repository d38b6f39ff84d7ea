//! Sliding window prediction of one prepared case.

use super::forward::Forward;
use super::tiling::{Pass, Sums, Tiling};
use crate::data::Axes;
use crate::error::Result;
use crate::gpu::{Gpu, Memory, Program, SlotId};
use crate::nn::plan::NetworkPlan;
use crate::nn::unet::UNet;
use crate::ops::ConvVariant;
use crate::ops::tensor::{Tensors, View, host};

/// A network ready to predict patches.
pub struct Predictor {
    memory: Memory,
    tensors: Tensors,
    net: UNet,
    parameters: SlotId,
    program: Program,
    image: View,
    logits: View,
    flops: u64,
}

/// How a case is predicted.
#[derive(Clone, Copy, Debug)]
pub struct WindowOptions {
    /// Tile step as a share of the patch.
    pub step: f64,
    /// Average over the flips of these axes and of all their combinations.
    pub mirror: Axes,
}

impl Predictor {
    /// Uploads the weights (flat, as [`UNet::parameters`] places them) and records one forward pass.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device has too little memory, or does not allow the network's
    /// patch.
    pub fn new(gpu: &Gpu, net: UNet, weights: &[f32], variant: ConvVariant) -> Result<Self> {
        let Forward { tensors, placed, recording, parameters, image, logits } =
            Forward::new(gpu.caps(), variant, &net)?;
        let memory = Memory::new(gpu, &tensors.slots, &placed)?;
        gpu.write(&memory, parameters, 0, weights)?;
        let program = Program::new(gpu, &memory, &recording)?;
        let flops = recording.flops();
        Ok(Predictor { memory, tensors, net, parameters, program, image, logits, flops })
    }

    /// Replaces the weights.
    ///
    /// # Errors
    /// [`crate::Error::Device`] as [`Gpu::write`].
    pub fn set_weights(&self, gpu: &Gpu, weights: &[f32]) -> Result<()> {
        gpu.write(&self.memory, self.parameters, 0, weights)
    }

    /// The network's plan.
    pub fn plan(&self) -> &NetworkPlan {
        &self.net.plan
    }

    /// FLOPs of one tile.
    pub fn flops(&self) -> u64 {
        self.flops
    }

    /// Number of tiles that cover a case of this shape.
    pub fn tiles(&self, shape: [usize; 3], step: f64) -> usize {
        Tiling::new(shape, self.net.plan.patch, step, &self.net.plan.heads).tiles()
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
        let classes = self.net.plan.classes as usize;
        let (whole, plane) = (shape.iter().product::<usize>(), shape[1] * shape[2]);
        let mut all = vec![0f32; classes * whole];
        self.stream(gpu, &[], image, shape, options, &mut |planes| {
            let voxels = planes.count * plane;
            for (class, values) in planes.values.chunks_exact(voxels).enumerate() {
                all[class * whole + planes.first * plane..][..voxels].copy_from_slice(values);
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// Class probabilities of an image (C,D,H,W), averaged over `weights` (those that are loaded
    /// where there is at most one), handed over in order along D as soon as they are complete: no
    /// more than a patch's depth of them is held.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device was lost; what `sink` refuses.
    pub fn stream(
        &self,
        gpu: &Gpu,
        weights: &[Vec<f32>],
        image: &[f32],
        shape: [usize; 3],
        options: WindowOptions,
        sink: &mut dyn FnMut(Planes) -> Result<()>,
    ) -> Result<()> {
        let plan = &self.net.plan;
        let tiling = Tiling::new(shape, plan.patch, options.step, &plan.heads);
        let plane = shape[1] * shape[2];
        // One set of weights is loaded already.
        let networks: Vec<Option<&Vec<f32>>> = match weights.len() {
            0 | 1 => vec![None],
            _ => weights.iter().map(Some).collect(),
        };
        let layers = tiling.layers();
        let depth = tiling.planes(layers[0]).len();
        let mut sums = Sums::new(self.net.plan.classes as usize, depth * plane);
        for (i, &layer) in layers.iter().enumerate() {
            for network in &networks {
                if let Some(weights) = network {
                    self.set_weights(gpu, weights)?;
                }
                self.layer(gpu, &tiling, layer, image, options, &mut sums)?;
            }
            let planes = tiling.planes(layer);
            let end = layers.get(i + 1).map_or(planes.end, |&next| tiling.planes(next).start);
            let count = end - planes.start;
            let values = sums.take(count * plane);
            sink(Planes { first: planes.start, count, values: &values })?;
        }
        Ok(())
    }

    /// Adds up the tiles of one layer.
    fn layer(
        &self,
        gpu: &Gpu,
        tiling: &Tiling,
        layer: usize,
        image: &[f32],
        options: WindowOptions,
        sums: &mut Sums,
    ) -> Result<()> {
        let channels = self.net.plan.in_channels as usize;
        let flips = options.mirror.subsets();
        let passes = tiling.passes(layer, &flips);
        let cut = |&pass: &Pass| tiling.cut(image, channels, pass);
        let mut tile = passes.first().map(cut);
        let mut done: Option<(Pass, Vec<f32>)> = None;
        for (i, &pass) in passes.iter().enumerate() {
            let Some(input) = tile.take() else { break };
            host::upload(gpu, &self.memory, &self.tensors, self.image, &input)?;
            self.program.submit(gpu)?;
            // While the device works: what came before, and what comes next.
            if let Some((pass, logits)) = done.take() {
                tiling.add(logits, pass, flips.len(), sums);
            }
            tile = passes.get(i + 1).map(cut);
            done = Some((pass, host::download(gpu, &self.memory, &self.tensors, self.logits)?));
        }
        if let Some((pass, logits)) = done {
            tiling.add(logits, pass, flips.len(), sums);
        }
        Ok(())
    }
}

/// Class probabilities of consecutive planes of a case.
#[derive(Clone, Copy, Debug)]
pub struct Planes<'a> {
    /// The first plane, along D.
    pub first: usize,
    /// How many.
    pub count: usize,
    /// Classes, planes, H, W.
    pub values: &'a [f32],
}

/// The most probable class of each voxel; the lowest on ties.
pub fn argmax(probabilities: &[f32], classes: usize) -> Vec<u16> {
    let voxels = probabilities.len() / classes;
    let mut labels = vec![0u16; voxels];
    let mut best = probabilities[..voxels].to_vec();
    for (class, plane) in (1..).zip(probabilities[voxels..].chunks_exact(voxels)) {
        for ((label, best), &p) in labels.iter_mut().zip(&mut best).zip(plane) {
            if p > *best {
                (*label, *best) = (class, p);
            }
        }
    }
    labels
}
