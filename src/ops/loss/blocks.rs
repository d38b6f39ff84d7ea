//! Softmax over many channel blocks, and sigmoid: kernels that loop over the blocks, sample by sample. The
//! logits of one sample may lie in several slots.

use super::{Channels, DiceCrossEntropy, Sizes};
use crate::gpu::{Binding, Dispatch, Kernel, Lifetime, SlotId, linear_groups};
use crate::ops::Lowering;
use crate::ops::labels::LabelRange;
use crate::ops::tensor::{Place, Region, Storage, View};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    voxels: u32,
    base: u32,
    first_block: u32,
    blocks: u32,
    sample: u32,
    first_label: u32,
    chunks: u32,
    total: u32,
    classes: u32,
    all_blocks: u32,
    out_base: u32,
    out_pitch: u32,
    edges: [u32; 3],
    weight: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct RegionParams {
    all: Params,
    masks: [u32; 256],
}

/// The part of a kernel's work that lies in one slot of each view, of one sample.
struct Piece {
    params: Params,
    /// Logits and labels.
    bindings: Vec<Binding>,
    /// Where a second view lies.
    to: Option<Place>,
}

impl DiceCrossEntropy {
    fn is_sigmoid(&self) -> bool {
        self.channels != Channels::Labels
    }

    /// The pieces of all samples, the blocks of each in order.
    fn pieces(&self, l: &Lowering, to: Option<View>) -> Vec<Piece> {
        let Sizes { edges, voxels, classes, blocks, chunks, .. } = self.sizes(l);
        let views: Vec<View> = [self.logits].into_iter().chain(to).collect();
        let of = |region: &Region, sample: u32| {
            let labels = LabelRange::of(l.tensors.caps(), self.labels, voxels, sample..sample + 1);
            let at = |place: &Place| Place {
                base: place.base + (sample - region.samples.start) * place.stride,
                ..*place
            };
            let from = at(&region.places[0]);
            let to_place = region.places.get(1).map(at);
            let count = region.blocks.len() as u32;
            let params = Params {
                voxels,
                base: from.base,
                first_block: region.blocks.start,
                blocks: count,
                sample,
                first_label: labels.first,
                chunks,
                total: chunks * count,
                classes,
                all_blocks: blocks,
                out_base: to_place.map_or(0, |place| place.base),
                out_pitch: to.map_or(0, |view| l.tensors.of(view).pitch),
                edges,
                weight: self.weight,
            };
            let bindings = vec![Binding::read(from.slot), labels.read()];
            Piece { params, bindings, to: to_place }
        };
        let regions = l.tensors.regions(&views);
        let pieces = |region: &Region| region.samples.clone().map(|n| of(region, n)).collect();
        regions.iter().flat_map::<Vec<Piece>, _>(pieces).collect()
    }

    /// A dispatch of a kernel that knows both heads; FLOPs and bytes are those of a block's voxel.
    fn dispatch(
        &self,
        shader: &'static str,
        constants: &[(&'static str, i64)],
        piece: Piece,
        groups: u32,
        (flops, bytes): (u64, u64),
    ) -> Dispatch {
        let Piece { params, bindings, .. } = piece;
        let kernel = Kernel::with(shader, constants);
        let grid = linear_groups(u64::from(groups));
        let dispatch = match &self.channels {
            Channels::Labels => Dispatch::new(kernel, &params, bindings, grid),
            Channels::Regions(masks) => {
                let params = RegionParams { all: params, masks: **masks };
                Dispatch::new(kernel, &params, bindings, grid)
            }
        };
        let count = u64::from(params.voxels) * u64::from(params.blocks);
        dispatch.work(count * flops, count * bytes)
    }

    /// Appends the softmax of every voxel, a slot per sample: vec4 \[voxel\]. `None` for sigmoid, which needs
    /// none.
    pub(super) fn softmax_states(&self, l: &mut Lowering) -> Option<Vec<SlotId>> {
        if self.is_sigmoid() {
            return None;
        }
        let Sizes { samples, voxels, .. } = self.sizes(l);
        let mut state =
            || l.tensors.slots.buffer("softmax", u64::from(voxels) * 16, Lifetime::Transient);
        let states: Vec<SlotId> = (0..samples).map(|_| state()).collect();
        for mut piece in self.pieces(l, None) {
            piece.bindings.push(Binding::write(states[piece.params.sample as usize]));
            let groups = voxels.div_ceil(64);
            let dispatch = self.dispatch("loss/blocks_softmax", &[], piece, groups, (24, 16));
            l.recording.dispatch(dispatch);
        }
        Some(states)
    }

    /// Appends the sums of every chunk and block, vec4 \[n\]\[chunk\]\[block\]\[6\].
    pub(super) fn blocks_sums(&self, l: &mut Lowering, states: Option<&[SlotId]>, partial: SlotId) {
        let constants = [("SIGMOID", i64::from(self.is_sigmoid()))];
        for mut piece in self.pieces(l, None) {
            let state = states.map(|s| Binding::read(s[piece.params.sample as usize]));
            piece.bindings.extend(state);
            piece.bindings.push(Binding::write(partial));
            let groups = piece.params.total;
            let dispatch = self.dispatch("loss/blocks_sums", &constants, piece, groups, (48, 24));
            l.recording.dispatch(dispatch);
        }
    }

    /// Appends the gradient on the logits.
    pub(super) fn blocks_backward(
        &self,
        l: &mut Lowering,
        states: Option<&[SlotId]>,
        coefficients: SlotId,
        dlogits: View,
    ) {
        let groups = self.sizes(l).voxels.div_ceil(64);
        for mut piece in self.pieces(l, None) {
            let Some(states) = states else { break };
            piece.bindings.push(Binding::write(states[piece.params.sample as usize]));
            piece.bindings.push(Binding::read(coefficients));
            let dispatch = self.dispatch("loss/blocks_mean", &[], piece, groups, (24, 16));
            l.recording.dispatch(dispatch);
        }
        let texture = l.tensors.of(dlogits).storage == Storage::Texture;
        let constants =
            [("SIGMOID", i64::from(self.is_sigmoid())), ("TEXTURE", i64::from(texture))];
        for mut piece in self.pieces(l, Some(dlogits)) {
            let Some(to) = piece.to else { continue };
            let state = states.map(|s| Binding::read(s[piece.params.sample as usize]));
            piece.bindings.extend(state);
            piece.bindings.extend([Binding::read(coefficients), Binding::write(to.slot)]);
            let shader = "loss/blocks_backward";
            let dispatch = self.dispatch(shader, &constants, piece, groups, (32, 36));
            l.recording.dispatch(dispatch);
        }
    }
}
