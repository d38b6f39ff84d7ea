//! A network in training on a device: memory, programs, and the operations of an iteration.
//!
//! An iteration is a series of submissions without a read-back between them: for each candidate
//! an augmented batch, its gradient, perhaps a trial step with its validation loss; then the
//! weight step by the mean gradient. What the host wants to know gathers in one `results` buffer,
//! read once.

use super::blueprint::Blueprint;
use super::results::{Outcome, ResultLayout};
use crate::augment::batch::Augmenter;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Memory, Program, Recording, SlotId};
use crate::nn::step::{Batch, LossSlot, Optimizer, TrainingState};
use crate::nn::unet::UNet;
use crate::ops::ConvVariant;
use crate::ops::optimizer::{adam_hyper, sgd_hyper};
use crate::ops::tensor::{Tensors, host};
use crate::ops::warp::{WarpRecord, flags};

const WEIGHT_DECAY: f64 = 3e-5;
const NESTEROV: f64 = 0.99;

/// A network in training on a device.
pub(super) struct Session {
    pub gpu: Gpu,
    pub net: UNet,
    pub variant: ConvVariant,
    /// Device memory that is planned, in bytes.
    pub bytes: u64,
    memory: Memory,
    tensors: Tensors,
    state: TrainingState,
    augmenter: Augmenter,
    validation: Vec<Batch>,
    optimizer: Optimizer,
    clip: f64,
    steps: u64,
    results: SlotId,
    layout: ResultLayout,
    validate_losses: LossSlot,
    programs: Programs,
}

struct Programs {
    /// Augmented batch from the sources, elastic displacement and gamma included.
    augment: Program,
    /// The same for draws without either.
    warp: Program,
    /// Loss and gradient of the batch.
    learn: Program,
    /// Trial step and its losses on the validation batches; where there is a search.
    trial: Option<Program>,
    /// Puts a candidate's losses aside, and its gradient to the sum or aside too.
    keep: Vec<Program>,
    /// The weight steps of an iteration.
    steps: Vec<Program>,
    validate: Program,
}

impl Session {
    /// Allocates a blueprint on its device and uploads initial weights.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when there is too little memory.
    pub fn open(gpu: Gpu, blueprint: Blueprint, seed: u64, clip: f64) -> Result<Self> {
        let Blueprint { net, tensors, placed, state, recordings, .. } = blueprint;
        let memory = Memory::new(&gpu, &tensors.slots, &placed)?;
        gpu.write(&memory, state.parameters, 0, &net.parameters.initial(seed))?;
        let program = |recording: &Recording| Program::new(&gpu, &memory, recording);
        let programs = Programs {
            augment: program(&recordings.augment)?,
            warp: program(&recordings.warp)?,
            learn: program(&recordings.learn)?,
            trial: recordings.trial.as_ref().map(program).transpose()?,
            keep: recordings.keep.iter().map(program).collect::<Result<_>>()?,
            steps: recordings.steps.iter().map(program).collect::<Result<_>>()?,
            validate: program(&recordings.validate)?,
        };
        Ok(Session {
            net,
            variant: blueprint.variant,
            bytes: placed.bytes(),
            memory,
            tensors,
            state,
            augmenter: blueprint.augmenter,
            validation: blueprint.validation,
            optimizer: blueprint.optimizer,
            clip,
            steps: 0,
            results: blueprint.results,
            layout: blueprint.layout,
            validate_losses: blueprint.validate_losses,
            programs,
            gpu,
        })
    }

    /// Uploads one sample's source: image C,D,H,W and labels D,H,W of its box.
    pub fn upload_source(&self, sample: u32, image: &[f32], labels: &[u32]) -> Result<()> {
        self.augmenter.upload_source(&self.gpu, &self.memory, sample, image, labels)
    }

    /// Uploads a validation batch: image N,C,D,H,W and labels N,D,H,W. All of them judge
    /// candidates; the first is also that of [`Session::validate`].
    pub fn upload_validation(&self, number: usize, image: &[f32], labels: &[u32]) -> Result<()> {
        let batch = &self.validation[number];
        host::upload(&self.gpu, &self.memory, &self.tensors, batch.image, image)?;
        self.gpu.write(&self.memory, batch.labels, 0, labels)
    }

