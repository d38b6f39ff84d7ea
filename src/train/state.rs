//! Where a training stands, and what must be as it was for it to go on.

use super::attributes::{Options, differing_flags, options_of};
use super::epoch::{DiceAverage, Tally};
use super::event::Event;
use super::feed::LeftOut;
use super::identity::{SPACE, refuse};
use super::options::{Schedule, TrainOptions};
use super::plateau::Plateau;
use super::setup::FoldCases;
use crate::data::split::Fold;
use crate::error::{Error, Result};
use crate::nn::plan::NetworkPlan;
use crate::run::{CheckpointKind, FoundState, RunConfig, State};
use crate::run::{checkpoint_path, find_state, fold_folder, read_weights, state_paths};
use crate::search::searcher::Searcher;
use crate::search::space::Space;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a training stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Whole epochs that are done.
    pub epoch: u64,
    /// Iterations done of the epoch under way.
    pub iteration: u64,
    /// Sums of the epoch under way.
    pub tally: Tally,
    pub average: DiceAverage,
    /// Where the schedule `plateau` is; unused by others.
    #[serde(default)]
    pub plateau: Plateau,
    /// Steps skipped in a row.
    pub skipped_in_a_row: u32,
    /// Cases that could not be read; they stay left out, whether they can be read again or not, so
    /// that the result does not depend on when the training was interrupted.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
}

impl Standing {
    /// Whether no epoch is left to do.
    pub fn is_over(&self, options: &TrainOptions) -> bool {
        let ended = || {
            options.schedule == Schedule::Plateau
                && self.iteration == 0
                && self.plateau.end(options.learning_rate).is_some()
        };
        self.epoch >= options.epochs || ended()
    }

    /// The learning rate of the epoch under way.
    pub fn learning_rate(&self, options: &TrainOptions) -> f64 {
        let first = options.learning_rate;
        match options.schedule {
            Schedule::Plateau => self.plateau.learning_rate(first),
            schedule => schedule.learning_rate(first, self.epoch, options.epochs),
        }
    }
}

/// What must be as it was for a training to go on to the same result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Conditions {
    /// The options.
    options: Options,
    /// Digests of what the options lead to, by what it is called in a message.
    digests: BTreeMap<String, String>,
    program: String,
    adapter: String,
    driver: String,
}

/// What a state says of its training, beside weights and moments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub standing: Standing,
    /// Weight steps made: iterations but those skipped.
    pub steps: u64,
    /// [`Searcher::state`].
    pub searcher: Value,
    pub conditions: Conditions,
}

/// A training that is taken up again.
pub(super) struct Interrupted {
    pub record: Record,
    pub weights: Vec<f32>,
    pub moments: Vec<(String, Vec<f32>)>,
    plan: NetworkPlan,
    path: PathBuf,
    /// The latest state, where it is damaged and this is the one before it.
    damaged: Option<PathBuf>,
}

/// Where a training begins.
#[derive(Default)]
pub(super) enum Start {
    #[default]
    Anew,
    /// Where an earlier one stopped.
    Interrupted(Box<Interrupted>),
    /// At its end, of which the final weights are left.
    Finished { plan: NetworkPlan, weights: Vec<f32>, path: PathBuf },
}

impl Start {
    /// Finds out where the options' fold begins; its folder is locked.
    ///
    /// # Errors
    /// [`Error::Input`] without `resume` where the fold has been trained, wholly or in part, and
    /// where no state is usable; [`Error::Usage`] where flags differ from the state's.
    pub fn find(options: &TrainOptions, report: &mut dyn FnMut(Event)) -> Result<Self> {
        let (run, fold) = (&options.out, options.fold);
        if !options.resume {
            Self::refuse_again(options)?;
            return Ok(Start::Anew);
        }
        let finished = checkpoint_path(run, fold, CheckpointKind::Final);
        let interrupted = Interrupted::find(options, report);
        if finished.exists() {
            return match interrupted {
                Err(wrong @ Error::Usage(_)) => Err(wrong),
                Ok(Some(state)) if state.record.standing.is_over(options) => {
                    Ok(Start::Interrupted(Box::new(state)))
                }
                // The states are gone or of another version, and nobody needs them any more.
                _ => {
                    let (net, weights) = read_weights(&finished)?;
                    Ok(Start::Finished { plan: net.plan, weights, path: finished })
                }
            };
        }
        match interrupted? {
            Some(state) => Ok(Start::Interrupted(Box::new(state))),
            None => {
                report(Event::Note(&format!(
                    "there is no state in '{}' yet: the training begins anew",
                    fold_folder(run, fold).display()
                )));
                Ok(Start::Anew)
            }
        }
    }

