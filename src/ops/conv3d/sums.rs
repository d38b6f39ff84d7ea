//! What a gather sums over what it stores: for the norm that comes next its statistics, for the norm whose
//! gradient it makes the sums of the backward pass. That spares a pass over the tensor.

use super::brick::Brick;
use crate::gpu::{Lifetime, SlotId};
use crate::ops::Lowering;
use crate::ops::norm::{self, NormStatistics, NormSums};
use crate::ops::tensor::View;

/// The sums of the backward pass of a norm, of which a convolution makes the whole gradient.
#[derive(Clone, Copy, Debug)]
pub struct GradientSums {
    /// The norm, and where its sums go.
    pub of: NormSums,
    /// Table of the norm as [`norm::NormOnLoad`] makes it for `of.z`.
    pub table: SlotId,
}

/// What is summed.
#[derive(Clone, Copy, Debug)]
pub(super) enum OnStore {
    /// Statistics, into a slot as [`norm::statistics_slot`] makes it.
    Statistics(SlotId),
    /// Sums of a norm's backward pass.
    Gradient(GradientSums),
}

/// Where the chunks of a dispatch are summed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    /// Points of a chunk along D, H, W.
    pub edges: [u32; 3],
    /// Chunks along D, H, W.
    pub counts: [u32; 3],
    /// The first of them among all that make up the output.
    pub first: u32,
}

/// The partial sums of an output: vec4 \[n\]\[block\]\[chunk\]\[2\].
#[derive(Clone, Copy, Debug)]
pub(super) struct Partial {
    pub slot: SlotId,
    /// Chunks of a channel block.
    pub chunks: u32,
}

impl Chunks {
    /// The chunks of so many points, behind `first` others. They divide each of the bricks, so that the
    /// choice among these changes no sum.
    pub fn of(bricks: &[Brick], points: [u32; 3], first: u32) -> Self {
        let edges = Brick::chunk(bricks);
        let counts = std::array::from_fn(|i| points[i].div_ceil(edges[i]));
        Chunks { edges, counts, first }
    }

    pub fn number(&self) -> u32 {
        self.counts.iter().product()
    }

    /// The chunks of a slab of so many points along D, from the point `start` on, a multiple of a chunk.
    pub fn slab(&self, start: u32, points: u32) -> Self {
        let [d, h, w] = self.counts;
        let first = self.first + start / self.edges[0] * h * w;
        Chunks { counts: [points.div_ceil(self.edges[0]).min(d), h, w], first, ..*self }
    }
}

impl Partial {
    /// A slot for the sums of so many chunks of each channel block of `y`, if a binding holds it.
    pub fn add(l: &mut Lowering, y: View, chunks: u32) -> Option<Self> {
        let rows = l.tensors.of(y).samples * l.tensors.block_range(y).len() as u32;
        let bytes = u64::from(rows) * u64::from(chunks) * 32;
        let slot = (bytes <= l.tensors.caps().max_binding_bytes)
            .then(|| l.tensors.slots.buffer("norm partial", bytes, Lifetime::Transient))?;
        Some(Partial { slot, chunks })
    }
}

impl OnStore {
    /// What the kernel calls it.
    pub fn constant(self) -> i64 {
        match self {
            OnStore::Statistics(_) => 1,
            OnStore::Gradient(_) => 2,
        }
    }

    /// Appends the sums over `y` by passes of their own.
    pub fn lower_apart(self, l: &mut Lowering, y: View) {
        match self {
            OnStore::Statistics(stats) => NormStatistics { z: y, stats }.lower(l),
            OnStore::Gradient(sums) => sums.of.lower(l, y, None),
        }
    }

    /// Appends what becomes of the partial sums of `y`, all of chunks of `edges`.
    pub fn finish(self, l: &mut Lowering, y: View, partial: Partial, edges: [u32; 3]) {
        match self {
            OnStore::Statistics(stats) => {
                let whole = l.tensors.of(y).spatial;
                norm::combine_statistics(l, y, partial.slot, stats, whole, edges);
            }
            OnStore::Gradient(sums) => sums.of.combine(l, partial.slot, partial.chunks),
        }
    }
}
