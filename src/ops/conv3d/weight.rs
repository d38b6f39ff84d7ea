//! The weight gradient: partial sums over chunks of points (split-K), then one sum in order.

use super::tile::{LARGE, SMALL, is_winograd};
use super::tiling::lane_shift;
use super::{Conv3dBackwardWeight, Geometry};
use crate::error::Result;
use crate::gpu::{Binding, Dispatch, Kernel, Lifetime, SlotId, linear_groups};
use crate::ops::stage::unroll;
use crate::ops::tensor::{Region, Storage, View, blocks_of};
use crate::ops::{ConvVariant, Lowering, ParamRef};
use std::ops::Range;

/// Workgroups that keep the device busy; more chunks than that only cost partial sums.
const WORKGROUPS_CPU: u32 = 32;
const WORKGROUPS_GPU: u32 = 1024;

/// Subgroup variant: operands of a chunk that should stay in cache, and the most partial sums that
/// may come of it.
const CHUNK_BYTES: u64 = 512 << 10;
const PARTIAL_BYTES: u64 = 4 << 20;

/// A lane's part of a turn in the subgroup variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tile {
    /// Neighbours along h.
    rows: u32,
    /// Blocks of output and of input channels.
    co: u32,
    ci: u32,
    /// Three taps along h by F(3,2).
    winograd: bool,
}

/// Blocks of output and input channels, and the speed that benches gave on llvmpipe: the more, the
/// fewer loads a product, until they spill over its instruction cache.
const BLOCKS: [(u32, u32, f32); 7] = [
    (2, 2, 1.0),
    (2, 1, 0.89),
    (3, 1, 0.91),
    (4, 1, 0.92),
    (3, 2, 1.05),
    (3, 3, 1.12),
    (4, 2, 1.12),
];
/// Most pairs of both for work below [`LARGE`].
const PAIRS_BELOW_LARGE: u32 = 4;
/// Rows of direct taps, and of few points.
const ROWS: u32 = 4;
/// Rows of F(3,2), which then takes 0.87 of the time a row.
const ROWS_WINOGRAD: u32 = 8;
const TIME_WINOGRAD: f32 = 0.87;

impl Tile {
    /// The tile that finishes `points` a lane along h of all blocks first.
    fn choose([kh, step]: [u32; 2], points: u32, [co, ci]: [u32; 2], flops: u64) -> Tile {
        let time = |&(t, c, speed): &(u32, u32, f32)| {
            (co.div_ceil(t) * t * ci.div_ceil(c) * c) as f32 / speed
        };
        let is_worth_it =
            |&&(t, c, _): &&(u32, u32, f32)| flops >= LARGE || t * c <= PAIRS_BELOW_LARGE;
        let best = BLOCKS.iter().filter(is_worth_it).min_by(|a, b| time(a).total_cmp(&time(b)));
        let (co, ci) = best.map_or((2, 2), |&(t, c, _)| (t, c));
        let winograd = is_winograd(kh, step);
        let rows_of = |rows: u32| (points.div_ceil(rows) * rows) as f32;
        let tall =
            winograd && flops >= SMALL && rows_of(ROWS_WINOGRAD) * TIME_WINOGRAD < rows_of(ROWS);
        let rows = if tall { ROWS_WINOGRAD } else { ROWS };
        Tile { rows, co, ci, winograd }
    }
}

