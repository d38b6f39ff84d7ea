//! Tables of a summary's measures.

use crate::data::names::case_name;
use crate::metrics::summary::{Metrics, Number, Summary};
use crate::numbers::{counted, named};
use std::path::Path;

/// The measures that tables show, with their decimals: shares with four, millimetres with two.
pub(super) const SHOWN: [(&str, usize); 5] =
    [("Dice", 4), ("IoU", 4), ("HD95", 2), ("ASSD", 2), ("NSD", 4)];

/// A measure for a table; `-` where it is not there or not a number.
pub(super) fn measure(metrics: Option<&Metrics>, name: &str) -> String {
    let value = metrics.and_then(|m| m.get(name)).map_or(f64::NAN, |number| number.value());
    number(value, decimals(name))
}

/// Decimals of a measure by its name.
pub(super) fn decimals(name: &str) -> usize {
    match name {
        "HD" => 2,
        _ => SHOWN.iter().find(|(shown, _)| *shown == name).map_or(4, |(_, decimals)| *decimals),
    }
}

/// A number for a table; `-` where it is none.
pub(super) fn number(value: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$}") } else { "-".into() }
}

fn count(metrics: &Metrics, name: &str) -> i64 {
    match metrics.get(name) {
        Some(Number::Int(n)) => *n,
        _ => 0,
    }
}

/// The labels of a summary by number, not by text.
fn labels(summary: &Summary) -> Vec<&String> {
    let mut labels: Vec<&String> = summary.mean.keys().collect();
    labels.sort_by_key(|l| l.parse::<u16>().unwrap_or(u16::MAX));
    labels
}

/// The shown measures that a summary holds; those of surfaces may be missing.
fn held(summary: &Summary) -> Vec<&'static str> {
    let known = |name: &str| summary.foreground_mean.contains_key(name);
    let names = SHOWN.map(|(name, _)| name).into_iter();
    names.filter(|name| ["Dice", "IoU"].contains(name) || known(name)).collect()
}

/// One row a label, and their mean.
pub(super) fn label_rows(summary: &Summary) -> Vec<Vec<String>> {
    let names = held(summary);
    let cells = |metrics: Option<&Metrics>| -> Vec<String> {
        names.iter().map(|name| measure(metrics, name)).collect()
    };
    // The first column is at least 6 wide, so that tables of several calls line up.
    let mut head = vec!["label ".to_string()];
    head.extend(names.iter().map(|name| name.to_string()));
    head.extend(["cases", "predicted", "reference"].map(String::from));
    let mut rows = vec![head];
    for label in labels(summary) {
        let cases: Vec<&Metrics> =
            summary.metric_per_case.iter().filter_map(|c| c.metrics.get(label)).collect();
        let with = cases.iter().filter(|m| m.get("Dice").is_some_and(|d| !d.value().is_nan()));
        let sum = |name| cases.iter().map(|m| count(m, name)).sum::<i64>().to_string();
        let mut row = vec![label.clone()];
        row.extend(cells(summary.mean.get(label)));
        row.extend([with.count().to_string(), sum("n_pred"), sum("n_ref")]);
        rows.push(row);
    }
    let mut mean = vec!["mean".to_string()];
    mean.extend(cells(Some(&summary.foreground_mean)));
    let (cases, left_out) = (summary.metric_per_case.len(), summary.left_out.len());
    mean.push(match left_out {
        0 => cases.to_string(),
        _ => format!("{cases} of {}", cases + left_out),
    });
    rows.push(mean);
    rows
}

/// One row a case and label.
pub(super) fn case_rows(summary: &Summary) -> Vec<Vec<String>> {
    let names = held(summary);
    let mut head = vec!["case".to_string(), "label".to_string()];
    head.extend(names.iter().map(|name| name.to_string()));
    let mut rows = vec![head];
    for case in &summary.metric_per_case {
        for label in labels(summary) {
            let mut row = vec![case_name(Path::new(&case.prediction_file)), label.clone()];
            row.extend(names.iter().map(|name| measure(case.metrics.get(label), name)));
            rows.push(row);
        }
    }
    rows
}

/// Sentences about labels that no prediction or no reference of all cases has: other numbers may mean
/// the same structures there.
pub(super) fn never_there(summary: &Summary) -> Vec<String> {
    let sum = |label: &String, name: &str| {
        let cases = summary.metric_per_case.iter().filter_map(|case| case.metrics.get(label));
        cases.map(|metrics| count(metrics, name)).sum::<i64>()
    };
    let missing = |predicted: bool, reference: bool| -> Vec<&String> {
        let of = |label: &&String| {
            (sum(label, "n_pred") > 0, sum(label, "n_ref") > 0) == (predicted, reference)
        };
        labels(summary).into_iter().filter(of).collect()
    };
    [
        (missing(true, false), "in predictions alone"),
        (missing(false, true), "in references alone"),
        (missing(false, false), "in no file"),
    ]
    .into_iter()
    .filter(|(labels, _)| !labels.is_empty())
    .map(|(labels, place)| {
        let (s, verb) = if labels.len() == 1 { ("", "occurs") } else { ("s", "occur") };
        format!("label{s} {} {verb} {place}", named(&labels))
    })
    .collect()
}

/// A sentence about labels that only the prediction or only the reference of a case has: means of
/// distances leave them out and look better than they are.
pub(super) fn one_sided(summary: &Summary) -> Option<String> {
    summary.foreground_mean.get("HD95")?;
    let all = summary.metric_per_case.iter().flat_map(|case| case.metrics.values());
    let found = all.filter(|m| (count(m, "n_pred") == 0) != (count(m, "n_ref") == 0)).count();
    (found > 0).then(|| {
        format!(
            "note: {} only the prediction or only the reference of a case has a label; Dice and NSD \
             are 0 there, and the means of HD95, HD and ASSD leave it out",
            counted(found, "time")
        )
    })
}
