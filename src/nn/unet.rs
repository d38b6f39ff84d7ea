//! nnU-Net v1's Generic_UNet as a list of ops: forward and backward.
//!
//! Level i: two blocks conv - instance norm - leaky ReLU 0.01; the first convolution of level
//! i > 0 has stride pools\[i - 1\]. Up: transposed convolution (kernel = stride, no bias),
//! concatenation (upsampled, skip), two blocks, and a 1x1x1 head without bias at every level.

use super::parameters::{Parameters, decoder_block, encoder_block};
use super::plan::NetworkPlan;
use crate::error::{Error, Result};
use crate::gpu::{Lifetime, SlotId};
use crate::ops::conv3d::{Conv3dBackwardInput, Conv3dBackwardWeight, Conv3dForward, Geometry};
use crate::ops::norm::{
    NormActivation, NormActivationBackward, NormOnLoad, NormStatistics, SegmentNorm,
    statistics_slot,
};
use crate::ops::stage::Stage;
use crate::ops::tensor::{Storage, View};
use crate::ops::{Lowering, ParamRef};

/// Slope of the leaky ReLU below 0.
const SLOPE: f32 = 0.01;
const POINTWISE: Geometry =
    Geometry { kernel: [1; 3], stride: [1; 3], padding: [0; 3], transposed: false };

/// A network: its plan and its parameters.
#[derive(Clone, Debug)]
pub struct UNet {
    /// The plan.
    pub plan: NetworkPlan,
    /// Names and places of the parameters.
    pub parameters: Parameters,
}

/// Input of a convolution: values as they lie, or what a norm and an activation make of them while they are
/// loaded.
#[derive(Clone, Copy, Debug)]
struct Operand {
    view: View,
    on_load: Option<SlotId>,
}

impl From<View> for Operand {
    fn from(view: View) -> Self {
        Operand { view, on_load: None }
    }
}

/// What the backward pass needs of one block.
#[derive(Clone, Debug)]
struct Block {
    name: String,
    geometry: Geometry,
    x: Operand,
    z: View,
    norm: SegmentNorm,
    /// The activation; of a variant that normalises on load, z itself.
    a: Operand,
}

/// Where a backward pass writes, and what it makes again instead of keeping it.
#[derive(Clone, Copy, Debug)]
pub struct Backward {
    /// The flat gradient.
    pub gradient: SlotId,
    /// Of so many levels, from the full resolution on, the activations are made again from their
    /// normalised convolutions: less memory for one more pass over them, and the same bits. A variant
    /// that normalises on load keeps none anyway.
    pub recompute: usize,
}

/// What a forward pass leaves.
#[derive(Clone, Debug)]
pub struct Activations {
    samples: u32,
    /// Two blocks a level.
    encoder: Vec<[Block; 2]>,
    /// Two blocks a decoder step, deepest first.
    decoder: Vec<[Block; 2]>,
    /// Logits, head 0 = full resolution; buffers of N, classes, D, H, W.
    pub logits: Vec<View>,
}

fn same_padding(kernel: [u32; 3], stride: [u32; 3]) -> Geometry {
    Geometry { kernel, stride, padding: kernel.map(|k| k / 2), transposed: false }
}

impl UNet {
    /// The network of a plan.
    pub fn new(plan: NetworkPlan) -> Self {
        let parameters = Parameters::new(&plan);
        UNet { plan, parameters }
    }

    fn parameter(&self, slot: SlotId, name: &str) -> Result<ParamRef> {
        self.parameters
            .place(slot, name)
            .ok_or_else(|| Error::Input(format!("the network has no parameter '{name}'")))
    }

    fn tensor(
        &self,
        l: &mut Lowering,
        name: &str,
        samples: u32,
        segments: &[u32],
        level: usize,
        storage: Storage,
    ) -> Result<View> {
        let edges = self.plan.spatial(level);
        let life = Lifetime::Transient;
        Ok(l.tensors.add(name, samples, segments, edges, storage, life)?.view())
    }

    fn up_geometry(&self, level: usize) -> Geometry {
        let pool = self.plan.pools[level];
        Geometry { kernel: pool, stride: pool, padding: [0; 3], transposed: true }
    }

