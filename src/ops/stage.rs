//! Copies a tensor between storages: a convolution's operand must lie where its variant reads, and
//! a single channel is laid out with its neighbours.

use super::Lowering;
use super::tensor::{Storage, View};
use crate::error::Result;
use crate::gpu::{Binding, Command, Dispatch, FILL_PITCH, Kernel, Lifetime, linear_groups};

/// `to = from`, same samples, channels and voxels, any storages.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Source.
    pub from: View,
    /// Destination, another tensor.
    pub to: View,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    w: u32,
    h: u32,
    d: u32,
    blocks: u32,
    total: u32,
    from_base: u32,
    from_stride: u32,
    to_base: u32,
    to_stride: u32,
    to_pitch: u32,
    pad: [u32; 2],
}

impl Stage {
    /// Appends the copies, one a region.
    pub fn lower(&self, l: &mut Lowering) {
        let (from, to) = (l.tensors.of(self.from), l.tensors.of(self.to));
        let into_texture = (from.storage, to.storage) == (Storage::Buffer, Storage::Texture);
        if into_texture && from.pitch.is_multiple_of(FILL_PITCH) {
            self.fill(l);
        } else {
            self.copy(l, 0);
        }
    }

    /// Fills the layers of a texture without a kernel.
    fn fill(&self, l: &mut Lowering) {
        let pitch = l.tensors.of(self.from).pitch;
        let [d, h, w] = l.tensors.of(self.from).spatial;
        for region in l.tensors.regions(&[self.from, self.to]) {
            let [from, to] = region.places[..] else { continue };
            let (samples, blocks) = (region.samples.len() as u32, region.blocks.len() as u32);
            // Whole samples that follow each other are one piece.
            let joined = from.stride == blocks && to.stride == blocks;
            let (pieces, blocks) = if joined { (1, samples * blocks) } else { (samples, blocks) };
            for piece in 0..pieces {
                let first = u64::from(from.base + piece * from.stride) * u64::from(d * h * pitch);
                l.recording.commands.push(Command::Fill {
                    from: (from.slot, first * 16),
                    pitch,
                    to: (to.slot, (to.base + piece * to.stride) * d),
                    size: [w, h, blocks * d],
                });
            }
        }
    }

    fn copy(&self, l: &mut Lowering, unroll: u32) {
        let [d, h, w] = l.tensors.of(self.from).spatial;
        let to_pitch = l.tensors.of(self.to).pitch;
        let is_texture = |view| i64::from(l.tensors.of(view).storage == Storage::Texture);
        let constants = [
            ("FROM_TEXTURE", is_texture(self.from)),
            ("TO_TEXTURE", is_texture(self.to)),
            ("UNROLL", i64::from(unroll)),
        ];
        for region in l.tensors.regions(&[self.from, self.to]) {
            let [from, to] = region.places[..] else { continue };
            let blocks = region.blocks.len() as u32;
            let total = region.samples.len() as u32 * blocks * d * h * w;
            let params = Params {
                w,
                h,
                d,
                blocks,
                total,
                from_base: from.base,
                from_stride: from.stride,
                to_base: to.base,
                to_stride: to.stride,
                to_pitch,
                pad: [0; 2],
            };
            let kernel = Kernel::with("stage/copy", &constants);
            let bindings = vec![Binding::read(from.slot), Binding::write(to.slot)];
            let groups = linear_groups(u64::from(total).div_ceil(64));
            l.recording.dispatch(
                Dispatch::new(kernel, &params, bindings, groups).work(0, u64::from(total) * 32),
            );
        }
    }
}

/// A tensor of `taps` channels (odd, at most 3) from one of a single channel, in the operand storage:
/// channel c at w is the value at w + c - taps / 2, zero outside.
///
/// # Errors
/// [`crate::Error::Device`] when the tensor exceeds the device's limits.
pub(super) fn unroll(l: &mut Lowering, x: View, taps: u32) -> Result<View> {
    let (samples, spatial) = (l.tensors.of(x).samples, l.tensors.of(x).spatial);
    let (storage, life) = (l.variant.operand(), Lifetime::Transient);
    let to = l.tensors.add("neighbours", samples, &[taps], spatial, storage, life)?.view();
    match l.tensors.add_staging(to)? {
        Some(staging) => {
            Stage { from: x, to: staging }.copy(l, taps);
            Stage { from: staging, to }.lower(l);
        }
        None => Stage { from: x, to }.copy(l, taps),
    }
    Ok(to)
}
