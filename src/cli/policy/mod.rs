//! `asng-wgpu policy show|export|sample|plot FILE_OR_RUN`.

mod export;
mod plot;
mod sample;
mod show;

use crate::error::Result;
use crate::run::{FoldId, find_policy};
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
    /// A policy.json, or a run.
    #[arg(value_name = "FILE_OR_RUN")]
    source: PathBuf,
    /// Fold of the run: a number, or full [default: the first with a policy].
    #[arg(long)]
    fold: Option<FoldId>,
}

impl Source {
    /// The file's path and content.
    fn read(&self) -> Result<(PathBuf, PolicyFile)> {
        let path = find_policy(&self.source, self.fold)?;
        let file = PolicyFile::read(&path)?;
        Ok((path, file))
    }
}