    /// Appends the forward pass on `image` (N,C,D,H,W in a buffer) with the weights in
    /// `parameters`. `heads` tells which logits are wanted (head 0 = full resolution).
    ///
    /// # Errors
    /// [`Error::Device`] when a tensor exceeds the device's limits.
    pub fn forward(
        &self,
        l: &mut Lowering,
        parameters: SlotId,
        image: View,
        heads: &[bool],
    ) -> Result<Activations> {
        let plan = &self.plan;
        let samples = l.tensors.of(image).samples;
        let operand = l.variant.operand();
        let steps = plan.pools.len();
        let mut x = Operand::from(image);
        if operand != Storage::Buffer {
            let to = self.tensor(l, "image operand", samples, &[plan.in_channels], 0, operand)?;
            Stage { from: image, to }.lower(l);
            x = to.into();
        }
        // One tensor a level for the concatenation; upsampling and skip write their segments.
        let mut joined = Vec::new();
        for level in 0..steps {
            let features = plan.features(level);
            let name = format!("concatenation {level}");
            joined.push(self.tensor(l, &name, samples, &[features, features], level, operand)?);
        }
        let mut encoder: Vec<[Block; 2]> = Vec::new();
        for level in 0..plan.levels() {
            let kernel = plan.kernels[level];
            let stride = if level == 0 { [1; 3] } else { plan.pools[level - 1] };
            let features = plan.features(level);
            let name = encoder_block(plan, level, 0);
            let a = self.tensor(l, "a", samples, &[features], level, operand)?;
            let first =
                self.block(l, parameters, &name, same_padding(kernel, stride), x, a, level)?;
            let name = encoder_block(plan, level, 1);
            let a = match joined.get(level) {
                Some(both) => both.tensor.segment(1),
                None => self.tensor(l, "a", samples, &[features], level, operand)?,
            };
            let geometry = same_padding(kernel, [1; 3]);
            let second = self.block(l, parameters, &name, geometry, first.a, a, level)?;
            x = second.a;
            encoder.push([first, second]);
        }
        let mut decoder = Vec::new();
        let mut logits = vec![None; steps];
        for u in 0..steps {
            let level = steps - 1 - u;
            let features = plan.features(level);
            let w = self.parameter(parameters, &format!("tu.{u}.weight"))?;
            let y = joined[level].tensor.segment(0);
            let Operand { view, on_load } = x;
            let geometry = self.up_geometry(level);
            Conv3dForward { x: view, on_load, w, bias: None, y, geometry }.lower(l)?;
            let both = Self::joined(l, joined[level], &encoder[level][1]);
            let geometry = same_padding(plan.kernels[level + 1], [1; 3]);
            let a = self.tensor(l, "a", samples, &[features], level, operand)?;
            let name = decoder_block(u, 0);
            let first = self.block(l, parameters, &name, geometry, both, a, level)?;
            let a = self.tensor(l, "a", samples, &[features], level, operand)?;
            let name = decoder_block(u, 1);
            let second = self.block(l, parameters, &name, geometry, first.a, a, level)?;
            x = second.a;
            decoder.push([first, second]);
            if heads.get(level).copied().unwrap_or(false) {
                let classes = [plan.classes];
                let y = self.tensor(l, "logits", samples, &classes, level, Storage::Buffer)?;
                let w = self.parameter(parameters, &format!("seg_outputs.{u}.weight"))?;
                let Operand { view, on_load } = x;
                Conv3dForward { x: view, on_load, w, bias: None, y, geometry: POINTWISE }
                    .lower(l)?;
                logits[level] = Some(y);
            }
        }
        let logits = logits.into_iter().flatten().collect();
        Ok(Activations { samples, encoder, decoder, logits })
    }

    /// A concatenation of values as they lie and the activation of `skip`, which its second segment is
    /// or becomes while it is loaded.
    fn joined(l: &mut Lowering, z: View, skip: &Block) -> Operand {
        if !l.variant.normalises_on_load() {
            return z.into();
        }
        let segments = vec![None, Some(skip.norm)];
        Operand { view: z, on_load: Some(NormOnLoad { z, segments }.lower(l)) }
    }

