//! `asng-wgpu evaluate PRED REF`.

use super::measures::{case_rows, label_rows, never_there, one_sided};
use super::progress::bar;
use super::table::table;
use super::{print, say, say_at_most, write_result};
use crate::data::labels::{Labels, Target};
use crate::error::{Error, Result};
use crate::infer::evaluate::{EvaluateOptions, Evaluation, NSD_TOLERANCE_MM};
use crate::infer::evaluate::{declared_labels, evaluate, used_in_search};
use crate::infer::exchanged::check_order;
use crate::infer::unpaired::{Paired, incomplete};
use crate::numbers::named;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu evaluate predictions heart/labelsTr --cases

Measures are averaged over cases, then over labels; `-` is a measure that no case has. Where
neither the prediction nor the reference has a label, the case does not count for it. Where
only one has it, Dice, IoU and NSD are 0 and there is no distance: HD95, HD and ASSD leave the
case out. Distances are in mm; NSD is the share of both surfaces within --nsd-tolerance of
each other. Voxels are summed over cases. Regions and the ignore label are those of the
dataset.json in the folder of the references or in the folder above it, or of --dataset: with
regions, these are measured in place of single labels; voxels that the reference ignores do not
count, and objects end at their border. --labels measures single labels in any case. The summary has the structure of nnU-Net's
summary.json, with ASSD, HD, HD95 and NSD added. All pairs are tried; the summary is written
only when none failed and every reference has a prediction. With --partial the others are left
out, the summary names them, and the table says over how many cases it is. Folders, such as
`probabilities`, and 4-D files among the predictions are passed over.")]
pub(super) struct Evaluate {
    /// Predicted labels: a file or a folder.
    prediction: PathBuf,
    /// Reference labels: a file, or a folder with files of the same names.
    reference: PathBuf,
    /// Where to write the summary [default: PREDICTION/summary.json for a folder].
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Foreground labels that count [default: all that occur, or the regions of dataset.json].
    #[arg(short, long, value_delimiter = ',')]
    labels: Vec<u16>,
    /// The data set, or its dataset.json, whose regions and ignore label count [default: the
    /// dataset.json in the folder of the references or above it].
    #[arg(long, value_name = "PATH")]
    dataset: Option<PathBuf>,
    /// Label of the reference whose voxels do not count [default: by dataset.json].
    #[arg(long, value_name = "LABEL")]
    ignore_label: Option<u16>,
    /// Tolerance of the normalised surface Dice, in mm.
    #[arg(long, value_name = "MM", default_value_t = NSD_TOLERANCE_MM, allow_negative_numbers = true)]
    nsd_tolerance: f64,
    /// Leave out the measures of surfaces (HD95, HD, ASSD, NSD), which take most of the time.
    #[arg(long, conflicts_with = "nsd_tolerance")]
    no_surface: bool,
    /// Evaluate the cases that have both a prediction and a reference, and name the others.
    #[arg(long)]
    partial: bool,
    /// Also print each case.
    #[arg(long)]
    cases: bool,
    /// Print the summary as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

impl Evaluate {
    /// Refuses flags that cannot be.
    pub(super) fn check(&self) -> Result<()> {
        if self.labels.contains(&0) {
            return Err(Error::Usage(
                "--labels 0 is the background, which is not evaluated; leave it out".into(),
            ));
        }
        if let Some(ignore) = self.ignore_label
            && (ignore == 0 || self.labels.contains(&ignore))
        {
            return Err(Error::Usage(format!(
                "--ignore-label {ignore} is {}; give the label of voxels that nobody labelled",
                if ignore == 0 { "the background" } else { "also one of --labels" }
            )));
        }
        if !(self.nsd_tolerance.is_finite() && self.nsd_tolerance >= 0.0) {
            return Err(Error::Usage(format!(
                "--nsd-tolerance {} is no distance; give millimetres, as in --nsd-tolerance 2",
                self.nsd_tolerance
            )));
        }
        Ok(())
    }

