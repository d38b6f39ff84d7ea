//! What all folds of a run share: one data set, one split, one set of flags that affect results.
//! Nothing is written into a run before these agree.

use super::attributes::{Options, differing_flags, flat, options_of};
use super::options::TrainOptions;
use crate::data::preprocess::{CaseDigest, Content};
use crate::data::split::Fold;
use crate::data::{Dataset, Preprocessing};
use crate::error::{Error, Result};
use crate::nn::plan::NetworkPlan;
use crate::numbers::{counted, named};
use crate::run::{CheckpointKind, DatasetSummary, FoldId, RunConfig, RunLock};
use crate::run::{checkpoint_path, fold_folder, folds_of, has_weights, state_paths};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What the digest of the search space is called in messages.
pub(super) const SPACE: &str = "the policy space of --space";

/// A training that is about to begin, as far as it is known before its cases are prepared.
pub(super) struct Identity<'a> {
    options: &'a TrainOptions,
    flags: Options,
    dataset: DatasetSummary,
    names: BTreeSet<String>,
    split: &'a [Fold],
    digests: BTreeMap<String, String>,
}

/// By what two trainings differ.
struct Differences {
    /// As typed for the first, and for the second.
    flags: Vec<[String; 2]>,
    /// Clauses about the data.
    data: Vec<String>,
}

impl<'a> Identity<'a> {
    /// `digests`: of what flags name by a file, by what it is called in messages.
    ///
    /// # Errors
    /// [`Error::Input`] where the options cannot be written as JSON.
    pub fn new(
        options: &'a TrainOptions,
        dataset: &Dataset,
        split: &'a [Fold],
        digests: BTreeMap<String, String>,
    ) -> Result<Self> {
        Ok(Identity {
            options,
            flags: options_of(options)?,
            dataset: summary(options, dataset),
            names: dataset.labelled_names().into_iter().collect(),
            split,
            digests,
        })
    }

    /// Digests of what flags name by a file.
    pub fn digests(&self) -> &BTreeMap<String, String> {
        &self.digests
    }

    /// Holds the training against the records of the run's folds: its own, where it has begun
    /// before, and all others that are trained, wholly or in part. `cases`: what the files of the
    /// cases hold, once that is known.
    ///
    /// # Errors
    /// [`Error::Usage`] where flags differ, [`Error::Input`] where only the data do; both list
    /// what differs. As reading the records.
    pub fn check(&self, cases: Option<&BTreeMap<String, CaseDigest>>) -> Result<()> {
        let run = &self.options.out;
        if !run.is_dir() {
            return Ok(());
        }
        // The fold itself first: it says most exactly what to do.
        let own = self.options.fold;
        let mut folds = folds_of(run)?;
        folds.sort_by_key(|fold| *fold != own);
        for fold in folds {
            if let Some(record) = self.record(fold)? {
                let Differences { flags, data } = self.differences(&record, cases)?;
                refuse(self.options, fold, &flags, &data)?;
            }
        }
        Ok(())
    }

