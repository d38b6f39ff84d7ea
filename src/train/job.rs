//! Trains one fold: epochs, logs, checkpoints.

use super::epoch::{DiceAverage, Epoch, Mean, MetricsLog, Tally, dice};
use super::feed::{Feed, plain};
use super::iteration::{Iterated, PolicyStep};
use super::options::TrainOptions;
use super::setup::{Cases, Setup};
use super::stages::Stage;
use crate::data::preprocess::Progress;
use crate::data::rng::Purpose;
use crate::error::{Error, Result};
use crate::infer::predictor::WindowOptions;
use crate::infer::validate::{Validation, validate};
use crate::metrics::Summary;
use crate::run::{CheckpointKind, checkpoint_path, write_checkpoint};
use crate::search::file::{self, PolicyFile};
use crate::search::log::{PolicyLine, PolicyLog};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Steps in a row that may be skipped for non-finite gradients before the run stops.
const MOST_SKIPPED: u32 = 20;
/// One iteration in so many is timed stage by stage.
const TIMED: u64 = 8;
/// Batches of the online validation, at most.
const MOST_VALIDATION: u64 = 50;

/// What a training tells while it runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// A sentence about the run.
    Note(&'a str),
    /// The data set is being prepared.
    Preparing(Progress),
    /// An iteration is done.
    Iteration {
        /// Iterations done since the run began.
        done: u64,
        /// Its training loss.
        loss: f64,
    },
    /// An epoch is done.
    Epoch(&'a Epoch),
    /// A validation case is about to be predicted.
    Validating {
        /// Its number, from 0.
        number: usize,
        /// How many there are.
        cases: usize,
        /// Its name.
        name: &'a str,
    },
}

/// What a run left.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The last epoch.
    pub last: Option<Epoch>,
    /// The final weights.
    pub checkpoint: PathBuf,
    /// The learned policy.
    pub policy: PathBuf,
    /// Metrics of the fold's validation cases, unless they were not wanted.
    pub summary: Option<Summary>,
}

/// Trains a fold. `report` gets what happens; `stop` is looked at after every iteration.
///
/// # Errors
/// As its parts; [`Error::Interrupted`] after a checkpoint when `stop` was set;
/// [`Error::NonFinite`] when gradients stay non-finite.
pub fn train(
    options: &TrainOptions,
    stop: &AtomicBool,
    report: &mut dyn FnMut(Event),
) -> Result<Trained> {
    let setup = Setup::new(options, report)?;
    let session = &setup.trainer.session;
    report(Event::Note(&format!(
        "{} ({}), {:?} kernels, {} parameters, {} MiB of device memory",
        session.gpu.name(),
        session.gpu.driver(),
        session.variant,
        session.net.parameters.count(),
        session.bytes >> 20
    )));
    Job::new(options, setup, stop)?.run(report)
}

/// A training under way.
struct Job<'a> {
    options: &'a TrainOptions,
    stop: &'a AtomicBool,
    setup: Setup,
    /// The epoch from which nothing is searched and all training cases are used.
    frozen_from: u64,
    training: Feed,
    /// Batches that judge candidates; where there is a search.
    search: Option<Feed>,
    validation: Feed,
    validation_batches: u64,
    metrics: MetricsLog,
    policies: PolicyLog,
    average: DiceAverage,
    skipped_in_a_row: u32,
}

impl<'a> Job<'a> {
    fn new(options: &'a TrainOptions, setup: Setup, stop: &'a AtomicBool) -> Result<Self> {
        let searching = setup.trainer.searcher.learns();
        let (epochs, iterations) = (options.epochs, options.iterations);
        let frozen_from = if searching { options.search.frozen_from(epochs) } else { 0 };
        let feed = |cases: &Cases, purpose, epochs, iterations| {
            Feed::new(cases, options, setup.config.plan.patch, purpose, epochs, iterations)
        };
        let cases = &setup.cases;
        let training = match searching {
            true => feed(&cases.weights, Purpose::Patches, (0, frozen_from), iterations)?,
            false => feed(&cases.train, Purpose::Patches, (0, epochs), iterations)?,
        };
        let search = match searching {
            true => {
                Some(feed(&cases.search, Purpose::SearchPatches, (0, frozen_from), iterations)?)
            }
            false => None,
        };
        let validation_batches = iterations.div_ceil(5).min(MOST_VALIDATION);
        let purpose = Purpose::ValidationPatches;
        let validation = feed(&cases.validation, purpose, (0, epochs), validation_batches)?;
        Ok(Job {
            metrics: MetricsLog::create(&setup.folder.join("metrics.jsonl"))?,
            policies: PolicyLog::open(&setup.folder.join("policy.jsonl"), 0)?,
            average: DiceAverage::default(),
            skipped_in_a_row: 0,
            options,
            stop,
            setup,
            frozen_from,
            training,
            search,
            validation,
            validation_batches,
        })
    }