    /// Refuses to begin a fold that has been trained, wholly or in part.
    ///
    /// # Errors
    /// [`Error::Input`] naming its weights or its state.
    pub fn refuse_again(options: &TrainOptions) -> Result<()> {
        let (run, fold) = (&options.out, options.fold);
        let finished = checkpoint_path(run, fold, CheckpointKind::Final);
        if finished.exists() {
            return Err(Error::Input(format!(
                "'{}' exists: this fold is trained already; give another --out or --fold",
                finished.display()
            )));
        }
        match state_paths(run, fold).into_iter().find(|path| path.exists()) {
            None => Ok(()),
            Some(state) => Err(Error::Input(format!(
                "'{}' is of a training that was interrupted; resume it with --resume, or give \
                 another --out",
                state.display()
            ))),
        }
    }

    /// The damaged latest state, where the one before it is taken.
    pub fn damaged(&self) -> Option<&Path> {
        match self {
            Start::Interrupted(interrupted) => interrupted.damaged.as_deref(),
            _ => None,
        }
    }

    /// Holds what the options led to against what it was.
    ///
    /// # Errors
    /// [`Error::Input`] where it differs.
    pub fn check(
        &self,
        now: &Conditions,
        plan: &NetworkPlan,
        report: &mut dyn FnMut(Event),
    ) -> Result<()> {
        let refuse = |what: &str, path: String| {
            Err(Error::Input(format!(
                "'{path}' cannot be gone on from: {what} differs from what it was when the \
                 training began; give the same data and flags, or another --out"
            )))
        };
        match self {
            Start::Anew => Ok(()),
            Start::Finished { plan: trained, .. } if trained == plan => Ok(()),
            Start::Finished { path, .. } => {
                refuse("the network's plan", path.display().to_string())
            }
            Start::Interrupted(interrupted) => {
                let before = &interrupted.record.conditions;
                let path = interrupted.path.display();
                let differs = |(what, digest): &(&String, &String)| {
                    now.digests.get(*what).is_some_and(|d| d != *digest)
                };
                if let Some((what, _)) = before.digests.iter().find(differs) {
                    return refuse(what, path.to_string());
                }
                if interrupted.plan != *plan {
                    return refuse("the network's plan", path.to_string());
                }
                let Standing { epoch, iteration, .. } = interrupted.record.standing;
                let iterations = match iteration {
                    0 => String::new(),
                    _ => format!(" and {iteration} iteration(s)"),
                };
                report(Event::Note(&format!(
                    "going on from '{path}', after {epoch} epoch(s){iterations}"
                )));
                let of =
                    |c: &Conditions| format!("{} ({}), version {}", c.adapter, c.driver, c.program);
                if of(before) != of(now) {
                    report(Event::Note(&format!(
                        "warning: the training began on {} of this program and goes on on {}, so \
                         the result may differ from that of an uninterrupted one",
                        of(before),
                        of(now)
                    )));
                }
                Ok(())
            }
        }
    }
}

impl Interrupted {
    /// The latest state of the options' fold, where there is one.
    fn find(options: &TrainOptions, report: &mut dyn FnMut(Event)) -> Result<Option<Self>> {
        let mut note = |sentence: &str| report(Event::Note(sentence));
        let Some(found) = find_state(&options.out, options.fold, &mut note)? else {
            return Ok(None);
        };
        let FoundState { net, state, path, damaged } = found;
        let State { weights, moments, record } = state;
        let record: Record = serde_json::from_str(&record).map_err(|e| {
            Error::Input(format!(
                "'{}' holds a state that this program does not read ({e}); give another --out",
                path.display()
            ))
        })?;
        let interrupted = Interrupted { record, weights, moments, plan: net.plan, path, damaged };
        interrupted.check_options(options)?;
        let Standing { epoch, iteration, .. } = interrupted.record.standing;
        if epoch > options.epochs || iteration > options.iterations {
            return Err(Error::Input(format!(
                "'{}' is of a training after epoch {epoch} and {iteration} iterations, more than it \
                 has; give another --out",
                interrupted.path.display()
            )));
        }
        Ok(Some(interrupted))
    }