    /// Appends a block whose activation, or what becomes it on load, is `a`.
    #[expect(clippy::too_many_arguments, reason = "a block is wired from all of these")]
    fn block(
        &self,
        l: &mut Lowering,
        parameters: SlotId,
        name: &str,
        geometry: Geometry,
        x: Operand,
        a: View,
        level: usize,
    ) -> Result<Block> {
        let samples = l.tensors.of(a).samples;
        let features = self.plan.features(level);
        let operand = l.variant.operand();
        let on_load = l.variant.normalises_on_load();
        let z = match on_load {
            true => a,
            false => self.tensor(l, &format!("{name} z"), samples, &[features], level, operand)?,
        };
        let w = self.parameter(parameters, &format!("{name}.conv.weight"))?;
        let bias = Some(self.parameter(parameters, &format!("{name}.conv.bias"))?);
        let gamma = self.parameter(parameters, &format!("{name}.instnorm.weight"))?;
        let beta = self.parameter(parameters, &format!("{name}.instnorm.bias"))?;
        Conv3dForward { x: x.view, on_load: x.on_load, w, bias, y: z, geometry }.lower(l)?;
        let stats = statistics_slot(l, z, Lifetime::Transient);
        NormStatistics { z, stats }.lower(l);
        let norm = SegmentNorm { stats, gamma, beta, slope: SLOPE };
        let a = match on_load {
            true => {
                let table = NormOnLoad { z, segments: vec![Some(norm)] }.lower(l);
                Operand { view: z, on_load: Some(table) }
            }
            false => {
                NormActivation { z, norm, a }.lower(l)?;
                a.into()
            }
        };
        Ok(Block { name: name.to_owned(), geometry, x, z, norm, a })
    }

    /// Appends the backward pass: fills `to.gradient` (flat, as the parameters) from the gradients
    /// on the logits (operand storage), head 0 = full resolution; `None` for a head without weight.
    /// The bias in front of an instance norm has gradient 0 and is left at 0, so the gradient must
    /// be zero where nothing writes: a cleared buffer.
    ///
    /// # Errors
    /// [`Error::Device`] when a tensor exceeds the device's limits.
    pub fn backward(
        &self,
        l: &mut Lowering,
        parameters: SlotId,
        to: Backward,
        activations: &Activations,
        dlogits: &[Option<View>],
    ) -> Result<()> {
        let gradient = to.gradient;
        let plan = &self.plan;
        let steps = plan.pools.len();
        let samples = activations.samples;
        let operand = l.variant.operand();
        // Gradients on each level's encoder output through the skip.
        let mut skips: Vec<Option<View>> = vec![None; plan.levels()];
        let mut from_above: Option<View> = None;
        // The activation at the end of the level's decoder, where the level above has needed it.
        let mut end_of_level: Option<Operand> = None;
        for (level, skip_gradient) in skips.iter_mut().take(steps).enumerate() {
            let u = steps - 1 - level;
            let features = plan.features(level);
            let [first, second] = &activations.decoder[u];
            let again = level < to.recompute;
            let mut gradients: Vec<View> = from_above.into_iter().collect();
            if let Some(dy) = dlogits.get(level).copied().flatten() {
                let name = format!("seg_outputs.{u}.weight");
                let w = self.parameter(parameters, &name)?;
                let dw = self.parameter(gradient, &name)?;
                let x = match end_of_level {
                    Some(a) => a,
                    None => self.activation(l, second, level, again)?,
                };
                let Operand { view: x, on_load } = x;
                Conv3dBackwardWeight { x, on_load, dy, dw, db: None, geometry: POINTWISE }
                    .lower(l)?;
                let dx = self.tensor(l, "da head", samples, &[features], level, operand)?;
                let (dx, segments) = (vec![Some(dx)], vec![features]);
                Conv3dBackwardInput { dy, w, dx: dx.clone(), segments, geometry: POINTWISE }
                    .lower(l)?;
                gradients.extend(dx.into_iter().flatten());
            }
            let da = self.tensor(l, "da", samples, &[features], level, operand)?;
            let x = self.activation(l, first, level, again)?;
            let whole = Block { x, ..second.clone() };
            self.block_backward(l, parameters, gradient, &whole, &gradients, &[Some(da)], level)?;
            let up = self.tensor(l, "d upsampled", samples, &[features], level, operand)?;
            let skip = self.tensor(l, "d skip", samples, &[features], level, operand)?;
            let dx = [Some(up), Some(skip)];
            self.block_backward(l, parameters, gradient, first, &[da], &dx, level)?;
            *skip_gradient = Some(skip);
            let name = format!("tu.{u}.weight");
            let (w, dw) = (self.parameter(parameters, &name)?, self.parameter(gradient, &name)?);
            let geometry = self.up_geometry(level);
            let below = if level + 1 == steps {
                &activations.encoder[steps][1]
            } else {
                &activations.decoder[u - 1][1]
            };
            let again = level + 1 < to.recompute.min(steps);
            let x = self.activation(l, below, level + 1, again)?;
            end_of_level = Some(x);
            let Operand { view: x, on_load } = x;
            Conv3dBackwardWeight { x, on_load, dy: up, dw, db: None, geometry }.lower(l)?;
            let deep = plan.features(level + 1);
            let dx = self.tensor(l, "da", samples, &[deep], level + 1, operand)?;
            Conv3dBackwardInput { dy: up, w, dx: vec![Some(dx)], segments: vec![deep], geometry }
                .lower(l)?;
            from_above = Some(dx);
        }
        for level in (0..plan.levels()).rev() {
            let features = plan.features(level);
            let [first, second] = &activations.encoder[level];
            let x = self.activation(l, first, level, level < to.recompute)?;
            let second = &Block { x, ..second.clone() };
            let gradients: Vec<View> = from_above.into_iter().chain(skips[level]).collect();
            let da = self.tensor(l, "da", samples, &[features], level, operand)?;
            self.block_backward(l, parameters, gradient, second, &gradients, &[Some(da)], level)?;
            let dx = if level == 0 {
                None
            } else {
                let input = [plan.features(level - 1)];
                Some(self.tensor(l, "da", samples, &input, level - 1, operand)?)
            };
            self.block_backward(l, parameters, gradient, first, &[da], &[dx], level)?;
            from_above = dx;
        }
        Ok(())
    }

