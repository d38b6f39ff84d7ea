//! Sliding window prediction of one prepared case.

use super::window::{gaussian, tile_starts};
use crate::error::Result;
use crate::gpu::{Gpu, Lifetime, Memory, MemoryPlan, Program, Recording, SlotId};
use crate::nn::plan::NetworkPlan;
use crate::nn::unet::UNet;
use crate::ops::tensor::{Storage, Tensors, View, host};
use crate::ops::{ConvVariant, Lowering};
use rayon::prelude::*;
use std::ops::Range;

/// A network ready to predict patches.
pub struct Predictor {
    memory: Memory,
    tensors: Tensors,
    net: UNet,
    parameters: SlotId,
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
        Ok(Predictor { memory, tensors, net, parameters, program, image, logits: output })
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

    /// Number of tiles that cover a case of this shape.
    pub fn tiles(&self, shape: [usize; 3], step: f64) -> usize {
        Tiling::new(shape, self.net.plan.patch, step).starts.len()
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
        let (channels, classes) =
            (self.net.plan.in_channels as usize, self.net.plan.classes as usize);
        let tiling = Tiling::new(shape, self.net.plan.patch, options.step);
        let whole: usize = shape.iter().product();
        let mut sums = vec![0f32; classes * whole];
        let mut totals = vec![0f32; whole];
        let flips = if options.mirror { 8 } else { 1 };
        let passes: Vec<Pass> =
            tiling.starts.iter().flat_map(|&start| (0..flips).map(move |f| (start, f))).collect();
        let cut = |&(start, flip): &_| tiling.cut(image, channels, start, flip);
        let mut tile = passes.first().map(cut);
        let mut done: Option<(&Pass, Vec<f32>)> = None;
        for (i, pass) in passes.iter().enumerate() {
            let Some(input) = tile.take() else { break };
            host::upload(gpu, &self.memory, &self.tensors, self.image, &input)?;
            self.program.submit(gpu)?;
            // While the device works: what came before, and what comes next.
            if let Some((&(start, flip), logits)) = done.take() {
                tiling.add(logits, start, flip, flips, &mut sums, &mut totals);
            }
            tile = passes.get(i + 1).map(cut);
            done = Some((pass, host::download(gpu, &self.memory, &self.tensors, self.logits)?));
        }
        if let Some((&(start, flip), logits)) = done {
            tiling.add(logits, start, flip, flips, &mut sums, &mut totals);
        }
        for class in sums.chunks_exact_mut(whole) {
            class.iter_mut().zip(&totals).for_each(|(sum, total)| *sum /= total);
        }
        Ok(sums)
    }
}

/// A tile's first voxel, and how it is mirrored.
type Pass = ([usize; 3], usize);

/// The tiles of a case and their weights.
struct Tiling {
    shape: [usize; 3],
    patch: [usize; 3],
    /// Voxels of padding in front of the case.
    front: [usize; 3],
    /// First voxel of each tile in the padded case.
    starts: Vec<[usize; 3]>,
    /// Weight of each voxel of a tile.
    weights: Vec<f32>,
}

/// A row of a tile that meets the case.
struct Row {
    /// D and H in the tile.
    at: [usize; 2],
    /// Voxels of the row that lie in the case.
    range: Range<usize>,
    /// Index of the first of them in the case.
    first: usize,
}

impl Tiling {
    fn new(shape: [usize; 3], patch: [u32; 3], step: f64) -> Self {
        let patch = patch.map(|e| e as usize);
        // Padded to at least the patch, the smaller half in front.
        let padded: [usize; 3] = std::array::from_fn(|i| shape[i].max(patch[i]));
        let front = std::array::from_fn(|i| (padded[i] - shape[i]) / 2);
        let [d, h, w] = std::array::from_fn(|i| tile_starts(padded[i], patch[i], step));
        let mut starts = Vec::with_capacity(d.len() * h.len() * w.len());
        for &z in &d {
            for &y in &h {
                starts.extend(w.iter().map(|&x| [z, y, x]));
            }
        }
        let single = starts.len() == 1;
        let weights = if single { vec![1.0; patch.iter().product()] } else { gaussian(patch) };
        Tiling { shape, patch, front, starts, weights }
    }

    fn rows(&self, start: [usize; 3]) -> impl Iterator<Item = Row> {
        let inside = |axis: usize| {
            let low = self.front[axis].saturating_sub(start[axis]);
            let high = (self.shape[axis] + self.front[axis]).saturating_sub(start[axis]);
            low..high.min(self.patch[axis])
        };
        let place = move |axis: usize, i: usize| start[axis] + i - self.front[axis];
        let (heights, widths) = (inside(1), inside(2));
        inside(0).flat_map(move |z| {
            let widths = widths.clone();
            heights.clone().map(move |y| {
                let row = place(0, z) * self.shape[1] + place(1, y);
                let first = row * self.shape[2] + place(2, widths.start);
                Row { at: [z, y], range: widths.clone(), first }
            })
        })
    }

    /// Index of the first voxel of a row in the mirrored tile.
    fn mirrored(&self, channel: usize, [z, y]: [usize; 2], flip: usize) -> usize {
        let [d, h, w] = self.patch;
        let turn =
            |i: usize, edge: usize, bit: usize| if flip >> bit & 1 == 1 { edge - 1 - i } else { i };
        ((channel * d + turn(z, d, 0)) * h + turn(y, h, 1)) * w
    }

