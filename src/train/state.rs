//! Where a training stands, and what must be as it was for it to go on.

use super::epoch::{DiceAverage, Tally};
use super::event::Event;
use super::feed::LeftOut;
use super::options::{Schedule, SearcherKind, TrainOptions};
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
use std::path::PathBuf;

/// Options that change nothing about the result, or whose content is compared instead.
const FREE: [&str; 15] = [
    "cache",
    "checked_shaders",
    "dataset",
    "fold",
    "host_memory_bytes",
    "memory_bytes",
    "out",
    "preset",
    "recompute",
    "search.policy",
    "search.space",
    "splits",
    "strict",
    "threads",
    "validate",
];

/// Options whose flags have other names.
const FLAGS: [(&str, &str); 19] = [
    ("batch", "--batch-size"),
    ("interpolation.image", "--interpolation"),
    ("interpolation.labels", "--label-interpolation"),
    ("learning_rate", "--lr"),
    ("mirror", "mirroring, by --no-mirror or --mirror-axes"),
    ("search.after", "--after-search"),
    ("search.batches", "--search-batches"),
    ("search.draws", "--candidate-draws"),
    ("search.every", "--search-every"),
    ("search.init", "--search-init"),
    ("search.mode", "--search-mode"),
    ("search.share", "--search-share"),
    ("search.step", "--search-step"),
    ("search.until", "--search-until"),
    ("search.updates", "--candidate-updates"),
    ("search.validation", "--search-val"),
    ("search.variables", "--searcher-variables"),
    ("spacing_mm", "--spacing"),
    ("validate_every", "--val-every"),
];

/// Options that the states of earlier versions lack, and, as JSON, what those versions did.
const ADDED: [(&str, &str); 4] = [
    ("accumulate", "false"),
    ("search.after", "\"distribution\""),
    ("search.draws", "\"own\""),
    ("search.step", "1.0"),
];

/// Options that only a searcher that learns heeds.
const SEARCHING: [&str; 8] = [
    "search.after",
    "search.batches",
    "search.every",
    "search.init",
    "search.mode",
    "search.share",
    "search.until",
    "search.validation",
];

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
    /// Options that change the result, by name.
    options: BTreeMap<String, Value>,
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
        let finished = checkpoint_path(run, fold, CheckpointKind::Final);
        if !options.resume {
            if finished.exists() {
                return Err(Error::Input(format!(
                    "'{}' exists: this fold is trained already; give another --out or --fold",
                    finished.display()
                )));
            }
            return match state_paths(run, fold).into_iter().find(|path| path.exists()) {
                None => Ok(Start::Anew),
                Some(state) => Err(Error::Input(format!(
                    "'{}' is of a training that was interrupted; go on with --resume, or give \
                     another --out",
                    state.display()
                ))),
            };
        }
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
        let FoundState { net, state, path } = found;
        let State { weights, moments, record } = state;
        let record: Record = serde_json::from_str(&record).map_err(|e| {
            Error::Input(format!(
                "'{}' holds a state that this program does not read ({e}); give another --out",
                path.display()
            ))
        })?;
        let interrupted = Interrupted { record, weights, moments, plan: net.plan, path };
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
        let now = compared(options)?;
        let names = before.keys().chain(now.keys().filter(|name| !before.contains_key(*name)));
        let heeded = |name: &&String| match options.search.searcher {
            SearcherKind::Asng | SearcherKind::Sng => true,
            searcher => {
                name.as_str() != "search.step"
                    && (searcher.learns() || !SEARCHING.contains(&name.as_str()))
            }
        };
        let value = |of: &BTreeMap<String, Value>, name: &str| {
            of.get(name).filter(|v| !v.is_null()).map_or("not given".into(), Value::to_string)
        };
        let value_then = |name: &str| match ADDED.iter().find(|(added, _)| *added == name) {
            Some((_, json)) if !before.contains_key(name) => (*json).to_owned(),
            _ => value(before, name),
        };
        let differences: Vec<String> = names
            .filter(heeded)
            .map(|name| (name, value_then(name), value(&now, name)))
            .filter(|(_, before, now)| before != now)
            .map(|(name, before, now)| format!("{} ({before} then, {now} now)", flag(name)))
            .collect();
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "'{}' is of a training with other flags: {}; resume with the flags that it began with, \
             or give another --out",
            self.path.display(),
            differences.join(", ")
        )))
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
        space: &Space,
        searcher: &dyn Searcher,
    ) -> Result<Self> {
        let names = |of: &[std::sync::Arc<crate::data::PreparedCase>]| -> Vec<String> {
            of.iter().map(|case| case.name.clone()).collect()
        };
        let dataset = &config.dataset;
        // A searcher that learns has moved from where its flags put it.
        let policy = (!searcher.learns()).then(|| (searcher.theta(), searcher.policy()));
        // As in states of earlier versions, which have labels 0, 1, 2... alone.
        let data = match dataset.labels.is_plain() {
            true => digest(&(&dataset.name, &dataset.channels, dataset.labels.names())),
            false => digest(&(&dataset.name, &dataset.channels, &dataset.labels)),
        };
        let digests = [
            ("the data set", data?),
            ("the split of the cases", digest(&(fold, names(&cases.weights)))?),
            ("the preparation of the cases", digest(&config.preprocessing)?),
            ("the policy space of --space", digest(space)?),
            ("the policy of --policy", digest(&policy)?),
        ];
        Ok(Conditions {
            options: compared(options)?,
            digests: digests.into_iter().map(|(what, digest)| (what.to_owned(), digest)).collect(),
            program: config.program.clone(),
            adapter: config.adapter.clone(),
            driver: config.driver.clone(),
        })
    }
}

