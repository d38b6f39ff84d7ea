//! Cross entropy plus soft Dice (nnU-Net v1, DC_and_CE_loss), and labels for lower heads.

use super::Lowering;
use super::stage::Stage;
use super::tensor::{Storage, Tensor, View, blocks_of};
use crate::error::Result;
use crate::gpu::{Binding, Dispatch, Kernel, Lifetime, SlotId, linear_groups};

/// Voxels that one workgroup takes.
const GROUP_VOXELS: u32 = 2048;

/// Nearest-label downsampling, u32 \[n\]\[d\]\[h\]\[w\].
#[derive(Clone, Debug)]
pub struct DownsampleLabels {
    /// Source labels.
    pub from: SlotId,
    /// Source edges D, H, W.
    pub from_shape: [u32; 3],
    /// Output labels.
    pub to: SlotId,
    /// Output edges.
    pub to_shape: [u32; 3],
    /// Number of samples.
    pub samples: u32,
}

/// Softmax cross entropy + soft Dice of one head, with its gradient.
#[derive(Clone, Debug)]
pub struct DiceCrossEntropy {
    /// N,classes,D,H,W in a buffer.
    pub logits: View,
    /// Labels, u32 \[n\]\[d\]\[h\]\[w\].
    pub labels: SlotId,
    /// Gradient on the logits, buffer or texture; `None` computes the loss alone.
    pub dlogits: Option<View>,
    /// Factor of the gradient (the head's weight).
    pub weight: f32,
    /// Dice sums over the batch instead of per sample.
    pub batch_dice: bool,
    /// f32 output: \[ce, dice, total, non-finite\], then per class hard tp, fp, fn.
    pub out: SlotId,
    /// First element of the output.
    pub out_offset: u32,
}

/// Output elements of one head.
pub fn out_elements(classes: u32) -> u32 {
    4 + 3 * classes
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
    inverse_count: f32,
    invocations: u32,
    out_pitch: u32,
    pad: [u32; 2],
}

impl DownsampleLabels {
    /// Appends the dispatch.
    pub fn lower(&self, l: &mut Lowering) {
        let ([in_d, in_h, in_w], [d, h, w]) = (self.from_shape, self.to_shape);
        let total = self.samples * d * h * w;
        let params = [in_d, in_h, in_w, total, d, h, w, 0];
        let bindings = vec![Binding::read(self.from), Binding::write(self.to)];
        let grid = linear_groups(u64::from(total).div_ceil(64));
        let kernel = Kernel::plain("loss/downsample_labels");
        l.recording
            .dispatch(Dispatch::new(kernel, &params, bindings, grid).work(0, u64::from(total) * 8));
    }
}

/// What the kernels need of the logits.
struct Sizes {
    samples: u32,
    /// D, H, W, and their product.
    edges: [u32; 3],
    voxels: u32,
    classes: u32,
    /// Channel blocks.
    blocks: u32,
    /// Invocations a sample.
    invocations: u32,
}

impl DiceCrossEntropy {
    fn sizes(&self, l: &Lowering) -> Sizes {
        let Tensor { samples, spatial: edges, .. } = *l.tensors.of(self.logits);
        let (classes, voxels) = (l.tensors.channels(self.logits), edges.iter().product::<u32>());
        let (blocks, invocations) = (blocks_of(classes), voxels.div_ceil(GROUP_VOXELS) * 64);
        Sizes { samples, edges, voxels, classes, blocks, invocations }
    }

