//! Instance normalisation with leaky ReLU: statistics, forward, backward.
//!
//! `a = leaky(gamma (z - mean) / sqrt(var + 1e-5) + beta)`, statistics per sample and channel over
//! D, H, W with biased variance (Ulyanov et al. 2016; torch.nn.InstanceNorm3d).

use super::stage::Stage;
use super::tensor::{Region, Storage, View, blocks_of};
use super::{Lowering, ParamRef};
use crate::error::Result;
use crate::gpu::{Binding, Command, Dispatch, Kernel, Lifetime, SlotId};

/// Places (h, w) of a workgroup, and the planes that each of its invocations walks.
const PLACES: u32 = 64;
const RUN: u32 = 32;
/// Of the backward pass, which reads more tensors side by side: 32 take 1.4 times as long on llvmpipe.
const RUN_BACKWARD: u32 = 16;

/// Mean and 1 / sqrt(var + 1e-5) of every sample and channel.
#[derive(Clone, Debug)]
pub struct NormStatistics {
    /// N,C,D,H,W, one segment, buffer or texture.
    pub z: View,
    /// Output, as [`statistics_slot`] makes it.
    pub stats: SlotId,
}

/// Statistics, affine map and leaky ReLU of one segment.
#[derive(Clone, Copy, Debug)]
pub struct SegmentNorm {
    /// Statistics as [`NormStatistics`] leaves them.
    pub stats: SlotId,
    /// Scale, \[C\].
    pub gamma: ParamRef,
    /// Shift, \[C\].
    pub beta: ParamRef,
    /// Slope of the activation below 0; 1 leaves it out.
    pub slope: f32,
}

/// Normalisation, affine map and leaky ReLU.
#[derive(Clone, Debug)]
pub struct NormActivation {
    /// N,C,D,H,W, one segment, buffer or texture.
    pub z: View,
    /// What is applied.
    pub norm: SegmentNorm,
    /// Output, buffer or texture.
    pub a: View,
}

/// The first half of the gradients of [`NormActivation`]: over the voxels the sums of g and of g xhat, where
/// g is the gradient in front of the activation and xhat the normalised z.
#[derive(Clone, Copy, Debug)]
pub struct NormSums {
    /// As in the forward pass.
    pub z: View,
    /// As in the forward pass.
    pub norm: SegmentNorm,
    /// Both sums of every sample and channel, a slot as [`statistics_slot`] makes it.
    pub sums: SlotId,
    /// Gradient on gamma, \[C\]: the sum of g xhat.
    pub dgamma: ParamRef,
    /// Gradient on beta, \[C\]: the sum of g.
    pub dbeta: ParamRef,
}

/// Gradients of [`NormActivation`].
#[derive(Clone, Debug)]
pub struct NormActivationBackward {
    /// The norm, its sums and the gradients that they are.
    pub of: NormSums,
    /// Whether the convolution that made da has left the sums ([`super::conv3d::GradientSums`]).
    pub summed: bool,
    /// True: mean and variance count as constants.
    pub frozen: bool,
    /// Gradient on a, in storage as z.
    pub da: View,
    /// A second gradient on a, added to the first; in storage as z.
    pub da2: Option<View>,
    /// Gradient on z, buffer or texture.
    pub dz: View,
}