/// BLAKE3 of a value's JSON.
fn digest(value: &impl Serialize) -> Result<String> {
    let json = serde_json::to_vec(value).map_err(unwritable)?;
    Ok(blake3::hash(&json).to_hex().to_string())
}

/// The options that must not change, by name; those of the search as `search.NAME`.
fn compared(options: &TrainOptions) -> Result<BTreeMap<String, Value>> {
    let Value::Object(all) = serde_json::to_value(options).map_err(unwritable)? else {
        return Ok(BTreeMap::new());
    };
    let mut flat = BTreeMap::new();
    for (name, value) in all {
        match value {
            Value::Object(inner) => {
                flat.extend(inner.into_iter().map(|(part, v)| (format!("{name}.{part}"), v)));
            }
            value => {
                flat.insert(name, value);
            }
        }
    }
    flat.retain(|name, _| !FREE.contains(&name.as_str()));
    Ok(flat)
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::Input(format!("the training's conditions cannot be recorded: {error}"))
}

/// The flag that sets an option.
fn flag(option: &str) -> String {
    match FLAGS.iter().find(|(name, _)| *name == option) {
        Some((_, flag)) => (*flag).to_owned(),
        None => {
            let name = option.rsplit('.').next().unwrap_or(option);
            format!("--{}", name.replace('_', "-"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::{SearchOptions, example};
    use super::*;

    fn interrupted(options: &TrainOptions) -> Interrupted {
        let conditions = Conditions {
            options: compared(options).unwrap(),
            digests: BTreeMap::new(),
            program: String::new(),
            adapter: String::new(),
            driver: String::new(),
        };
        let standing = Standing::default();
        let record = Record { standing, steps: 0, searcher: Value::Null, conditions };
        let plan = NetworkPlan::from_spacing(1, 2, 4, [16; 3], 1, [1.0; 3], 2);
        let (weights, moments, path) = (Vec::new(), Vec::new(), "state".into());
        Interrupted { record, weights, moments, plan, path }
    }

    #[test]
    fn flags_that_change_the_result_are_named_and_others_are_free() {
        let before = interrupted(&example());
        let free = TrainOptions {
            out: "elsewhere".into(),
            dataset: "moved".into(),
            cache: Some("cache".into()),
            threads: 7,
            validate: true,
            ..example()
        };
        before.check_options(&free).unwrap();
        let mut every = example();
        every.search.every = 2;
        let wrong = [
            (TrainOptions { learning_rate: 0.5, ..example() }, "--lr (0.001 then, 0.5 now)"),
            (TrainOptions { epochs: 9, ..example() }, "--epochs (1 then, 9 now)"),
            (TrainOptions { patch: None, ..example() }, "--patch ([16,16,16] then, not given now)"),
            (TrainOptions { mirror: crate::data::Axes::NONE, ..example() }, "--no-mirror"),
            (every, "--search-every (1 then, 2 now)"),
        ];
        for (options, word) in wrong {
            let error = before.check_options(&options).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn options_that_a_state_lacks_are_what_its_version_did() {
        let earlier = |options: &TrainOptions| {
            let mut before = interrupted(options);
            before.record.conditions.options.retain(|name, _| ADDED.iter().all(|(a, _)| a != name));
            before
        };
        earlier(&example()).check_options(&example()).unwrap();
        let now = TrainOptions { accumulate: true, ..example() };
        let error = earlier(&example()).check_options(&now).unwrap_err().to_string();
        assert!(error.contains("--accumulate (false then, true now)"), "{error}");
    }

    #[test]
    fn options_that_the_searcher_does_not_heed_may_differ() {
        let of = |searcher, search: SearchOptions| TrainOptions {
            search: SearchOptions { searcher, ..search },
            ..example()
        };
        let (then, now) = (SearchOptions::paper(), SearchOptions::careful());
        let now = SearchOptions { updates: then.updates, draws: then.draws, ..now };
        let check = |searcher| {
            interrupted(&of(searcher, then.clone())).check_options(&of(searcher, now.clone()))
        };
        check(SearcherKind::None).unwrap();
        check(SearcherKind::Trivial).unwrap();
        let reinforce = check(SearcherKind::Reinforce).unwrap_err().to_string();
        assert!(reinforce.contains("--search-every") && !reinforce.contains("--search-step"));
        assert!(check(SearcherKind::Asng).unwrap_err().to_string().contains("--search-step"));
    }

    #[test]
    fn every_named_option_exists() {
        let all = serde_json::to_value(example()).unwrap();
        let added = ADDED.map(|(name, _)| name);
        for name in
            FREE.into_iter().chain(FLAGS.map(|(name, _)| name)).chain(SEARCHING).chain(added)
        {
            let path = format!("/{}", name.replace('.', "/"));
            assert!(all.pointer(&path).is_some(), "{name}");
        }
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