    /// Makes the batch of a candidate's draws from the uploaded sources.
    pub fn augment(&self, records: &[WarpRecord]) -> Result<()> {
        self.augmenter.upload_draws(&self.gpu, &self.memory, 0, records)?;
        let changes = |r: &WarpRecord| r.has(flags::ELASTIC) || r.has(flags::GAMMA);
        match records.iter().any(changes) {
            true => self.programs.augment.submit(&self.gpu),
            false => self.programs.warp.submit(&self.gpu),
        }
    }

    /// Loss and gradient of the batch that was made last, at the current weights.
    pub fn learn(&self) -> Result<()> {
        self.programs.learn.submit(&self.gpu)
    }

    /// A trial step by the last gradient, from the current weights, and the losses of the
    /// validation batches with it. Neither weights nor moments change. `ahead` weight steps were
    /// made in this iteration before.
    pub fn trial(&self, learning_rate: f64, ahead: u64) -> Result<()> {
        self.write_hyper(learning_rate, self.steps + 1 + ahead)?;
        match &self.programs.trial {
            Some(trial) => trial.submit(&self.gpu),
            None => Ok(()),
        }
    }

    /// Puts the last losses aside as candidate `row`; the gradient of one that counts for the
    /// weights is added to the sum, or kept where each makes a step of its own.
    pub fn keep(&self, row: usize) -> Result<()> {
        self.programs.keep[row].submit(&self.gpu)
    }

    /// Weight steps of an iteration: one by the mean gradient, or one for each candidate.
    pub fn steps_an_iteration(&self) -> usize {
        self.programs.steps.len()
    }

    /// A weight step, the `number`-th of the iteration.
    pub fn step(&self, number: usize, learning_rate: f64) -> Result<()> {
        self.write_hyper(learning_rate, self.steps + 1 + number as u64)?;
        self.programs.steps[number].submit(&self.gpu)
    }

    fn write_hyper(&self, learning_rate: f64, step: u64) -> Result<()> {
        let hyper = match self.optimizer {
            Optimizer::Adam => adam_hyper(learning_rate, WEIGHT_DECAY, self.clip, step),
            Optimizer::Sgd => sgd_hyper(learning_rate, WEIGHT_DECAY, NESTEROV, self.clip, step),
        };
        self.gpu.write(&self.memory, self.state.hyper, 0, &hyper)
    }

    /// Reads what the iteration left: one outcome a candidate, and how many weight steps were
    /// skipped because their gradients were not finite.
    pub fn finish(&mut self) -> Result<(Vec<Outcome>, usize)> {
        let values: Vec<f32> = self.gpu.read(&self.memory, self.results, 0, self.layout.len())?;
        let (outcomes, skipped) = self.layout.read(&values);
        self.steps += (self.layout.steps - skipped) as u64;
        Ok((outcomes, skipped))
    }

    /// Loss and hard counts (true positives, false positives, false negatives) of each class on
    /// the first validation batch with the current weights.
    pub fn validate(&self) -> Result<(f64, Vec<[f32; 3]>)> {
        self.programs.validate.submit(&self.gpu)?;
        let losses = &self.validate_losses;
        let values: Vec<f32> = self.gpu.read(&self.memory, losses.slot, 0, losses.len())?;
        Ok((losses.total(&values), losses.counts(&values)))
    }

    /// The weights, flat as [`UNet::parameters`] places them.
    pub fn weights(&self) -> Result<Vec<f32>> {
        let elements = self.net.parameters.elements() as usize;
        self.gpu.read(&self.memory, self.state.parameters, 0, elements)
    }

    /// The optimizer's moments by name, each as long as the weights.
    pub fn moments(&self) -> Result<Vec<(String, Vec<f32>)>> {
        let elements = self.net.parameters.elements() as usize;
        let read = |(name, slot): (&str, SlotId)| {
            Ok((name.to_owned(), self.gpu.read(&self.memory, slot, 0, elements)?))
        };
        self.state.moments().into_iter().map(read).collect()
    }

    /// Weight steps that were made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Takes up weights alone.
    ///
    /// # Errors
    /// [`crate::Error::Device`] where there are too many.
    pub fn set_weights(&self, weights: &[f32]) -> Result<()> {
        self.gpu.write(&self.memory, self.state.parameters, 0, weights)
    }

