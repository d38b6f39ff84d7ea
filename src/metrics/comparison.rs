//! The same cases under several runs: paired differences to the first run, the baseline.

use super::statistics::{Paired, mean};
use super::summary::{CaseMetrics, Metrics, Number, Summary};
use crate::data::names::case_name;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A run by its name, for messages and tables, and its summary.
#[derive(Clone, Debug)]
pub struct NamedSummary {
    /// As the user named it.
    pub name: String,
    /// Its values.
    pub summary: Summary,
}

/// One measure of one label under a run and under the baseline.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Index of the run, from 1; the baseline is 0.
    pub run: usize,
    /// Key of the measure in the summaries.
    pub metric: String,
    /// The label, or none for the mean over the foreground labels of a case.
    pub label: Option<String>,
    /// Mean over the compared cases under the baseline; NaN where there are none.
    pub baseline: f64,
    /// The same under the run.
    pub value: f64,
    /// The differences, run - baseline, over the cases that have the measure under both.
    pub paired: Paired,
}

/// Which cases were compared, and what came of it.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The cases of all runs, by name.
    pub cases: Vec<String>,
    /// The cases that some run lacks, and the runs (indices) that lack them.
    pub left_out: BTreeMap<String, Vec<usize>>,
    /// By run, then metric, then label with the mean at the end.
    pub rows: Vec<Comparison>,
}

/// Label -> metrics, of each case by its name.
type Cases<'a> = BTreeMap<String, &'a BTreeMap<String, Metrics>>;

/// Compares each run with the first by each of `metrics`. The mean of a case is taken over the
/// labels that have the metric under both runs. `seed` is that of the bootstrap.
///
/// # Errors
/// [`Error::Input`] when a run holds a case twice or not one of the metrics, or when no case is in
/// all runs.
pub fn compare(runs: &[NamedSummary], metrics: &[String], seed: u64) -> Result<Compared> {
    let by_case: Vec<Cases> = runs.iter().map(cases_of).collect::<Result<_>>()?;
    for run in runs {
        for metric in metrics {
            has_metric(run, metric)?;
        }
    }
    let names: BTreeSet<&String> = by_case.iter().flat_map(|cases| cases.keys()).collect();
    let (mut cases, mut left_out) = (Vec::new(), BTreeMap::new());
    for name in names {
        let lack: Vec<usize> =
            (0..runs.len()).filter(|&i| !by_case[i].contains_key(name)).collect();
        match lack.is_empty() {
            true => cases.push(name.clone()),
            false => drop(left_out.insert(name.clone(), lack)),
        }
    }
    if cases.is_empty() {
        let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        return Err(Error::Input(format!(
            "no case is in all of '{}'; compare runs of the same cases",
            names.join("', '")
        )));
    }
    let mut labels: Vec<&String> = runs.iter().flat_map(|run| run.summary.mean.keys()).collect();
    labels.retain(|label| *label != "0");
    labels.sort_by_key(|label| (label.parse::<u16>().unwrap_or(u16::MAX), *label));
    labels.dedup();
    let mut rows = Vec::new();
    for (run, under_run) in by_case.iter().enumerate().skip(1) {
        for metric in metrics {
            let pairs = |label: &str| -> Vec<Option<(f64, f64)>> {
                let value = |cases: &Cases, case: &String| {
                    cases.get(case)?.get(label)?.get(metric).map(|v| v.value())
                };
                let both = |case| Some((value(&by_case[0], case)?, value(under_run, case)?));
                let finite = |(a, b): &(f64, f64)| a.is_finite() && b.is_finite();
                cases.iter().map(|case| both(case).filter(finite)).collect()
            };
            let of_labels: Vec<Vec<Option<(f64, f64)>>> =
                labels.iter().map(|label| pairs(label)).collect();
            let row = |label: Option<String>, values: &[Option<(f64, f64)>]| {
                let (a, b): (Vec<f64>, Vec<f64>) = values.iter().flatten().copied().unzip();
                let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b - a).collect();
                Comparison {
                    run,
                    metric: metric.clone(),
                    label,
                    baseline: mean(&a),
                    value: mean(&b),
                    paired: Paired::of(&differences, seed),
                }
            };
            for (label, values) in labels.iter().zip(&of_labels) {
                rows.push(row(Some((*label).clone()), values));
            }
            let means: Vec<Option<(f64, f64)>> = (0..cases.len())
                .map(|case| {
                    let known = of_labels.iter().filter_map(|values| values[case]);
                    let (a, b): (Vec<f64>, Vec<f64>) = known.unzip();
                    (!a.is_empty()).then(|| (mean(&a), mean(&b)))
                })
                .collect();
            rows.push(row(None, &means));
        }
    }
    Ok(Compared { cases, left_out, rows })
}

