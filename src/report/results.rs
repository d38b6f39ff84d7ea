//! Metrics of a fold's validation cases, in the order in which they are read.

use crate::data::names::case_name;
use crate::metrics::Summary;
use crate::metrics::summary::{CaseMetrics, Metrics};
use std::path::Path;

/// A case and a label.
pub(super) struct CaseRow<'a> {
    pub case: String,
    /// The label's value as text.
    pub label: &'a str,
    pub metrics: &'a Metrics,
}

/// A metric by its name; NaN where there is none.
pub(super) fn value(metrics: &Metrics, name: &str) -> f64 {
    metrics.get(name).map_or(f64::NAN, |v| v.value())
}

/// Foreground labels, by value.
pub(super) fn labels(summary: &Summary) -> Vec<&str> {
    let mut labels: Vec<&str> =
        summary.mean.keys().map(String::as_str).filter(|label| *label != "0").collect();
    labels.sort_by_key(|label| label.parse().unwrap_or(u32::MAX));
    labels
}

/// A row for each case and label, the worst Dice first, those without one last.
pub(super) fn rows(summary: &Summary) -> Vec<CaseRow<'_>> {
    let labels = labels(summary);
    let mut rows: Vec<CaseRow> = Vec::new();
    for case in &summary.metric_per_case {
        for label in &labels {
            if let Some(metrics) = case.metrics.get(*label) {
                rows.push(CaseRow { case: name_of(case), label, metrics });
            }
        }
    }
    // NaN comes last in this order, whatever its sign was.
    let dice = |row: &CaseRow| value(row.metrics, "Dice").abs();
    rows.sort_by(|a, b| dice(a).total_cmp(&dice(b)));
    rows
}

/// Name of a case.
pub(super) fn name_of(case: &CaseMetrics) -> String {
    case_name(Path::new(&case.prediction_file))
}

/// Mean Dice of a case over the labels that it has; none without any.
pub(super) fn mean_dice(case: &CaseMetrics) -> Option<f64> {
    let foreground = case.metrics.iter().filter(|(label, _)| *label != "0");
    let dice: Vec<f64> =
        foreground.map(|(_, m)| value(m, "Dice")).filter(|d| d.is_finite()).collect();
    (!dice.is_empty()).then(|| dice.iter().sum::<f64>() / dice.len() as f64)
}

/// The cases of the lowest mean Dice, the worst first.
pub(super) fn worst(summary: &Summary, count: usize) -> Vec<(&CaseMetrics, f64)> {
    let mut cases: Vec<(&CaseMetrics, f64)> =
        summary.metric_per_case.iter().filter_map(|c| Some((c, mean_dice(c)?))).collect();
    cases.sort_by(|a, b| a.1.total_cmp(&b.1));
    cases.truncate(count);
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::overlap::Overlap;
    use crate::metrics::summary::overlap_metrics;

    #[test]
    fn the_worst_come_first_and_absent_labels_last() {
        let none = Overlap { tn: 10, ..Overlap::default() };
        let hits = |tp| Overlap { tp, fp: 1, fn_: 0, tn: 6 };
        let case = |name: &str, overlaps: [Overlap; 2]| CaseMetrics {
            metrics: [("2", overlaps[0]), ("10", overlaps[1])]
                .map(|(l, o)| (l.to_string(), overlap_metrics(&o)))
                .into(),
            prediction_file: format!("p/{name}.nii.gz"),
            reference_file: String::new(),
        };
        let cases = vec![
            case("good", [hits(9), none]),
            case("bad", [hits(1), hits(3)]),
            case("empty", [none, none]),
        ];
        let summary = Summary::of(cases);
        assert_eq!(labels(&summary), ["2", "10"]);
        let order: Vec<_> = rows(&summary).into_iter().map(|r| (r.case, r.label)).collect();
        let names = |n: usize| (order[n].0.as_str(), order[n].1);
        assert_eq!([names(0), names(1), names(2)], [("bad", "2"), ("bad", "10"), ("good", "2")]);
        assert_eq!(order.len(), 6);
        let worst: Vec<_> = worst(&summary, 5).into_iter().map(|(c, _)| name_of(c)).collect();
        assert_eq!(worst, ["bad", "good"]);
    }
}
