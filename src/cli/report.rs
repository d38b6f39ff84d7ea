//! `asng-wgpu report RUN`.

use super::{complain, print};
use crate::error::{Error, Result};
use crate::report::{Overlays, folds, write_report};
use crate::run::FoldId;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu report runs/heart

Writes fold_K/report.html and fold_K/progress.png of each fold that has begun, and prints their
paths. The training may be under way; it is not held up. The page is one file without scripts that
needs no network: curves, the policy over the epochs, and once the fold is validated its metrics and
the contours of the worst cases, for which the data set is read: where it was, or in --data. What
cannot be shown is reported; an earlier page that shows more is kept as report_earlier.html.")]
pub(super) struct Report {
    /// Folder of the run.
    run: PathBuf,
    /// Only this fold: a number, or full [default: all that have begun].
    #[arg(long)]
    fold: Option<FoldId>,
    /// Folder of the data set, if it has moved [default: as recorded in the run].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Report {
    pub(super) fn run(&self) -> Result<()> {
        let mut folds = folds(&self.run)?;
        if let Some(fold) = self.fold {
            if !folds.contains(&fold) {
                return Err(Error::Input(format!(
                    "the run '{}' has not begun fold {fold}; give another --fold",
                    self.run.display()
                )));
            }
            folds = vec![fold];
        }
        for fold in folds {
            let written = write_report(&self.run, fold, Overlays::Shown, self.data.as_deref())?;
            for fault in &written.faults {
                complain(&format!("warning: fold {fold}: {fault}"));
            }
            print(&format!("{}\n{}", written.html.display(), written.png.display()))?;
        }
        Ok(())
    }
}