    /// The activation of a block: as the forward pass left it, or made again.
    fn activation(
        &self,
        l: &mut Lowering,
        block: &Block,
        level: usize,
        again: bool,
    ) -> Result<Operand> {
        if !again || l.variant.normalises_on_load() {
            return Ok(block.a);
        }
        let samples = l.tensors.of(block.z).samples;
        let (features, operand) = (self.plan.features(level), l.variant.operand());
        let a = self.tensor(l, "a again", samples, &[features], level, operand)?;
        NormActivation { z: block.z, norm: block.norm, a }.lower(l)?;
        Ok(a.into())
    }

    #[expect(clippy::too_many_arguments, reason = "a block is wired from all of these")]
    fn block_backward(
        &self,
        l: &mut Lowering,
        parameters: SlotId,
        gradient: SlotId,
        block: &Block,
        gradients: &[View],
        dx: &[Option<View>],
        level: usize,
    ) -> Result<()> {
        let Some((&da, rest)) = gradients.split_first() else {
            return Err(Error::Input("a network without any weighted head cannot train".into()));
        };
        let features = self.plan.features(level);
        let samples = l.tensors.of(block.z).samples;
        let operand = l.variant.operand();
        let dz = self.tensor(l, "dz", samples, &[features], level, operand)?;
        let name = |part: &str| format!("{}.{part}", block.name);
        NormActivationBackward {
            z: block.z,
            norm: block.norm,
            frozen: false,
            da,
            da2: rest.first().copied(),
            dz,
            dgamma: self.parameter(gradient, &name("instnorm.weight"))?,
            dbeta: self.parameter(gradient, &name("instnorm.bias"))?,
        }
        .lower(l)?;
        let w = self.parameter(parameters, &name("conv.weight"))?;
        let dw = self.parameter(gradient, &name("conv.weight"))?;
        let (Operand { view: x, on_load }, geometry) = (block.x, block.geometry);
        Conv3dBackwardWeight { x, on_load, dy: dz, dw, db: None, geometry }.lower(l)?;
        if dx.iter().any(Option::is_some) {
            let segments = l.tensors.segments(x);
            Conv3dBackwardInput { dy: dz, w, dx: dx.to_vec(), segments, geometry }.lower(l)?;
        }
        Ok(())
    }
}
