//! `asng-wgpu policy show|export|sample|plot FILE|RUN|default`.

mod export;
mod plot;
mod sample;
mod show;

use crate::error::Result;
use crate::run::{FoldId, open_policy};
use crate::search::file::PolicyFile;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub(super) struct PolicyCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Prints a policy: intervals, probabilities, and what the search knows of each.
    Show(show::Show),
    /// Writes a policy as a Python file for another library.
    Export(export::Export),
    /// Draws policies from the learned distribution.
    Sample(sample::Sample),
    /// Draws the history of a search as a picture.
    Plot(plot::Plot),
}

impl PolicyCommand {
    pub(super) fn run(&self) -> Result<()> {
        match &self.action {
            Action::Show(show) => show.run(),
            Action::Export(export) => export.run(),
            Action::Sample(sample) => sample.run(),
            Action::Plot(plot) => plot.run(),
        }
    }
}

/// Which policy a command is about.
#[derive(clap::Args, Debug)]
struct Source {
    /// A policy.json, a run, or default: nnU-Net's policy.
    #[arg(value_name = "FILE|RUN|default")]
    source: PathBuf,
    /// Fold of the run: a number, or full [default: the first with a policy].
    #[arg(long)]
    fold: Option<FoldId>,
}

impl Source {
    /// The file's path, or default, and the content.
    fn read(&self) -> Result<(PathBuf, PolicyFile)> {
        open_policy(&self.source, self.fold)
    }
}
