//! `asng-wgpu check DATASET`.

use super::progress::bar;
use super::table::table;
use super::{print, say};
use crate::data::check::{Finding, Report, Spread, Summary, check};
use crate::error::{Error, Result};
use crate::numbers::plain;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu check Task04_Hippocampus

Every file is read, and all problems are told at once: of dataset.json, splits_final.json and
patients.json or patients.csv; missing, truncated and damaged files; image and label map on
different grids; NaN, infinite and constant images; label values that are not listed, with a
correction for the whole data set; cases of equal content, and whether they leak from training into
validation or testing; orientations, sform and qform, voxel sizes.

The exit code is 1 if there are errors, and 0 if there are only warnings.")]
pub(super) struct Check {
    /// Folder of the data set: dataset.json, imagesTr, labelsTr; or its dataset.json.
    dataset: PathBuf,
    /// Print the report as JSON instead of tables.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(&self) -> Result<()> {
        let report = self.checked()?;
        if self.json {
            let json = serde_json::to_string_pretty(&report).map_err(|e| {
                Error::Input(format!(
                    "the report cannot be written as JSON ({e}); leave out --json"
                ))
            })?;
            print(&json)?;
        } else {
            if let Some(summary) = &report.summary {
                print(&summary_text(summary))?;
            }
            if !report.findings.is_empty() {
                print(&findings_text(&report.findings))?;
            }
        }
        let name = self.dataset.display();
        let (errors, warnings) =
            (plural(report.errors, "error"), plural(report.warnings, "warning"));
        if report.errors > 0 {
            return Err(Error::Input(format!(
                "'{name}' has {errors} and {warnings}; fix the errors before training"
            )));
        }
        say(&format!("'{name}' has no errors and {warnings}"));
        Ok(())
    }

    /// Checks with a bar on a terminal.
    fn checked(&self) -> Result<Report> {
        let bar = bar(0, "checking  {wide_bar} {pos}/{len}  {left}  {msg}");
        let report = check(&self.dataset, super::threads(), &|done, all, name| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
            bar.set_message(name.to_string());
        });
        bar.finish_and_clear();
        report
    }
}

fn plural(n: usize, what: &str) -> String {
    match n {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        _ => format!("{n} {what}s"),
    }
}

/// One row per finding: severity, file or case, problem, fix. Only the
/// first two columns are padded, so that a finding stays one line.
fn findings_text(findings: &[Finding]) -> String {
    let places: Vec<String> = findings.iter().map(Finding::place).collect();
    let width = places.iter().map(|p| p.chars().count()).max().unwrap_or(0).max(12);
    let mut lines = vec![format!("\n{:<8}  {:<width$}  problem; fix", "severity", "file or case")];
    for (finding, place) in findings.iter().zip(&places) {
        let remedy = match finding.remedy.is_empty() {
            true => String::new(),
            false => format!("; {}", finding.remedy),
        };
        let severity = finding.severity.to_string();
        lines.push(format!("{severity:<8}  {place:<width$}  {}{remedy}", finding.message));
    }
    lines.join("\n")
}

fn spread_rows(name: &str, spread: &Option<Spread>) -> Vec<Vec<String>> {
    let Some(s) = spread else { return Vec::new() };
    ["z", "y", "x"]
        .iter()
        .enumerate()
        .map(|(i, axis)| {
            let head = format!("{name} {axis}");
            vec![head, plain(s.min[i]), plain(s.median[i]), plain(s.max[i])]
        })
        .collect()
}

/// Tables of grids, channels and labels.
fn summary_text(summary: &Summary) -> String {
    let cells = |row: &[&str]| row.iter().map(|c| c.to_string()).collect::<Vec<_>>();
    let orientations: Vec<String> =
        summary.orientations.iter().map(|(o, n)| format!("{o} {n}")).collect();
    let mut text = format!(
        "{}, {} to test on; orientation {}",
        plural(summary.cases, "training case"),
        summary.test_cases,
        if orientations.is_empty() { "unknown".into() } else { orientations.join(", ") }
    );
    let mut grid = vec![cells(&["", "min", "median", "max"])];
    grid.extend(spread_rows("voxels", &summary.shape));
    grid.extend(spread_rows("spacing mm", &summary.spacing_mm));
    let mut channels = vec![cells(&["channel", "name", "normalised", "min", "max"])];
    channels.extend(summary.channels.iter().enumerate().map(|(i, c)| {
        let value = |v: Option<f64>| v.map_or("-".into(), plain);
        let by = c.normalisation.word().to_string();
        vec![i.to_string(), c.name.clone(), by, value(c.min), value(c.max)]
    }));
    let mut labels = vec![cells(&["label", "name", "voxels", "cases"])];
    labels.extend(summary.labels.iter().map(|l| {
        let name = l.name.clone().unwrap_or_else(|| "not listed".into());
        vec![l.value.to_string(), name, l.voxels.to_string(), l.cases.to_string()]
    }));
    for rows in [grid, channels, labels].iter().filter(|rows| rows.len() > 1) {
        text.push_str("\n\n");
        text.push_str(&table(rows));
    }
    text
}
