//! `asng-wgpu evaluate PRED REF`.

use super::table::table;
use super::{print, say};
use crate::data::dataset::case_name;
use crate::error::{Error, Result};
use crate::files;
use crate::infer::evaluate::{evaluate, pairs};
use crate::metrics::summary::{Metrics, Number, Summary};
use std::path::{Path, PathBuf};

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu evaluate predictions heart/labelsTr --cases

Dice and IoU are averaged over the cases in which the prediction or the reference has the label
(`-`: none has it), then over labels; voxels are summed over cases. The summary has the structure
of nnU-Net's summary.json.")]
pub(super) struct Evaluate {
    /// Predicted labels: a file or a folder.
    prediction: PathBuf,
    /// Reference labels: a file, or a folder with files of the same names.
    reference: PathBuf,
    /// Where to write the summary [default: PREDICTION/summary.json for a folder].
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Foreground labels that count [default: all that occur].
    #[arg(short, long, value_delimiter = ',')]
    labels: Vec<u16>,
    /// Also print each case.
    #[arg(long)]
    cases: bool,
    /// Print the summary as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

impl Evaluate {
    pub(super) fn run(&self) -> Result<()> {
        if self.labels.contains(&0) {
            return Err(Error::Usage(
                "--labels 0 is the background, which is not evaluated; leave it out".into(),
            ));
        }
        let summary = evaluate(&pairs(&self.prediction, &self.reference)?, &self.labels)?;
        let json = summary.to_json();
        let folder_default = self.prediction.is_dir().then(|| self.prediction.join("summary.json"));
        if let Some(path) = self.output.clone().or(folder_default) {
            files::replace(&path, json.as_bytes())?;
            say(&format!("written to '{}'", path.display()));
        }
        if self.json {
            return print(&json);
        }
        if self.cases {
            print(&format!("{}\n", table(&case_rows(&summary))))?;
        }
        print(&table(&label_rows(&summary)))
    }
}

fn measure(metrics: Option<&Metrics>, name: &str) -> String {
    match metrics.and_then(|m| m.get(name)) {
        Some(number) if number.value().is_finite() => format!("{:.4}", number.value()),
        _ => "-".into(),
    }
}

fn count(metrics: &Metrics, name: &str) -> i64 {
    match metrics.get(name) {
        Some(Number::Int(n)) => *n,
        _ => 0,
    }
}

fn cells<const N: usize>(row: [&str; N]) -> Vec<String> {
    row.map(String::from).to_vec()
}

/// One row a label, and their mean.
pub(super) fn label_rows(summary: &Summary) -> Vec<Vec<String>> {
    // The first column is at least 6 wide, so that tables of several calls line up.
    let mut rows = vec![cells(["label ", "Dice", "IoU", "cases", "predicted", "reference"])];
    let mut labels: Vec<&String> = summary.mean.keys().collect();
    labels.sort_by_key(|l| l.parse::<u16>().unwrap_or(u16::MAX));
    for label in labels {
        let cases: Vec<&Metrics> =
            summary.metric_per_case.iter().filter_map(|c| c.metrics.get(label)).collect();
        let with = cases.iter().filter(|m| m.get("Dice").is_some_and(|d| !d.value().is_nan()));
        let sum = |name| cases.iter().map(|m| count(m, name)).sum::<i64>().to_string();
        let mean = summary.mean.get(label);
        rows.push(vec![
            label.clone(),
            measure(mean, "Dice"),
            measure(mean, "IoU"),
            with.count().to_string(),
            sum("n_pred"),
            sum("n_ref"),
        ]);
    }
    let all = Some(&summary.foreground_mean);
    let cases = summary.metric_per_case.len().to_string();
    rows.push(vec!["mean".into(), measure(all, "Dice"), measure(all, "IoU"), cases]);
    rows
}

/// One row a case, its Dice values by label.
fn case_rows(summary: &Summary) -> Vec<Vec<String>> {
    let mut labels: Vec<&String> = summary.mean.keys().collect();
    labels.sort_by_key(|l| l.parse::<u16>().unwrap_or(u16::MAX));
    let mut head = vec!["case".to_string()];
    head.extend(labels.iter().map(|l| format!("Dice {l}")));
    let mut rows = vec![head];
    for case in &summary.metric_per_case {
        let mut row = vec![case_name(Path::new(&case.prediction_file))];
        row.extend(labels.iter().map(|l| measure(case.metrics.get(*l), "Dice")));
        rows.push(row);
    }
    rows
}
