//! How a training goes, at any time: `progress.png`, curves at a glance, and `report.html`, one
//! file with all there is to know of a fold. Both are made from the files of a run alone, whether
//! it is under way or done; nothing is locked.

mod base64;
mod charts;
pub mod events;
mod overlay;
mod page;
mod record;
mod results;
mod words;

use crate::run::{FoldId, RunConfig, fold_folder, folds_of};
use crate::{Error, Result, files};
use record::FoldRecord;
use std::path::{Path, PathBuf};

/// Whether a report shows the worst validation cases, for which volumes must be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlays {
    /// Shown where the fold is validated.
    Shown,
    /// Left out: the rest takes milliseconds.
    LeftOut,
}

/// The files of a fold's report.
#[derive(Clone, Debug)]
pub struct ReportFiles {
    /// The page.
    pub html: PathBuf,
    /// The curves.
    pub png: PathBuf,
    /// Sentences about what the page could not show.
    pub faults: Vec<String>,
}

/// The folds that a run has begun, in order.
///
/// # Errors
/// [`Error::Input`] when the folder is no run or no fold has begun; [`Error::Io`].
pub fn folds(run: &Path) -> Result<Vec<FoldId>> {
    RunConfig::read(run)?;
    let folds = folds_of(run)?;
    if folds.is_empty() {
        return Err(Error::Input(format!(
            "the run '{}' has no fold yet; wait for its training to begin",
            run.display()
        )));
    }
    Ok(folds)
}

/// Writes `progress.png` and `report.html` of a fold from what the run's folder holds, each whole
/// or not at all. `data`: the data set's folder, where it is not the one that the run names.
///
/// # Errors
/// [`Error::Input`] when the folder is no run; [`Error::Io`] when a file cannot be written. Files
/// of the fold that are missing, cut off or damaged are no errors: the page says what it lacks. A
/// page that shows more of the worst cases than the new one is kept as `report_earlier.html`.
pub fn write_report(
    run: &Path,
    fold: FoldId,
    overlays: Overlays,
    data: Option<&Path>,
) -> Result<ReportFiles> {
    let record = FoldRecord::read(run, fold)?;
    let folder = fold_folder(run, fold);
    let (html, png) = (folder.join("report.html"), folder.join("progress.png"));
    files::replace(&png, &charts::progress(&record)?)?;
    let page::Page { text, pictures, mut faults } = page::page(&record, overlays, data)?;
    if overlays == Overlays::Shown {
        let earlier = folder.join("report_earlier.html");
        let shown = |path: &Path| files::read_text(path).map_or(0, |text| page::pictures_in(&text));
        if shown(&html) > pictures {
            std::fs::rename(&html, &earlier).map_err(|e| Error::io("rename", &html, e))?;
            faults.push(format!(
                "the earlier page, which shows more, is now '{}'",
                earlier.display()
            ));
        } else if earlier.is_file() && shown(&earlier) <= pictures {
            std::fs::remove_file(&earlier).map_err(|e| Error::io("remove", &earlier, e))?;
        }
    }
    files::replace(&html, text.as_bytes())?;
    Ok(ReportFiles { html, png, faults })
}