/// `dw[o][c][t] = sum dy[o][p] x[c][p * stride + t - padding]`, addressed as the gather's weights.
struct WeightGradient<'a> {
    x: View,
    dy: View,
    dw: &'a ParamRef,
    geometry: Geometry,
    /// Table of the normalisation of x, or, where the convolution is transposed, of dy.
    on_load: Option<SlotId>,
    /// Steps between the weights of neighbouring input channels, and of taps along D, H, W.
    ci_stride: u32,
    tap_strides: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct SumParams {
    total: u32,
    chunks: u32,
    t_blocks: u32,
    c_blocks: u32,
    ci_blocks: u32,
    co_stride: u32,
    ci_stride: u32,
    co_end: u32,
    segment: u32,
    segment_padded: u32,
    ci_count: u32,
    ci_first: u32,
    /// Taps along the three loops, outermost first, and the steps between them.
    counts: [u32; 3],
    accumulate: u32,
    steps: [u32; 3],
    co_block_first: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct SubgroupParams {
    q: [u32; 3],
    planes: u32,
    x_d: u32,
    x_base: u32,
    x_stride: u32,
    ci_tiles: u32,
    y_d: u32,
    y_base: u32,
    y_stride: u32,
    co_tiles: u32,
    step: [u32; 3],
    kd: u32,
    offset: [i32; 3],
    kw: u32,
    chunk_planes: u32,
    row_first: u32,
    shift: u32,
    pad: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct SimtParams {
    q: [u32; 3],
    bricks: u32,
    x_d: u32,
    x_base: u32,
    x_stride: u32,
    ci_blocks: u32,
    y_d: u32,
    y_base: u32,
    y_stride: u32,
    co_tiles: u32,
    x_h: u32,
    x_w: u32,
    samples: u32,
    kd: u32,
    offset: [i32; 3],
    step_d: u32,
    chunk_bricks: u32,
    groups: u32,
    row_first: u32,
    co_blocks: u32,
    on_load_base: u32,
    on_load_stride: u32,
    pad: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct BiasParams {
    voxels: u32,
    samples: u32,
    base: u32,
    stride: u32,
    co_count: u32,
    d: u32,
    h: u32,
    w: u32,
    accumulate: u32,
    block_first: u32,
    pad: [u32; 2],
}

impl Conv3dBackwardWeight {
    /// Appends the dispatches of both gradients.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when a tensor exceeds the device's limits.
    pub fn lower(&self, l: &mut Lowering) -> Result<()> {
        // A transposed convolution is the plain one with input and output exchanged.
        let (x, dy) = if self.geometry.transposed { (self.dy, self.x) } else { (self.x, self.dy) };
        let mut gradient = WeightGradient {
            x,
            dy,
            dw: &self.dw,
            geometry: self.geometry,
            on_load: self.on_load,
            ci_stride: self.geometry.taps(),
            tap_strides: self.geometry.tap_strides(),
        };
        let channels = l.tensors.channels(x);
        let unrolled = self.geometry.unrolled(channels).filter(|_| self.on_load.is_none());
        if let Some(unrolled) = unrolled {
            gradient.x = unroll(l, x, self.geometry.kernel[2])?;
            gradient.geometry = unrolled;
            gradient.ci_stride = 1;
        }
        gradient.lower(l);
        if let Some(db) = &self.db {
            lower_bias(l, self.dy, db);
        }
        Ok(())
    }
}

fn lower_bias(l: &mut Lowering, dy: View, db: &ParamRef) {
    let [d, h, w] = l.tensors.of(dy).spatial;
    let texture = l.tensors.of(dy).storage == Storage::Texture;
    let co_count = l.tensors.channels(dy);
    for region in l.tensors.regions(&[dy]) {
        let place = region.places[0];
        let params = BiasParams {
            voxels: d * h * w,
            samples: region.samples.len() as u32,
            base: place.base,
            stride: place.stride,
            co_count,
            d,
            h,
            w,
            accumulate: u32::from(region.samples.start > 0),
            block_first: region.blocks.start,
            pad: [0; 2],
        };
        let kernel = Kernel::with("conv3d/bias", &[("TEXTURE", i64::from(texture))]);
        let bindings = vec![Binding::read(place.slot), db.write()];
        let groups = [region.blocks.len() as u32, 1, 1];
        l.recording.dispatch(Dispatch::new(kernel, &params, bindings, groups));
    }
}

impl WeightGradient<'_> {
    fn lower(&self, l: &mut Lowering) {
        let x_regions = l.tensors.regions(&[self.x]);
        let y_regions = l.tensors.regions(&[self.dy]);
        for y in &y_regions {
            for x in &x_regions {
                self.region(l, x, y);
            }
        }
    }

    fn region(&self, l: &mut Lowering, x: &Region, y: &Region) {
        let first = x.samples.start.max(y.samples.start);
        let end = x.samples.end.min(y.samples.end);
        if first >= end {
            return;
        }
        let (place_x, place_y) = (x.places[0], y.places[0]);
        let (ci_blocks, co_blocks) = (x.blocks.len() as u32, y.blocks.len() as u32);
        let [kd, kh, kw] = self.geometry.kernel;
        let taps = kd * kh * kw;
        let segments = l.tensors.segments(self.x);
        let ci_total: u32 = segments.iter().sum();
        let co_end = ((y.blocks.start + co_blocks) * 4).min(l.tensors.channels(self.dy));
        let co_here = u64::from(co_end - y.blocks.start * 4);
        let q = l.tensors.of(self.dy).spatial;
        let points = u64::from(end - first) * u64::from(q.iter().product::<u32>());
        let flops = 2 * points * co_here * u64::from(ci_total.min(ci_blocks * 4) * taps);
        let (normalised, region) =
            if self.geometry.transposed { (self.dy, y) } else { (self.x, x) };
        let on_load_stride = l.tensors.block_range(normalised).len() as u32;
        let on_load_base = first * on_load_stride + region.blocks.start;
        let operands = Operands {
            flops,
            samples: end - first,
            ci_blocks,
            co_blocks,
            x_edges: l.tensors.of(self.x).spatial,
            q,
            x_base: place_x.base + (first - x.samples.start) * place_x.stride,
            x_stride: place_x.stride,
            y_base: place_y.base + (first - y.samples.start) * place_y.stride,
            y_stride: place_y.stride,
            on_load_base,
            on_load_stride,
        };
        let pieces = flops.div_ceil(l.tensors.caps().work.flops).max(1) as u32;
        let launch = |l: &Lowering, rows: Range<u32>| match l.variant {
            ConvVariant::Simt => self.simt(l, &operands, rows),
            ConvVariant::Subgroup => self.subgroup(l, &operands, rows),
        };
        let Partials { t_blocks, c_blocks, chunks, order } = launch(l, 0..1).partials;
        let vec4s = u64::from(co_blocks.div_ceil(t_blocks) * t_blocks)
            * u64::from(ci_blocks.div_ceil(c_blocks) * c_blocks * 4 * taps);
        let bytes = vec4s * 16 * u64::from(chunks);
        let partial = l.tensors.slots.buffer("dw partial", bytes, Lifetime::Transient);
        let bytes_read = points * 16 * u64::from(co_blocks + ci_blocks);
        let rows = chunks * co_blocks.div_ceil(t_blocks);
        let a_piece = rows.div_ceil(pieces);
        for first in (0..rows).step_by(a_piece as usize) {
            let count = a_piece.min(rows - first);
            let Launch { kernel, params, groups, .. } = launch(l, first..first + count);
            let slots = [place_x.slot, place_y.slot].map(Binding::read);
            let table = self.on_load.map(Binding::read);
            let bindings =
                slots.into_iter().chain([Binding::write(partial)]).chain(table).collect();
            let part = |whole: u64| whole * u64::from(count) / u64::from(rows);
            let (flops, bytes) = (part(flops), part(bytes_read));
            let tiled = None;
            let dispatch = Dispatch { kernel, params, bindings, groups, flops, bytes, tiled };
            l.recording.dispatch(dispatch);
        }
        let sum = SumParams {
            total: vec4s as u32,
            chunks,
            t_blocks,
            c_blocks,
            ci_blocks,
            co_stride: ci_total * taps,
            ci_stride: self.ci_stride,
            co_end,
            segment: segments[0],
            segment_padded: blocks_of(segments[0]) * 4,
            ci_count: ci_total,
            ci_first: x.blocks.start,
            counts: order.map(|i| self.geometry.kernel[i]),
            accumulate: u32::from(first > 0),
            steps: order.map(|i| self.tap_strides[i]),
            co_block_first: y.blocks.start,
        };
        let kernel = Kernel::plain("conv3d/weight_sum");
        let bindings = vec![Binding::read(partial), self.dw.write()];
        let grid = linear_groups(vec4s.div_ceil(64));
        l.recording.dispatch(Dispatch::new(kernel, &sum, bindings, grid).work(0, bytes));
    }

    /// Chunks that keep the device busy when one chunk has so many workgroups, as few as the
    /// partial sums' binding and the number of items allow; and the items of each.
    fn chunks(l: &Lowering, groups: u32, wanted: u32, vec4s: u64, items: u32) -> (u32, u32) {
        let room = (l.tensors.caps().max_binding_bytes / 16 / vec4s.max(1)).max(1) as u32;
        let chunks = wanted.div_ceil(groups).clamp(1, items.min(room).max(1));
        let chunk_items = items.div_ceil(chunks);
        (items.div_ceil(chunk_items), chunk_items)
    }

    /// The kernel on a range of rows: of the tiles of output channels of all chunks, chunk by chunk.
    /// How they are cut into dispatches does not change a sum.
    fn simt(&self, l: &Lowering, o: &Operands, rows: Range<u32>) -> Launch {
        let [kd, kh, kw] = self.geometry.kernel;
        let [sd, sh, sw] = self.geometry.stride;
        let co_tiles = o.co_blocks.div_ceil(4);
        let bricks = o.samples * o.q[0] * o.q[1].div_ceil(8) * o.q[2].div_ceil(8);
        let per_chunk = co_tiles * o.ci_blocks * kd;
        let vec4s = u64::from(co_tiles * 16 * o.ci_blocks * kd * kh * kw);
        let wanted = if l.tensors.caps().cpu { WORKGROUPS_CPU } else { WORKGROUPS_GPU };
        let (chunks, chunk_bricks) = Self::chunks(l, per_chunk, wanted, vec4s, bricks);
        let groups = o.ci_blocks * kd * rows.len() as u32;
        let params = SimtParams {
            q: o.q,
            bricks,
            x_d: o.x_edges[0],
            x_base: o.x_base,
            x_stride: o.x_stride,
            ci_blocks: o.ci_blocks,
            y_d: o.q[0],
            y_base: o.y_base,
            y_stride: o.y_stride,
            co_tiles,
            x_h: o.x_edges[1],
            x_w: o.x_edges[2],
            samples: o.samples,
            kd,
            offset: self.geometry.padding.map(|p| -(p as i32)),
            step_d: sd,
            chunk_bricks,
            groups,
            row_first: rows.start,
            co_blocks: o.co_blocks,
            on_load_base: o.on_load_base,
            on_load_stride: o.on_load_stride,
            pad: [0; 2],
        };
        let normalises =
            |operand| u32::from(self.on_load.is_some() && self.geometry.transposed == operand);
        let constants = [
            ("KH", kh),
            ("KW", kw),
            ("SH", sh),
            ("SW", sw),
            ("NORM_X", normalises(false)),
            ("NORM_DY", normalises(true)),
        ];
        let kernel = Kernel::with("conv3d/weight_simt", &constants.map(|(k, v)| (k, i64::from(v))));
        let partials = Partials { t_blocks: 4, c_blocks: 1, chunks, order: [0, 1, 2] };
        let params = bytemuck::bytes_of(&params).to_vec();
        Launch { partials, kernel, params, groups: linear_groups(u64::from(groups)) }
    }

    /// As [`WeightGradient::simt`].
    fn subgroup(&self, l: &Lowering, o: &Operands, rows: Range<u32>) -> Launch {
        let [kd, kh, kw] = self.geometry.kernel;
        let lanes = l.tensors.caps().subgroup_lanes.unwrap_or(8);
        let step = self.geometry.stride[1];
        let shift = lane_shift(o.q[2], lanes);
        let points = o.q[1].div_ceil(lanes >> shift);
        let tile = Tile::choose([kh, step], points, [o.co_blocks, o.ci_blocks], o.flops);
        let Tile { co: t, ci: c, .. } = tile;
        let (co_tiles, ci_tiles) = (o.co_blocks.div_ceil(t), o.ci_blocks.div_ceil(c));
        let planes = o.samples * o.q[0];
        let per_chunk = co_tiles * ci_tiles * kd * kw;
        let vec4s = u64::from(co_tiles * t * ci_tiles * c * 4 * kd * kh * kw);
        // A chunk's planes of both operands stay in a core's cache while all its workgroups read
        // them, as long as the partial sums do not outgrow what that saves.
        let block_bytes = |[d, h, w]: [u32; 3]| u64::from(o.samples * d * h * w) * 16;
        let bytes = u64::from(o.co_blocks) * block_bytes(o.q)
            + u64::from(o.ci_blocks) * block_bytes(o.x_edges);
        let cached = bytes.div_ceil(CHUNK_BYTES).min(u64::from(planes)) as u32;
        let small = (PARTIAL_BYTES / (vec4s * 16)) as u32;
        let wanted = WORKGROUPS_CPU.max(cached.min(small) * per_chunk);
        let (chunks, chunk_planes) = Self::chunks(l, per_chunk, wanted, vec4s, planes);
        let params = SubgroupParams {
            q: o.q,
            planes,
            x_d: o.x_edges[0],
            x_base: o.x_base,
            x_stride: o.x_stride,
            ci_tiles,
            y_d: o.q[0],
            y_base: o.y_base,
            y_stride: o.y_stride,
            co_tiles,
            step: self.geometry.stride,
            kd,
            offset: self.geometry.padding.map(|p| -(p as i32)),
            kw,
            chunk_planes,
            row_first: rows.start,
            shift,
            pad: 0,
        };
        let constants = [
            ("LANES", lanes),
            ("T", t),
            ("C", c),
            ("ROWS", tile.rows),
            ("KH", kh),
            ("STEP", step.min(kh)),
            ("WINOGRAD", u32::from(tile.winograd)),
        ];
        let kernel =
            Kernel::with("conv3d/weight_subgroup", &constants.map(|(k, v)| (k, i64::from(v))));
        let partials = Partials { t_blocks: t, c_blocks: c, chunks, order: [0, 2, 1] };
        let params = bytemuck::bytes_of(&params).to_vec();
        let groups = [kd * kw, ci_tiles, rows.len() as u32];
        Launch { partials, kernel, params, groups }
    }
}

/// Where the operands of one dispatch lie.
struct Operands {
    flops: u64,
    samples: u32,
    ci_blocks: u32,
    co_blocks: u32,
    x_edges: [u32; 3],
    q: [u32; 3],
    x_base: u32,
    x_stride: u32,
    y_base: u32,
    y_stride: u32,
    on_load_base: u32,
    on_load_stride: u32,
}

/// The kernel on some of the rows.
struct Launch {
    partials: Partials,
    kernel: Kernel,
    params: Vec<u8>,
    groups: [u32; 3],
}

/// Layout of the partial sums: blocks a tile, chunks, and which axes the loops over taps are.
struct Partials {
    t_blocks: u32,
    c_blocks: u32,
    chunks: u32,
    order: [usize; 3],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_waste_no_rows_where_there_are_few() {
        let rows = |kernel_and_step, points, flops| {
            Tile::choose(kernel_and_step, points, [8, 8], flops).rows
        };
        assert_eq!([64, 9, 8, 4, 1].map(|points| rows([3, 1], points, SMALL)), [8, 4, 8, 4, 4]);
        assert_eq!(rows([3, 1], 64, SMALL - 1), 4);
        assert_eq!(rows([3, 2], 64, SMALL), 4);
    }
}