    /// Appends sums, their reduction, the loss, and the gradient.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when a tensor exceeds the device's limits.
    pub fn lower(&self, l: &mut Lowering) -> Result<()> {
        let Sizes { samples, classes, blocks, voxels, invocations, .. } = self.sizes(l);
        let slots = 5 * blocks + 1;
        let life = Lifetime::Transient;
        let rows = u64::from(samples) * u64::from(invocations);
        let partial = l.tensors.slots.buffer("loss partial", rows * u64::from(slots) * 16, life);
        let sums = l.tensors.slots.buffer("loss sums", u64::from(samples * slots) * 16, life);
        let coefficients =
            l.tensors.slots.buffer("dice coefficients", u64::from(samples * classes) * 8, life);
        let constants = [("CLASSES", i64::from(classes)), ("BLOCKS", i64::from(blocks))];
        for region in l.tensors.regions(&[self.logits]) {
            let place = region.places[0];
            let total = region.samples.len() as u32 * invocations;
            let params =
                [voxels, place.base, place.stride, region.samples.start, invocations, total, 0, 0];
            let bindings = vec![
                Binding::read(place.slot),
                Binding::read(self.labels),
                Binding::write(partial),
            ];
            let kernel = Kernel::with("loss/dice_ce_sums", &constants);
            let grid = linear_groups(u64::from(total).div_ceil(64));
            let count = region.samples.len() as u64 * u64::from(voxels);
            let bytes = count * u64::from(16 * blocks + 4);
            l.recording.dispatch(
                Dispatch::new(kernel, &params, bindings, grid)
                    .work(count * u64::from(classes) * 12, bytes),
            );
        }
        let bindings = vec![Binding::read(partial), Binding::write(sums)];
        let params = [invocations, slots, 0, 0];
        let kernel = Kernel::plain("loss/sum_rows");
        l.recording.dispatch(Dispatch::new(kernel, &params, bindings, [slots, samples, 1]));
        let batch_dice = u32::from(self.batch_dice);
        let params = [samples, classes, slots, batch_dice, voxels, self.out_offset, 0, 0];
        let bindings =
            vec![Binding::read(sums), Binding::write(coefficients), Binding::write(self.out)];
        let kernel = Kernel::plain("loss/dice_ce_finish");
        l.recording.dispatch(Dispatch::new(kernel, &params, bindings, [1, 1, 1]));
        let Some(dlogits) = self.dlogits else { return Ok(()) };
        // The kernel writes all classes of a voxel into one slot.
        let staging = l.tensors.add_staging(dlogits)?.filter(|&staging| {
            l.tensors.regions(&[staging]).iter().all(|r| r.blocks.len() as u32 == blocks)
        });
        match staging {
            Some(staging) => {
                self.backward(l, coefficients, staging);
                Stage { from: staging, to: dlogits }.lower(l);
            }
            None => self.backward(l, coefficients, dlogits),
        }
        Ok(())
    }

    /// Appends the gradient on the logits.
    fn backward(&self, l: &mut Lowering, coefficients: SlotId, dlogits: View) {
        let Sizes { samples, edges, classes, blocks, voxels, invocations } = self.sizes(l);
        let texture = l.tensors.of(dlogits).storage == Storage::Texture;
        for region in l.tensors.regions(&[self.logits, dlogits]) {
            let [from, to] = region.places[..] else { continue };
            let total = region.samples.len() as u32 * invocations;
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
                inverse_count: (1.0 / (f64::from(samples) * f64::from(voxels))) as f32,
                invocations,
                out_pitch: l.tensors.of(dlogits).pitch,
                pad: [0; 2],
            };
            let bindings = vec![
                Binding::read(from.slot),
                Binding::read(self.labels),
                Binding::read(coefficients),
                Binding::write(to.slot),
            ];
            let constants = [
                ("CLASSES", i64::from(classes)),
                ("BLOCKS", i64::from(blocks)),
                ("TEXTURE", i64::from(texture)),
            ];
            let kernel = Kernel::with("loss/dice_ce_backward", &constants);
            let grid = linear_groups(u64::from(total).div_ceil(64));
            let count = region.samples.len() as u64 * u64::from(voxels);
            let bytes = count * u64::from(32 * blocks + 4);
            l.recording.dispatch(
                Dispatch::new(kernel, &params, bindings, grid)
                    .work(count * u64::from(classes) * 12, bytes),
            );
        }
    }
}
