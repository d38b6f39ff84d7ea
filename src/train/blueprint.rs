//! The operations of a training, recorded and placed in memory: everything of a session that needs
//! no device, so that its memory is known before there is any.

use super::options::CandidateUpdates;
use super::results::ResultLayout;
use crate::augment::batch::{Augmenter, AugmenterSpec};
use crate::error::Result;
use crate::gpu::{Caps, Command, Lifetime, MemoryPlan, Recording, SlotId};
use crate::nn::plan::NetworkPlan;
use crate::nn::step::{
    Batch, LossPlan, LossSlot, Optimizer, TrainingState, record_loss, record_update,
};
use crate::nn::unet::{Backward, UNet};
use crate::ops::optimizer::Average;
use crate::ops::tensor::{Storage, Tensors};
use crate::ops::warp::Interpolation;
use crate::ops::{ConvVariant, Lowering};

/// How many candidates an iteration has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidates {
    /// Batches whose mean gradient makes the weight step.
    pub weights: usize,
    /// Further batches that are only judged (search mode `paper`).
    pub judged: usize,
}

impl Candidates {
    pub fn all(self) -> usize {
        self.weights + self.judged
    }
}

/// Sizes that the network's plan does not tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionSpec {
    pub candidates: Candidates,
    /// Whether the weight steps are made by the mean gradient or by one after the other.
    pub updates: CandidateUpdates,
    /// Validation batches that judge a candidate after its trial step; 0 without a search.
    pub judging: usize,
    /// Voxels of the largest source box.
    pub source_voxels: u64,
    /// How the sources are read between voxels.
    pub interpolation: Interpolation,
    /// Levels whose activations are made again in the backward pass.
    pub recompute: usize,
}

/// What is recorded, and where its tensors lie.
pub(super) struct Blueprint {
    pub net: UNet,
    pub variant: ConvVariant,
    pub tensors: Tensors,
    pub placed: MemoryPlan,
    pub state: TrainingState,
    pub augmenter: Augmenter,
    /// The batches that judge candidates; one at least, for the online validation.
    pub validation: Vec<Batch>,
    pub optimizer: Optimizer,
    pub results: SlotId,
    pub layout: ResultLayout,
    pub validate_losses: LossSlot,
    pub recordings: Recordings,
    /// Levels whose activations are made again in the backward pass.
    pub recompute: usize,
}

/// The parts of an iteration.
pub(super) struct Recordings {
    /// Augmented batch from the sources, elastic displacement and gamma included.
    pub augment: Recording,
    /// The same for draws without either.
    pub warp: Recording,
    /// Loss and gradient of the batch.
    pub learn: Recording,
    /// Trial step and its losses on the validation batches; where there is a search.
    pub trial: Option<Recording>,
    /// Puts a candidate's losses aside, and its gradient to the sum or aside too.
    pub keep: Vec<Recording>,
    /// The weight steps of an iteration.
    pub steps: Vec<Recording>,
    /// Loss of the first validation batch.
    pub validate: Recording,
}

impl Recordings {
    /// All of them.
    pub fn all(&self) -> Vec<&Recording> {
        let mut all = vec![&self.augment, &self.warp, &self.learn];
        all.extend(&self.trial);
        all.extend(&self.keep);
        all.extend(&self.steps);
        all.push(&self.validate);
        all
    }
}

impl Blueprint {
    /// Records a training on a device of these abilities.
    ///
    /// # Errors
    /// [`crate::Error::Device`] where a tensor does not suit the device.
    pub fn new(
        caps: &Caps,
        variant: ConvVariant,
        optimizer: Optimizer,
        batch_dice: bool,
        plan: NetworkPlan,
        spec: SessionSpec,
    ) -> Result<Self> {
        let net = UNet::new(plan);
        let plan = &net.plan;
        let mut tensors = Tensors::new(caps);
        let state = TrainingState::new(&mut tensors, &net, optimizer);
        let training = batch_slots(&mut tensors, plan, "batch")?;
        let validation = (0..spec.judging.max(1))
            .map(|_| batch_slots(&mut tensors, plan, "validation batch"))
            .collect::<Result<Vec<_>>>()?;
        let augmenter = Augmenter::new(
            &mut tensors,
            AugmenterSpec {
                batch: plan.batch,
                channels: plan.in_channels,
                patch: plan.patch,
                capacity: spec.source_voxels,
                candidates: 1,
                interpolation: spec.interpolation,
            },
        )?;
        let deep = LossPlan { head_weights: plan.head_weights(), batch_dice };
        let full = LossPlan { head_weights: vec![1.0], batch_dice };
        let mut build = Build { tensors: &mut tensors, variant };
        let augment = build.record(|l| augmenter.record(l, 0, training.image, training.labels))?.0;
        let warp =
            build.record(|l| augmenter.record_plain(l, 0, training.image, training.labels))?.0;
        let (learn, train) = build.record(|l| {
            let backward = Backward { gradient: state.gradient, recompute: spec.recompute };
            record_loss(l, &net, state.parameters, Some(backward), training, &deep)
        })?;
        let ranges = net.parameters.trained_ranges(&deep.head_weights);
        let trial = if spec.judging > 0 {
            let bytes = net.parameters.elements() * 4;
            let trial = build.tensors.slots.buffer("trial parameters", bytes, Lifetime::Persistent);
            Some(build.record(|l| {
                record_update(l, &state, state.gradient, ranges.clone(), Some(trial));
                let losses =
                    validation.iter().map(|batch| record_loss(l, &net, trial, None, *batch, &full));
                losses.collect::<Result<Vec<_>>>()
            })?)
        } else {
            None
        };
        let (trial, trial_losses) = trial.unzip();
        let (validate, validate_losses) =
            build.record(|l| record_loss(l, &net, state.parameters, None, validation[0], &full))?;
        let rows = spec.candidates.all();
        let steps = match spec.updates {
            CandidateUpdates::Mean => 1,
            CandidateUpdates::Each => spec.candidates.weights,
        };
        let layout = ResultLayout { train, trial: trial_losses.unwrap_or_default(), rows, steps };
        let results =
            build.tensors.slots.buffer("results", layout.len() as u64 * 4, Lifetime::Persistent);
        let (keep, gradients) =
            keep_recordings(&mut build, &net, &state, &layout, results, spec.candidates)?;
        let mut steps = Vec::new();
        for (number, gradient) in gradients.into_iter().enumerate() {
            let (step, ()) = build.record(|l| {
                record_update(l, &state, gradient, ranges.clone(), None);
                l.recording.commands.push(layout.keep_norm(number, state.norm, results));
                Ok(())
            })?;
            steps.push(step);
        }
        let recordings = Recordings { augment, warp, learn, trial, keep, steps, validate };
        let placed = MemoryPlan::new(&tensors.slots, &recordings.all());
        Ok(Blueprint {
            net,
            variant,
            tensors,
            placed,
            state,
            augmenter,
            validation,
            optimizer,
            results,
            layout,
            validate_losses,
            recordings,
            recompute: spec.recompute,
        })
    }

