//! The gather convolution: forward and input gradient of plain and transposed convolutions are
//! the same sum with other taps and steps.

use super::axis::Axis;
use super::launch::{Part, Summing};
use super::sums::{Chunks, OnStore, Partial};
use super::tiling::{Tiling, bricks};
use crate::error::Result;
use crate::gpu::{Lifetime, SlotId, Tiled};
use crate::ops::stage::Stage;
use crate::ops::tensor::{Region, Storage, Tensor, View};
use crate::ops::{Lowering, ParamRef};

/// How canonical weights are addressed: co * co_stride + ci * ci_stride + tap.
#[derive(Clone, Copy, Debug)]
pub(super) struct WeightLayout {
    pub co_stride: u32,
    pub ci_stride: u32,
    /// First logical output channel (a segment of the input gradient).
    pub co_first: u32,
}

/// One gather convolution from `x` (operand storage) to `y` (any storage).
pub(super) struct Gather {
    pub x: View,
    pub y: View,
    /// Whether the sum is added to y, a buffer.
    pub add: bool,
    pub w: ParamRef,
    pub bias: Option<ParamRef>,
    /// Table of the normalisation of x, as [`super::Conv3dForward::on_load`].
    pub on_load: Option<SlotId>,
    /// What is summed over the whole of y.
    pub on_store: Option<OnStore>,
    pub layout: WeightLayout,
    /// Steps between the weights of neighbouring taps along D, H, W.
    pub tap_strides: [u32; 3],
    pub axes: [Vec<Axis>; 3],
}

/// The dispatches that make up one output.
struct Class {
    axes: [Axis; 3],
    chunks: Option<Chunks>,
}

impl Gather {
    /// Appends packing and convolution dispatches.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the packed weights exceed a texture.
    pub fn lower(&self, l: &mut Lowering) -> Result<()> {
        let x_regions = l.tensors.regions(&[self.x]);
        let split_input = x_regions.iter().any(|r| r.blocks.start > 0);
        if let Some(staging) = self.staging(l, split_input)? {
            Gather { y: staging, on_store: None, axes: self.axes.clone(), ..*self }.lower(l)?;
            Stage { from: staging, to: self.y }.lower(l);
            self.sum_apart(l);
            return Ok(());
        }
        let (classes, partial) = self.classes(l);
        let z = match self.on_store {
            Some(OnStore::Gradient(sums)) if partial.is_some() => Some(sums.of.z),
            _ => None,
        };
        let y_regions = l.tensors.regions(&[self.y].into_iter().chain(z).collect::<Vec<_>>());
        let last = l.tensors.block_range(self.x).len() as u32;
        for class in &classes {
            for y in &y_regions {
                for x in &x_regions {
                    let whole = self.on_store.zip(partial).zip(class.chunks);
                    let summing = whole
                        .filter(|_| x.blocks.end == last)
                        .map(|((on_store, partial), chunks)| Summing { on_store, partial, chunks });
                    self.dispatch(l, class, x, y, summing)?;
                }
            }
        }
        match (self.on_store, partial, classes.first().and_then(|class| class.chunks)) {
            (Some(on_store), Some(partial), Some(chunks)) => {
                on_store.finish(l, self.y, partial, chunks.edges);
            }
            _ => self.sum_apart(l),
        }
        Ok(())
    }

    fn sum_apart(&self, l: &mut Lowering) {
        if let Some(on_store) = self.on_store {
            on_store.lower_apart(l, self.y);
        }
    }

    /// The dispatches that make up y, and, where kernels can sum what they store, where the sums of all
    /// go.
    fn classes(&self, l: &mut Lowering) -> (Vec<Class>, Option<Partial>) {
        let [axes_d, axes_h, axes_w] = &self.axes;
        let mut classes = Vec::new();
        for &d in axes_d {
            for &h in axes_h {
                classes.extend(axes_w.iter().map(|&w| Class { axes: [d, h, w], chunks: None }));
            }
        }
        let buffer = l.tensors.of(self.y).storage == Storage::Buffer;
        let scatters = classes.iter().any(|c| c.axes.iter().any(|a| a.scatter > 1));
        let fuses = l.variant.fuses_norms() && buffer && !scatters;
        if self.on_store.is_none() || !fuses {
            return (classes, None);
        }
        let mut first = 0;
        for class in &mut classes {
            let bricks = bricks(l, &class.axes, true);
            let chunks = Chunks::of(&bricks, class.axes.map(|a| a.points), first);
            first += chunks.number();
            class.chunks = Some(chunks);
        }
        let partial = Partial::add(l, self.y, first);
        (classes, partial)
    }

