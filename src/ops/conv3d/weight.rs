//! The weight gradient: partial sums over chunks of points (split-K), then one sum in order.

use super::gather::lane_shift;
use super::{Conv3dBackwardWeight, Geometry};
use crate::gpu::{Binding, Dispatch, Kernel, Lifetime, linear_groups};
use crate::ops::tensor::{Region, Storage, View, blocks_of};
use crate::ops::{ConvVariant, Lowering, ParamRef};

/// Workgroups that keep the device busy; more chunks than that only cost partial sums.
const WORKGROUPS_CPU: u32 = 32;
const WORKGROUPS_GPU: u32 = 1024;

/// Points of a lane and turn in the subgroup variant.
const ROWS: u32 = 4;

/// Register tiles of the subgroup variant: output blocks, input blocks, and the speed that benches
/// gave on llvmpipe. Larger ones spill over its instruction cache.
const TILES: [(u32, u32, f32); 3] = [(2, 2, 1.0), (2, 1, 0.95), (3, 1, 0.85)];

/// The output and input blocks of a tile that finish so many blocks first.
fn subgroup_tile(co_blocks: u32, ci_blocks: u32) -> (u32, u32) {
    let time = |&(t, c, speed): &(u32, u32, f32)| {
        (co_blocks.div_ceil(t) * t * ci_blocks.div_ceil(c) * c) as f32 / speed
    };
    let best = TILES.iter().min_by(|a, b| time(a).total_cmp(&time(b)));
    best.map_or((2, 2), |&(t, c, _)| (t, c))
}

