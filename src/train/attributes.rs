//! The options of a training: which flag sets each, what it affects, and how its value is typed.

use super::options::{SearchOptions, SearcherKind, TrainOptions};
use crate::error::{Error, Result};
use crate::nn::plan::NetworkPlan;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// What an option affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Affects {
    /// No result.
    Nothing,
    /// A result, but it is the content of the file or folder that is compared, not its name.
    Content,
    /// The result of every training.
    Result,
    /// The result where the searcher learns.
    Search,
    /// The result where the searcher takes natural-gradient steps: `asng` and `sng`.
    Step,
    /// The result where the searcher mirrors: all but `none`.
    Mirroring,
    /// The result; but its default depends on the searcher, so that it differs where that does.
    Candidates,
}

use Affects::{Candidates, Content, Mirroring, Nothing, Result as Always, Search, Step};

/// Name in `config.json` (an option of the search as `search.NAME`), flag, and what it affects.
const ATTRIBUTES: [(&str, &str, Affects); 48] = [
    ("accumulate", "--accumulate", Always),
    ("batch", "--batch-size", Always),
    ("batch_dice", "--batch-dice", Always),
    ("cache", "--cache", Nothing),
    ("checked_shaders", "ASNG_WGPU_CHECKED_SHADERS", Nothing),
    ("clip", "--clip", Always),
    ("dataset", "DATASET", Content),
    ("epochs", "--epochs", Always),
    ("features", "--features", Always),
    ("fold", "--fold", Nothing),
    ("host_memory_bytes", "--host-memory", Nothing),
    ("interpolation.image", "--interpolation", Always),
    ("interpolation.labels", "--label-interpolation", Always),
    ("iterations", "--iterations", Always),
    ("learning_rate", "--lr", Always),
    ("levels", "--levels", Always),
    ("memory_bytes", "--memory", Nothing),
    ("mirror", "--mirror-axes", Mirroring),
    ("optimizer", "--optimizer", Always),
    ("out", "--out", Nothing),
    ("patch", "--patch", Always),
    ("preset", "--preset", Nothing),
    ("recompute", "--recompute", Nothing),
    ("reorient", "--reorient ras", Always),
    ("schedule", "--schedule", Always),
    ("search.after", "--after-search", Search),
    ("search.batches", "--search-batches", Search),
    ("search.draws", "--candidate-draws", Always),
    ("search.every", "--search-every", Search),
    ("search.init", "--search-init", Search),
    ("search.lambda", "--lambda", Candidates),
    ("search.mode", "--search-mode", Search),
    ("search.policy", "--policy", Content),
    ("search.searcher", "--searcher", Always),
    ("search.share", "--search-share", Search),
    ("search.space", "--space", Content),
    ("search.step", "--search-step", Step),
    ("search.until", "--search-until", Search),
    ("search.updates", "--candidate-updates", Always),
    ("search.validation", "--search-val", Search),
    ("search.variables", "--searcher-variables", Always),
    ("seed", "--seed", Always),
    ("spacing_mm", "--spacing", Always),
    ("splits", "--splits", Content),
    ("strict", "--strict", Nothing),
    ("threads", "--threads", Nothing),
    ("validate", "--no-validate", Nothing),
    ("validate_every", "--val-every", Always),
];

/// Options by their names in [`ATTRIBUTES`], as JSON.
pub(super) type Options = BTreeMap<String, Value>;

/// The options of a training by name.
///
/// # Errors
/// [`Error::Input`] where they cannot be written as JSON.
pub(super) fn options_of(options: &TrainOptions) -> Result<Options> {
    let value = serde_json::to_value(options)
        .map_err(|e| Error::Input(format!("the training's options cannot be recorded: {e}")))?;
    Ok(flat(&value))
}

/// The options in the record of a training (`training` in `config.json`) by name.
pub(super) fn flat(record: &Value) -> Options {
    let mut all = Options::new();
    for (name, value) in record.as_object().into_iter().flatten() {
        match value {
            Value::Object(inner) => {
                all.extend(inner.iter().map(|(part, v)| (format!("{name}.{part}"), v.clone())));
            }
            value => {
                all.insert(name.clone(), value.clone());
            }
        }
    }
    all
}

