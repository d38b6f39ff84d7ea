//! A training step as one recording: forward, deep supervision loss, backward, optimizer.

use super::plan::NetworkPlan;
use super::unet::{Backward, UNet};
use crate::error::Result;
use crate::gpu::{Command, Lifetime, Recording, SlotId};
use crate::ops::loss::{DiceCrossEntropy, DownsampleLabels, out_elements};
use crate::ops::optimizer::{Average, GradientNorm, OptimizerStep, Ranges, Rule};
use crate::ops::tensor::{Storage, Tensor, Tensors, View};
use crate::ops::{ConvVariant, Lowering};

/// Which optimizer.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Adam with amsgrad.
    Adam,
    /// SGD with Nesterov momentum.
    Sgd,
}

/// The persistent slots of a network in training.
#[derive(Clone, Copy, Debug)]
pub struct TrainingState {
    /// Flat parameters.
    pub parameters: SlotId,
    /// Flat gradient.
    pub gradient: SlotId,
    /// The optimizer's moments, each as long as the parameters.
    pub rule: Rule,
    /// Eight f32 a step: [`crate::ops::optimizer::adam_hyper`] or `sgd_hyper`.
    pub hyper: SlotId,
    /// Gradient norm and its non-finite flag.
    pub norm: SlotId,
}

impl TrainingState {
    /// Adds the slots for a network.
    pub fn new(tensors: &mut Tensors, net: &UNet, optimizer: Optimizer) -> Self {
        let bytes = net.parameters.elements() * 4;
        let mut flat = |name: &str| tensors.slots.buffer(name, bytes, Lifetime::Persistent);
        let (parameters, gradient) = (flat("parameters"), flat("gradient"));
        let rule = match optimizer {
            Optimizer::Adam => Rule::Adam { m: flat("m"), v: flat("v"), vmax: Some(flat("vmax")) },
            Optimizer::Sgd => Rule::Sgd { momentum: flat("momentum") },
        };
        let hyper = tensors.slots.buffer("hyper", 32, Lifetime::Persistent);
        let norm = tensors.slots.buffer("gradient norm", 16, Lifetime::Persistent);
        TrainingState { parameters, gradient, rule, hyper, norm }
    }

    /// The optimizer's moments with their names.
    pub fn moments(&self) -> Vec<(&'static str, SlotId)> {
        match self.rule {
            Rule::Adam { m, v, vmax } => {
                let vmax = vmax.map(|slot| ("vmax", slot));
                [("m", m), ("v", v)].into_iter().chain(vmax).collect()
            }
            Rule::Sgd { momentum } => vec![("momentum", momentum)],
        }
    }
}

/// A batch on the device.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// N,C,D,H,W in a buffer.
    pub image: View,
    /// Label indices, u32 \[n\]\[d\]\[h\]\[w\], [`super::heads::IGNORE`] where there is no label.
    pub labels: SlotId,
}

/// How the heads' losses are computed and weighted.
#[derive(Clone, Debug)]
pub struct LossPlan {
    /// Weight of each head, head 0 = full resolution.
    pub head_weights: Vec<f32>,
    /// Dice over the batch instead of per sample.
    pub batch_dice: bool,
}

/// Where the losses of a recording are found.
#[derive(Clone, Debug)]
pub struct LossSlot {
    /// f32 values: passes through the network, weighted heads, [`out_elements`].
    pub slot: SlotId,
    /// Weight of each head.
    pub weights: Vec<f32>,
    /// Passes that a batch takes: one, or one a sample.
    passes: u32,
    elements: u32,
}

impl LossSlot {
    /// A slot for the losses of so many passes.
    fn new(l: &mut Lowering, plan: &NetworkPlan, loss: &LossPlan, passes: u32) -> Self {
        let weights: Vec<f32> = loss.head_weights.iter().copied().filter(|&w| w > 0.0).collect();
        let elements = out_elements(plan.classes);
        let values = weights.len() as u64 * u64::from(passes * elements);
        let slot = l.tensors.slots.buffer("losses", values * 4, Lifetime::Persistent);
        LossSlot { slot, weights, passes, elements }
    }