    /// Whether another fold of the run has a record.
    ///
    /// # Errors
    /// As reading the records.
    pub fn is_shared(&self) -> Result<bool> {
        let others = folds_of(&self.options.out)?;
        for fold in others.into_iter().filter(|fold| *fold != self.options.fold) {
            if self.record(fold)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The record of a fold that has weights, or is being trained.
    fn record(&self, fold: FoldId) -> Result<Option<RunConfig>> {
        let (run, own) = (&self.options.out, self.options.fold);
        let path = RunConfig::fold_path(run, fold);
        let trained = has_weights(run, fold);
        let trains = || fold != own && path.is_file() && RunLock::is_held(&fold_folder(run, fold));
        if !trained && !trains() {
            return Ok(None);
        }
        // Of earlier versions, whose run has one record, which a later fold may have replaced. The
        // fold's own states tell better.
        let states = || state_paths(run, fold).iter().any(|state| state.is_file());
        if !path.is_file() && (fold == own && states() || !RunConfig::path(run).is_file()) {
            return Ok(None);
        }
        RunConfig::of_fold(run, fold).map(Some)
    }

    fn differences(
        &self,
        record: &RunConfig,
        cases: Option<&BTreeMap<String, CaseDigest>>,
    ) -> Result<Differences> {
        let flags = match &record.training {
            Value::Null => Vec::new(),
            training => differing_flags(&flat(training), &self.flags, &record.plan)?,
        };
        let mut data = differing_facts(&record.dataset, &self.dataset);
        let before: BTreeSet<String> = record.cases.keys().cloned().collect();
        if before.is_empty() || before == self.names {
            data.extend(differing_split(&record.split, self.split));
            data.extend(cases.into_iter().flat_map(|cases| changed_cases(&record.cases, cases)));
        } else {
            data.extend(differing_names(record, &before, &self.dataset, &self.names));
        }
        // With other flags, these differ by consequence; with another space, those of policies.
        if flags.is_empty() {
            let differs = |(what, digest): &(&String, &String)| {
                self.digests.get(*what).is_some_and(|now| now != *digest)
            };
            let names: Vec<&String> =
                record.digests.iter().filter(differs).map(|(what, _)| what).collect();
            let named = names.iter().find(|what| **what == SPACE).or(names.first());
            data.extend(named.map(|what| format!("{what} has other content")));
        }
        Ok(Differences { flags, data })
    }

    /// Holds what the cases were prepared to, and the network that was chosen, against the other
    /// folds of the run: flags and data are the same, so the device or the program differs.
    ///
    /// # Errors
    /// [`Error::Input`] where they differ. As reading the records.
    pub fn check_plan(&self, plan: &NetworkPlan, preprocessing: &Preprocessing) -> Result<()> {
        let run = &self.options.out;
        let others = folds_of(run)?.into_iter().filter(|fold| *fold != self.options.fold);
        for fold in others {
            let Some(record) = self.record(fold)? else { continue };
            if record.plan != *plan {
                let edges = |plan: &NetworkPlan| plan.patch.map(|edge| edge.to_string()).join(",");
                let (then, now) = (edges(&record.plan), edges(plan));
                let what = match then == now {
                    true => "another network".into(),
                    false => format!("patches of {then} voxels, this would have {now}"),
                };
                return Err(Error::Input(format!(
                    "'{}' was trained with {what}, as its device, --memory or version of the \
                     program was another; give --patch {then}, or another --out",
                    run.display()
                )));
            }
            if record.preprocessing != *preprocessing {
                return Err(Error::Input(format!(
                    "the cases of '{}' were prepared in another way, by another version of the \
                     program; give another --out",
                    run.display()
                )));
            }
        }
        Ok(())
    }
}

/// Refuses a training whose flags or data are not those of a fold of its run: of the fold itself, or
/// of another one. `flags`: as typed for that fold, and for this training; `data`: clauses.
///
/// # Errors
/// [`Error::Usage`] where flags differ, [`Error::Input`] where only the data do.
pub(super) fn refuse(
    options: &TrainOptions,
    fold: FoldId,
    flags: &[[String; 2]],
    data: &[String],
) -> Result<()> {
    if flags.is_empty() && data.is_empty() {
        return Ok(());
    }
    let (run, own) = (options.out.display(), fold == options.fold);
    let which = if own { format!("fold {fold} of '{run}'") } else { format!("'{run}'") };
    let advice = match own {
        true => "resume with the data and flags that it began with, or give another --out",
        false => {
            "a run holds folds of one data set, one split and one set of flags, so give those of \
             the run, or another --out"
        }
    };
    let data = data.join("; ");
    if flags.is_empty() {
        return Err(Error::Input(format!("{which} was trained on other data: {data}; {advice}")));
    }
    let side = |at: usize| flags.iter().map(|pair| pair[at].clone()).collect::<Vec<_>>().join(", ");
    let mut text = format!("{which} was trained with {}; this has {}", side(0), side(1));
    if !data.is_empty() {
        text = format!("{text}; its data differ too: {data}");
    }
    let finished = checkpoint_path(&options.out, fold, CheckpointKind::Final).is_file();
    if own && finished && flags.iter().any(|[before, _]| before.starts_with("--epochs ")) {
        text.push_str(
            "; a finished training cannot be extended, as its learning rate fell over its epochs",
        );
    }
    Err(Error::Usage(format!("{text}; {advice}")))
}

/// What a run keeps of the data set's `dataset.json`.
pub(super) fn summary(options: &TrainOptions, dataset: &Dataset) -> DatasetSummary {
    DatasetSummary {
        name: dataset.name.clone(),
        dir: options.dataset.clone(),
        channels: dataset.modalities.clone(),
        labels: dataset.labels.clone(),
    }
}

/// What the files of each case hold, by the names of the cases.
pub(super) fn digests_of(dataset: &Dataset, contents: &[Content]) -> BTreeMap<String, CaseDigest> {
    let names = dataset.cases.iter().map(|case| case.name.clone());
    names.zip(contents.iter().map(Content::digest)).collect()
}

/// Differences of `dataset.json` but for the name, which may come from the folder, and the folder.
fn differing_facts(before: &DatasetSummary, now: &DatasetSummary) -> Vec<String> {
    let facts = |of: &DatasetSummary| serde_json::to_value(of).unwrap_or_default();
    let (before, now) = (facts(before), facts(now));
    let text = |value: &Value| match value {
        Value::Array(all) => {
            let words = all.iter().map(|v| v.as_str().map_or(v.to_string(), String::from));
            words.collect::<Vec<_>>().join(", ")
        }
        Value::Null => "not given".into(),
        value => value.to_string(),
    };
    let keys: BTreeSet<&String> = [&before, &now]
        .into_iter()
        .filter_map(Value::as_object)
        .flat_map(|all| all.keys())
        .collect();
    let differs = |key: &&String| {
        !["name", "dir"].contains(&key.as_str()) && before[key.as_str()] != now[key.as_str()]
    };
    let say = |key: &String| {
        let [then, now] = [&before, &now].map(|of| text(&of[key.as_str()]));
        format!("its {key} were {then}, here they are {now}")
    };
    keys.into_iter().filter(differs).map(say).collect()
}

fn differing_names(
    record: &RunConfig,
    before: &BTreeSet<String>,
    dataset: &DatasetSummary,
    now: &BTreeSet<String>,
) -> Vec<String> {
    if before.is_disjoint(now) {
        return vec![format!(
            "it was '{}' with {}, this is '{}' with {}",
            record.dataset.name,
            counted(before.len(), "case"),
            dataset.name,
            counted(now.len(), "case"),
        )];
    }
    let only = |a: &'_ BTreeSet<String>, b: &BTreeSet<String>| -> Vec<String> {
        a.difference(b).cloned().collect()
    };
    let say = |names: Vec<String>, what: &str| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        (!names.is_empty()).then(|| {
            let verb = if names.len() == 1 { "is" } else { "are" };
            format!("{} {verb} {what} ({})", counted(names.len(), "case"), named(&names))
        })
    };
    let parts = [say(only(before, now), "missing"), say(only(now, before), "new")];
    parts.into_iter().flatten().collect()
}

