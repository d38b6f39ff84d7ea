//! Soft Dice with the cross entropy of softmax (nnU-Net, DC_and_CE_loss) or the binary one of sigmoid
//! (DC_and_BCE_loss), and labels for lower heads.
//!
//! A label of [`IGNORE`] takes its voxel out of everything. nnU-Net divides the binary cross entropy by
//! voxels and channels, but by the voxels alone where there is an ignore label; here it is the mean over
//! both in either case.

mod blocks;
mod compact;

use super::labels::{LabelRange, sample_runs};
use super::tensor::{Tensor, View, blocks_of};
use super::{Lowering, stage::Stage};
use crate::error::Result;
use crate::gpu::{Binding, Dispatch, Kernel, Lifetime, SlotId, linear_groups};

/// Label index of a voxel that takes no part in the loss: its gradient is 0, and no sum or count
/// includes it.
pub const IGNORE: u32 = 255;

/// Voxels of a chunk: one workgroup of the sums takes them.
const CHUNK: u32 = 2048;
/// Vec4 sums of a channel block and chunk.
const SUMS: u32 = 6;

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

/// What the channels of the logits are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channels {
    /// A label each, by softmax; label 0 takes no part in Dice.
    Labels,
    /// A region each, by sigmoid, 32 at most: of each label index the regions that contain it, bit r
    /// for channel r.
    Regions(Box<[u32; 256]>),
}

/// Cross entropy + soft Dice of one head, with its gradient.
#[derive(Clone, Debug)]
pub struct DiceCrossEntropy {
    /// N,channels,D,H,W in a buffer.
    pub logits: View,
    /// What its channels are.
    pub channels: Channels,
    /// Label indices, u32 \[n\]\[d\]\[h\]\[w\], at most 254 or [`IGNORE`].
    pub labels: SlotId,
    /// Gradient on the logits, buffer or texture; `None` computes the loss alone.
    pub dlogits: Option<View>,
    /// Factor of the gradient (the head's weight).
    pub weight: f32,
    /// Dice sums over the batch instead of per sample.
    pub batch_dice: bool,
    /// f32 output: \[ce, dice, total, non-finite\], then per channel hard tp, fp, fn.
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
struct DownsampleParams {
    from: [u32; 3],
    total: u32,
    to: [u32; 3],
    first_from: u32,
    first_to: u32,
    pad: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct FinishParams {
    samples: u32,
    classes: u32,
    blocks: u32,
    batch_dice: u32,
    voxels: u32,
    out_offset: u32,
    first_class: u32,
    channels: f32,
    inverse_count: f32,
    pad: [u32; 3],
}

impl DownsampleLabels {
    /// Appends a dispatch for as many samples as fit a binding.
    pub fn lower(&self, l: &mut Lowering) {
        let voxels = |shape: [u32; 3]| shape.iter().product::<u32>();
        let (read, written) = (voxels(self.from_shape), voxels(self.to_shape));
        let caps = l.tensors.caps().clone();
        for samples in sample_runs(&caps, read.max(written), self.samples) {
            let from = LabelRange::of(&caps, self.from, read, samples.clone());
            let to = LabelRange::of(&caps, self.to, written, samples.clone());
            let total = samples.len() as u32 * written;
            let params = DownsampleParams {
                from: self.from_shape,
                total,
                to: self.to_shape,
                first_from: from.first,
                first_to: to.first,
                pad: [0; 3],
            };
            let kernel = Kernel::plain("loss/downsample_labels");
            let grid = linear_groups(u64::from(total).div_ceil(64));
            let dispatch = Dispatch::new(kernel, &params, vec![from.read(), to.write()], grid);
            l.recording.dispatch(dispatch.work(0, u64::from(total) * 8));
        }
    }
}

/// What the kernels need of the logits.
#[derive(Clone, Copy)]
struct Sizes {
    samples: u32,
    /// D, H, W, and their product.
    edges: [u32; 3],
    voxels: u32,
    classes: u32,
    /// Channel blocks.
    blocks: u32,
    /// Chunks of a sample.
    chunks: u32,
}

impl DiceCrossEntropy {
    fn sizes(&self, l: &Lowering) -> Sizes {
        let Tensor { samples, spatial: edges, .. } = *l.tensors.of(self.logits);
        let (classes, voxels) = (l.tensors.channels(self.logits), edges.iter().product::<u32>());
        let (blocks, chunks) = (blocks_of(classes), voxels.div_ceil(CHUNK));
        Sizes { samples, edges, voxels, classes, blocks, chunks }
    }

    /// Appends sums, their reduction, the loss, and the gradient.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when a tensor exceeds the device's limits.
    pub fn lower(&self, l: &mut Lowering) -> Result<()> {
        let sizes = self.sizes(l);
        let Sizes { samples, blocks, chunks, .. } = sizes;
        let life = Lifetime::Transient;
        let slots = SUMS * blocks;
        let rows = u64::from(samples) * u64::from(chunks);
        let partial = l.tensors.slots.buffer("loss partial", rows * u64::from(slots) * 16, life);
        let mut states = None;
        if self.is_compact(l, &[self.logits]) {
            self.compact_sums(l, partial);
        } else {
            states = self.softmax_states(l);
            self.blocks_sums(l, states.as_deref(), partial);
        }
        let sums = l.tensors.slots.buffer("loss sums", u64::from(samples * slots) * 16, life);
        let bindings = vec![Binding::read(partial), Binding::write(sums)];
        let kernel = Kernel::plain("loss/sum_rows");
        let params = [chunks, slots, 0, 0];
        l.recording.dispatch(Dispatch::new(kernel, &params, bindings, [slots, samples, 1]));
        let coefficients = self.finish(l, sizes, sums);
        let Some(dlogits) = self.dlogits else { return Ok(()) };
        let staging = l.tensors.add_staging(dlogits)?;
        let to = staging.unwrap_or(dlogits);
        if self.is_compact(l, &[self.logits, to]) {
            self.compact_backward(l, coefficients, to);
        } else {
            // The sums took all blocks at once where only the gradient is cut into parts.
            let states = states.or_else(|| self.softmax_states(l));
            self.blocks_backward(l, states.as_deref(), coefficients, to);
        }
        if staging.is_some() {
            Stage { from: to, to: dlogits }.lower(l);
        }
        Ok(())
    }

    /// Appends the loss from its sums. Returns the coefficients of the gradient: vec4, first the factor of
    /// the cross entropy's, then two for each sample and channel block.
    fn finish(&self, l: &mut Lowering, sizes: Sizes, sums: SlotId) -> SlotId {
        let Sizes { samples, voxels, classes, blocks, .. } = sizes;
        let bytes = (1 + u64::from(samples) * u64::from(blocks) * 2) * 16;
        let coefficients = l.tensors.slots.buffer("dice coefficients", bytes, Lifetime::Transient);
        let (first_class, channels) = match self.channels {
            Channels::Labels => (1, 1),
            Channels::Regions(_) => (0, classes),
        };
        let count = f64::from(samples) * f64::from(voxels) * f64::from(channels);
        let params = FinishParams {
            samples,
            classes,
            blocks,
            batch_dice: u32::from(self.batch_dice),
            voxels,
            out_offset: self.out_offset,
            first_class,
            channels: channels as f32,
            inverse_count: (1.0 / count) as f32,
            pad: [0; 3],
        };
        let bindings =
            vec![Binding::read(sums), Binding::write(coefficients), Binding::write(self.out)];
        let kernel = Kernel::plain("loss/dice_finish");
        l.recording.dispatch(Dispatch::new(kernel, &params, bindings, [1, 1, 1]));
        coefficients
    }
}
