//! A gather's kernel with its parameters, bindings and work.

use super::axis::Axis;
use super::gather::Gather;
use super::sums::{Chunks, OnStore, Partial};
use super::tile::Tile;
use super::tiling::{Tiling, lane_shift};
use crate::gpu::{Binding, Dispatch, Kernel, SlotId, Tiled, linear_groups};
use crate::ops::tensor::{Region, Storage, Tensor};
use crate::ops::{Lowering, ParamRef};

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

/// One dispatch of a class, but for the slabs into which it may be cut.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub axes: [Axis; 3],
    pub x: &'a Region,
    pub y: &'a Region,
    pub packed: SlotId,
    pub tiling: Tiling,
    pub tiled: &'a Tiled,
    /// What is summed while y is stored, where this is the last that is added to it.
    pub summing: Option<Summing>,
}

#[derive(Clone, Copy)]
pub(super) struct Summing {
    pub on_store: OnStore,
    pub partial: Partial,
    pub chunks: Chunks,
}

impl Gather {
    /// Appends the kernel for (a slab of) the axes.
    pub(super) fn launch(&self, l: &mut Lowering, part: Part) {
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
}
