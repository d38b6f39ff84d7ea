//! The gather convolution: forward and input gradient of plain and transposed convolutions are
//! the same sum with other taps and steps.

use super::Geometry;
use super::brick::{self, Brick};
use super::sums::{Chunks, OnStore, Partial};
use super::tile::Tile;
use crate::error::{Error, Result};
use crate::gpu::{Binding, Dispatch, Kernel, Lifetime, SlotId, Tiled, linear_groups};
use crate::ops::stage::Stage;
use crate::ops::tensor::{Region, Storage, Tensor, View, blocks_of};
use crate::ops::{ConvVariant, Lowering, ParamRef};

/// Texels in a row of a weight texture.
const WEIGHT_ROW: u64 = 1024;

/// The taps and steps of one dispatch along one axis: output q * out_step + out_offset takes
/// input q * in_step + in_offset + j with weight tap0 + tap_step * j, j = 0 .. count - 1. Where a point
/// scatters, output q * out_step + out_offset + c takes input q * in_step + in_offset with weight c,
/// c = 0 .. scatter - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    pub tap0: i32,
    pub tap_step: i32,
    pub count: u32,
    pub in_step: i32,
    pub in_offset: i32,
    pub out_step: u32,
    pub out_offset: u32,
    /// Neighbouring outputs of a point; more than 1 only where `count` is 1.
    pub scatter: u32,
    /// Number of output points, of which each scatters.
    pub points: u32,
}

impl Axis {
    /// Weights that are packed.
    fn weights(&self) -> u32 {
        self.count * self.scatter
    }

    /// The axis cut into runs of at most `points` output points.
    fn slabs(self, points: u32) -> impl Iterator<Item = Axis> {
        (0..self.points).step_by(points.max(1) as usize).map(move |start| Axis {
            in_offset: self.in_offset + self.in_step * start as i32,
            out_offset: self.out_offset + self.out_step * start,
            points: points.max(1).min(self.points - start),
            ..self
        })
    }
}

impl Geometry {
    /// The forward pass, axis by axis: one list of dispatches an axis; `input` and `output` edges.
    pub(super) fn forward_axis(&self, axis: usize, input: u32, output: u32) -> Vec<Axis> {
        let (k, s) = (self.kernel[axis], self.stride[axis]);
        if self.transposed {
            // Kernel and stride are the same: every tap is an output of its own.
            return vec![Axis {
                tap0: 0,
                tap_step: 1,
                count: 1,
                in_step: 1,
                in_offset: 0,
                out_step: s,
                out_offset: 0,
                scatter: k,
                points: input,
            }];
        }
        vec![Axis {
            tap0: 0,
            tap_step: 1,
            count: k,
            in_step: s as i32,
            in_offset: -(self.padding[axis] as i32),
            out_step: 1,
            out_offset: 0,
            scatter: 1,
            points: output,
        }]
    }

    /// The input gradient: a residue class of input voxels a dispatch, with the taps that hit it.
    pub(super) fn backward_axis(&self, axis: usize, input: u32, output: u32) -> Vec<Axis> {
        let (k, s, p) = (self.kernel[axis] as i32, self.stride[axis], self.padding[axis] as i32);
        if self.transposed {
            let taps = Geometry { transposed: false, padding: [0; 3], ..*self };
            return taps.forward_axis(axis, output, input);
        }
        (0..s.min(input))
            .map(|residue| {
                let step = s as i32;
                let reach = residue as i32 + p;
                // Largest tap that hits this residue; the others follow downwards by the stride.
                let tap0 = k - 1 - (k - 1 - reach).rem_euclid(step);
                Axis {
                    tap0,
                    tap_step: -step,
                    count: if tap0 < 0 { 0 } else { (tap0 / step + 1) as u32 },
                    in_step: 1,
                    in_offset: (reach - tap0).div_euclid(step),
                    out_step: s,
                    out_offset: residue,
                    scatter: 1,
                    points: (input - residue).div_ceil(s),
                }
            })
            .collect()
    }
}

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

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct PackParams {
    total: u32,
    t_blocks: u32,
    ci_blocks: u32,
    pad0: u32,
    /// Taps along the three loops, outermost first, and the steps between them.
    counts: [u32; 3],
    tap: i32,
    steps: [i32; 3],
    ci_first: u32,
    co_stride: u32,
    ci_stride: u32,
    co_first: u32,
    co_count: u32,
    segment: u32,
    segment_padded: u32,
    ci_count: u32,
    pad1: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    q: [u32; 3],
    points: u32,
    x_d: u32,
    x_base: u32,
    x_stride: u32,
    ci_blocks: u32,
    y_d: u32,
    y_h: u32,
    y_w: u32,
    y_base: u32,
    y_stride: u32,
    co_blocks: u32,
    kd: u32,
    has_bias: u32,
    in_step: [i32; 3],
    pad0: u32,
    in_offset: [i32; 3],
    co_count: u32,
    out_step: [u32; 3],
    groups: u32,
    out_offset: [u32; 3],
    x_h: u32,
    x_w: u32,
    kw: u32,
    shift: u32,
    tiles_w: u32,
    /// First output channel of the region: where its bias begins.
    bias_first: u32,
    /// Row of the table of the first sample and block, and rows from one sample to the next.
    on_load_base: u32,
    on_load_stride: u32,
    /// Outputs that a point scatters to: all, and along each axis.
    corners: u32,
    scatter: [u32; 3],
    /// Where z lies of the norm whose backward pass is summed.
    z_base: u32,
    z_stride: u32,
    /// Row of the partial sums of the first sample and block, rows from one sample to the next.
    sums_base: u32,
    sums_stride: u32,
    /// Chunks of a row, and the first of this dispatch.
    chunks: u32,
    chunk_first: u32,
    pad1: [u32; 3],
}