    /// The labels of the data set: by --dataset, or by the dataset.json of the references.
    fn declared(&self) -> Result<Labels> {
        if let Some(path) = &self.dataset {
            if !path.exists() {
                return Err(Error::Usage(format!(
                    "--dataset '{}' does not exist; give the folder of a data set, or its \
                     dataset.json",
                    path.display()
                )));
            }
            let inside = path.join("dataset.json");
            return Labels::read(if path.is_dir() { &inside } else { path });
        }
        match declared_labels(&self.reference) {
            Ok(Some((path, labels))) => {
                let has_regions = self.labels.is_empty() && !labels.regions().is_empty();
                let has_ignore = self.ignore_label.is_none() && labels.ignore().is_some();
                let used = match (has_regions, has_ignore) {
                    (true, true) => "regions and ignore label",
                    (true, false) => "regions",
                    (false, true) => "ignore label",
                    (false, false) => return Ok(labels),
                };
                say(&format!("{used} by '{}'", path.display()));
                Ok(labels)
            }
            Ok(None) => Ok(Labels::default()),
            Err(error) => {
                say(&format!(
                    "warning: regions and ignore label are unknown: {}",
                    error.sentence()
                ));
                Ok(Labels::default())
            }
        }
    }

    /// What is measured; empty: every value that occurs.
    fn targets(&self, declared: &Labels) -> Vec<Target> {
        let targets = declared.targets();
        if self.labels.is_empty() {
            return if declared.regions().is_empty() { Vec::new() } else { targets };
        }
        let of = |value: &u16| Target {
            name: String::new(),
            key: value.to_string(),
            values: vec![*value],
        };
        self.labels.iter().map(of).collect()
    }

    pub(super) fn run(&self) -> Result<()> {
        if let Some(warning) = check_order(&self.prediction, &self.reference)? {
            say(&format!("warning: {warning}"));
        }
        let mut paired = Paired::of(&self.prediction, &self.reference)?;
        for sentence in &paired.passed_over {
            say(&format!("passed over: {sentence}"));
        }
        let mut left_out = Vec::new();
        if self.partial {
            left_out = paired.keep_complete()?;
        }
        let pairs = &paired.pairs;
        let declared = self.declared()?;
        let targets = self.targets(&declared);
        let options = EvaluateOptions {
            targets: &targets,
            ignore: self.ignore_label.or(declared.ignore()),
            nsd_tolerance_mm: (!self.no_surface).then_some(self.nsd_tolerance),
        };
        let bar = bar(pairs.len() as u64, "evaluating  {wide_bar} {pos}/{len}  {left}");
        let summary = evaluate(pairs, options, &|done| bar.set_position(done as u64));
        bar.finish_and_clear();
        let Evaluation { mut summary, warnings } = summary?;
        say_at_most(&warnings);
        let folder_default = self.prediction.is_dir().then(|| self.prediction.join("summary.json"));
        let target = self.output.clone().or(folder_default);
        if target.as_deref().is_some_and(used_in_search) {
            summary.validation_used_in_search = true;
            say("warning: the search judged its candidates on these cases, so their metrics are \
                 optimistic");
        }
        summary.left_out = match self.partial {
            true => left_out,
            false => paired.without_prediction.clone(),
        };
        let json = summary.to_json();
        if let Some(sentence) = one_sided(&summary) {
            say(&sentence);
        }
        for sentence in never_there(&summary) {
            say(&format!("warning: {sentence}"));
        }
        if self.json {
            print(&json)?;
        } else {
            if self.cases {
                print(&format!("{}\n", table(&case_rows(&summary))))?;
            }
            print(&table(&label_rows(&summary)))?;
        }
        if !paired.without_prediction.is_empty() && !self.partial {
            return Err(incomplete(&paired.without_prediction, pairs.len()));
        }
        if !summary.left_out.is_empty() {
            say(&format!(
                "warning: over {} of {} cases, as the others lack a prediction or a reference: {}",
                pairs.len(),
                pairs.len() + summary.left_out.len(),
                named(&summary.left_out)
            ));
        }
        match target {
            Some(path) => write_result(&path, json.as_bytes()),
            None => Ok(()),
        }
    }
}