    /// Number of f32 values.
    pub fn len(&self) -> usize {
        self.passes as usize * self.weights.len() * self.elements as usize
    }

    /// True without heads.
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// First element of a head in a pass.
    fn offset(&self, pass: u32, head: usize) -> u32 {
        (pass * self.weights.len() as u32 + head as u32) * self.elements
    }

    /// The weighted sum of the heads' totals, the mean over the passes.
    pub fn total(&self, values: &[f32]) -> f64 {
        let heads = values.chunks(self.elements as usize).zip(self.weights.iter().cycle());
        heads.map(|(v, &w)| f64::from(v[2]) * f64::from(w)).sum::<f64>() / f64::from(self.passes)
    }

    /// Hard true positives, false positives and false negatives of each class or region at head 0, over
    /// all samples; ignored voxels left out.
    pub fn counts(&self, values: &[f32]) -> Vec<[f32; 3]> {
        let pass = self.weights.len() * self.elements as usize;
        let mut sums = vec![[0f32; 3]; (self.elements as usize - 4) / 3];
        for first_head in values.chunks(pass.max(1)) {
            let counts = first_head[4..self.elements as usize].as_chunks::<3>().0;
            for (sum, counts) in sums.iter_mut().zip(counts) {
                sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
        }
        sums
    }
}

/// Appends forward, loss and (with `backward`) backward of a batch: all samples at once, or where the
/// plan accumulates one after the other with the mean of their gradients. The two differ in rounding
/// alone, unless Dice is taken over the batch or the samples have unequal numbers of ignored voxels.
///
/// # Errors
/// [`crate::Error::Device`] when a tensor exceeds the device's limits.
pub fn record_loss(
    l: &mut Lowering,
    net: &UNet,
    parameters: SlotId,
    backward: Option<Backward>,
    batch: Batch,
    loss: &LossPlan,
) -> Result<LossSlot> {
    let samples = l.tensors.of(batch.image).samples;
    if !net.plan.accumulate || samples == 1 {
        let losses = LossSlot::new(l, &net.plan, loss, 1);
        record_pass(l, net, parameters, backward, batch, loss, &losses, 0)?;
        return Ok(losses);
    }
    let losses = LossSlot::new(l, &net.plan, loss, samples);
    let len = net.parameters.elements();
    let gradient =
        |l: &mut Lowering, name| l.tensors.slots.buffer(name, len * 4, Lifetime::Transient);
    let mut sum = None;
    for sample in 0..samples {
        let one = one_sample(l, batch, sample)?;
        let own = backward.map(|all| {
            let gradient = gradient(l, "sample gradient");
            Backward { gradient, ..all }
        });
        record_pass(l, net, parameters, own, one, loss, &losses, sample)?;
        let (Some(all), Some(own)) = (backward, own) else { continue };
        sum = Some(match sum {
            None => own.gradient,
            Some(before) => {
                let last = sample + 1 == samples;
                let scale = if last { 1.0 / samples as f32 } else { 1.0 };
                let result = if last { all.gradient } else { gradient(l, "gradient sum") };
                Average { a: before, b: own.gradient, result, scale, len }.lower(l);
                result
            }
        });
    }
    Ok(losses)
}

/// A batch of one sample of a batch, copied.
fn one_sample(l: &mut Lowering, batch: Batch, sample: u32) -> Result<Batch> {
    let Tensor { segments, spatial, .. } = l.tensors.of(batch.image).clone();
    let life = Lifetime::Transient;
    let image = l.tensors.add("sample", 1, &segments, spatial, Storage::Buffer, life)?.view();
    l.recording.commands.extend(l.tensors.copy_sample(batch.image, sample, image));
    let bytes = u64::from(l.tensors.voxels(image)) * 4;
    let labels = l.tensors.slots.buffer("sample labels", bytes, life);
    let (from, to) = ((batch.labels, u64::from(sample) * bytes), (labels, 0));
    l.recording.commands.push(Command::Copy { from, to, bytes });
    Ok(Batch { image, labels })
}

/// Appends one pass of [`record_loss`], with its own gradient.
#[expect(clippy::too_many_arguments, reason = "a pass is wired from all of these")]
fn record_pass(
    l: &mut Lowering,
    net: &UNet,
    parameters: SlotId,
    backward: Option<Backward>,
    batch: Batch,
    loss: &LossPlan,
    losses: &LossSlot,
    pass: u32,
) -> Result<()> {
    let plan = &net.plan;
    let samples = l.tensors.of(batch.image).samples;
    let weighted: Vec<bool> = loss.head_weights.iter().map(|&w| w > 0.0).collect();
    let activations = net.forward(l, parameters, batch.image, &weighted)?;
    let mut dlogits = vec![None; weighted.len()];
    let levels = loss.head_weights.iter().enumerate().filter(|(_, w)| **w > 0.0);
    for (head, (level, &weight)) in levels.enumerate() {
        let logits = activations.logits[head];
        let edges = plan.spatial(level);
        let mut labels = batch.labels;
        if level > 0 {
            let voxels = u64::from(edges.iter().product::<u32>());
            let bytes = u64::from(samples) * voxels * 4;
            labels = l.tensors.slots.buffer("labels", bytes, Lifetime::Transient);
            let (from, from_shape) = (batch.labels, plan.patch);
            DownsampleLabels { from, from_shape, to: labels, to_shape: edges, samples }.lower(l);
        }
        if backward.is_some() {
            let operand = l.variant.operand();
            let (classes, life) = ([plan.classes], Lifetime::Transient);
            let id = l.tensors.add("dlogits", samples, &classes, edges, operand, life)?;
            dlogits[level] = Some(id.view());
        }
        DiceCrossEntropy {
            logits,
            channels: plan.heads.channels(),
            labels,
            dlogits: dlogits[level],
            weight,
            batch_dice: loss.batch_dice,
            out: losses.slot,
            out_offset: losses.offset(pass, head),
        }
        .lower(l)?;
    }
    if let Some(backward) = backward {
        l.recording.commands.push(Command::Clear(backward.gradient));
        net.backward(l, parameters, backward, &activations, &dlogits)?;
    }
    Ok(())
}

/// Appends the norm of a gradient and the optimizer's step by it over `ranges`. With `trial`
/// nothing changes, and the stepped parameters are written there.
pub fn record_update(
    l: &mut Lowering,
    state: &TrainingState,
    gradient: SlotId,
    ranges: Ranges,
    trial: Option<SlotId>,
) {
    GradientNorm { gradient, ranges: ranges.clone(), out: state.norm }.lower(l);
    OptimizerStep {
        rule: state.rule,
        parameters: state.parameters,
        gradient,
        ranges,
        hyper: state.hyper,
        norm: state.norm,
        trial,
    }
    .lower(l);
}

/// A whole training step on a batch, with `recompute` as in [`Backward`].
///
/// # Errors
/// [`crate::Error::Device`] when a tensor exceeds the device's limits.
pub fn record_step(
    tensors: &mut Tensors,
    variant: ConvVariant,
    net: &UNet,
    state: &TrainingState,
    batch: Batch,
    loss: &LossPlan,
    recompute: usize,
) -> Result<(Recording, LossSlot)> {
    let mut recording = Recording::new();
    let mut l = Lowering { tensors, recording: &mut recording, variant };
    let backward = Backward { gradient: state.gradient, recompute };
    let losses = record_loss(&mut l, net, state.parameters, Some(backward), batch, loss)?;
    let ranges = net.parameters.trained_ranges(&loss.head_weights);
    record_update(&mut l, state, state.gradient, ranges, None);
    Ok((recording, losses))
}
