//! `asng-wgpu cross-validate RUN`.

use super::measures::{SHOWN, decimals, label_rows, measure, number, one_sided};
use super::table::table;
use super::{print, say};
use crate::error::Result;
use crate::files;
use crate::infer::cross_validate::{CrossValidation, FoldSummary, gather};
use crate::metrics::statistics::{deviation, mean};
use std::path::{Path, PathBuf};

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu cross-validate runs/heart

Each case counts once, by the fold that did not train on it. The first table is over all
cases, the second the mean over labels of each fold, with their mean and standard deviation.
Folds of the split that are missing are named with the command that adds them. Writes
RUN/cross_validation/summary.json.")]
pub(super) struct CrossValidate {
    /// Folder of the run.
    run: PathBuf,
    /// Print the summary as JSON instead of tables.
    #[arg(long)]
    json: bool,
}

impl CrossValidate {
    pub(super) fn run(&self) -> Result<()> {
        cross_validate(&self.run, self.json)
    }
}

/// Gathers the folds of a run, writes their summary and prints it.
pub(super) fn cross_validate(run: &Path, json: bool) -> Result<()> {
    let gathered = gather(run)?;
    for sentence in &gathered.missing {
        say(&format!("warning: {sentence}"));
    }
    if gathered.summary.validation_used_in_search {
        say("warning: the search judged its candidates on these cases, so their metrics are \
             optimistic");
    }
    let text = gathered.summary.to_json();
    let folder = run.join("cross_validation");
    if let Some(sentence) = one_sided(&gathered.summary) {
        say(&sentence);
    }
    if json {
        print(&text)?;
    } else {
        print(&format!("{}\n", table(&label_rows(&gathered.summary))))?;
        print(&table(&fold_rows(&gathered)))?;
    }
    files::create_folder(&folder)?;
    let path = folder.join("summary.json");
    files::replace(&path, text.as_bytes())?;
    say(&format!("written to '{}'", path.display()));
    Ok(())
}

/// One row a fold, then their mean and standard deviation.
fn fold_rows(gathered: &CrossValidation) -> Vec<Vec<String>> {
    let known = |name: &&str| gathered.summary.foreground_mean.contains_key(*name);
    let names: Vec<&str> = SHOWN.iter().map(|(name, _)| *name).filter(known).collect();
    let mut head = vec!["fold  ".to_string()];
    head.extend(names.iter().map(|name| name.to_string()));
    head.push("cases".into());
    let mut rows = vec![head];
    for fold in &gathered.folds {
        let mut row = vec![fold.fold.to_string()];
        row.extend(names.iter().map(|name| measure(Some(&fold.summary.foreground_mean), name)));
        row.push(fold.summary.metric_per_case.len().to_string());
        rows.push(row);
    }
    let values = |name: &str| -> Vec<f64> {
        let of_fold = |f: &FoldSummary| {
            f.summary.foreground_mean.get(name).map(|v| v.value()).filter(|v| v.is_finite())
        };
        gathered.folds.iter().filter_map(of_fold).collect()
    };
    for (title, statistic) in [("mean", mean as fn(&[f64]) -> f64), ("sd", deviation)] {
        let mut row = vec![title.to_string()];
        row.extend(names.iter().map(|name| number(statistic(&values(name)), decimals(name))));
        rows.push(row);
    }
    rows
}