    /// A tile of the image, 0 outside, mirrored along D, H, W where the flip's bits 0, 1, 2
    /// are set.
    fn cut(&self, image: &[f32], channels: usize, start: [usize; 3], flip: usize) -> Vec<f32> {
        let whole: usize = self.shape.iter().product();
        let width = self.patch[2];
        let mut tile = vec![0f32; channels * self.weights.len()];
        for channel in 0..channels {
            for row in self.rows(start) {
                let len = row.range.len();
                let source = &image[channel * whole + row.first..][..len];
                let target = self.mirrored(channel, row.at, flip);
                if flip & 4 == 0 {
                    tile[target + row.range.start..][..len].copy_from_slice(source);
                } else {
                    let target = &mut tile[target + width - row.range.end..][..len];
                    target.iter_mut().rev().zip(source).for_each(|(t, s)| *t = *s);
                }
            }
        }
        tile
    }

    /// Adds a (mirrored) tile's class probabilities and, once a tile, its weights.
    fn add(
        &self,
        mut logits: Vec<f32>,
        start: [usize; 3],
        flip: usize,
        flips: usize,
        sums: &mut [f32],
        totals: &mut [f32],
    ) {
        let whole: usize = self.shape.iter().product();
        let width = self.patch[2];
        softmax(&mut logits, self.weights.len());
        let share = 1.0 / flips as f32;
        for row in self.rows(start) {
            let len = row.range.len();
            let weights = &self.weights[self.mirrored(0, row.at, 0) + row.range.start..][..len];
            for (channel, sums) in sums.chunks_exact_mut(whole).enumerate() {
                let source = self.mirrored(channel, row.at, flip);
                let target = sums[row.first..][..len].iter_mut().zip(weights);
                if flip & 4 == 0 {
                    let source = &logits[source + row.range.start..][..len];
                    target.zip(source).for_each(|((t, w), p)| *t += w * (p * share));
                } else {
                    let source = &logits[source + width - row.range.end..][..len];
                    target.zip(source.iter().rev()).for_each(|((t, w), p)| *t += w * (p * share));
                }
            }
            if flip == 0 {
                let target = totals[row.first..][..len].iter_mut();
                target.zip(weights).for_each(|(t, w)| *t += w);
            }
        }
    }
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

/// Voxels that one thread takes at a time.
const CHUNK: usize = 1 << 14;

/// Softmax over the classes of classes,V in place.
fn softmax(values: &mut [f32], voxels: usize) {
    let mut chunks: Vec<Vec<&mut [f32]>> = Vec::new();
    chunks.resize_with(voxels.div_ceil(CHUNK), Vec::new);
    for plane in values.chunks_exact_mut(voxels) {
        chunks.iter_mut().zip(plane.chunks_mut(CHUNK)).for_each(|(all, part)| all.push(part));
    }
    chunks.into_par_iter().for_each(|mut planes| {
        let len = planes.first().map_or(0, |p| p.len());
        let (mut top, mut sum) = (vec![f32::MIN; len], vec![0f32; len]);
        for plane in &planes {
            top.iter_mut().zip(plane.iter()).for_each(|(t, v)| *t = t.max(*v));
        }
        for plane in &mut planes {
            for ((v, t), s) in plane.iter_mut().zip(&top).zip(&mut sum) {
                *v = (*v - t).exp();
                *s += *v;
            }
        }
        for plane in &mut planes {
            plane.iter_mut().zip(&sum).for_each(|(v, s)| *v /= s);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::AdapterChoice;
    use crate::nn::plan::NetworkPlan;

    #[test]
    #[ignore = "timing; run in release mode"]
    fn time_of_a_case() {
        let gpu = Gpu::open(&AdapterChoice::default(), false).unwrap();
        let variant = ConvVariant::available(gpu.caps())[0];
        let plan = NetworkPlan::from_spacing(1, 2, 4, [64; 3], 1, [1.0; 3], 3);
        let net = UNet::new(plan);
        let weights = net.parameters.initial(0);
        let predictor = Predictor::new(&gpu, net, &weights, variant).unwrap();
        let shape = [88, 145, 160];
        let image: Vec<f32> = (0..88 * 145 * 160).map(|v| (v % 97) as f32 / 50.0 - 1.0).collect();
        for mirror in [false, true] {
            let options = WindowOptions { step: 0.5, mirror };
            let flips = if mirror { 8 } else { 1 };
            let begin = std::time::Instant::now();
            let out = predictor.probabilities(&gpu, &image, shape, options).unwrap();
            let total = begin.elapsed().as_secs_f64();
            // The host's parts by themselves.
            let tiling = Tiling::new(shape, [64; 3], 0.5);
            let (mut sums, mut totals) = (vec![0f32; 2 * image.len()], vec![0f32; image.len()]);
            let mut parts = [0f64; 4];
            let passes = tiling.starts.len() * flips;
            for &start in &tiling.starts {
                for flip in 0..flips {
                    let mut clock = std::time::Instant::now();
                    let mut lap = |i: usize| {
                        parts[i] += clock.elapsed().as_secs_f64() * 1e3 / passes as f64;
                        clock = std::time::Instant::now();
                    };
                    let tile = tiling.cut(&image, 1, start, flip);
                    lap(0);
                    let p = &predictor;
                    host::upload(&gpu, &p.memory, &p.tensors, p.image, &tile).unwrap();
                    lap(1);
                    let logits = host::download(&gpu, &p.memory, &p.tensors, p.logits).unwrap();
                    lap(2);
                    tiling.add(logits, start, flip, flips, &mut sums, &mut totals);
                    lap(3);
                }
            }
            let begin = std::time::Instant::now();
            std::hint::black_box(argmax(&out, 2));
            println!(
                "{}: {passes} passes in {total:.2} s; host, ms a pass: cut {:.2}, upload {:.2}, \
                 download {:.2}, add {:.2}; argmax {:.1} ms a case",
                gpu.name(),
                parts[0],
                parts[1],
                parts[2],
                parts[3],
                begin.elapsed().as_secs_f64() * 1e3
            );
        }
    }
}