/// What stands in front of a convolution's input, by segment, for the convolution to apply it while it
/// loads: the activation need not be kept then.
#[derive(Clone, Debug)]
pub struct NormOnLoad {
    /// N,C,D,H,W: the convolution's input.
    pub z: View,
    /// Normalisation of each segment of z; `None` leaves the segment as it is.
    pub segments: Vec<Option<SegmentNorm>>,
}

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    edges: [u32; 3],
    blocks: u32,
    z_base: u32,
    z_stride: u32,
    a_base: u32,
    a_stride: u32,
    b_base: u32,
    b_stride: u32,
    out_base: u32,
    out_stride: u32,
    first_block: u32,
    sample_blocks: u32,
    first_sample: u32,
    slope: f32,
    channels: u32,
    run: u32,
    tiles: u32,
    chunks: u32,
    frozen: u32,
    first_row: u32,
    out_pitch: u32,
    first_tile: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct CombineParams {
    edges: [u32; 3],
    rows: u32,
    chunk: [u32; 3],
    pad: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct TableParams {
    rows: u32,
    blocks: u32,
    table_blocks: u32,
    first_block: u32,
    channels: u32,
    slope: f32,
    pad: [u32; 2],
}

/// A slot for the statistics of `z`: vec4 \[n\]\[block\]\[2\].
pub fn statistics_slot(l: &mut Lowering, z: View, lifetime: Lifetime) -> SlotId {
    let bytes = u64::from(rows_of(l, z)) * 32;
    l.tensors.slots.buffer("norm statistics", bytes, lifetime)
}

fn is_texture(l: &Lowering, view: View) -> i64 {
    i64::from(l.tensors.of(view).storage == Storage::Texture)
}

/// What the kernels need of a region of z.
struct Columns {
    params: Params,
    /// Workgroups along x and y of a kernel that walks the columns.
    groups: [u32; 2],
    /// Samples times blocks, the workgroups along z.
    rows: u32,
    /// Vec4s of a row.
    vec4s: u64,
}

impl Columns {
    /// Appends a kernel on all rows, in dispatches of bounded bytes and workgroups; FLOPs and bytes are
    /// those of a vec4.
    fn dispatch(
        &self,
        l: &mut Lowering,
        kernel: &Kernel,
        bindings: &[Binding],
        flops: u64,
        bytes: u64,
    ) {
        let (most, most_groups) = (l.tensors.caps().work.bytes, l.tensors.caps().max_groups);
        let rows = (most / (self.vec4s * bytes).max(1)).clamp(1, u64::from(self.rows.max(1)));
        let rows = (rows as u32).min(most_groups);
        let [tiles, runs] = self.groups;
        for first_row in (0..self.rows).step_by(rows as usize) {
            let count = rows.min(self.rows - first_row);
            // Planes of more places than a dispatch may have workgroups along x are cut.
            for first_tile in (0..tiles).step_by(most_groups as usize) {
                let part = most_groups.min(tiles - first_tile);
                let params = Params { first_row, first_tile, ..self.params };
                let vec4s = self.vec4s * u64::from(count) * u64::from(part) / u64::from(tiles);
                let groups = [part, runs, count];
                let dispatch = Dispatch::new(kernel.clone(), &params, bindings.to_vec(), groups);
                l.recording.dispatch(dispatch.work(vec4s * flops, vec4s * bytes));
            }
        }
    }
}

fn columns(l: &Lowering, z: View, region: &Region, slope: f32, run: u32) -> Columns {
    let edges = l.tensors.of(z).spatial;
    let [d, h, w] = edges;
    let blocks = region.blocks.len() as u32;
    let rows = region.samples.len() as u32 * blocks;
    let (tiles, runs) = ((h * w).div_ceil(PLACES), d.div_ceil(run));
    let params = Params {
        edges,
        blocks,
        z_base: region.places[0].base,
        z_stride: region.places[0].stride,
        first_block: region.blocks.start,
        sample_blocks: l.tensors.block_range(z).len() as u32,
        first_sample: region.samples.start,
        slope,
        channels: l.tensors.channels(z),
        run,
        tiles,
        chunks: chunks_of(l, z, run),
        ..Params::default()
    };
    Columns { params, groups: [tiles, runs], rows, vec4s: u64::from(d * h * w) }
}

impl NormStatistics {
    /// Appends both stages.
    pub fn lower(&self, l: &mut Lowering) {
        let partial = partial_sums(l, self.z, RUN);
        for region in l.tensors.regions(&[self.z]) {
            let columns = columns(l, self.z, &region, 1.0, RUN);
            let kernel = Kernel::with("norm/statistics", &[("IN", is_texture(l, self.z))]);
            let bindings = vec![Binding::read(region.places[0].slot), Binding::write(partial)];
            columns.dispatch(l, &kernel, &bindings, 16, 16);
        }
        let [d, h, w] = l.tensors.of(self.z).spatial;
        combine_statistics(l, self.z, partial, self.stats, [d, 1, h * w], [RUN, 1, PLACES]);
    }
}

/// Chunks of a channel block that the kernels here sum, in runs of so many planes.
fn chunks_of(l: &Lowering, z: View, run: u32) -> u32 {
    let [d, h, w] = l.tensors.of(z).spatial;
    (h * w).div_ceil(PLACES) * d.div_ceil(run)
}

/// Samples times channel blocks.
fn rows_of(l: &Lowering, z: View) -> u32 {
    l.tensors.of(z).samples * l.tensors.block_range(z).len() as u32
}

/// A slot for the sums over runs of the kernels here: vec4 \[n\]\[block\]\[chunk\]\[2\].
fn partial_sums(l: &mut Lowering, z: View, run: u32) -> SlotId {
    let bytes = u64::from(rows_of(l, z)) * u64::from(chunks_of(l, z, run)) * 32;
    l.tensors.slots.buffer("norm partial", bytes, Lifetime::Transient)
}

/// Appends the statistics of z from its chunks' mean and M2, vec4 \[n\]\[block\]\[chunk\]\[2\]; z taken as
/// a volume of `edges`, cut into chunks of so many voxels.
pub(super) fn combine_statistics(
    l: &mut Lowering,
    z: View,
    partial: SlotId,
    stats: SlotId,
    edges: [u32; 3],
    chunk: [u32; 3],
) {
    let rows = rows_of(l, z);
    let params = CombineParams { edges, rows, chunk, pad: 0 };
    let bindings = vec![Binding::read(partial), Binding::write(stats)];
    let groups = [rows, 1, 1];
    let dispatch = Dispatch::new(Kernel::plain("norm/combine"), &params, bindings, groups);
    let chunks: u32 = (0..3).map(|i| edges[i].div_ceil(chunk[i])).product();
    l.recording.dispatch(dispatch.work(0, u64::from(rows) * u64::from(chunks) * 32));
}

impl NormActivation {
    /// Appends one dispatch a region.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when a tensor exceeds the device's limits.
    pub fn lower(&self, l: &mut Lowering) -> Result<()> {
        if let Some(staging) = l.tensors.add_staging(self.a)? {
            NormActivation { a: staging, ..self.clone() }.lower(l)?;
            Stage { from: staging, to: self.a }.lower(l);
            return Ok(());
        }
        let constants = [("IN", is_texture(l, self.z)), ("OUT", is_texture(l, self.a))];
        for region in l.tensors.regions(&[self.z, self.a]) {
            let mut columns = columns(l, self.z, &region, self.norm.slope, RUN);
            let a = region.places[1];
            (columns.params.out_base, columns.params.out_stride) = (a.base, a.stride);
            columns.params.out_pitch = l.tensors.of(self.a).pitch;
            let bindings = vec![
                Binding::read(region.places[0].slot),
                Binding::read(self.norm.stats),
                self.norm.gamma.read(),
                self.norm.beta.read(),
                Binding::write(a.slot),
            ];
            let kernel = Kernel::with("norm/apply", &constants);
            columns.dispatch(l, &kernel, &bindings, 20, 32);
        }
        Ok(())
    }
}

impl NormOnLoad {
    /// Appends the making of the table, a dispatch a segment; vec4 \[n\]\[block of z\]\[5\].
    pub fn lower(&self, l: &mut Lowering) -> SlotId {
        let samples = l.tensors.of(self.z).samples;
        let table_blocks = l.tensors.block_range(self.z).len() as u32;
        let bytes = u64::from(samples * table_blocks) * 80;
        let table = l.tensors.slots.buffer("norm on load", bytes, Lifetime::Transient);
        let mut first_block = 0;
        for (channels, norm) in l.tensors.segments(self.z).into_iter().zip(&self.segments) {
            let blocks = blocks_of(channels);
            let (rows, slope) = (samples * blocks, norm.map_or(1.0, |n| n.slope));
            let params = TableParams {
                rows,
                blocks,
                table_blocks,
                first_block,
                channels,
                slope,
                pad: [0; 2],
            };
            let kernel = Kernel::with("norm/table", &[("NORM", i64::from(norm.is_some()))]);
            let mut bindings = vec![Binding::write(table)];
            if let Some(norm) = norm {
                bindings.extend([Binding::read(norm.stats), norm.gamma.read(), norm.beta.read()]);
            }
            let groups = [rows.div_ceil(64), 1, 1];
            l.recording.dispatch(Dispatch::new(kernel, &params, bindings, groups));
            first_block += blocks;
        }
        table
    }
}

/// Columns and bindings of a kernel of the backward pass on a region of z, da and, where there is a second
/// gradient, da2.
fn backward_columns(l: &Lowering, of: &NormSums, region: &Region) -> (Columns, Vec<Binding>) {
    let NormSums { z, norm, .. } = *of;
    let mut columns = columns(l, z, region, norm.slope, RUN_BACKWARD);
    let p = &mut columns.params;
    (p.a_base, p.a_stride) = (region.places[1].base, region.places[1].stride);
    let mut bindings = vec![
        Binding::read(region.places[0].slot),
        Binding::read(norm.stats),
        norm.gamma.read(),
        norm.beta.read(),
        Binding::read(region.places[1].slot),
    ];
    if let Some(b) = region.places.get(2) {
        (p.b_base, p.b_stride) = (b.base, b.stride);
        bindings.push(Binding::read(b.slot));
    }
    (columns, bindings)
}

impl NormSums {
    /// Appends partial sums and their combination, for the gradient da + da2 on the activation, which lies in
    /// storage as z.
    pub fn lower(&self, l: &mut Lowering, da: View, da2: Option<View>) {
        let partial = partial_sums(l, self.z, RUN_BACKWARD);
        let two = i64::from(da2.is_some());
        let constants = [("IN", is_texture(l, self.z)), ("TWO", two)];
        let views: Vec<View> = [self.z, da].into_iter().chain(da2).collect();
        for region in l.tensors.regions(&views) {
            let (columns, mut bindings) = backward_columns(l, self, &region);
            bindings.push(Binding::write(partial));
            let kernel = Kernel::with("norm/backward_sums", &constants);
            columns.dispatch(l, &kernel, &bindings, 32, 16 * (2 + two as u64));
        }
        let chunks = chunks_of(l, self.z, RUN_BACKWARD);
        self.combine(l, partial, chunks);
    }

    /// Appends the sums of chunks, vec4 \[n\]\[block\]\[chunk\]\[2\], and the gradients on gamma and beta.
    pub(super) fn combine(&self, l: &mut Lowering, partial: SlotId, chunks: u32) {
        let samples = l.tensors.of(self.z).samples;
        let blocks = l.tensors.block_range(self.z).len() as u32;
        let channels = l.tensors.channels(self.z);
        let bytes = u64::from(channels) * 4;
        let both = l.tensors.slots.buffer("dgamma dbeta", bytes * 2, Lifetime::Transient);
        let params = [chunks, blocks, samples, channels];
        let bindings =
            vec![Binding::read(partial), Binding::write(self.sums), Binding::write(both)];
        let groups = [blocks, 1, 1];
        let kernel = Kernel::plain("norm/backward_combine");
        let dispatch = Dispatch::new(kernel, &params, bindings, groups);
        let work = u64::from(samples * blocks) * u64::from(chunks) * 32;
        l.recording.dispatch(dispatch.work(0, work));
        for (from, to) in [(0, self.dgamma), (bytes, self.dbeta)] {
            l.recording.commands.push(Command::Copy {
                from: (both, from),
                to: (to.slot, to.offset * 4),
                bytes,
            });
        }
    }
}

impl NormActivationBackward {
    /// Appends the sums, unless they are there, and the gradient on z.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when a tensor exceeds the device's limits.
    pub fn lower(&self, l: &mut Lowering) -> Result<()> {
        if let Some(staging) = l.tensors.add_staging(self.dz)? {
            NormActivationBackward { dz: staging, ..self.clone() }.lower(l)?;
            Stage { from: staging, to: self.dz }.lower(l);
            return Ok(());
        }
        let NormActivationBackward { of, summed, frozen, da, da2, dz } = *self;
        if !summed {
            of.lower(l, da, da2);
        }
        let two = i64::from(da2.is_some());
        let constants = [("IN", is_texture(l, of.z)), ("TWO", two), ("OUT", is_texture(l, dz))];
        let views: Vec<View> = [of.z, da].into_iter().chain(da2).chain([dz]).collect();
        for mut region in l.tensors.regions(&views) {
            let Some(out) = region.places.pop() else { continue };
            let (mut columns, mut bindings) = backward_columns(l, &of, &region);
            let p = &mut columns.params;
            p.frozen = u32::from(frozen);
            (p.out_base, p.out_stride, p.out_pitch) =
                (out.base, out.stride, l.tensors.of(dz).pitch);
            bindings.push(Binding::read(of.sums));
            bindings.push(Binding::write(out.slot));
            let kernel = Kernel::with("norm/backward_apply", &constants);
            columns.dispatch(l, &kernel, &bindings, 40, 16 * (3 + two as u64));
        }
        Ok(())
    }
}