/// The average of several runs of one setting: each measure of a case is the mean of those that are
/// finite; only cases that all runs have remain.
///
/// # Errors
/// [`Error::Input`] when a run holds a case twice, or no case is in all of them.
pub fn average(name: &str, runs: &[NamedSummary]) -> Result<NamedSummary> {
    let by_case: Vec<Cases> = runs.iter().map(cases_of).collect::<Result<_>>()?;
    let first = runs.iter().take(1).flat_map(|run| &run.summary.metric_per_case);
    let mut cases = Vec::new();
    for case in first {
        let key = case_name(Path::new(&case.prediction_file));
        let Some(of_runs) = by_case.iter().map(|cases| cases.get(&key)).collect::<Option<Vec<_>>>()
        else {
            continue;
        };
        let mean_of = |label: &String, metric: &String| {
            let values = of_runs.iter().filter_map(|labels| labels.get(label)?.get(metric));
            let finite: Vec<f64> = values.map(|v| v.value()).filter(|v| v.is_finite()).collect();
            Number::Float(mean(&finite))
        };
        let metrics = case.metrics.iter().map(|(label, metrics)| {
            let means = metrics.keys().map(|metric| (metric.clone(), mean_of(label, metric)));
            (label.clone(), means.collect())
        });
        cases.push(CaseMetrics { metrics: metrics.collect(), ..case.clone() });
    }
    if cases.is_empty() {
        return Err(Error::Input(format!(
            "no case is in all of '{name}'; average runs of the same fold of the same data set"
        )));
    }
    let validation_used_in_search = runs.iter().any(|run| run.summary.validation_used_in_search);
    let mut left_out: Vec<String> =
        runs.iter().flat_map(|run| run.summary.left_out.iter().cloned()).collect();
    left_out.sort();
    left_out.dedup();
    let summary = Summary { validation_used_in_search, left_out, ..Summary::of(cases) };
    Ok(NamedSummary { name: name.into(), summary })
}

fn cases_of(run: &NamedSummary) -> Result<Cases<'_>> {
    let mut cases = Cases::new();
    for case in &run.summary.metric_per_case {
        let name = case_name(Path::new(&case.prediction_file));
        if cases.insert(name.clone(), &case.metrics).is_some() {
            return Err(Error::Input(format!(
                "'{}' holds the case '{name}' twice; evaluate it anew with one prediction a case",
                run.name
            )));
        }
    }
    Ok(cases)
}

