//! A training step as one recording: forward, deep supervision loss, backward, optimizer.

use super::unet::{Backward, UNet};
use crate::error::Result;
use crate::gpu::{Command, Lifetime, Recording, SlotId};
use crate::ops::loss::{DiceCrossEntropy, DownsampleLabels, out_elements};
use crate::ops::optimizer::{GradientNorm, OptimizerStep, Ranges, Rule};
use crate::ops::tensor::{Tensors, View};
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
    /// u32 \[n\]\[d\]\[h\]\[w\].
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
    /// f32 values, [`out_elements`] a weighted head.
    pub slot: SlotId,
    /// Weight of each head in the slot.
    pub weights: Vec<f32>,
    /// Logits of all recorded heads.
    pub logits: Vec<View>,
    elements: u32,
}

impl LossSlot {
    /// Number of f32 values.
    pub fn len(&self) -> usize {
        self.weights.len() * self.elements as usize
    }

    /// True without heads.
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// The weighted sum of the heads' totals.
    pub fn total(&self, values: &[f32]) -> f64 {
        let heads = values.chunks(self.elements as usize).zip(&self.weights);
        heads.map(|(v, &w)| f64::from(v[2]) * f64::from(w)).sum()
    }

    /// Hard true positives, false positives and false negatives of each class at head 0.
    pub fn counts<'a>(&self, values: &'a [f32]) -> impl Iterator<Item = [f32; 3]> + use<'a> {
        values[4..self.elements as usize].chunks_exact(3).map(|c| [c[0], c[1], c[2]])
    }
}

/// Appends forward, loss and (with `backward`) backward of a batch.
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
    let plan = &net.plan;
    let samples = l.tensors.of(batch.image).samples;
    let weighted: Vec<bool> = loss.head_weights.iter().map(|&w| w > 0.0).collect();
    let activations = net.forward(l, parameters, batch.image, &weighted)?;
    let elements = out_elements(plan.classes);
    let heads = activations.logits.len() as u64;
    let out =
        l.tensors.slots.buffer("losses", heads * u64::from(elements) * 4, Lifetime::Persistent);
    let mut dlogits = vec![None; weighted.len()];
    let mut weights = Vec::new();
    for (level, &weight) in loss.head_weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
        let head = weights.len();
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
            labels,
            dlogits: dlogits[level],
            weight,
            batch_dice: loss.batch_dice,
            out,
            out_offset: head as u32 * elements,
        }
        .lower(l);
        weights.push(weight);
    }
    if let Some(backward) = backward {
        l.recording.commands.push(Command::Clear(backward.gradient));
        net.backward(l, parameters, backward, &activations, &dlogits)?;
    }
    Ok(LossSlot { slot: out, weights, logits: activations.logits, elements })
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
