//! The weight gradient: partial sums over chunks of points (split-K), then one sum in order.

use super::{Conv3dBackwardWeight, Geometry};
use crate::gpu::{Binding, Dispatch, Kernel, Lifetime, linear_groups};
use crate::ops::tensor::{Region, Storage, View, blocks_of};
use crate::ops::{ConvVariant, Lowering, ParamRef};

/// Workgroups that keep the device busy; more chunks than that only cost partial sums.
const WORKGROUPS_CPU: u32 = 32;
const WORKGROUPS_GPU: u32 = 1024;

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
    ci_blocks: u32,
    taps: u32,
    co_stride: u32,
    ci_stride: u32,
    co_count: u32,
    segment: u32,
    segment_padded: u32,
    ci_count: u32,
    ci_first: u32,
    accumulate: u32,
    co_block_first: u32,
    pad: [u32; 2],
}

/// Both partial kernels share the layout; the names follow the subgroup kernel, and the simt
/// kernel reads bricks for points and other values in three places.
#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct PartialParams {
    q: [u32; 3],
    /// Points (subgroup) or bricks (simt).
    items: u32,
    x_d: u32,
    x_base: u32,
    x_stride: u32,
    ci_blocks: u32,
    y_d: u32,
    y_base: u32,
    y_stride: u32,
    co_tiles: u32,
    /// Steps d, h, w (subgroup) or x_h, x_w, samples (simt).
    middle: [i32; 3],
    kd: u32,
    offset: [i32; 3],
    /// kh (subgroup) or step_d (simt).
    last: u32,
    chunk_items: u32,
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
        let samples = end - first;
        let simt = l.variant == ConvVariant::Simt;
        let [kd, kh, kw] = self.geometry.kernel;
        let stride = self.geometry.stride.map(|s| s as i32);
        let (ci_blocks, co_blocks) = (x.blocks.len() as u32, y.blocks.len() as u32);
        let t_blocks = if simt { 4 } else { co_blocks.min(if kw == 3 { 2 } else { 4 }) };
        let co_tiles = co_blocks.div_ceil(t_blocks);
        let x_edges = l.tensors.of(self.x).spatial;
        let q = l.tensors.of(self.dy).spatial;
        let items = if simt {
            samples * q[0] * q[1].div_ceil(8) * q[2].div_ceil(8)
        } else {
            samples * q.iter().product::<u32>()
        };
        // Groups of one chunk, and how many chunks keep the device busy.
        let per_chunk = co_tiles * ci_blocks * kd * if simt { 1 } else { kh };
        let wanted = if l.tensors.caps().cpu { WORKGROUPS_CPU } else { WORKGROUPS_GPU };
        let vec4s = u64::from(co_tiles * t_blocks * ci_blocks * 4 * kd * kh * kw);
        let room = (l.tensors.caps().max_binding_bytes / 16 / vec4s.max(1)).max(1) as u32;
        let most = items.div_ceil(if simt { 1 } else { 256 }).min(room).max(1);
        let mut chunks = wanted.div_ceil(per_chunk).clamp(1, most);
        let chunk_items = items.div_ceil(chunks);
        chunks = items.div_ceil(chunk_items);
        let partial = l.tensors.slots.buffer(
            "dw partial",
            vec4s * 16 * u64::from(chunks),
            Lifetime::Transient,
        );
        let (place_x, place_y) = (x.places[0], y.places[0]);
        let groups = per_chunk * chunks;
        let params = PartialParams {
            q,
            items,
            x_d: x_edges[0],
            x_base: place_x.base + (first - x.samples.start) * place_x.stride,
            x_stride: place_x.stride,
            ci_blocks,
            y_d: q[0],
            y_base: place_y.base + (first - y.samples.start) * place_y.stride,
            y_stride: place_y.stride,
            co_tiles,
            middle: if simt {
                [x_edges[1] as i32, x_edges[2] as i32, samples as i32]
            } else {
                stride
            },
            kd,
            offset: self.geometry.padding.map(|p| -(p as i32)),
            last: if simt { stride[0] as u32 } else { kh },
            chunk_items,
            groups,
            chunk_first: 0,
            co_blocks,
        };
        let kernel = if simt {
            Kernel::with(
                "conv3d/weight_simt",
                &[
                    ("KH", i64::from(kh)),
                    ("KW", i64::from(kw)),
                    ("SH", i64::from(stride[1])),
                    ("SW", i64::from(stride[2])),
                ],
            )
        } else {
            let lanes = l.tensors.caps().subgroup_lanes.unwrap_or(8);
            Kernel::with(
                "conv3d/weight_subgroup",
                &[
                    ("LANES", i64::from(lanes)),
                    ("T", i64::from(t_blocks)),
                    ("KW", i64::from(kw)),
                    ("UNROLL", 4),
                ],
            )
        };
        let co_total = l.tensors.channels(self.dy);
        let segments = l.tensors.segments(self.x);
        let ci_total: u32 = segments.iter().sum();
        let taps = kd * kh * kw;
        let points = u64::from(samples) * q.iter().map(|&e| u64::from(e)).product::<u64>();
        let co_here = u64::from((co_total - y.blocks.start * 4).min(co_blocks * 4));
        let ci_here = u64::from(ci_total.min(ci_blocks * 4));
        let flops = 2 * points * co_here * ci_here * u64::from(taps);
        let bytes = points * 16 * u64::from(co_blocks + ci_blocks);
        let bindings =
            vec![Binding::read(place_x.slot), Binding::read(place_y.slot), Binding::write(partial)];
        let grid = linear_groups(u64::from(groups));
        l.recording.dispatch(Dispatch::new(kernel, &params, bindings, grid).work(flops, bytes));
        let sum = SumParams {
            total: vec4s as u32,
            chunks,
            t_blocks,
            ci_blocks,
            taps,
            co_stride: ci_total * taps,
            ci_stride: taps,
            co_count: co_total,
            segment: segments[0],
            segment_padded: blocks_of(segments[0]) * 4,
            ci_count: ci_total,
            ci_first: x.blocks.start,
            accumulate: u32::from(first > 0),
            co_block_first: y.blocks.start,
            pad: [0; 2],
        };
        let kernel = Kernel::plain("conv3d/weight_sum");
        let bindings = vec![Binding::read(partial), self.dw.write()];
        let grid = linear_groups(vec4s.div_ceil(64));
        let bytes = vec4s * 16 * u64::from(chunks);
        l.recording.dispatch(Dispatch::new(kernel, &sum, bindings, grid).work(0, bytes));
    }
}
