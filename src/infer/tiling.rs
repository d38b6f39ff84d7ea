//! The tiles of a sliding window: cutting them out of an image, adding their probabilities up.

use super::window::{gaussian, tile_starts};
use crate::nn::heads::Heads;
use rayon::prelude::*;
use std::ops::Range;

/// A tile of a case, mirrored.
#[derive(Clone, Copy)]
pub(super) struct Pass {
    /// First voxel of the tile in the padded case.
    pub start: [usize; 3],
    /// Bits 0, 1, 2: mirrored along D, H, W.
    pub flip: usize,
}

/// The tiles of a case and their weights.
pub(super) struct Tiling {
    shape: [usize; 3],
    patch: [usize; 3],
    /// Voxels of padding in front of the case.
    front: [usize; 3],
    /// First voxel of each tile in the padded case, along D, H, W.
    starts: [Vec<usize>; 3],
    /// Weight of each voxel of a tile.
    weights: Vec<f32>,
    /// Whether each output channel has a probability of its own.
    independent: bool,
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
    pub fn new(shape: [usize; 3], patch: [u32; 3], step: f64, heads: &Heads) -> Self {
        let patch = patch.map(|e| e as usize);
        // Padded to at least the patch, the smaller half in front.
        let padded: [usize; 3] = std::array::from_fn(|i| shape[i].max(patch[i]));
        let front = std::array::from_fn(|i| (padded[i] - shape[i]) / 2);
        let starts: [Vec<usize>; 3] =
            std::array::from_fn(|i| tile_starts(padded[i], patch[i], step));
        let single = starts.iter().all(|s| s.len() == 1);
        let weights = if single { vec![1.0; patch.iter().product()] } else { gaussian(patch) };
        Tiling { shape, patch, front, starts, weights, independent: !heads.is_softmax() }
    }

    /// Number of tiles.
    pub fn tiles(&self) -> usize {
        self.starts.iter().map(Vec::len).product()
    }

    /// The layers of tiles along D: where they start, in order.
    pub fn layers(&self) -> &[usize] {
        &self.starts[0]
    }

    /// The planes of the case that a layer of tiles covers.
    pub fn planes(&self, layer: usize) -> Range<usize> {
        let end = (layer + self.patch[0]).saturating_sub(self.front[0]);
        layer.saturating_sub(self.front[0])..end.min(self.shape[0])
    }

    /// The passes of one layer, with these flips of each tile.
    pub fn passes(&self, layer: usize, flips: &[usize]) -> Vec<Pass> {
        let mut passes = Vec::new();
        for &y in &self.starts[1] {
            for &x in &self.starts[2] {
                passes.extend(flips.iter().map(|&flip| Pass { start: [layer, y, x], flip }));
            }
        }
        passes
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

    /// A tile of the image, 0 outside, mirrored.
    pub fn cut(&self, image: &[f32], channels: usize, Pass { start, flip }: Pass) -> Vec<f32> {
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

    /// Adds the probabilities of a (mirrored) tile's output channels to the sums over its layer's planes.
    pub fn add(
        &self,
        mut logits: Vec<f32>,
        Pass { start, flip }: Pass,
        flips: usize,
        into: &mut Sums,
    ) {
        let plane = self.shape[1] * self.shape[2];
        let before = self.planes(start[0]).start * plane;
        let Sums { sums, totals } = into;
        let whole = totals.len();
        let width = self.patch[2];
        match self.independent {
            true => sigmoid(&mut logits),
            false => softmax(&mut logits, self.weights.len()),
        }
        let share = 1.0 / flips as f32;
        for row in self.rows(start) {
            let len = row.range.len();
            let first = row.first - before;
            let weights = &self.weights[self.mirrored(0, row.at, 0) + row.range.start..][..len];
            for (channel, sums) in sums.chunks_exact_mut(whole).enumerate() {
                let source = self.mirrored(channel, row.at, flip);
                let target = sums[first..][..len].iter_mut().zip(weights);
                if flip & 4 == 0 {
                    let source = &logits[source + row.range.start..][..len];
                    target.zip(source).for_each(|((t, w), p)| *t += w * (p * share));
                } else {
                    let source = &logits[source + width - row.range.end..][..len];
                    target.zip(source.iter().rev()).for_each(|((t, w), p)| *t += w * (p * share));
                }
            }
            if flip == 0 {
                let target = totals[first..][..len].iter_mut();
                target.zip(weights).for_each(|(t, w)| *t += w);
            }
        }
    }
}

/// Weighted class probabilities over some planes of a case, and the sums of the weights.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    /// Classes, planes, H, W.
    pub sums: Vec<f32>,
    /// Planes, H, W.
    pub totals: Vec<f32>,
}

impl Sums {
    pub fn new(classes: usize, voxels: usize) -> Self {
        Sums { sums: vec![0.0; classes * voxels], totals: vec![0.0; voxels] }
    }

    /// The first `voxels` voxels as probabilities (classes, voxels), and all others moved to the
    /// front, with room for as many new ones.
    pub fn take(&mut self, voxels: usize) -> Vec<f32> {
        let whole = self.totals.len();
        let mut out = Vec::with_capacity(self.sums.len() / whole.max(1) * voxels);
        for class in self.sums.chunks_exact_mut(whole.max(1)) {
            out.extend(class.iter().zip(&self.totals).take(voxels).map(|(s, t)| s / t));
            class.copy_within(voxels.., 0);
            class[whole - voxels..].fill(0.0);
        }
        self.totals.copy_within(voxels.., 0);
        self.totals[whole - voxels..].fill(0.0);
        out
    }
}

/// Voxels that one thread takes at a time.
const CHUNK: usize = 1 << 14;

/// The logistic function in place.
fn sigmoid(values: &mut [f32]) {
    values.par_chunks_mut(CHUNK).for_each(|values| {
        values.iter_mut().for_each(|v| *v = 1.0 / (1.0 + (-*v).exp()));
    });
}

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
