//! Weights in the order in which a gather reads them.

use super::axis::Axis;
use super::gather::Gather;
use super::tiling::Tiling;
use crate::error::{Error, Result};
use crate::gpu::{Binding, Dispatch, Kernel, Lifetime, SlotId, linear_groups};
use crate::ops::tensor::{Region, blocks_of};
use crate::ops::{ConvVariant, Lowering};

/// Texels in a row of a weight texture.
const WEIGHT_ROW: u64 = 1024;

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct PackParams {
    /// Vec4s of the first tap of the innermost loop.
    rows: u32,
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

impl Gather {
    /// Packs the weights of one dispatch into a scratch slot.
    pub(super) fn pack(
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
        let counts = order.map(|i| taps[i]);
        let rows = total / u64::from(counts[2].max(1));
        let params = PackParams {
            rows: rows as u32,
            t_blocks,
            ci_blocks,
            pad0: 0,
            counts,
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
        let groups = linear_groups(rows.div_ceil(64));
        l.recording.dispatch(Dispatch::new(kernel, &params, bindings, groups).work(0, total * 32));
        Ok(slot)
    }
}
