//! `asng-wgpu evaluate PRED REF`.

use crate::error::Result;
use crate::files;
use crate::infer::evaluate::{evaluate, pairs};
use crate::metrics::summary::Number;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub(super) struct Evaluate {
    /// Predicted labels: a file or a folder.
    prediction: PathBuf,
    /// Reference labels: a file or a folder with the same file names.
    reference: PathBuf,
    /// Where to write the summary [default: PREDICTION/summary.json for a folder].
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Foreground labels that count [default: all that occur].
    #[arg(short, long, value_delimiter = ',')]
    labels: Vec<u16>,
    /// Print the summary as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

impl Evaluate {
    pub(super) fn run(&self) -> Result<()> {
        let summary = evaluate(&pairs(&self.prediction, &self.reference)?, &self.labels)?;
        let json = summary.to_json();
        let folder_default = self.prediction.is_dir().then(|| self.prediction.join("summary.json"));
        if let Some(path) = self.output.clone().or(folder_default) {
            files::replace(&path, json.as_bytes())?;
        }
        if self.json {
            println!("{json}");
            return Ok(());
        }
        let value = |number: Option<&Number>| match number {
            Some(Number::Int(i)) => i.to_string(),
            Some(Number::Float(f)) => format!("{f:.4}"),
            None => "-".into(),
        };
        println!("label   Dice    IoU");
        for (label, metrics) in &summary.mean {
            println!("{label:<6}  {}  {}", value(metrics.get("Dice")), value(metrics.get("IoU")));
        }
        let all = &summary.foreground_mean;
        println!("mean    {}  {}", value(all.get("Dice")), value(all.get("IoU")));
        Ok(())
    }
}