    fn run(mut self, report: &mut dyn FnMut(Event)) -> Result<Trained> {
        let mut last = None;
        for epoch in 0..self.options.epochs {
            let done = self.epoch(epoch, report)?;
            report(Event::Epoch(&done));
            last = Some(done);
        }
        self.save(CheckpointKind::Final, self.options.epochs)?;
        let policy = self.write_policy()?;
        let checkpoint = self.checkpoint(CheckpointKind::Final);
        let summary = if self.options.validate { Some(self.validate(report)?) } else { None };
        Ok(Trained { last, checkpoint, policy, summary })
    }

    /// Predicts and evaluates the fold's validation cases with the final weights.
    fn validate(&self, report: &mut dyn FnMut(Event)) -> Result<Summary> {
        let Setup { config, cases, references, trainer, folder, .. } = &self.setup;
        let session = &trainer.session;
        let cases = cases.validation.as_slice();
        report(Event::Note(&format!("predicting {} validation cases", cases.len())));
        if config.validation_used_in_search {
            report(Event::Note(
                "warning: the search judged its candidates on these cases, so their metrics are \
                 optimistic",
            ));
        }
        let validation = Validation {
            cases,
            references,
            axes: config.preprocessing.axes,
            window: WindowOptions { step: 0.5, mirror: config.mirror },
            used_in_search: config.validation_used_in_search,
        };
        let network = session.net.clone();
        let folder = folder.join("validation");
        validate(
            &session.gpu,
            session.variant,
            network,
            &session.weights()?,
            &validation,
            &folder,
            &mut |number, name| {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted(format!(
                        "interrupted in the validation; the final weights are in '{}', and `predict` \
                     and `evaluate` do the rest",
                        self.checkpoint(CheckpointKind::Final).display()
                    )));
                }
                report(Event::Validating { number, cases: cases.len(), name });
                Ok(())
            },
        )
    }

    fn epoch(&mut self, epoch: u64, report: &mut dyn FnMut(Event)) -> Result<Epoch> {
        let options = self.options;
        let begin = Instant::now();
        let rate = options.learning_rate;
        let learning_rate = options.schedule.learning_rate(rate, epoch, options.epochs);
        if epoch > 0 && epoch == self.frozen_from {
            let epochs = (epoch, options.epochs);
            let (cases, patch) = (&self.setup.cases.train, self.setup.config.plan.patch);
            let iterations = options.iterations;
            self.training = Feed::new(cases, options, patch, Purpose::Patches, epochs, iterations)?;
        }
        let mut tally = Tally::default();
        for iteration in 0..options.iterations {
            let searches =
                epoch < self.frozen_from && iteration.is_multiple_of(options.search.every);
            let mode = options.search.mode;
            let policy_step = self
                .search
                .as_mut()
                .filter(|_| searches)
                .map(|validation| PolicyStep { validation, mode });
            let timed = iteration % TIMED == TIMED - 1 || iteration + 1 == options.iterations;
            let trainer = &mut self.setup.trainer;
            let iterated = trainer.iterate(
                &mut self.training,
                policy_step,
                learning_rate,
                timed,
                &mut tally,
            )?;
            report(Event::Iteration { done: trainer.iterations, loss: iterated.loss });
            self.count_skips(iterated)?;
            if self.stop.load(Ordering::Relaxed) {
                return Err(self.interrupted(epoch)?);
            }
        }
        tally.train_seconds = begin.elapsed().as_secs_f64();
        let last = epoch + 1 == options.epochs;
        let (val_loss, dice) = if last || (epoch + 1).is_multiple_of(options.validate_every) {
            self.validate_online()?
        } else {
            (None, Vec::new())
        };
        let best = self.average.add(&dice);
        let searcher = &self.setup.trainer.searcher;
        let done = Epoch {
            epoch: epoch + 1,
            loss: tally.loss(),
            val_loss,
            dice,
            dice_average: self.average.value(),
            learning_rate,
            seconds: begin.elapsed().as_secs_f64(),
            augment_share: tally.times.share(Stage::Augment),
            policy_share: tally.times.share(Stage::Policy),
            skipped: tally.skipped,
            delta: searcher.adaptation().map(|a| a.delta),
            mean_entropy: searcher.theta().map(|t| t.mean_entropy()),
            search_loss: tally.search_losses().0,
        };
        self.metrics.append(&done)?;
        self.log_policy(epoch, &tally)?;
        self.save(CheckpointKind::Last, epoch + 1)?;
        if best {
            self.save(CheckpointKind::Best, epoch + 1)?;
        }
        self.write_policy()?;
        Ok(done)
    }

    fn count_skips(&mut self, iterated: Iterated) -> Result<()> {
        if !iterated.skipped && iterated.loss.is_finite() {
            self.skipped_in_a_row = 0;
            return Ok(());
        }
        self.skipped_in_a_row += 1;
        if self.skipped_in_a_row < MOST_SKIPPED {
            return Ok(());
        }
        Err(Error::NonFinite(format!(
            "{MOST_SKIPPED} steps in a row had a non-finite loss or gradient; lower --lr, or check \
             the data set for broken intensities; the weights of the last epoch are in '{}'",
            self.checkpoint(CheckpointKind::Last).display()
        )))
    }

    /// Writes what there is and makes the error that ends the run.
    fn interrupted(&self, epoch: u64) -> Result<Error> {
        self.save(CheckpointKind::Last, epoch)?;
        self.write_policy()?;
        Ok(Error::Interrupted(format!(
            "interrupted in epoch {}; the weights so far are in '{}'",
            epoch + 1,
            self.checkpoint(CheckpointKind::Last).display()
        )))
    }

    /// Mean loss and hard Dice of each foreground class over random patches of the fold's
    /// validation cases.
    fn validate_online(&mut self) -> Result<(Option<f64>, Vec<Option<f64>>)> {
        let session = &self.setup.trainer.session;
        let plan = &session.net.plan;
        let mut losses = Mean::default();
        let mut counts = vec![[0f64; 3]; plan.classes as usize];
        for _ in 0..self.validation_batches {
            let batch = self.validation.next()?;
            let (image, labels) = plain(&batch, plan.in_channels, plan.patch);
            session.upload_validation(&image, &labels)?;
            let (loss, batch_counts) = session.validate()?;
            losses.add(loss);
            for (all, now) in counts.iter_mut().zip(batch_counts) {
                all.iter_mut().zip(now).for_each(|(sum, n)| *sum += f64::from(n));
            }
        }
        Ok((losses.value(), dice(&counts)))
    }

    fn log_policy(&mut self, epoch: u64, tally: &Tally) -> Result<()> {
        let searcher = &self.setup.trainer.searcher;
        let adaptation = searcher.adaptation();
        let (val_loss_mean, val_loss_difference) = tally.search_losses();
        self.policies.append(&PolicyLine {
            epoch,
            theta: searcher.theta().cloned(),
            delta: adaptation.map(|a| a.delta),
            s_norm2: adaptation.map(|a| a.s_norm2),
            mean_entropy: searcher.theta().map(|t| t.mean_entropy()),
            policy: searcher.policy(),
            val_loss_mean,
            val_loss_difference,
            skipped_share: tally.skipped_share(),
            weight_ms: tally.milliseconds(Stage::Weights),
            policy_ms: tally.milliseconds(Stage::Policy),
            augment_ms: tally.milliseconds(Stage::Augment),
        })
    }

    fn write_policy(&self) -> Result<PathBuf> {
        let searcher = &self.setup.trainer.searcher;
        let path = self.setup.folder.join("policy.json");
        let run = self.options.out.file_name().map(|n| n.to_string_lossy().into_owned());
        PolicyFile {
            version: file::VERSION,
            space: self.setup.space.clone(),
            theta: searcher.theta().cloned(),
            policy: searcher.policy(),
            dataset: self.setup.config.dataset.name.clone(),
            seed: self.options.seed,
            run: run.unwrap_or_default(),
        }
        .write(&path)?;
        Ok(path)
    }

    fn checkpoint(&self, kind: CheckpointKind) -> PathBuf {
        checkpoint_path(&self.options.out, self.options.fold, kind)
    }

    fn save(&self, kind: CheckpointKind, epoch: u64) -> Result<()> {
        let session = &self.setup.trainer.session;
        write_checkpoint(&self.checkpoint(kind), &session.net, &session.weights()?, epoch)
    }
}