    /// Whether the device can hold and bind everything, with the workgroups that it takes.
    ///
    /// # Errors
    /// [`crate::Error::Device`] naming the first limit that is exceeded.
    pub fn check(&self, caps: &Caps) -> Result<()> {
        self.placed.check(caps)?;
        let slots = &self.tensors.slots;
        self.recordings.all().into_iter().try_for_each(|recording| recording.check(slots, caps))
    }

    /// FLOPs of loss and gradient of one batch.
    pub fn learn_flops(&self) -> u64 {
        self.recordings.learn.flops()
    }
}

fn batch_slots(tensors: &mut Tensors, plan: &NetworkPlan, name: &str) -> Result<Batch> {
    let keep = Lifetime::Persistent;
    let channels = [plan.in_channels];
    let image = tensors.add(name, plan.batch, &channels, plan.patch, Storage::Buffer, keep)?;
    let voxels: u64 = plan.patch.iter().map(|&e| u64::from(e)).product();
    let labels =
        tensors.slots.buffer(&format!("{name} labels"), u64::from(plan.batch) * voxels * 4, keep);
    Ok(Batch { image: image.view(), labels })
}

/// Makes recordings on one table of tensors.
struct Build<'a> {
    tensors: &'a mut Tensors,
    variant: ConvVariant,
}

impl Build<'_> {
    fn record<T>(
        &mut self,
        append: impl FnOnce(&mut Lowering) -> Result<T>,
    ) -> Result<(Recording, T)> {
        let mut recording = Recording::new();
        let variant = self.variant;
        let mut l = Lowering { tensors: self.tensors, recording: &mut recording, variant };
        let value = append(&mut l)?;
        Ok((recording, value))
    }
}

/// One recording a candidate that keeps its losses in its row of `results`; those that count for
/// the weights also add their gradient, or keep it where each makes a step of its own. Returns the
/// slots where the gradients of the weight steps end up.
fn keep_recordings(
    build: &mut Build,
    net: &UNet,
    state: &TrainingState,
    layout: &ResultLayout,
    results: SlotId,
    candidates: Candidates,
) -> Result<(Vec<Recording>, Vec<SlotId>)> {
    let elements = net.parameters.elements();
    let weights = candidates.weights;
    let each = layout.steps > 1;
    let buffers = match weights {
        1 => 0,
        _ if each => weights,
        _ => 2,
    };
    let name = if each { "candidate gradient" } else { "mean gradient" };
    let kept: Vec<SlotId> = (0..buffers)
        .map(|_| build.tensors.slots.buffer(name, elements * 4, Lifetime::Persistent))
        .collect();
    let mut recordings = Vec::new();
    for row in 0..candidates.all() {
        let (recording, ()) = build.record(|l| {
            l.recording.commands.extend(layout.keep(row, state.norm, results));
            if weights > 1 && row < weights && (each || row == 0) {
                let (from, to) = ((state.gradient, 0), (kept[row], 0));
                l.recording.commands.push(Command::Copy { from, to, bytes: elements * 4 });
            } else if weights > 1 && row < weights {
                let last = row + 1 == weights;
                Average {
                    a: kept[(row - 1) % 2],
                    b: state.gradient,
                    result: kept[row % 2],
                    scale: if last { 1.0 / weights as f32 } else { 1.0 },
                    len: elements,
                }
                .lower(l);
            }
            Ok(())
        })?;
        recordings.push(recording);
    }
    let gradients = match weights {
        1 => vec![state.gradient],
        _ if each => kept,
        _ => vec![kept[(weights - 1) % 2]],
    };
    Ok((recordings, gradients))
}