    /// Takes up the optimizer where [`Session::moments`] and [`Session::steps`] left it.
    ///
    /// # Errors
    /// [`Error::Input`] where a moment is missing.
    pub fn set_optimizer(&mut self, moments: &[(String, Vec<f32>)], steps: u64) -> Result<()> {
        for (name, slot) in self.state.moments() {
            let (_, values) = moments.iter().find(|(n, _)| n == name).ok_or_else(|| {
                Error::Input(format!(
                    "the training's state has no moment '{name}'; resume with the --optimizer that \
                     it began with"
                ))
            })?;
            self.gpu.write(&self.memory, slot, 0, values)?;
        }
        self.steps = steps;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::blueprint::{Candidates, SessionSpec};
    use super::super::options::{CandidateUpdates, TrainOptions, example};
    use super::*;
    use crate::gpu::AdapterChoice;
    use crate::nn::plan::NetworkPlan;
    use crate::ops::warp::{Interpolation, Placement};

    /// Edge of the example's patch.
    const EDGE: u32 = 16;

    /// A session with a smooth image whose bright half is labelled, as source and as the `judging`
    /// validation batches, the second of which is upside down.
    fn session(candidates: Candidates, updates: CandidateUpdates, judging: usize) -> Session {
        let gpu = Gpu::open(&AdapterChoice::default(), true).unwrap();
        let plan = NetworkPlan::from_spacing(1, 2, 4, [EDGE; 3], 1, [1.0; 3], 2);
        let voxels = EDGE.pow(3);
        let spec = SessionSpec {
            candidates,
            updates,
            judging,
            source_voxels: u64::from(voxels),
            interpolation: Interpolation::default(),
            recompute: 0,
        };
        let variant = ConvVariant::available(gpu.caps())[0];
        let TrainOptions { optimizer, batch_dice, seed, clip, .. } = example();
        let blueprint =
            Blueprint::new(gpu.caps(), variant, optimizer, batch_dice, plan, spec).unwrap();
        let session = Session::open(gpu, blueprint, seed, clip).unwrap();
        let mut image: Vec<f32> = (0..voxels).map(|v| ((v % 97) as f32 * 0.1).sin()).collect();
        let mut labels: Vec<u32> = image.iter().map(|&v| u32::from(v > 0.3)).collect();
        session.upload_source(0, &image, &labels).unwrap();
        for number in 0..judging {
            session.upload_validation(number, &image, &labels).unwrap();
            image.iter_mut().for_each(|v| *v = -*v);
            labels.rotate_left(1);
        }
        session
    }

    const MEAN: CandidateUpdates = CandidateUpdates::Mean;
    const ONE: Candidates = Candidates { weights: 1, judged: 0 };

    fn draws(mirror: [bool; 3]) -> [WarpRecord; 1] {
        let at = Placement::whole([EDGE; 3], [0; 3], [EDGE; 3]);
        [WarpRecord::copy(&at).mirror(mirror)]
    }

    #[test]
    fn a_trial_step_is_the_step_that_would_be_made_and_changes_nothing() {
        let mut session = session(ONE, MEAN, 1);
        for _ in 0..2 {
            let before = session.weights().unwrap();
            session.augment(&draws([false; 3])).unwrap();
            session.learn().unwrap();
            session.trial(1e-3, 0).unwrap();
            session.keep(0).unwrap();
            assert!(session.weights().unwrap() == before, "a trial step moved the weights");
            session.step(0, 1e-3).unwrap();
            let (outcomes, skipped) = session.finish().unwrap();
            assert!(skipped == 0 && session.weights().unwrap() != before);
            let (after, _) = session.validate().unwrap();
            assert_eq!(outcomes[0].validation_loss, after);
        }
    }

    #[test]
    fn the_weight_step_takes_the_mean_of_its_candidates_and_of_nothing_else() {
        // Equal candidates: their mean is each of them. A judged one leaves no trace.
        let mut finals = Vec::new();
        for (weights, judged) in [(1, 0), (2, 0), (3, 1)] {
            let mut session = session(Candidates { weights, judged }, MEAN, 1);
            for row in 0..weights {
                session.augment(&draws([true, false, false])).unwrap();
                session.learn().unwrap();
                session.keep(row).unwrap();
            }
            session.step(0, 1e-3).unwrap();
            for row in weights..weights + judged {
                session.augment(&draws([false, true, true])).unwrap();
                session.learn().unwrap();
                session.trial(1e-3, 1).unwrap();
                session.keep(row).unwrap();
            }
            let (outcomes, _) = session.finish().unwrap();
            assert_eq!(outcomes.len(), weights + judged);
            assert!(outcomes.iter().all(|o| o.train_loss.is_finite()));
            finals.push(session.weights().unwrap());
        }
        let worst = |other: &[f32]| {
            let differences = finals[0].iter().zip(other).map(|(a, b)| (a - b).abs());
            differences.fold(0.0, f32::max)
        };
        // Adam's first step is the learning rate along the sign: rounding of the mean of three
        // matters only where a gradient is all but zero.
        assert_eq!(worst(&finals[1]), 0.0);
        assert!(worst(&finals[2]) < 1e-4, "{}", worst(&finals[2]));
    }

    #[test]
    fn several_validation_batches_judge_by_their_mean() {
        let judge = |judging: usize, swap: bool| {
            let mut session = session(ONE, MEAN, judging);
            if swap {
                let voxels = EDGE.pow(3) as usize;
                let image: Vec<f32> = (0..voxels).map(|v| -((v % 97) as f32 * 0.1).sin()).collect();
                let mut labels: Vec<u32> = image.iter().map(|&v| u32::from(v < -0.3)).collect();
                labels.rotate_left(1);
                session.upload_validation(0, &image, &labels).unwrap();
            }
            session.augment(&draws([false; 3])).unwrap();
            session.learn().unwrap();
            session.trial(1e-3, 0).unwrap();
            session.keep(0).unwrap();
            session.step(0, 1e-3).unwrap();
            session.finish().unwrap().0[0].validation_loss
        };
        let (first, second) = (judge(1, false), judge(1, true));
        assert!(first != second);
        assert_eq!(judge(2, false), first / 2.0 + second / 2.0);
    }

    #[test]
    fn a_step_by_each_candidate_is_a_step_after_the_other() {
        let turns = [[true, false, false], [false, true, true]];
        // At once: to the bit what two iterations of one candidate make.
        let mut single = session(ONE, MEAN, 1);
        let mut losses = Vec::new();
        for turn in turns {
            single.augment(&draws(turn)).unwrap();
            single.learn().unwrap();
            single.keep(0).unwrap();
            single.step(0, 1e-3).unwrap();
            losses.push(single.finish().unwrap().0[0].train_loss);
        }
        let two = Candidates { weights: 2, judged: 0 };
        let mut each = session(two, CandidateUpdates::Each, 1);
        assert_eq!(each.steps_an_iteration(), 2);
        for (row, turn) in turns.into_iter().enumerate() {
            each.augment(&draws(turn)).unwrap();
            each.learn().unwrap();
            each.keep(row).unwrap();
            each.step(row, 1e-3).unwrap();
        }
        let (outcomes, skipped) = each.finish().unwrap();
        assert_eq!((skipped, each.steps()), (0, 2));
        assert_eq!(outcomes.iter().map(|o| o.train_loss).collect::<Vec<_>>(), losses);
        assert!(each.weights().unwrap() == single.weights().unwrap());

        // Judged at the same weights: the second gradient is that of the initial weights.
        let mut judged = session(two, CandidateUpdates::Each, 1);
        for (row, turn) in turns.into_iter().enumerate() {
            judged.augment(&draws(turn)).unwrap();
            judged.learn().unwrap();
            judged.trial(1e-3, 0).unwrap();
            judged.keep(row).unwrap();
        }
        let before = judged.weights().unwrap();
        (0..2).for_each(|number| judged.step(number, 1e-3).unwrap());
        let (outcomes, _) = judged.finish().unwrap();
        assert_eq!(outcomes[0].train_loss, losses[0]);
        assert_eq!(judged.steps(), 2);
        let (first, last) = (before, judged.weights().unwrap());
        let moved = first.iter().zip(&last).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // Adam moves by at most about the rate a step: two steps were made.
        assert!(moved > 1.5e-3 && moved < 2.5e-3, "{moved}");
        assert!(outcomes[0].validation_loss != outcomes[1].validation_loss);
    }
}