/// The dispatches that make up one output.
struct Class {
    axes: [Axis; 3],
    chunks: Option<Chunks>,
}

/// One dispatch of a class, but for the slabs into which it may be cut.
#[derive(Clone, Copy)]
struct Part<'a> {
    axes: [Axis; 3],
    x: &'a Region,
    y: &'a Region,
    packed: SlotId,
    tiling: Tiling,
    tiled: &'a Tiled,
    /// What is summed while y is stored, where this is the last that is added to it.
    summing: Option<Summing>,
}

#[derive(Clone, Copy)]
struct Summing {
    on_store: OnStore,
    partial: Partial,
    chunks: Chunks,
}

/// Lanes along w as a power of two; the others follow along h. As many as w has points: lanes along
/// h share fewer rows of x.
pub(super) fn lane_shift(points_w: u32, lanes: u32) -> u32 {
    points_w.next_power_of_two().min(lanes).ilog2()
}

/// How a dispatch is tiled, by variant.
#[derive(Clone, Copy, Debug)]
enum Tiling {
    Subgroup(Tile),
    Simt(Brick),
}

impl Tiling {
    /// Blocks of output channels that share packed weights.
    fn blocks(self) -> u32 {
        match self {
            Tiling::Subgroup(tile) => tile.blocks,
            Tiling::Simt(_) => brick::BLOCKS,
        }
    }

    /// Factors along h that a weight becomes.
    fn factors(self, h: &Axis) -> u32 {
        match self {
            Tiling::Subgroup(tile) => tile.factors(h),
            Tiling::Simt(_) => h.count,
        }
    }

    fn is_winograd(self) -> bool {
        matches!(self, Tiling::Subgroup(tile) if tile.winograd)
    }

    fn code(self) -> Vec<u32> {
        match self {
            Tiling::Subgroup(tile) => tile.code(),
            Tiling::Simt(brick) => brick.code(),
        }
    }
}

impl Gather {
    /// Appends packing and convolution dispatches.
    ///
    /// # Errors
    /// [`Error::Device`] when the packed weights exceed a texture.
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
            let bricks = Self::bricks(l, &class.axes, true);
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
        let candidates = Self::candidates(l, &axes, y.blocks.len() as u32, flops, sums);
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

    /// The tilings of a dispatch, the preferred one first.
    fn candidates(
        l: &Lowering,
        axes: &[Axis; 3],
        blocks: u32,
        flops: u64,
        sums: bool,
    ) -> Vec<Tiling> {
        match l.variant {
            ConvVariant::Subgroup => {
                let q = axes.map(|a| a.points);
                let lanes = l.tensors.caps().subgroup_lanes.unwrap_or(8);
                let points = q[1].div_ceil(lanes >> lane_shift(q[2], lanes));
                let tiles = Tile::candidates(&axes[1], points, blocks, lanes, flops);
                tiles.into_iter().map(Tiling::Subgroup).collect()
            }
            ConvVariant::Simt => {
                Self::bricks(l, axes, sums).into_iter().map(Tiling::Simt).collect()
            }
        }
    }