/// The flags by which two trainings differ in what affects their results: as typed for the first,
/// and for the second. `plan` is the network of the first: giving a flag the value that was chosen
/// for it then is no difference. An option that an earlier version did not record had the value that
/// [`TrainOptions::new`] gives it for the published search.
pub(super) fn differing_flags(
    before: &Options,
    now: &Options,
    plan: &NetworkPlan,
) -> Result<Vec<[String; 2]>> {
    let defaults = options_of(&TrainOptions::new(Path::new(""), SearchOptions::paper()))?;
    let value_of = |options: &Options, name: &str| -> Value {
        options.get(name).or_else(|| defaults.get(name)).cloned().unwrap_or_default()
    };
    let searchers = [before, now].map(|options| value_of(options, "search.searcher"));
    let among = |kinds: &[SearcherKind]| {
        let names: Vec<Value> = kinds.iter().map(|kind| serde_json::json!(kind)).collect();
        searchers.iter().all(|searcher| names.contains(searcher))
    };
    let steps = among(&[SearcherKind::Asng, SearcherKind::Sng]);
    let learns = among(&[SearcherKind::Asng, SearcherKind::Sng, SearcherKind::Reinforce]);
    let none = searchers.contains(&serde_json::json!(SearcherKind::None));
    let mut differing = Vec::new();
    for (name, flag, affects) in ATTRIBUTES {
        let heeded = match affects {
            Nothing | Content => false,
            Always => true,
            Search => learns,
            Step => steps,
            Mirroring => !none,
            Candidates => searchers[0] == searchers[1],
        };
        let (before, now) = (value_of(before, name), value_of(now, name));
        if heeded && before != now && !is_chosen(name, &before, &now, plan) {
            differing.push([typed(name, flag, &before), typed(name, flag, &now)]);
        }
    }
    Ok(differing)
}

/// Whether an option of the network was left to the program, and now is given as it was chosen.
fn is_chosen(name: &str, before: &Value, now: &Value, plan: &NetworkPlan) -> bool {
    let (free, chosen) = match name {
        "patch" => (Value::Null, serde_json::json!(plan.patch)),
        "levels" => (serde_json::json!(0), serde_json::json!(plan.levels())),
        "accumulate" => (serde_json::json!(false), serde_json::json!(plan.accumulate)),
        _ => return false,
    };
    *before == free && *now == chosen
}

/// An option as it is typed on the command line.
fn typed(name: &str, flag: &str, value: &Value) -> String {
    match (name, value) {
        ("mirror", Value::Array(axes)) => match axes.len() {
            0 => "--no-mirror".into(),
            3 => "mirroring along all axes".into(),
            _ => format!("{flag} {}", words(value, false)),
        },
        ("levels", value) if value == 0 => format!("no {flag}"),
        (_, Value::Null | Value::Bool(false)) => format!("no {flag}"),
        (_, Value::Bool(true)) => flag.to_owned(),
        (name, value) => format!("{flag} {}", words(value, name == "learning_rate")),
    }
}

