//! nnU-Net v1's Generic_UNet as a list of ops: forward and backward.
//!
//! Level i: two blocks conv - instance norm - leaky ReLU 0.01; the first convolution of level
//! i > 0 has stride pools\[i - 1\]. Up: transposed convolution (kernel = stride, no bias),
//! concatenation (upsampled, skip), two blocks, and a 1x1x1 head without bias at every level.

use super::parameters::{Parameters, decoder_block, encoder_block};
use super::plan::NetworkPlan;
use crate::error::{Error, Result};
use crate::gpu::{Lifetime, SlotId};
use crate::ops::conv3d::{
    Conv3dBackwardInput, Conv3dBackwardWeight, Conv3dForward, Geometry, GradientSums, InputGradient,
};
use crate::ops::norm::{
    NormActivation, NormActivationBackward, NormOnLoad, NormSums, SegmentNorm, statistics_slot,
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

/// Gradient on a block's activation: in two parts that the norm's kernels add or, where convolutions add while
/// they store, in one.
#[derive(Clone, Copy, Debug)]
struct ActivationGradient {
    da: View,
    da2: Option<View>,
    /// The sums of the block's norm, where the last convolution left them.
    sums: Option<NormSums>,
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
            Conv3dForward { x: view, on_load, w, bias: None, y, statistics: None, geometry }
                .lower(l)?;
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
                let (bias, statistics, geometry) = (None, None, POINTWISE);
                Conv3dForward { x: view, on_load, w, bias, y, statistics, geometry }.lower(l)?;
                logits[level] = Some(y);
            }
        }
        let logits = logits.into_iter().flatten().collect();
        Ok(Activations { samples, encoder, decoder, logits })
    }

    /// A concatenation of values as they lie and the activation of `skip`, which its second segment is
    /// or becomes while it is loaded.
    fn joined(l: &mut Lowering, z: View, skip: &Block) -> Operand {
        if !l.variant.fuses_norms() {
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
        let fuses = l.variant.fuses_norms();
        let z = match fuses {
            true => a,
            false => self.tensor(l, &format!("{name} z"), samples, &[features], level, operand)?,
        };
        let w = self.parameter(parameters, &format!("{name}.conv.weight"))?;
        let bias = Some(self.parameter(parameters, &format!("{name}.conv.bias"))?);
        let gamma = self.parameter(parameters, &format!("{name}.instnorm.weight"))?;
        let beta = self.parameter(parameters, &format!("{name}.instnorm.bias"))?;
        let stats = statistics_slot(l, z, Lifetime::Transient);
        let Operand { view, on_load } = x;
        Conv3dForward { x: view, on_load, w, bias, y: z, statistics: Some(stats), geometry }
            .lower(l)?;
        let norm = SegmentNorm { stats, gamma, beta, slope: SLOPE };
        let a = match fuses {
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
        let mut skips: Vec<Option<ActivationGradient>> = vec![None; plan.levels()];
        let mut from_above: Option<ActivationGradient> = None;
        let is_weighted = |level: usize| dlogits.get(level).copied().flatten().is_some();
        // The activation at the end of the level's decoder, where the level above has needed it.
        let mut end_of_level: Option<Operand> = None;
        for (level, skip_gradient) in skips.iter_mut().take(steps).enumerate() {
            let u = steps - 1 - level;
            let features = plan.features(level);
            let [first, second] = &activations.decoder[u];
            let again = level < to.recompute;
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
                let (dx, whole) = self.collect(l, gradient, second, from_above, level, true)?;
                let (dx, segments) = (vec![Some(dx)], vec![features]);
                Conv3dBackwardInput { dy, w, dx, segments, geometry: POINTWISE }.lower(l)?;
                from_above = Some(whole);
            }
            let x = self.activation(l, first, level, again)?;
            let whole = Block { x, ..second.clone() };
            let (dx, da) = self.collect(l, gradient, first, None, level, true)?;
            self.block_backward(l, parameters, gradient, &whole, from_above, &[Some(dx)], level)?;
            let up = self.tensor(l, "d upsampled", samples, &[features], level, operand)?;
            // The level below adds to it.
            let skipped = &activations.encoder[level][1];
            let (dskip, skip) = self.collect(l, gradient, skipped, None, level, false)?;
            let dx = [Some(up.into()), Some(dskip)];
            self.block_backward(l, parameters, gradient, first, Some(da), &dx, level)?;
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
            // The head of the level below adds to it, if there is one.
            let whole = level + 1 == steps || !is_weighted(level + 1);
            let (dx, da) = self.collect(l, gradient, below, None, level + 1, whole)?;
            let (dx, segments) = (vec![Some(dx)], vec![plan.features(level + 1)]);
            Conv3dBackwardInput { dy: up, w, dx, segments, geometry }.lower(l)?;
            from_above = Some(da);
        }
        for level in (0..plan.levels()).rev() {
            let [first, second] = &activations.encoder[level];
            let x = self.activation(l, first, level, level < to.recompute)?;
            let second = &Block { x, ..second.clone() };
            let (dx, da) = self.collect(l, gradient, first, None, level, true)?;
            self.block_backward(l, parameters, gradient, second, from_above, &[Some(dx)], level)?;
            let (dx, above) = match level.checked_sub(1) {
                None => (None, None),
                Some(above) => {
                    let end = &activations.encoder[above][1];
                    let (dx, da) = self.collect(l, gradient, end, skips[above], above, true)?;
                    (Some(dx), Some(da))
                }
            };
            self.block_backward(l, parameters, gradient, first, Some(da), &[dx], level)?;
            from_above = above;
        }
        Ok(())
    }

    /// Where a convolution is to put its part of the gradient on a block's activation, and the gradient then:
    /// with what was there `before`, and with the sums of the norm if that is the `whole` of it.
    fn collect(
        &self,
        l: &mut Lowering,
        gradient: SlotId,
        block: &Block,
        before: Option<ActivationGradient>,
        level: usize,
        whole: bool,
    ) -> Result<(InputGradient, ActivationGradient)> {
        let (samples, operand) = (l.tensors.of(block.z).samples, l.variant.operand());
        let own = [self.plan.features(level)];
        let mut part = || self.tensor(l, "da", samples, &own, level, operand);
        let Some(table) = block.a.on_load else {
            // Without a table convolutions do not sum, and the parts stay apart.
            let to = part()?;
            let gradient = match before {
                Some(before) => ActivationGradient { da2: Some(to), ..before },
                None => ActivationGradient { da: to, da2: None, sums: None },
            };
            return Ok((to.into(), gradient));
        };
        let to = match before {
            Some(before) => before.da,
            None => part()?,
        };
        let of = whole.then(|| self.norm_sums(l, gradient, block)).transpose()?;
        let sums = of.map(|of| GradientSums { of, table });
        let part = InputGradient { to, add: before.is_some(), sums };
        Ok((part, ActivationGradient { da: to, da2: None, sums: of }))
    }

    /// Where the sums of a block's norm go, and the gradients that they are.
    fn norm_sums(&self, l: &mut Lowering, gradient: SlotId, block: &Block) -> Result<NormSums> {
        let name = |part: &str| format!("{}.instnorm.{part}", block.name);
        let dgamma = self.parameter(gradient, &name("weight"))?;
        let dbeta = self.parameter(gradient, &name("bias"))?;
        let sums = statistics_slot(l, block.z, Lifetime::Transient);
        Ok(NormSums { z: block.z, norm: block.norm, sums, dgamma, dbeta })
    }

    /// The activation of a block: as the forward pass left it, or made again.
    fn activation(
        &self,
        l: &mut Lowering,
        block: &Block,
        level: usize,
        again: bool,
    ) -> Result<Operand> {
        if !again || l.variant.fuses_norms() {
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
        da: Option<ActivationGradient>,
        dx: &[Option<InputGradient>],
        level: usize,
    ) -> Result<()> {
        let Some(ActivationGradient { da, da2, sums }) = da else {
            return Err(Error::Input("a network without any weighted head cannot train".into()));
        };
        let features = self.plan.features(level);
        let samples = l.tensors.of(block.z).samples;
        let operand = l.variant.operand();
        let dz = self.tensor(l, "dz", samples, &[features], level, operand)?;
        let (summed, frozen) = (sums.is_some(), false);
        let of = match sums {
            Some(of) => of,
            None => self.norm_sums(l, gradient, block)?,
        };
        NormActivationBackward { of, summed, frozen, da, da2, dz }.lower(l)?;
        let name = format!("{}.conv.weight", block.name);
        let (w, dw) = (self.parameter(parameters, &name)?, self.parameter(gradient, &name)?);
        let (Operand { view: x, on_load }, geometry) = (block.x, block.geometry);
        Conv3dBackwardWeight { x, on_load, dy: dz, dw, db: None, geometry }.lower(l)?;
        if dx.iter().any(Option::is_some) {
            let segments = l.tensors.segments(x);
            Conv3dBackwardInput { dy: dz, w, dx: dx.to_vec(), segments, geometry }.lower(l)?;
        }
        Ok(())
    }
}