    /// A buffer in place of y: where that is faster, and where y is a texture, into which nothing can
    /// be accumulated, but x lies in parts.
    fn staging(&self, l: &mut Lowering, split_input: bool) -> Result<Option<View>> {
        let staging = l.tensors.add_staging(self.y)?;
        let Tensor { samples, spatial, storage, .. } = *l.tensors.of(self.y);
        if staging.is_some() || !split_input || storage == Storage::Buffer {
            return Ok(staging);
        }
        let (segments, life) = (l.tensors.segments(self.y), Lifetime::Transient);
        let sum = l.tensors.add("conv sum", samples, &segments, spatial, Storage::Buffer, life)?;
        Ok(Some(sum.view()))
    }

    fn dispatch(
        &self,
        l: &mut Lowering,
        class: &Class,
        x: &Region,
        y: &Region,
        summing: Option<Summing>,
    ) -> Result<()> {
        let first = x.samples.start.max(y.samples.start);
        let end = x.samples.end.min(y.samples.end);
        if first >= end {
            return Ok(());
        }
        let axes = class.axes;
        let samples = end - first;
        let q = axes.map(|a| a.points);
        let flops = self.flops(l, &axes, x, y, samples);
        let sums = summing.is_some();
        let candidates = Tiling::candidates(l, &axes, y.blocks.len() as u32, flops, sums);
        let codes: Vec<_> = candidates.iter().map(|tiling| tiling.code()).collect();
        let name = self.class_name(l, &axes, x, y, summing);
        let chosen = l.tensors.caps().tiles.choose(&name, &codes);
        let tiling = candidates[chosen];
        let tiled = &Tiled { class: name, tile: codes[chosen].clone(), candidates: codes.len() };
        let packed = self.pack(l, &axes, x, y, tiling)?;
        let plane = flops / u64::from(q[0].max(1));
        // Whole bricks of the simt kernel.
        let most = (l.tensors.caps().work.flops / plane.max(1)).clamp(4, 1 << 20) as u32 / 4 * 4;
        let mut start = 0;
        for slab in axes[0].slabs(most) {
            let summing = summing.map(|whole| {
                let chunks = whole.chunks.slab(start, slab.points);
                Summing { chunks, ..whole }
            });
            let axes = [slab, axes[1], axes[2]];
            self.launch(l, Part { axes, x, y, packed, tiling, tiled, summing });
            start += slab.points;
        }
        Ok(())
    }

    /// What decides about the speed of a tile: all but the samples and the places in memory.
    fn class_name(
        &self,
        l: &Lowering,
        axes: &[Axis; 3],
        x: &Region,
        y: &Region,
        summing: Option<Summing>,
    ) -> String {
        let list = |of: fn(&Axis) -> u32| axes.each_ref().map(of).map(|n| n.to_string()).join("x");
        format!(
            "gather {} taps {} steps {} to {} points {} channels {}to{}{}{}{}{}{}",
            l.variant.name(),
            list(|a| a.count),
            list(|a| a.in_step.unsigned_abs()),
            list(|a| a.out_step),
            list(|a| a.points),
            l.tensors.channels(self.x).min(x.blocks.len() as u32 * 4),
            self.co_count(l, y),
            if l.tensors.of(self.y).storage == Storage::Texture { " texture" } else { "" },
            if self.on_load.is_some() { " normalised" } else { "" },
            if axes.iter().any(|a| a.scatter > 1) { " scattered" } else { "" },
            if self.add { " added" } else { "" },
            match summing.map(|s| s.on_store) {
                None => "",
                Some(OnStore::Statistics(_)) => " with statistics",
                Some(OnStore::Gradient(_)) => " with sums",
            },
        )
    }

    /// Output channels of a region that are no padding.
    pub(super) fn co_count(&self, l: &Lowering, y: &Region) -> u32 {
        (l.tensors.channels(self.y) - y.blocks.start * 4).min(y.blocks.len() as u32 * 4)
    }

    pub(super) fn flops(
        &self,
        l: &Lowering,
        axes: &[Axis; 3],
        x: &Region,
        y: &Region,
        samples: u32,
    ) -> u64 {
        let product: u64 =
            axes.iter().map(|a| u64::from(a.points) * u64::from(a.weights())).product();
        let ci = l.tensors.channels(self.x).min(x.blocks.len() as u32 * 4);
        2 * product * u64::from(samples) * u64::from(self.co_count(l, y)) * u64::from(ci)
    }
}