    fn bricks(l: &Lowering, axes: &[Axis; 3], sums: bool) -> Vec<Brick> {
        let steps = axes.map(|a| a.in_step.unsigned_abs());
        let (taps, points) = (axes.map(|a| a.count), axes.map(|a| a.points));
        Brick::candidates(steps, taps, points, sums, l.tensors.caps().workgroup_bytes)
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
            "gather {} taps {} steps {} to {} points {} channels {}to{}{}{}{}{}",
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
            match summing.map(|s| s.on_store) {
                None => "",
                Some(OnStore::Statistics(_)) => " with statistics",
                Some(OnStore::Gradient(_)) => " with sums",
            },
        )
    }

    /// Output channels of a region that are no padding.
    fn co_count(&self, l: &Lowering, y: &Region) -> u32 {
        (l.tensors.channels(self.y) - y.blocks.start * 4).min(y.blocks.len() as u32 * 4)
    }

    fn flops(&self, l: &Lowering, axes: &[Axis; 3], x: &Region, y: &Region, samples: u32) -> u64 {
        let product: u64 =
            axes.iter().map(|a| u64::from(a.points) * u64::from(a.weights())).product();
        let ci = l.tensors.channels(self.x).min(x.blocks.len() as u32 * 4);
        2 * product * u64::from(samples) * u64::from(self.co_count(l, y)) * u64::from(ci)
    }

    /// Appends the kernel for (a slab of) the axes.
    fn launch(&self, l: &mut Lowering, part: Part) {
        let Part { axes, x, y, packed, tiling, tiled, summing } = part;
        let first = x.samples.start.max(y.samples.start);
        let samples = x.samples.end.min(y.samples.end) - first;
        let (co_blocks, ci_blocks) = (y.blocks.len() as u32, x.blocks.len() as u32);
        let taps = axes.map(|a| a.count);
        let q = axes.map(|a| a.points);
        let lanes = l.tensors.caps().subgroup_lanes.unwrap_or(8);
        let shift = lane_shift(q[2], lanes);
        let lanes_h = lanes >> shift;
        let co_count = self.co_count(l, y);
        let points = samples * q.iter().product::<u32>();
        let bias_here = self.bias.filter(|_| x.blocks.start == 0);
        let x_edges = l.tensors.of(self.x).spatial;
        let Tensor { spatial: [y_d, y_h, _], pitch: y_w, .. } = *l.tensors.of(self.y);
        let (place_x, place_y) = (x.places[0], y.places[0]);
        // Samples from the beginning of each.
        let (skipped_x, skipped_y) = (first - x.samples.start, first - y.samples.start);
        let on_load_stride = l.tensors.block_range(self.x).len() as u32;
        let corners: u32 = axes.iter().map(|a| a.scatter).product();
        let mut params = Params {
            q,
            points,
            x_d: x_edges[0],
            x_base: place_x.base + skipped_x * place_x.stride,
            x_stride: place_x.stride,
            ci_blocks,
            y_d,
            y_h,
            y_w,
            y_base: place_y.base + skipped_y * place_y.stride,
            y_stride: place_y.stride,
            co_blocks,
            kd: taps[0],
            in_step: axes.map(|a| a.in_step),
            has_bias: u32::from(bias_here.is_some()),
            in_offset: axes.map(|a| a.in_offset),
            co_count,
            out_step: axes.map(|a| a.out_step),
            groups: 0,
            out_offset: axes.map(|a| a.out_offset),
            x_h: x_edges[1],
            x_w: x_edges[2],
            kw: taps[2],
            shift,
            tiles_w: q[2].div_ceil(1 << shift),
            bias_first: y.blocks.start * 4,
            on_load_base: first * on_load_stride + x.blocks.start,
            on_load_stride,
            corners,
            scatter: axes.map(|a| a.scatter),
            ..Params::default()
        };
        let mut summed = Vec::new();
        if let Some(Summing { on_store, partial, chunks }) = summing {
            params.sums_stride = l.tensors.block_range(self.y).len() as u32;
            params.sums_base = first * params.sums_stride + y.blocks.start;
            (params.chunks, params.chunk_first) = (partial.chunks, chunks.first);
            summed.push(Binding::write(partial.slot));
            if let (OnStore::Gradient(sums), Some(z)) = (on_store, y.places.get(1)) {
                (params.z_base, params.z_stride) = (z.base + skipped_y * z.stride, z.stride);
                summed.insert(0, Binding::read(sums.table));
                summed.push(Binding::read(z.slot));
            }
        }
        let texture = i64::from(l.tensors.of(self.y).storage == Storage::Texture);
        let adds = self.add || x.blocks.start > 0;
        let add = i64::from(adds);
        let (kernel, grid) = match tiling {
            Tiling::Subgroup(tile) => {
                let kernel = Kernel::with(
                    "conv3d/gather_subgroup",
                    &[
                        ("LANES", i64::from(lanes)),
                        ("ROWS", i64::from(tile.rows)),
                        ("T", i64::from(tile.blocks)),
                        ("KH", i64::from(tile.factors(&axes[1]))),
                        ("STEP", i64::from(Tile::step(&axes[1]))),
                        ("WINOGRAD", i64::from(tile.winograd)),
                        ("TEXTURE", texture),
                        ("ADD", add),
                    ],
                );
                let tiles_h = q[1].div_ceil(lanes_h * tile.rows);
                (kernel, [params.tiles_w * tiles_h * corners, samples * q[0]])
            }
            Tiling::Simt(brick) => {
                let steps = axes.map(|a| i64::from(a.in_step));
                let names = ["BD", "BH", "BW", "SD", "SH", "SW", "KD", "KH", "KW"];
                let edges = brick.edges.map(i64::from);
                let values = edges.into_iter().chain(steps).chain(taps.map(i64::from));
                let mut constants: Vec<(&str, i64)> = names.into_iter().zip(values).collect();
                let norm = i64::from(self.on_load.is_some());
                constants.extend([
                    ("WIDTH", i64::from(brick.width)),
                    ("TEXTURE", texture),
                    ("ADD", add),
                    ("NORM", norm),
                    ("SUMS", summing.map_or(0, |s| s.on_store.constant())),
                ]);
                if let Some(Summing { chunks, .. }) = summing {
                    let names = ["CD", "CH", "CW"].into_iter();
                    constants.extend(names.zip(chunks.edges.map(i64::from)));
                }
                let bricks: u32 = (0..3).map(|i| q[i].div_ceil(brick.edges[i])).product();
                params.groups = samples * bricks * corners;
                let grid = linear_groups(u64::from(params.groups));
                (Kernel::with("conv3d/gather_simt", &constants), [grid[0], grid[1]])
            }
        };
        let flops = self.flops(l, &axes, x, y, samples);
        // y is stored, loaded where it is added to, and z with it for its norm.
        let passes = 1 + u32::from(adds) + u32::from(summed.len() > 1);
        let vec4s = u64::from(points) * u64::from(co_blocks * corners * passes + ci_blocks);
        let sums = summing.map_or(0, |s| samples * co_blocks * s.chunks.number() * 2);
        let bytes = 16 * (vec4s + u64::from(sums));
        // Without a bias the binding holds the weights, unread.
        let bias = match bias_here {
            Some(b) => ParamRef { offset: b.offset, ..b }.read(),
            None => self.w.read(),
        };
        let mut bindings = vec![
            Binding::read(place_x.slot),
            Binding::read(packed),
            bias,
            Binding::write(place_y.slot),
        ];
        bindings.extend(self.on_load.map(Binding::read));
        bindings.extend(summed);
        let tiles = co_blocks.div_ceil(tiling.blocks());
        let dispatch = Dispatch::new(kernel, &params, bindings, [grid[0], grid[1], tiles]);
        let tiled = Some(tiled.clone());
        l.recording.dispatch(Dispatch { tiled, ..dispatch.work(flops, bytes) });
    }

    /// Packs the weights of one dispatch into a scratch slot.
    fn pack(
        &self,
        l: &mut Lowering,
        axes: &[Axis; 3],
        x: &Region,
        y: &Region,
        tiling: Tiling,
    ) -> Result<SlotId> {
        let scatters = axes.iter().any(|a| a.scatter > 1);
        let taps = match scatters {
            true => axes.map(|a| a.weights()),
            false => [axes[0].count, tiling.factors(&axes[1]), axes[2].count],
        };
        let t_blocks = tiling.blocks();
        let ci_blocks = x.blocks.len() as u32;
        let tiles = (y.blocks.len() as u32).div_ceil(t_blocks);
        let total = u64::from(tiles * t_blocks * ci_blocks * 4)
            * taps.map(u64::from).iter().product::<u64>();
        let texture = l.variant == ConvVariant::Subgroup;
        let slot = if texture {
            let height = total.div_ceil(WEIGHT_ROW);
            if height > u64::from(l.tensors.caps().max_texture_3d) {
                return Err(Error::Device(
                    "a convolution has too many weights for this device; use fewer --features"
                        .into(),
                ));
            }
            l.tensors.slots.texture("packed weights", [1024, height as u32, 1], Lifetime::Transient)
        } else {
            l.tensors.slots.buffer("packed weights", total * 16, Lifetime::Transient)
        };
        let segments = l.tensors.segments(self.x);
        let strides = self.tap_strides.map(|s| s as i32);
        let order = if texture && !scatters { [0, 2, 1] } else { [0, 1, 2] };
        let params = PackParams {
            total: total as u32,
            t_blocks,
            ci_blocks,
            pad0: 0,
            counts: order.map(|i| taps[i]),
            tap: (0..3).map(|i| axes[i].tap0 * strides[i]).sum(),
            steps: order.map(|i| axes[i].tap_step * strides[i]),
            ci_first: x.blocks.start,
            co_stride: self.layout.co_stride,
            ci_stride: self.layout.ci_stride,
            co_first: self.layout.co_first + y.blocks.start * 4,
            co_count: self.co_count(l, y),
            segment: segments[0],
            segment_padded: blocks_of(segments[0]) * 4,
            ci_count: segments.iter().sum(),
            pad1: 0,
        };
        let constants =
            [("TEXTURE", i64::from(texture)), ("WINOGRAD", i64::from(tiling.is_winograd()))];
        let kernel = Kernel::with("conv3d/pack", &constants);
        let bindings = vec![self.w.read(), Binding::write(slot)];
        let groups = linear_groups(total.div_ceil(64));
        l.recording.dispatch(Dispatch::new(kernel, &params, bindings, groups).work(0, total * 32));
        Ok(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_are_the_axis_in_pieces() {
        let axis = Geometry { kernel: [3; 3], stride: [2; 3], padding: [1; 3], transposed: false }
            .backward_axis(0, 23, 12)[1];
        for most in [1, 4, 11, 12, 100] {
            let points = |a: Axis| {
                (0..a.points as i32).map(move |q| {
                    (q * a.in_step + a.in_offset, q as u32 * a.out_step + a.out_offset)
                })
            };
            let pieces: Vec<_> = axis.slabs(most).flat_map(points).collect();
            assert_eq!(pieces, points(axis).collect::<Vec<_>>());
            assert!(axis.slabs(most).all(|a| a.points <= most));
        }
    }

    /// Every (input, output, tap) triple of the definition must occur once in either direction.
    #[test]
    fn axes_enumerate_the_definition() {
        for (k, s, p) in
            [(3, 1, 1), (3, 2, 1), (1, 1, 0), (1, 2, 0), (2, 2, 0), (3, 1, 0), (2, 1, 0)]
        {
            for input in k..12 {
                let geometry =
                    Geometry { kernel: [k; 3], stride: [s; 3], padding: [p; 3], transposed: false };
                let output = (input + 2 * p - k) / s + 1;
                let mut expected = Vec::new();
                for o in 0..output as i32 {
                    for t in 0..k as i32 {
                        let i = o * s as i32 + t - p as i32;
                        if (0..input as i32).contains(&i) {
                            expected.push((i, o, t));
                        }
                    }
                }
                expected.sort_unstable();
                let mut backward = Vec::new();
                let mut covered = vec![0; input as usize];
                for a in geometry.backward_axis(0, input, output) {
                    for q in 0..a.points as i32 {
                        let i = q * a.out_step as i32 + a.out_offset as i32;
                        covered[i as usize] += 1;
                        for j in 0..a.count as i32 {
                            let o = q * a.in_step + a.in_offset + j;
                            if (0..output as i32).contains(&o) {
                                backward.push((i, o, a.tap0 + a.tap_step * j));
                            }
                        }
                    }
                }
                backward.sort_unstable();
                assert_eq!(backward, expected, "k {k} s {s} p {p} n {input}");
                assert!(covered.iter().all(|&c| c == 1));
            }
        }
    }
}
