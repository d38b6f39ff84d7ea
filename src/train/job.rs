//! Trains one fold: epochs, logs, checkpoints.

use super::epoch::{Epoch, Mean, MetricsLog, Tally, dice};
use super::event::Event;
use super::feed::{Feed, plain};
use super::feeds::Feeds;
use super::follow::Follower;
use super::iteration::{Iterated, PolicyStep};
use super::options::{AfterSearch, Schedule, TrainOptions};
use super::plateau::Change;
use super::setup::Setup;
use super::stages::Stage;
use super::state::{Record, Standing, Start};
use crate::error::{Error, Result};
use crate::infer::predictor::WindowOptions;
use crate::infer::validate::{Validation, validate};
use crate::metrics::Summary;
use crate::phase::Phase;
use crate::report::Overlays;
use crate::run::{CheckpointKind, State, checkpoint_path, write_checkpoint, write_state};
use crate::search::file::{self, PolicyFile};
use crate::search::log::{PolicyLine, PolicyLog};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Steps in a row that may be skipped for non-finite gradients before the run stops.
const MOST_SKIPPED: u32 = 20;
/// One stretch of iterations in so many is timed stage by stage.
const TIMED: u64 = 8;
/// Batches of the online validation, at most.
const MOST_VALIDATION: u64 = 50;
/// Within an epoch a state is written when the last one is as old as this.
const STATE_AGE: Duration = Duration::from_secs(600);

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

/// Trains a fold on one device, whose name it notes once it is open.
///
/// # Errors
/// As [`super::train`]; [`Error::DeviceLost`] at once.
pub(super) fn attempt(
    options: &TrainOptions,
    stop: &AtomicBool,
    device: &mut Option<String>,
    report: &mut dyn FnMut(Event),
) -> Result<Trained> {
    let setup = Setup::new(options, report)?;
    let session = &setup.trainer.session;
    *device = Some(session.gpu.name().to_owned());
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
    /// Batches of the online validation; where there are validation cases.
    validation: Option<Feed>,
    validation_batches: u64,
    metrics: MetricsLog,
    policies: PolicyLog,
    follower: Follower,
    standing: Standing,
    /// When the last state was written.
    state_written: Instant,
}

impl<'a> Job<'a> {
    fn new(options: &'a TrainOptions, mut setup: Setup, stop: &'a AtomicBool) -> Result<Self> {
        // Epochs whose lines in the logs stay.
        let mut logged = 0;
        let standing = match std::mem::take(&mut setup.start) {
            Start::Anew => Standing::default(),
            Start::Interrupted(interrupted) => {
                let Record { standing, steps, searcher, .. } = interrupted.record;
                let trainer = &mut setup.trainer;
                trainer.session.set_weights(&interrupted.weights)?;
                trainer.session.set_optimizer(&interrupted.moments, steps)?;
                trainer.searcher.restore(&searcher)?;
                trainer.iterations = standing.epoch * options.iterations + standing.iteration;
                logged = standing.epoch;
                standing
            }
            Start::Finished { weights, .. } => {
                setup.trainer.session.set_weights(&weights)?;
                logged = u64::MAX;
                Standing { epoch: options.epochs, ..Standing::default() }
            }
        };
        let searching = setup.trainer.searcher.learns();
        let frozen_from = if searching { options.search.frozen_from(options.epochs) } else { 0 };
        let validation_batches = options.iterations.div_ceil(5).min(MOST_VALIDATION);
        let left_out = &standing.left_out;
        let feeds = Feeds { options, setup: &setup, frozen_from, left_out };
        let epoch = standing.epoch;
        Ok(Job {
            training: feeds.training(epoch, standing.iteration)?,
            search: feeds.search(epoch, standing.iteration)?,
            validation: feeds.validation(epoch, validation_batches)?,
            metrics: MetricsLog::open(&setup.folder.join("metrics.jsonl"), logged)?,
            policies: PolicyLog::open(&setup.folder.join("policy.jsonl"), logged)?,
            follower: Follower::new(options, &setup.config, epoch)?,
            standing,
            state_written: Instant::now(),
            options,
            stop,
            setup,
            frozen_from,
            validation_batches,
        })
    }

    /// Trains, and leaves a report of what there is, however it ends.
    fn run(mut self, report: &mut dyn FnMut(Event)) -> Result<Trained> {
        self.follower.write(Overlays::LeftOut, report);
        let trained = self.train(report);
        let validated = trained.as_ref().is_ok_and(|trained| trained.summary.is_some());
        let overlays = if validated { Overlays::Shown } else { Overlays::LeftOut };
        self.follower.write(overlays, report);
        trained
    }