fn has_metric(run: &NamedSummary, metric: &str) -> Result<()> {
    let known = &run.summary.foreground_mean;
    if known.contains_key(metric) {
        return Ok(());
    }
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    Err(Error::Input(format!(
        "'{}' has no metric '{metric}' (it has {}); use --metric with one of these, or evaluate \
         its predictions anew",
        run.name,
        names.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, cases: &[(&str, &[(&str, f64)])]) -> NamedSummary {
        let case = |(name, labels): &(&str, &[(&str, f64)])| CaseMetrics {
            metrics: labels
                .iter()
                .map(|(label, dice)| {
                    (label.to_string(), [("Dice".to_string(), Number::Float(*dice))].into())
                })
                .collect(),
            prediction_file: format!("somewhere/{name}.nii.gz"),
            reference_file: String::new(),
        };
        NamedSummary { name: name.into(), summary: Summary::of(cases.iter().map(case).collect()) }
    }

    fn dice() -> Vec<String> {
        vec!["Dice".into()]
    }

    #[test]
    fn pairs_by_case_and_names_what_is_left_out() {
        let a = run(
            "a",
            &[
                ("c1", &[("1", 0.5), ("2", 0.5)]),
                ("c2", &[("1", 0.7), ("2", f64::NAN)]),
                ("c3", &[("1", 0.1), ("2", 0.1)]),
            ],
        );
        let b = run("b", &[("c2", &[("1", 0.8), ("2", 0.9)]), ("c1", &[("1", 0.7), ("2", 0.4)])]);
        let found = compare(&[a.clone(), b], &dice(), 0).unwrap();
        assert_eq!(found.cases, ["c1", "c2"]);
        assert_eq!(found.left_out, [("c3".to_string(), vec![1])].into());
        let row = |i: usize| {
            let r = &found.rows[i];
            (r.label.as_deref(), r.paired.count, r.baseline, r.value)
        };
        let near = |(label, n, a, b): (Option<&str>, usize, f64, f64), wanted| {
            let (l, m, x, y): (Option<&str>, usize, f64, f64) = wanted;
            assert_eq!((label, n), (l, m));
            assert!((a - x).abs() < 1e-12 && (b - y).abs() < 1e-12, "{a} {b}");
        };
        near(row(0), (Some("1"), 2, 0.6, 0.75));
        near(row(1), (Some("2"), 1, 0.5, 0.4));
        // The second case's mean is that of label 1 alone under both.
        near(row(2), (None, 2, 0.6, 0.675));
        assert!((found.rows[0].paired.mean - 0.15).abs() < 1e-12);
        let same = compare(&[a.clone(), a], &dice(), 0).unwrap();
        assert!(same.rows.iter().all(|r| r.paired.mean == 0.0 && r.paired.p == 1.0));
    }

    #[test]
    fn an_average_has_the_mean_of_each_case_that_all_runs_have() {
        let a = run("a", &[("c1", &[("1", 0.5), ("2", f64::NAN)]), ("c2", &[("1", 0.25)])]);
        let b = run("b", &[("c3", &[("1", 0.1)]), ("c1", &[("1", 1.0), ("2", 0.5)])]);
        let both = average("s", &[a.clone(), b.clone()]).unwrap();
        let [case] = &both.summary.metric_per_case[..] else { panic!("one case is in both") };
        assert_eq!(case_name(Path::new(&case.prediction_file)), "c1");
        assert_eq!(case.metrics["1"]["Dice"].value(), 0.75);
        assert_eq!(case.metrics["2"]["Dice"].value(), 0.5);
        assert_eq!(both.summary.mean["1"]["Dice"].value(), 0.75);
        let alone = average("s", std::slice::from_ref(&a)).unwrap();
        assert_eq!(alone.summary.mean["1"], a.summary.mean["1"]);
        let apart = run("apart", &[("c9", &[("1", 0.5)])]);
        assert!(average("s", &[a, apart]).unwrap_err().to_string().contains("no case is in all"));
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let a = run("a", &[("c1", &[("1", 0.5)])]);
        let b = run("b", &[("c2", &[("1", 0.5)])]);
        let refused = |runs: &[NamedSummary], metric: &str, word: &str| {
            let e = compare(runs, &[metric.into()], 0).unwrap_err().to_string();
            assert!(e.contains(word), "{e}");
        };
        refused(&[a.clone(), b], "Dice", "no case is in all");
        refused(&[a.clone(), a.clone()], "HD95", "has no metric 'HD95' (it has Dice)");
        let twice = run("t", &[("c1", &[("1", 0.5)]), ("c1", &[("1", 0.5)])]);
        refused(&[a, twice], "Dice", "'c1' twice");
    }
}
