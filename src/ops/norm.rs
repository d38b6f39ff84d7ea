//! Instance normalisation with leaky ReLU: statistics, forward, backward.
//!
//! `a = leaky(gamma (z - mean) / sqrt(var + 1e-5) + beta)`, statistics per sample and channel over
//! D, H, W with biased variance (Ulyanov et al. 2016; torch.nn.InstanceNorm3d).

use super::tensor::{Region, Storage, View};
use super::{Lowering, ParamRef};
use crate::gpu::{Binding, Dispatch, Kernel, Lifetime, SlotId, linear_groups};

/// Voxels one workgroup reduces.
const CHUNK_VOXELS: u32 = 2048;

/// Mean and 1 / sqrt(var + 1e-5) of every sample and channel.
#[derive(Clone, Debug)]
pub struct NormStatistics {
    /// N,C,D,H,W in a buffer, one segment.
    pub z: View,
    /// Output, as [`statistics_slot`] makes it.
    pub stats: SlotId,
}

/// Normalisation, affine map and leaky ReLU.
#[derive(Clone, Debug)]
pub struct NormActivation {
    /// N,C,D,H,W in a buffer, one segment.
    pub z: View,
    /// Statistics of z.
    pub stats: SlotId,
    /// Scale, \[C\].
    pub gamma: ParamRef,
    /// Shift, \[C\].
    pub beta: ParamRef,
    /// Slope of the activation below 0; 1 leaves it out.
    pub slope: f32,
    /// Output, buffer or texture.
    pub a: View,
}

/// Gradients of [`NormActivation`].
#[derive(Clone, Debug)]
pub struct NormActivationBackward {
    /// As in the forward pass.
    pub z: View,
    /// As in the forward pass.
    pub stats: SlotId,
    /// As in the forward pass.
    pub gamma: ParamRef,
    /// As in the forward pass.
    pub beta: ParamRef,
    /// As in the forward pass.
    pub slope: f32,
    /// True: mean and variance count as constants.
    pub frozen: bool,
    /// Gradient on a, in a buffer.
    pub da: View,
    /// A second gradient on a, added to the first.
    pub da2: Option<View>,
    /// Gradient on z, buffer or texture.
    pub dz: View,
    /// Gradient on gamma, \[C\].
    pub dgamma: ParamRef,
    /// Gradient on beta, \[C\].
    pub dbeta: ParamRef,
}

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    voxels: u32,
    blocks: u32,
    total: u32,
    channels: u32,
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
    d: u32,
    h: u32,
    w: u32,
    chunks: u32,
    chunk_voxels: u32,
    groups: u32,
    frozen: u32,
    first: u32,
}

/// A slot for the statistics of `z`: vec4 \[n\]\[block\]\[2\].
pub fn statistics_slot(l: &mut Lowering, z: View, lifetime: Lifetime) -> SlotId {
    let rows = l.tensors.of(z).samples * l.tensors.block_range(z).len() as u32;
    l.tensors.slots.buffer("norm statistics", u64::from(rows) * 32, lifetime)
}

fn region_params(l: &Lowering, z: View, region: &Region, slope: f32) -> Params {
    let [d, h, w] = l.tensors.of(z).spatial;
    let blocks = region.blocks.len() as u32;
    let voxels = d * h * w;
    let chunks = voxels.div_ceil(CHUNK_VOXELS);
    Params {
        voxels,
        blocks,
        total: region.samples.len() as u32 * blocks * voxels,
        channels: l.tensors.channels(z),
        z_base: region.places[0].base,
        z_stride: region.places[0].stride,
        first_block: region.blocks.start,
        sample_blocks: l.tensors.block_range(z).len() as u32,
        first_sample: region.samples.start,
        slope,
        d,
        h,
        w,
        chunks,
        chunk_voxels: CHUNK_VOXELS,
        groups: region.samples.len() as u32 * blocks * chunks,
        ..Params::default()
    }
}

impl NormStatistics {
    /// Appends both stages.
    pub fn lower(&self, l: &mut Lowering) {
        for region in l.tensors.regions(&[self.z]) {
            let p = region_params(l, self.z, &region, 1.0);
            let rows = region.samples.len() as u32 * p.blocks;
            let bytes = u64::from(rows * p.chunks) * 32;
            let partial = l.tensors.slots.buffer("norm partial", bytes, Lifetime::Transient);
            let stage1 =
                [p.voxels, p.z_base, p.z_stride, p.blocks, p.chunks, CHUNK_VOXELS, p.groups, 0];
            let bindings = vec![Binding::read(region.places[0].slot), Binding::write(partial)];
            let grid = linear_groups(u64::from(p.groups));
            l.recording.dispatch(
                Dispatch::new(Kernel::plain("norm/statistics"), &stage1, bindings, grid)
                    .work(u64::from(p.total) * 16, u64::from(p.total) * 16),
            );
            let first = p.first_sample * p.sample_blocks + p.first_block;
            let stage2 =
                [p.voxels, p.chunks, CHUNK_VOXELS, rows, p.sample_blocks, p.blocks, first, 0];
            let bindings = vec![Binding::read(partial), Binding::write(self.stats)];
            let grid = [rows.div_ceil(64), 1, 1];
            l.recording.dispatch(Dispatch::new(
                Kernel::plain("norm/combine"),
                &stage2,
                bindings,
                grid,
            ));
        }
    }
}