fn changed_cases(
    before: &BTreeMap<String, CaseDigest>,
    now: &BTreeMap<String, CaseDigest>,
) -> Vec<String> {
    let changed = |part: fn(&CaseDigest) -> &String| -> Vec<&str> {
        let both = before.iter().filter_map(|(name, then)| Some((name, then, now.get(name)?)));
        both.filter(|(_, then, now)| part(then) != part(now))
            .map(|(name, _, _)| name.as_str())
            .collect()
    };
    let parts =
        [("image", changed(|case| &case.image)), ("label map", changed(|case| &case.label))];
    let say = |(what, names): (&str, Vec<&str>)| match names.len() {
        0 => None,
        1 => Some(format!("the {what} of {} has changed", names[0])),
        _ => Some(format!("the {what}s of {} have changed", named(&names))),
    };
    parts.into_iter().filter_map(say).collect()
}

/// The first fold whose cases differ. Folds whose cases stand in another order differ too: the
/// order decides which of them the search sets aside.
fn differing_split(before: &[Fold], now: &[Fold]) -> Option<String> {
    if before.is_empty() || before == now {
        return None;
    }
    if before.len() != now.len() {
        return Some(format!(
            "its split had {}, this has {}",
            counted(before.len(), "fold"),
            counted(now.len(), "fold")
        ));
    }
    let (number, (then, now)) = before.iter().zip(now).enumerate().find(|(_, (a, b))| a != b)?;
    let names = |of: &[String]| -> BTreeSet<String> { of.iter().cloned().collect() };
    let moved = |a: &[String], b: &[String]| -> BTreeSet<String> {
        names(a).symmetric_difference(&names(b)).cloned().collect()
    };
    let mut all = moved(&then.train, &now.train);
    all.extend(moved(&then.val, &now.val));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    Some(match all.is_empty() {
        true => format!("the cases of fold {number} of the split stand in another order"),
        false => format!("fold {number} of the split has other cases ({})", named(&all)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(train: &[&str], val: &[&str]) -> Fold {
        let names = |of: &[&str]| of.iter().map(|n| n.to_string()).collect();
        Fold { train: names(train), val: names(val) }
    }

    #[test]
    fn splits_differ_by_cases_and_by_their_order() {
        let before = [fold(&["a", "b"], &["c"]), fold(&["a", "c"], &["b"])];
        let say = |now: &[Fold]| differing_split(&before, now);
        assert_eq!(say(&before), None);
        assert_eq!(say(&before[..1]).unwrap(), "its split had 2 folds, this has 1 fold");
        let moved = [before[0].clone(), fold(&["b", "c"], &["a"])];
        assert_eq!(say(&moved).unwrap(), "fold 1 of the split has other cases (a, b)");
        let turned = [fold(&["b", "a"], &["c"]), before[1].clone()];
        assert!(
            say(&turned).unwrap().contains("fold 0") && say(&turned).unwrap().contains("order")
        );
        // Nothing is known of runs without a split.
        assert_eq!(differing_split(&[], &before), None);
    }

    #[test]
    fn cases_are_named_by_what_changed() {
        let digest =
            |image: &str, label: &str| CaseDigest { image: image.into(), label: label.into() };
        let cases = |all: &[(&str, &str, &str)]| -> BTreeMap<String, CaseDigest> {
            all.iter().map(|(name, i, l)| (name.to_string(), digest(i, l))).collect()
        };
        let before = cases(&[("a", "1", "1"), ("b", "1", "1"), ("c", "1", "1")]);
        let now = cases(&[("a", "1", "2"), ("b", "1", "2"), ("c", "3", "1")]);
        let sentences = changed_cases(&before, &now);
        assert_eq!(
            sentences,
            ["the image of c has changed", "the label maps of a, b have changed"]
        );
        assert!(changed_cases(&before, &before).is_empty());
    }
}
