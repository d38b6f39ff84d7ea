//! Copies a tensor between storages: a convolution's operand must lie where its variant reads, and
//! a single channel is laid out with its neighbours.

use super::Lowering;
use super::tensor::{Storage, View};
use crate::error::Result;
use crate::gpu::{Binding, Dispatch, Kernel, Lifetime, linear_groups};

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
    pad: [u32; 3],
}

impl Stage {
    /// Appends the copies, one a region.
    pub fn lower(&self, l: &mut Lowering) {
        self.copy(l, 0);
    }

    fn copy(&self, l: &mut Lowering, unroll: u32) {
        let [d, h, w] = l.tensors.of(self.from).spatial;
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
                pad: [0; 3],
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
    Stage { from: x, to }.copy(l, taps);
    Ok(to)
}