    fn train(&mut self, report: &mut dyn FnMut(Event)) -> Result<Trained> {
        let mut last = None;
        if !self.standing.is_over(self.options) {
            report(Event::Begin(Phase::Training));
        }
        while !self.standing.is_over(self.options) {
            let done = self.epoch(report)?;
            report(Event::Epoch(&done));
            self.follower.epoch(&done, report);
            last = Some(done);
        }
        let policy = self.policy_path();
        let checkpoint = self.checkpoint(CheckpointKind::Final);
        if !checkpoint.exists() {
            self.write_policy()?;
            self.save(CheckpointKind::Final, self.standing.epoch)?;
        }
        let validates = self.options.validate && !self.setup.cases.validation.is_empty();
        let summary = if validates { Some(self.validate(report)?) } else { None };
        Ok(Trained { last, checkpoint, policy, summary })
    }

    /// Predicts and evaluates the fold's validation cases with the final weights.
    fn validate(&self, report: &mut dyn FnMut(Event)) -> Result<Summary> {
        let Setup { config, cases, references, trainer, folder, .. } = &self.setup;
        let session = &trainer.session;
        let cases = cases.validation.as_slice();
        report(Event::Begin(Phase::Validating));
        report(Event::Note(&format!("predicting {} validation cases", cases.len())));
        if config.validation_used_in_search {
            report(Event::Note(
                "warning: the search judged its candidates on these cases, so their metrics are \
                 optimistic",
            ));
        }
        let validation = Validation {
            cases,
            labels: &config.dataset.labels,
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
                if let Some(why) = self.stopping() {
                    return Err(Error::Interrupted(format!(
                        "{why} in the validation, with the final weights in '{}'",
                        self.checkpoint(CheckpointKind::Final).display()
                    )));
                }
                report(Event::Validating { number, cases: cases.len(), name });
                Ok(())
            },
        )
    }

    /// What is left of the epoch that the training stands in.
    fn epoch(&mut self, report: &mut dyn FnMut(Event)) -> Result<Epoch> {
        let options = self.options;
        let (epoch, seconds_before) = (self.standing.epoch, self.standing.tally.train_seconds);
        let begin = Instant::now();
        let learning_rate = self.standing.learning_rate(options);
        if epoch > 0 && epoch == self.frozen_from && self.standing.iteration == 0 {
            let (setup, frozen_from) = (&self.setup, self.frozen_from);
            let left_out = &self.standing.left_out;
            self.training = Feeds { options, setup, frozen_from, left_out }.training(epoch, 0)?;
            report(Event::Note(&format!(
                "the search is over: from here on all {} training cases train the weights, augmented \
                 by {}",
                setup.cases.train.len(),
                match options.search.after {
                    AfterSearch::Policy => "the most probable policy",
                    AfterSearch::Distribution => "policies drawn from the distribution",
                }
            )));
        }
        while self.standing.iteration < options.iterations {
            let iterated = self.iterate(learning_rate)?;
            self.standing.iteration += 1;
            self.standing.tally.train_seconds = seconds_before + begin.elapsed().as_secs_f64();
            let done = self.setup.trainer.iterations;
            report(Event::Iteration { done, loss: iterated.loss });
            self.leave_out(report)?;
            self.count_skips(iterated)?;
            if let Some(why) = self.stopping() {
                return Err(self.interrupted(&why)?);
            }
            if self.state_written.elapsed() >= STATE_AGE {
                self.save_state()?;
            }
        }
        let ends = self.follow_loss(report);
        let last = ends || epoch + 1 == options.epochs;
        let validation = Instant::now();
        let (val_loss, dice) = if last || (epoch + 1).is_multiple_of(options.validate_every) {
            report(Event::OnlineValidation);
            self.validate_online()?
        } else {
            (None, Vec::new())
        };
        let validation_seconds = validation.elapsed().as_secs_f64();
        self.leave_out(report)?;
        let best = self.standing.average.add(&dice);
        let tally = std::mem::take(&mut self.standing.tally);
        let searcher = &self.setup.trainer.searcher;
        let done = Epoch {
            epoch: epoch + 1,
            loss: tally.loss(),
            val_loss,
            dice,
            dice_average: self.standing.average.value(),
            learning_rate,
            seconds: seconds_before + begin.elapsed().as_secs_f64(),
            validation_seconds,
            augment_share: tally.times.share(Stage::Augment),
            policy_share: tally.times.share(Stage::Policy),
            skipped: tally.skipped,
            unreadable: self.standing.left_out.len() as u64,
            delta: searcher.adaptation().map(|a| a.delta),
            mean_entropy: searcher.theta().map(|t| t.mean_entropy()),
            search_loss: tally.search_losses().0,
        };
        self.metrics.append(&done)?;
        self.log_policy(epoch + 1, &tally)?;
        if best {
            self.save(CheckpointKind::Best, epoch + 1)?;
        }
        self.write_policy()?;
        // Last: whatever else the epoch leaves is made again by going on from the state before.
        (self.standing.epoch, self.standing.iteration) = (epoch + 1, 0);
        self.save_state()?;
        Ok(done)
    }

    /// Lets the schedule see the training loss of the epoch that is done; true where it ends the
    /// training.
    fn follow_loss(&mut self, report: &mut dyn FnMut(Event)) -> bool {
        let options = self.options;
        if options.schedule != Schedule::Plateau {
            return false;
        }
        let Standing { epoch, tally, plateau, .. } = &mut self.standing;
        let done = *epoch + 1;
        match plateau.add(tally.loss(), options.learning_rate) {
            Change::None => false,
            Change::Lower => {
                let rate = plateau.learning_rate(options.learning_rate);
                report(Event::Note(&format!(
                    "the training loss has stopped falling: the learning rate is {rate:.1e} from \
                     epoch {} on",
                    done + 1
                )));
                false
            }
            Change::End(why) => {
                let searching = match done < self.frozen_from {
                    true => ", while it still searched",
                    false => "",
                };
                report(Event::Note(&format!(
                    "the training ends after epoch {done} of {}{searching}: {why}",
                    options.epochs
                )));
                true
            }
        }
    }

    fn iterate(&mut self, learning_rate: f64) -> Result<Iterated> {
        let options = self.options;
        let Standing { epoch, iteration, .. } = self.standing;
        let searches = epoch < self.frozen_from && iteration.is_multiple_of(options.search.every);
        let mode = options.search.mode;
        let policy_step = self.search.as_mut().filter(|_| searches).map(|validation| PolicyStep {
            validation,
            mode,
            batches: options.search.batches,
        });
        let timed = is_timed(iteration, options.search.every, options.iterations);
        let over = self.setup.trainer.searcher.learns() && epoch >= self.frozen_from;
        self.setup.trainer.settled = over && options.search.after == AfterSearch::Policy;
        self.setup.trainer.iterate(
            &mut self.training,
            policy_step,
            learning_rate,
            timed,
            &mut self.standing.tally,
        )
    }

    /// Why the training is to stop, where the user or the time limit asks for it: words that a job
    /// script can tell apart.
    fn stopping(&self) -> Option<String> {
        if self.stop.load(Ordering::Relaxed) {
            return Some("interrupted".into());
        }
        let limit = self.options.time_limit.filter(|limit| Instant::now() >= limit.at)?;
        Some(format!("time limit reached (--max-minutes {}): stopped", limit.minutes))
    }

    /// Names the cases that the feeds left out; with `--strict` the first is an error.
    fn leave_out(&mut self, report: &mut dyn FnMut(Event)) -> Result<()> {
        let feeds = [Some(&mut self.training), self.search.as_mut(), self.validation.as_mut()];
        let found: Vec<_> = feeds.into_iter().flatten().flat_map(Feed::take_unreadable).collect();
        for (left_out, why) in found {
            let case = &left_out.case;
            if self.options.strict {
                return Err(Error::Input(format!(
                    "the case '{case}' cannot be read any more ({why}); restore its file, or go on \
                     without --strict and without the case"
                )));
            }
            report(Event::Note(&format!(
                "warning: the case '{case}' cannot be read any more and is left out from here on \
                 ({why})"
            )));
            self.standing.left_out.push(left_out);
        }
        Ok(())
    }

    fn count_skips(&mut self, iterated: Iterated) -> Result<()> {
        if !iterated.skipped && iterated.loss.is_finite() {
            self.standing.skipped_in_a_row = 0;
            return Ok(());
        }
        self.standing.skipped_in_a_row += 1;
        if self.standing.skipped_in_a_row < MOST_SKIPPED {
            return Ok(());
        }
        let last = self.checkpoint(CheckpointKind::Last);
        let left = match last.exists() {
            true => format!("; the training up to its last state is in '{}'", last.display()),
            false => String::new(),
        };
        Err(Error::NonFinite(format!(
            "{MOST_SKIPPED} steps in a row had a non-finite loss or gradient; begin anew with a lower \
             --lr, or check the data set for extreme intensities{left}"
        )))
    }

    /// Writes what there is and makes the error that ends the run.
    fn interrupted(&mut self, why: &str) -> Result<Error> {
        self.save_state()?;
        self.write_policy()?;
        Ok(Error::Interrupted(format!(
            "{why} in epoch {} after {} of {} iterations, with all that was done in '{}'",
            self.standing.epoch + 1,
            self.standing.iteration,
            self.options.iterations,
            self.checkpoint(CheckpointKind::Last).display()
        )))
    }

    /// Mean loss and hard Dice of each foreground class or region over random patches of the fold's
    /// validation cases; nothing where there are none.
    fn validate_online(&mut self) -> Result<(Option<f64>, Vec<Option<f64>>)> {
        let Some(validation) = &mut self.validation else { return Ok((None, Vec::new())) };
        let session = &self.setup.trainer.session;
        let plan = &session.net.plan;
        let mut losses = Mean::default();
        let mut counts = vec![[0f64; 3]; plan.classes as usize];
        for _ in 0..self.validation_batches {
            let batch = validation.next()?;
            let (image, labels) = plain(&batch, plan.in_channels, plan.patch);
            session.upload_validation(0, &image, &labels)?;
            let (loss, batch_counts) = session.validate()?;
            losses.add(loss);
            for (all, now) in counts.iter_mut().zip(batch_counts) {
                all.iter_mut().zip(now).for_each(|(sum, n)| *sum += f64::from(n));
            }
        }
        // Regions have no background among them.
        let background = usize::from(plan.heads.is_softmax());
        Ok((losses.value(), dice(&counts[background..])))
    }

    /// Logs the policy after an epoch, from 1.
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

    fn policy_path(&self) -> PathBuf {
        self.setup.folder.join("policy.json")
    }

    fn write_policy(&self) -> Result<()> {
        let searcher = &self.setup.trainer.searcher;
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
        .write(&self.policy_path())
    }

    fn checkpoint(&self, kind: CheckpointKind) -> PathBuf {
        checkpoint_path(&self.options.out, self.options.fold, kind)
    }

    fn save(&self, kind: CheckpointKind, epoch: u64) -> Result<()> {
        let session = &self.setup.trainer.session;
        write_checkpoint(&self.checkpoint(kind), &session.net, &session.weights()?, epoch)
    }

    /// Writes all that going on needs.
    fn save_state(&mut self) -> Result<()> {
        let Setup { trainer, conditions, .. } = &self.setup;
        let session = &trainer.session;
        let record = Record {
            standing: self.standing.clone(),
            steps: session.steps(),
            searcher: trainer.searcher.state(),
            conditions: conditions.clone(),
        };
        let record = serde_json::to_string(&record)
            .map_err(|e| Error::Input(format!("the training's state cannot be written: {e}")))?;
        let state = State { weights: session.weights()?, moments: session.moments()?, record };
        let (run, fold) = (&self.options.out, self.options.fold);
        write_state(run, fold, &session.net, &state, self.standing.epoch)?;
        self.state_written = Instant::now();
        Ok(())
    }
}

/// Whether an iteration of an epoch is timed. Stretches are as long as from one policy step to the
/// next, so that each holds exactly one and the shares are those of the epoch.
fn is_timed(iteration: u64, every: u64, iterations: u64) -> bool {
    iteration / every % TIMED == TIMED - 1 || iteration.saturating_add(every) >= iterations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_policy_steps_are_timed_as_there_are() {
        for (every, iterations) in [(1, 40), (1, 3), (4, 40), (4, 250), (3, 7), (64, 250)] {
            let timed: Vec<u64> =
                (0..iterations).filter(|&i| is_timed(i, every, iterations)).collect();
            let steps = timed.iter().filter(|i| i.is_multiple_of(every)).count() as u64;
            assert!(steps > 0, "{every} {iterations}");
            assert!(steps.abs_diff(timed.len() as u64 / every) <= 1, "{every} {iterations}");
        }
        assert!(is_timed(7, 1, 40) && !is_timed(8, 1, 40) && is_timed(39, 1, 40));
    }
}