impl NormActivation {
    /// Appends one dispatch a region.
    pub fn lower(&self, l: &mut Lowering) {
        let texture = i64::from(l.tensors.of(self.a).storage == Storage::Texture);
        for region in l.tensors.regions(&[self.z, self.a]) {
            let mut p = region_params(l, self.z, &region, self.slope);
            let a = region.places[1];
            (p.out_base, p.out_stride) = (a.base, a.stride);
            let bindings = vec![
                Binding::read(region.places[0].slot),
                Binding::read(self.stats),
                self.gamma.read(),
                self.beta.read(),
                Binding::write(a.slot),
            ];
            let kernel = Kernel::with("norm/apply", &[("TEXTURE", texture)]);
            let grid = linear_groups(u64::from(p.total).div_ceil(64));
            let total = u64::from(p.total);
            l.recording
                .dispatch(Dispatch::new(kernel, &p, bindings, grid).work(total * 20, total * 32));
        }
    }
}

impl NormActivationBackward {
    /// Appends partial sums, their combination, and the gradient on z.
    pub fn lower(&self, l: &mut Lowering) {
        let samples = l.tensors.of(self.z).samples;
        let blocks = l.tensors.block_range(self.z).len() as u32;
        let channels = l.tensors.channels(self.z);
        let chunks = l.tensors.voxels(self.z).div_ceil(CHUNK_VOXELS);
        let rows = u64::from(samples * blocks);
        let life = Lifetime::Transient;
        let partial =
            l.tensors.slots.buffer("norm backward partial", rows * u64::from(chunks) * 32, life);
        let sums = l.tensors.slots.buffer("norm backward sums", rows * 32, life);
        let both = l.tensors.slots.buffer("dgamma dbeta", u64::from(channels) * 8, life);
        let two = i64::from(self.da2.is_some());
        let mut views = vec![self.z, self.da, self.dz];
        views.extend(self.da2);
        let regions = l.tensors.regions(&views);
        let texture = i64::from(l.tensors.of(self.dz).storage == Storage::Texture);
        let filled = |l: &Lowering, region: &Region| {
            let mut p = region_params(l, self.z, region, self.slope);
            p.frozen = u32::from(self.frozen);
            (p.a_base, p.a_stride) = (region.places[1].base, region.places[1].stride);
            (p.out_base, p.out_stride) = (region.places[2].base, region.places[2].stride);
            if let Some(b) = region.places.get(3) {
                (p.b_base, p.b_stride) = (b.base, b.stride);
            }
            let bindings = vec![
                Binding::read(region.places[0].slot),
                Binding::read(self.stats),
                self.gamma.read(),
                self.beta.read(),
                Binding::read(region.places[1].slot),
            ];
            let second = region.places.get(3).map(|b| Binding::read(b.slot));
            (p, bindings, second)
        };
        for region in &regions {
            let (p, mut bindings, second) = filled(l, region);
            bindings.push(Binding::write(partial));
            bindings.extend(second);
            let kernel = Kernel::with("norm/backward_sums", &[("TWO", two)]);
            let grid = linear_groups(u64::from(p.groups));
            let bytes = u64::from(p.total) * 16 * (2 + two as u64);
            l.recording.dispatch(
                Dispatch::new(kernel, &p, bindings, grid).work(u64::from(p.total) * 32, bytes),
            );
        }
        let combine = [chunks, blocks, samples, channels];
        let bindings = vec![Binding::read(partial), Binding::write(sums), Binding::write(both)];
        let kernel = Kernel::plain("norm/backward_combine");
        l.recording.dispatch(Dispatch::new(
            kernel,
            &combine,
            bindings,
            [blocks.div_ceil(64), 1, 1],
        ));
        let bytes = u64::from(channels) * 4;
        for (from, to) in [(0, self.dgamma), (bytes, self.dbeta)] {
            l.recording.commands.push(crate::gpu::Command::Copy {
                from: (both, from),
                to: (to.slot, to.offset * 4),
                bytes,
            });
        }
        for region in &regions {
            let (p, mut bindings, second) = filled(l, region);
            bindings.push(Binding::read(sums));
            bindings.push(Binding::write(region.places[2].slot));
            bindings.extend(second);
            let kernel = Kernel::with("norm/backward_apply", &[("TEXTURE", texture), ("TWO", two)]);
            let grid = linear_groups(u64::from(p.total).div_ceil(64));
            let bytes = u64::from(p.total) * 16 * (3 + two as u64);
            l.recording.dispatch(
                Dispatch::new(kernel, &p, bindings, grid).work(u64::from(p.total) * 40, bytes),
            );
        }
    }
}
