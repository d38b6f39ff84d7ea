//! One iteration: the weight step on augmented batches, and the policy step that learns from
//! validation losses which augmentation helps (Xu, Li, Zhu, MICCAI 2020, algorithm 1).

use super::epoch::Tally;
use super::feed::{Drawing, Feed, plain};
use super::options::{CandidateUpdates, SearchMode};
use super::session::Session;
use super::stages::{Stage, StageClock};
use crate::data::rng::{self, Purpose};
use crate::error::Result;
use crate::ops::warp::WarpRecord;
use crate::search::policy::Policy;
use crate::search::searcher::{Candidate, Outcome, Searcher};

/// The policy step's part of an iteration.
pub(super) struct PolicyStep<'a> {
    /// Batches that judge the candidates.
    pub validation: &'a mut Feed,
    /// Which candidates are judged.
    pub mode: SearchMode,
    /// Batches that judge each.
    pub batches: u64,
}

/// What runs iterations.
pub(super) struct Trainer {
    pub session: Session,
    pub searcher: Box<dyn Searcher>,
    pub drawing: Drawing,
    /// Candidates of a weight step.
    pub lambda: usize,
    /// How they change the weights.
    pub updates: CandidateUpdates,
    /// Whether every candidate is the searcher's most probable policy, instead of a draw.
    pub settled: bool,
    /// Iterations done since the run began.
    pub iterations: u64,
}

/// What an iteration tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Iterated {
    /// Mean training loss of the candidates.
    pub loss: f64,
    /// Whether all weight steps were skipped for gradients that are not finite.
    pub skipped: bool,
}

impl Trainer {
    /// Trains on the next batch of `feed`, and searches where there is a policy step. `timed`
    /// waits for the device after every stage.
    pub fn iterate(
        &mut self,
        feed: &mut Feed,
        policy_step: Option<PolicyStep>,
        learning_rate: f64,
        timed: bool,
        tally: &mut Tally,
    ) -> Result<Iterated> {
        let searching = policy_step.is_some();
        // Candidates that are judged, or of which one step takes the mean, see the same patches; the
        // others make plain steps, each on a batch of its own.
        let alone = self.updates == CandidateUpdates::Each && !searching;
        let mut stream = rng::stream(self.drawing.seed, Purpose::Search, &[self.iterations]);
        let fresh = matches!(&policy_step, Some(p) if p.mode == SearchMode::Paper);
        let weights = self.lambda;
        let mut candidates = match self.settled {
            true => most_probable(self.searcher.as_ref(), weights),
            false => self.searcher.ask(&mut stream, weights),
        };
        if fresh {
            candidates.extend(self.searcher.ask(&mut stream, weights));
        }
        let policies: Vec<&Policy> = candidates.iter().map(|c| &c.policy).collect();
        let mut records = Vec::new();
        if !alone {
            records = self.next_batch(feed, &policies, searching)?;
            feed.skip(batches_an_iteration(weights, self.updates) - 1)?;
        }
        let session = &self.session;
        let shared = matches!(&policy_step, Some(p) if p.mode == SearchMode::Shared);
        if let Some(step) = policy_step {
            let plan = &session.net.plan;
            for number in 0..step.batches as usize {
                let batch = step.validation.next()?;
                let (image, labels) = plain(&batch, plan.in_channels, plan.patch);
                session.upload_validation(number, &image, &labels)?;
            }
        }
        // Candidates that are judged start at the same weights.
        let at_once = self.updates == CandidateUpdates::Each && !shared;
        let steps = session.steps_an_iteration();
        let gpu = &session.gpu;
        let mut clock = StageClock::start(gpu, timed.then_some(&mut tally.times))?;
        for row in 0..weights {
            if alone {
                records.extend(self.next_batch(feed, &policies[row..=row], false)?);
            }
            session.augment(&records[row])?;
            clock.lap(gpu, Stage::Augment)?;
            session.learn()?;
            clock.lap(gpu, Stage::Weights)?;
            if shared {
                session.trial(learning_rate, 0)?;
                clock.lap(gpu, Stage::Policy)?;
            }
            session.keep(row)?;
            if at_once {
                session.step(row, learning_rate)?;
                clock.lap(gpu, Stage::Weights)?;
            }
        }
        for number in (0..steps).filter(|_| !at_once) {
            session.step(number, learning_rate)?;
            clock.lap(gpu, Stage::Weights)?;
        }
        for (row, draws) in records.iter().enumerate().skip(weights) {
            session.augment(draws)?;
            clock.lap(gpu, Stage::Augment)?;
            session.learn()?;
            session.trial(learning_rate, steps as u64)?;
            session.keep(row)?;
            clock.lap(gpu, Stage::Policy)?;
        }
        let (outcomes, skipped) = self.session.finish()?;
        if searching {
            let judged = if fresh { weights..2 * weights } else { 0..weights };
            let losses: Vec<f64> =
                outcomes[judged.clone()].iter().map(|o| o.validation_loss).collect();
            let told = self.searcher.tell(&candidates[judged], &losses);
            tally.judged(&losses, told != Outcome::Updated);
        }
        self.iterations += 1;
        let losses = || outcomes[..weights].iter().map(|o| o.train_loss);
        tally.trained(losses());
        tally.skipped += skipped as u64;
        let loss = losses().sum::<f64>() / weights as f64;
        Ok(Iterated { loss, skipped: skipped == steps })
    }

    /// Uploads the patches of the next batch with what lies around them, and draws them by each
    /// policy: records \[policy\]\[sample\].
    fn next_batch(
        &self,
        feed: &mut Feed,
        policies: &[&Policy],
        judged: bool,
    ) -> Result<Vec<Vec<WarpRecord>>> {
        let batch = feed.next()?;
        let (records, sources) = self.drawing.draw(feed, &batch, policies, judged)?;
        for (source, sample) in sources.iter().zip(0..) {
            self.session.upload_source(sample, &source.image, &source.labels)?;
        }
        Ok(records)
    }
}

/// Batches that a feed counts for an iteration: one for each weight step, of which an iteration
/// that judges its candidates takes the first alone.
pub(super) fn batches_an_iteration(lambda: usize, updates: CandidateUpdates) -> usize {
    match updates {
        CandidateUpdates::Mean => 1,
        CandidateUpdates::Each => lambda,
    }
}

/// Candidates that all are the searcher's most probable policy.
fn most_probable(searcher: &dyn Searcher, count: usize) -> Vec<Candidate> {
    vec![Candidate { indices: Vec::new(), policy: searcher.policy() }; count]
}
