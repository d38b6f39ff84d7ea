//! Softmax over few channel blocks, which a kernel holds in registers all at once.

use super::{Channels, DiceCrossEntropy, Sizes};
use crate::gpu::{Binding, Dispatch, Kernel, SlotId, linear_groups};
use crate::ops::Lowering;
use crate::ops::labels::LabelRange;
use crate::ops::tensor::{Storage, View};

/// Most blocks: five sums of each are 40 registers, and 12 KiB of workgroup memory.
const MOST_BLOCKS: u32 = 2;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct SumsParams {
    voxels: u32,
    base: u32,
    stride: u32,
    first_sample: u32,
    chunks: u32,
    total: u32,
    first_label: u32,
    pad: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct BackwardParams {
    voxels: u32,
    base: u32,
    stride: u32,
    first_sample: u32,
    out_base: u32,
    out_stride: u32,
    total: u32,
    weight: f32,
    edges: [u32; 3],
    chunks: u32,
    out_pitch: u32,
    first_label: u32,
    pad: [u32; 2],
}

impl DiceCrossEntropy {
    /// Whether these kernels can do it: few labels, and all channels of a voxel in one slot of each view.
    pub(super) fn is_compact(&self, l: &Lowering, views: &[View]) -> bool {
        let blocks = self.sizes(l).blocks;
        let whole = || l.tensors.regions(views).iter().all(|r| r.blocks.len() as u32 == blocks);
        self.channels == Channels::Labels && blocks <= MOST_BLOCKS && whole()
    }

    /// Appends the sums of every chunk, vec4 \[n\]\[chunk\]\[block\]\[6\].
    pub(super) fn compact_sums(&self, l: &mut Lowering, partial: SlotId) {
        let Sizes { voxels, classes, blocks, chunks, .. } = self.sizes(l);
        let constants = [("CLASSES", i64::from(classes)), ("BLOCKS", i64::from(blocks))];
        for region in l.tensors.regions(&[self.logits]) {
            let place = region.places[0];
            let labels =
                LabelRange::of(l.tensors.caps(), self.labels, voxels, region.samples.clone());
            let total = region.samples.len() as u32 * chunks;
            let params = SumsParams {
                voxels,
                base: place.base,
                stride: place.stride,
                first_sample: region.samples.start,
                chunks,
                total,
                first_label: labels.first,
                pad: 0,
            };
            let bindings = vec![Binding::read(place.slot), labels.read(), Binding::write(partial)];
            let kernel = Kernel::with("loss/dice_ce_sums", &constants);
            let grid = linear_groups(u64::from(total));
            let count = region.samples.len() as u64 * u64::from(voxels);
            let bytes = count * u64::from(16 * blocks + 4);
            l.recording.dispatch(
                Dispatch::new(kernel, &params, bindings, grid)
                    .work(count * u64::from(classes) * 12, bytes),
            );
        }
    }

    /// Appends the gradient on the logits.
    pub(super) fn compact_backward(&self, l: &mut Lowering, coefficients: SlotId, dlogits: View) {
        let Sizes { edges, classes, blocks, voxels, chunks, .. } = self.sizes(l);
        let texture = l.tensors.of(dlogits).storage == Storage::Texture;
        for region in l.tensors.regions(&[self.logits, dlogits]) {
            let [from, to] = region.places[..] else { continue };
            let labels =
                LabelRange::of(l.tensors.caps(), self.labels, voxels, region.samples.clone());
            let total = region.samples.len() as u32 * chunks;
            let params = BackwardParams {
                voxels,
                base: from.base,
                stride: from.stride,
                first_sample: region.samples.start,
                out_base: to.base,
                out_stride: to.stride,
                total,
                weight: self.weight,
                edges,
                chunks,
                out_pitch: l.tensors.of(dlogits).pitch,
                first_label: labels.first,
                pad: [0; 2],
            };
            let bindings = vec![
                Binding::read(from.slot),
                labels.read(),
                Binding::read(coefficients),
                Binding::write(to.slot),
            ];
            let constants = [
                ("CLASSES", i64::from(classes)),
                ("BLOCKS", i64::from(blocks)),
                ("TEXTURE", i64::from(texture)),
            ];
            let kernel = Kernel::with("loss/dice_ce_backward", &constants);
            let grid = linear_groups(u64::from(total));
            let count = region.samples.len() as u64 * u64::from(voxels);
            let bytes = count * u64::from(32 * blocks + 4);
            l.recording.dispatch(
                Dispatch::new(kernel, &params, bindings, grid)
                    .work(count * u64::from(classes) * 12, bytes),
            );
        }
    }
}