    fn check_options(&self, options: &TrainOptions) -> Result<()> {
        let before = &self.record.conditions.options;
        let flags = differing_flags(before, &options_of(options)?, &self.plan)?;
        refuse(options, options.fold, &flags, &[])
    }
}

impl Conditions {
    /// Those of a training that is about to begin.
    ///
    /// # Errors
    /// [`Error::Input`] where something cannot be written as JSON.
    pub fn new(
        options: &TrainOptions,
        config: &RunConfig,
        fold: &Fold,
        cases: &FoldCases,
    ) -> Result<Self> {
        let names = |of: &[std::sync::Arc<crate::data::PreparedCase>]| -> Vec<String> {
            of.iter().map(|case| case.name.clone()).collect()
        };
        let mut digests = config.digests.clone();
        digests.extend(
            [
                ("the split of the cases", digest(&(fold, names(&cases.weights)))?),
                ("the preparation of the cases", digest(&config.preprocessing)?),
                ("the content of the cases", digest(&config.cases)?),
            ]
            .map(|(what, digest)| (what.to_owned(), digest)),
        );
        // In states of earlier versions, which have no records of folds and know no other labels than
        // 0, 1, 2...
        if !RunConfig::fold_path(&options.out, options.fold).is_file() {
            let dataset = &config.dataset;
            let data = match dataset.labels.is_plain() {
                true => digest(&(&dataset.name, &dataset.channels, dataset.labels.names())),
                false => digest(&(&dataset.name, &dataset.channels, &dataset.labels)),
            };
            digests.insert("the data set".into(), data?);
        }
        Ok(Conditions {
            options: options_of(options)?,
            digests,
            program: config.program.clone(),
            adapter: config.adapter.clone(),
            driver: config.driver.clone(),
        })
    }
}

/// Digests of what flags name by a file, by what it is called in messages. `searcher`: as its flags
/// make it, before it has learned.
///
/// # Errors
/// [`Error::Input`] where something cannot be written as JSON.
pub(super) fn file_digests(
    space: &Space,
    searcher: &dyn Searcher,
) -> Result<BTreeMap<String, String>> {
    let learns = searcher.learns();
    let digests = [
        (SPACE, digest(space)?),
        ("the policy of --policy", {
            let policy = (!learns).then(|| (searcher.theta(), searcher.policy()));
            digest(&policy)?
        }),
        ("the start of --search-init", digest(&learns.then(|| searcher.theta()))?),
    ];
    Ok(digests.into_iter().map(|(what, digest)| (what.to_owned(), digest)).collect())
}

/// BLAKE3 of a value's JSON.
fn digest(value: &impl Serialize) -> Result<String> {
    let json = serde_json::to_vec(value).map_err(unwritable)?;
    Ok(blake3::hash(&json).to_hex().to_string())
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::Input(format!("the training's conditions cannot be recorded: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::options::example;
    use super::*;

    fn interrupted(options: &TrainOptions) -> Interrupted {
        let conditions = Conditions {
            options: options_of(options).unwrap(),
            digests: BTreeMap::new(),
            program: String::new(),
            adapter: String::new(),
            driver: String::new(),
        };
        let standing = Standing::default();
        let record = Record { standing, steps: 0, searcher: Value::Null, conditions };
        let plan = NetworkPlan::from_spacing(1, 2, 4, [16; 3], 1, [1.0; 3], 2);
        let (weights, moments, path) = (Vec::new(), Vec::new(), "state".into());
        Interrupted { record, weights, moments, plan, path, damaged: None }
    }

    #[test]
    fn flags_that_differ_from_the_state_are_refused() {
        let before = interrupted(&example());
        before.check_options(&TrainOptions { threads: 7, ..example() }).unwrap();
        let error = before.check_options(&TrainOptions { epochs: 9, ..example() }).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains("was trained with --epochs 1; this has --epochs 9"), "{text}");
    }

    #[test]
    fn a_record_reads_back_to_the_same_bits() {
        let mut record = interrupted(&example()).record;
        let standing = &mut record.standing;
        standing.tally.trained([0.1, -0.7 / 3.0].into_iter());
        standing.tally.judged(&[1e-17, 0.3], false);
        standing.average.add(&[Some(2.0 / 3.0), None]);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