/// A value as it is typed; `exponent`: with one where that is no longer.
fn words(value: &Value, exponent: bool) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(|v| words(v, exponent)).collect::<Vec<_>>().join(","),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            let (plain, short) = (format!("{number}"), format!("{number:e}"));
            let small = number != 0.0 && number.abs() < 0.1;
            let shorter = short.len() < plain.len() || (exponent && short.len() == plain.len());
            if small && shorter { short } else { plain }
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::example;
    use super::*;
    use crate::data::Axes;

    fn plan() -> NetworkPlan {
        NetworkPlan::from_spacing(1, 2, 4, [16; 3], 1, [1.0; 3], 2)
    }

    fn between(before: &TrainOptions, now: &TrainOptions) -> Vec<[String; 2]> {
        let [before, now] = [before, now].map(|options| options_of(options).unwrap());
        differing_flags(&before, &now, &plan()).unwrap()
    }

    #[test]
    fn every_option_has_its_attributes_and_every_flag_exists() {
        let options: Vec<String> = options_of(&example()).unwrap().into_keys().collect();
        assert_eq!(options, ATTRIBUTES.map(|(name, _, _)| name));
        let command = crate::cli::command();
        let train = command.find_subcommand("train").unwrap();
        let flags: Vec<&str> = command
            .get_arguments()
            .chain(train.get_arguments())
            .filter_map(|a| a.get_long())
            .collect();
        for (_, flag, _) in ATTRIBUTES {
            if let Some(long) = flag.strip_prefix("--") {
                let long = long.split(' ').next().unwrap();
                assert!(flags.contains(&long), "{flag}");
            }
        }
    }

    #[test]
    fn flags_that_change_the_result_are_named_as_typed_and_others_are_free() {
        let free = TrainOptions {
            out: "elsewhere".into(),
            dataset: "moved".into(),
            cache: Some("cache".into()),
            threads: 7,
            validate: true,
            ..example()
        };
        assert!(between(&example(), &free).is_empty());
        let mut every = example();
        every.search.every = 2;
        let mirror = Axes([false, true, true]);
        let of = |options: TrainOptions| between(&example(), &options);
        let pair = |before: &str, now: &str| vec![[before.to_owned(), now.to_owned()]];
        assert_eq!(
            of(TrainOptions { learning_rate: 0.03, ..example() }),
            pair("--lr 1e-3", "--lr 3e-2")
        );
        assert_eq!(of(TrainOptions { epochs: 9, ..example() }), pair("--epochs 1", "--epochs 9"));
        assert_eq!(of(TrainOptions { clip: 0.5, ..example() }), pair("--clip 12", "--clip 0.5"));
        assert_eq!(
            of(TrainOptions { patch: Some([8, 16, 16]), ..example() }),
            pair("--patch 16,16,16", "--patch 8,16,16")
        );
        assert_eq!(
            of(TrainOptions { spacing_mm: Some([3.0, 0.7, 0.75]), ..example() }),
            pair("no --spacing", "--spacing 3,0.7,0.75")
        );
        assert_eq!(
            of(TrainOptions { batch_dice: true, ..example() }),
            pair("no --batch-dice", "--batch-dice")
        );
        assert_eq!(
            of(TrainOptions { mirror, ..example() }),
            pair("mirroring along all axes", "--mirror-axes h,w")
        );
        assert_eq!(of(every), pair("--search-every 1", "--search-every 2"));
        assert_eq!(
            of(TrainOptions { reorient: true, ..example() }),
            pair("no --reorient ras", "--reorient ras")
        );
    }

    #[test]
    fn what_was_chosen_may_be_given() {
        let chosen = TrainOptions { patch: Some(plan().patch), levels: 2, ..example() };
        let free = TrainOptions { patch: None, levels: 0, ..example() };
        assert!(between(&free, &chosen).is_empty());
        let pairs = [["--levels 2", "no --levels"], ["--patch 16,16,16", "no --patch"]];
        assert_eq!(between(&chosen, &free), pairs.map(|pair| pair.map(String::from)));
        let other = TrainOptions { patch: Some([24; 3]), ..chosen };
        assert_eq!(between(&free, &other), [["no --patch", "--patch 24,24,24"].map(String::from)]);
    }

    #[test]
    fn options_that_a_record_lacks_are_what_its_version_did() {
        let mut before = options_of(&example()).unwrap();
        for name in ["accumulate", "search.after", "search.draws", "search.step"] {
            before.remove(name).unwrap();
        }
        let now = |options: &TrainOptions| {
            differing_flags(&before, &options_of(options).unwrap(), &plan()).unwrap()
        };
        assert!(now(&example()).is_empty());
        let differing = now(&TrainOptions { accumulate: true, ..example() });
        assert_eq!(differing, [["no --accumulate", "--accumulate"].map(String::from)]);
    }

    #[test]
    fn options_that_the_searcher_does_not_heed_may_differ() {
        let of = |searcher, search: SearchOptions| TrainOptions {
            search: SearchOptions { searcher, ..search },
            ..example()
        };
        let (then, now) = (SearchOptions::paper(), SearchOptions::careful());
        let now = SearchOptions { updates: then.updates, draws: then.draws, ..now };
        let check = |a, b| {
            let pairs = between(&of(a, then.clone()), &of(b, now.clone()));
            pairs.into_iter().map(|[flag, _]| flag).collect::<Vec<_>>().join(" ")
        };
        use SearcherKind::{Asng, None, Reinforce, Trivial};
        assert_eq!(check(None, None), "");
        assert_eq!(check(Trivial, Trivial), "");
        assert_eq!(check(Asng, None), "--searcher asng");
        let reinforce = check(Reinforce, Reinforce);
        assert!(reinforce.contains("--search-every") && !reinforce.contains("--search-step"));
        assert!(check(Asng, Asng).contains("--search-step"));
    }
}