/// `dw[o][c][t] = sum dy[o][p] x[c][p * stride + t - padding]`, addressed as the gather's weights.
struct WeightGradient<'a> {
    x: View,
    dy: View,
    dw: &'a ParamRef,
    geometry: &'a Geometry,
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
    chunks: u32,
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
    chunk_first: u32,
    co_blocks: u32,
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
    pub fn lower(&self, l: &mut Lowering) {
        // A transposed convolution is the plain one with input and output exchanged.
        let (x, dy) = if self.geometry.transposed { (self.dy, self.x) } else { (self.x, self.dy) };
        WeightGradient { x, dy, dw: &self.dw, geometry: &self.geometry }.lower(l);
        if let Some(db) = &self.db {
            lower_bias(l, self.dy, db);
        }
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
        let operands = Operands {
            samples: end - first,
            ci_blocks,
            co_blocks,
            x_edges: l.tensors.of(self.x).spatial,
            q: l.tensors.of(self.dy).spatial,
            x_base: place_x.base + (first - x.samples.start) * place_x.stride,
            x_stride: place_x.stride,
            y_base: place_y.base + (first - y.samples.start) * place_y.stride,
            y_stride: place_y.stride,
        };
        let (partials, kernel, params, groups) = match l.variant {
            ConvVariant::Simt => self.simt(l, &operands),
            ConvVariant::Subgroup => self.subgroup(l, &operands),
        };
        let Partials { t_blocks, c_blocks, chunks, order } = partials;
        let [kd, kh, kw] = self.geometry.kernel;
        let taps = kd * kh * kw;
        let vec4s = u64::from(co_blocks.div_ceil(t_blocks) * t_blocks)
            * u64::from(ci_blocks.div_ceil(c_blocks) * c_blocks * 4 * taps);
        let bytes = vec4s * 16 * u64::from(chunks);
        let partial = l.tensors.slots.buffer("dw partial", bytes, Lifetime::Transient);
        let co_total = l.tensors.channels(self.dy);
        let segments = l.tensors.segments(self.x);
        let ci_total: u32 = segments.iter().sum();
        let co_end = ((y.blocks.start + co_blocks) * 4).min(co_total);
        let points = u64::from(operands.samples) * u64::from(operands.q.iter().product::<u32>());
        let co_here = u64::from(co_end - y.blocks.start * 4);
        let flops = 2 * points * co_here * u64::from(ci_total.min(ci_blocks * 4) * taps);
        let work = points * 16 * u64::from(co_blocks + ci_blocks);
        let bindings =
            vec![Binding::read(place_x.slot), Binding::read(place_y.slot), Binding::write(partial)];
        let mut dispatch = Dispatch::new(kernel, &[0u8; 0], bindings, groups).work(flops, work);
        dispatch.params = params;
        l.recording.dispatch(dispatch);
        let strides = [kh * kw, kw, 1];
        let sum = SumParams {
            total: vec4s as u32,
            chunks,
            t_blocks,
            c_blocks,
            ci_blocks,
            co_stride: ci_total * taps,
            ci_stride: taps,
            co_end,
            segment: segments[0],
            segment_padded: blocks_of(segments[0]) * 4,
            ci_count: ci_total,
            ci_first: x.blocks.start,
            counts: order.map(|i| self.geometry.kernel[i]),
            accumulate: u32::from(first > 0),
            steps: order.map(|i| strides[i]),
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

    fn simt(&self, l: &Lowering, o: &Operands) -> (Partials, Kernel, Vec<u8>, [u32; 3]) {
        let [kd, kh, kw] = self.geometry.kernel;
        let [sd, sh, sw] = self.geometry.stride;
        let co_tiles = o.co_blocks.div_ceil(4);
        let bricks = o.samples * o.q[0] * o.q[1].div_ceil(8) * o.q[2].div_ceil(8);
        let per_chunk = co_tiles * o.ci_blocks * kd;
        let vec4s = u64::from(co_tiles * 16 * o.ci_blocks * kd * kh * kw);
        let wanted = if l.tensors.caps().cpu { WORKGROUPS_CPU } else { WORKGROUPS_GPU };
        let (chunks, chunk_bricks) = Self::chunks(l, per_chunk, wanted, vec4s, bricks);
        let groups = per_chunk * chunks;
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
            chunk_first: 0,
            co_blocks: o.co_blocks,
        };
        let constants = [("KH", kh), ("KW", kw), ("SH", sh), ("SW", sw)];
        let kernel = Kernel::with("conv3d/weight_simt", &constants.map(|(k, v)| (k, i64::from(v))));
        let partials = Partials { t_blocks: 4, c_blocks: 1, chunks, order: [0, 1, 2] };
        let grid = linear_groups(u64::from(groups));
        (partials, kernel, bytemuck::bytes_of(&params).to_vec(), grid)
    }

    fn subgroup(&self, l: &Lowering, o: &Operands) -> (Partials, Kernel, Vec<u8>, [u32; 3]) {
        let [kd, kh, kw] = self.geometry.kernel;
        let lanes = l.tensors.caps().subgroup_lanes.unwrap_or(8);
        let step = self.geometry.stride[1];
        let shift = lane_shift(o.q[2], lanes);
        let (t, c) = subgroup_tile(o.co_blocks, o.ci_blocks);
        let (co_tiles, ci_tiles) = (o.co_blocks.div_ceil(t), o.ci_blocks.div_ceil(c));
        let planes = o.samples * o.q[0];
        let per_chunk = co_tiles * ci_tiles * kd * kw;
        let vec4s = u64::from(co_tiles * t * ci_tiles * c * 4 * kd * kh * kw);
        let (chunks, chunk_planes) = Self::chunks(l, per_chunk, WORKGROUPS_CPU, vec4s, planes);
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
            chunks,
            shift,
            pad: 0,
        };
        let row_step = ((lanes >> shift) * step).min(kh);
        let constants =
            [("LANES", lanes), ("T", t), ("C", c), ("ROWS", ROWS), ("KH", kh), ("STEP", row_step)];
        let kernel =
            Kernel::with("conv3d/weight_subgroup", &constants.map(|(k, v)| (k, i64::from(v))));
        let partials = Partials { t_blocks: t, c_blocks: c, chunks, order: [0, 2, 1] };
        let params = bytemuck::bytes_of(&params).to_vec();
        (partials, kernel, params, [kd * kw, ci_tiles, co_tiles * chunks])
    }
}

/// Where the operands of one dispatch lie.
struct Operands {
    samples: u32,
    ci_blocks: u32,
    co_blocks: u32,
    x_edges: [u32; 3],
    q: [u32; 3],
    x_base: u32,
    x_stride: u32,
    y_base: u32,
    y_stride: u32,
}

/// Layout of the partial sums: blocks a tile, chunks, and which axes the loops over taps are.
struct Partials {
    t_blocks: u32,
    c_blocks: u32,
    chunks: u32,
    order: [usize; 3],
}
