//! `asng-wgpu compare RUN RUN ...`.

use super::measures::{decimals, number};
use super::table::table;
use super::{print, say, write_result};
use crate::error::{Error, Result};
use crate::infer::compare::{different_flags, find_setting};
use crate::metrics::comparison::{Compared, Comparison, NamedSummary, compare};
use crate::metrics::statistics::RESAMPLES;
use crate::numbers::{counted, named, named_by};
use serde_json::{Value, json};
use std::path::PathBuf;

/// The measures that are compared where none is named.
const DEFAULT_METRICS: [&str; 3] = ["Dice", "HD95", "NSD"];

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu compare runs/plain runs/searched
  asng-wgpu compare plain=runs/p0,runs/p1 searched=runs/s0,runs/s1

The first run is the baseline. Differences are run - baseline, paired by case, over the cases
that all runs have; a case whose measure is undefined under one of the two does not count in
that row. `mean` averages a case's labels. The interval covers the mean difference with 95%
(percentiles of 10000 bootstrap resamples of the cases). p is that of Wilcoxon's two-sided
signed-rank test as SciPy computes it by default: zeros dropped, exact for up to 50 cases (13
with ties or zeros), otherwise the normal approximation corrected for ties. p is not corrected
for the number of rows. Of runs joined by commas each case has the mean of its finite values, so
the interval tells how cases differ, not how seeds do.")]
pub(super) struct Compare {
    /// Runs, folders with a summary.json, or summary.json files; several joined by commas, such as
    /// the seeds of one setting, count as one by their mean. The first is the baseline.
    #[arg(num_args = 2.., required = true, value_name = "[NAME=]RUN[,RUN...]")]
    runs: Vec<String>,
    /// Measures to compare, by their names in summary.json [default: Dice,HD95,NSD].
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    metric: Vec<String>,
    /// Seed of the bootstrap.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Also write the comparison as JSON.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

impl Compare {
    pub(super) fn run(&self) -> Result<()> {
        let runs: Vec<NamedSummary> =
            self.runs.iter().map(|source| find_setting(source)).collect::<Result<_>>()?;
        for run in runs.iter().filter(|run| run.summary.validation_used_in_search) {
            say(&format!(
                "warning: the search of '{}' judged its candidates on these cases, so its metrics \
                 are optimistic",
                run.name
            ));
        }
        for run in runs.iter().filter(|run| !run.summary.left_out.is_empty()) {
            say(&format!(
                "warning: '{}' was evaluated with --partial, without {}: {}",
                run.name,
                counted(run.summary.left_out.len(), "case"),
                named(&run.summary.left_out)
            ));
        }
        let different = different_flags(&self.runs)?;
        if !different.is_empty() {
            say(&format!("the runs were trained differently: {}", named_by(&different, "; ")));
        }
        let compared = compare(&runs, &self.metrics(&runs), self.seed)?;
        warn_left_out(&compared, &runs);
        let report = serde_json::to_string_pretty(&as_json(&compared, &runs, self.seed))
            .map_err(|e| Error::Input(format!("the comparison cannot be printed: {e}")))?;
        let tables: Vec<String> = (1..runs.len())
            .map(|run| {
                format!(
                    "{} against {}, {}\n{}",
                    runs[run].name,
                    runs[0].name,
                    counted(compared.cases.len(), "case"),
                    table(&rows(&compared, run))
                )
            })
            .collect();
        print(&if self.json { report.clone() } else { tables.join("\n\n") })?;
        match &self.output {
            Some(path) => write_result(path, format!("{report}\n").as_bytes()),
            None => Ok(()),
        }
    }

    /// The measures asked for, or those of the default ones that all runs have.
    fn metrics(&self, runs: &[NamedSummary]) -> Vec<String> {
        if !self.metric.is_empty() {
            return self.metric.clone();
        }
        let lacks =
            |name: &&str| runs.iter().find(|run| !run.summary.foreground_mean.contains_key(*name));
        for (name, run) in DEFAULT_METRICS.iter().filter_map(|name| Some((name, lacks(name)?))) {
            say(&format!(
                "warning: '{}' has no {name}, which is left out; evaluate its predictions again",
                run.name
            ));
        }
        let shared = DEFAULT_METRICS.into_iter().filter(|name| lacks(name).is_none());
        let shared: Vec<String> = shared.map(String::from).collect();
        // Dice is in every summary: where it is not, that is the error to report.
        if shared.is_empty() { vec!["Dice".into()] } else { shared }
    }
}

fn warn_left_out(compared: &Compared, runs: &[NamedSummary]) {
    for (i, run) in runs.iter().enumerate() {
        let lacking = compared.left_out.iter().filter(|(_, lack)| lack.contains(&i));
        let names: Vec<&str> = lacking.map(|(name, _)| name.as_str()).collect();
        if names.is_empty() {
            continue;
        }
        let verb = if names.len() == 1 { "is" } else { "are" };
        say(&format!(
            "warning: {} {verb} not in '{}' and left out: {}",
            counted(names.len(), "case"),
            run.name,
            named(&names)
        ));
    }
}

/// The table of one run.
fn rows(compared: &Compared, run: usize) -> Vec<Vec<String>> {
    let head = ["measure", "label", "baseline", "run", "difference", "95% interval", "p", "cases"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for row in compared.rows.iter().filter(|row| row.run == run) {
        let places = decimals(&row.metric);
        let signed = |value: f64| match value.is_finite() {
            true => format!("{value:+.places$}"),
            false => "-".into(),
        };
        let [low, high] = row.paired.interval;
        let interval = match low.is_finite() {
            true => format!("[{}, {}]", signed(low), signed(high)),
            false => "-".into(),
        };
        rows.push(vec![
            row.metric.clone(),
            row.label.clone().unwrap_or_else(|| "mean".into()),
            number(row.baseline, places),
            number(row.value, places),
            signed(row.paired.mean),
            interval,
            p_value(row.paired.p),
            row.paired.count.to_string(),
        ]);
    }
    rows
}

fn p_value(p: f64) -> String {
    match p {
        p if p.is_nan() => "-".into(),
        p if p < 0.0001 => format!("{p:.0e}"),
        p => format!("{p:.4}"),
    }
}

/// Values that are not numbers become null.
fn as_json(compared: &Compared, runs: &[NamedSummary], seed: u64) -> Value {
    let names = |indices: &Vec<usize>| -> Vec<&str> {
        indices.iter().map(|&i| runs[i].name.as_str()).collect()
    };
    let left_out: serde_json::Map<String, Value> = compared
        .left_out
        .iter()
        .map(|(case, lack)| (case.clone(), json!({ "not_in": names(lack) })))
        .collect();
    let row = |row: &Comparison| {
        json!({
            "run": runs[row.run].name,
            "metric": row.metric,
            "label": row.label.as_deref().unwrap_or("mean"),
            "cases": row.paired.count,
            "baseline": row.baseline,
            "value": row.value,
            "difference": row.paired.mean,
            "interval": row.paired.interval,
            "p": row.paired.p,
        })
    };
    let optimistic: Vec<&str> = runs
        .iter()
        .filter(|run| run.summary.validation_used_in_search)
        .map(|run| run.name.as_str())
        .collect();
    json!({
        "baseline": runs[0].name,
        "runs": runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>(),
        "validation_used_in_search": optimistic,
        "cases": compared.cases,
        "left_out": left_out,
        "resamples": RESAMPLES,
        "seed": seed,
        "comparisons": compared.rows.iter().map(row).collect::<Vec<_>>(),
    })
}
