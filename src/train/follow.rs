//! What shows a training while it runs: its report, and scalars for TensorBoard. Neither ever stops
//! it.

use super::epoch::Epoch;
use super::event::Event;
use super::options::TrainOptions;
use crate::error::Result;
use crate::report::events::EventFile;
use crate::report::{Overlays, write_report};
use crate::run::{FoldId, RunConfig, fold_folder};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Within so much time the report is written once at most.
const REPORT_AGE: Duration = Duration::from_secs(10);
/// Writing reports takes one part in so many of the time at most.
const REPORT_SHARE: u32 = 200;

/// Shows a fold.
pub(super) struct Follower {
    run: PathBuf,
    fold: FoldId,
    /// When a report may be written again.
    next: Option<Instant>,
    /// Whether a report could not be written, which is said once.
    failed: bool,
    events: Option<EventFile>,
    /// Names of what the Dice of an epoch are of.
    targets: Vec<String>,
}

impl Follower {
    /// Follows a training that has done `epochs`. Event files are begun where the options want
    /// them.
    ///
    /// # Errors
    /// [`crate::Error::Io`] where an event file cannot be created.
    pub fn new(options: &TrainOptions, config: &RunConfig, epochs: u64) -> Result<Self> {
        let folder = fold_folder(&options.out, options.fold).join("tensorboard");
        let begin = options.tensorboard && epochs < options.epochs;
        let events = match begin {
            true => Some(EventFile::create(&folder, epochs + 1)?),
            false => None,
        };
        let (run, fold, labels) = (options.out.clone(), options.fold, &config.dataset.labels);
        let targets = labels.targets().into_iter().map(|t| t.name).collect();
        Ok(Follower { run, fold, next: None, failed: false, events, targets })
    }

    /// Shows an epoch that is done.
    pub fn epoch(&mut self, epoch: &Epoch, report: &mut dyn FnMut(Event)) {
        let values = self.events.is_some().then(|| scalars(epoch, &self.targets));
        if let (Some(events), Some(values)) = (&mut self.events, values)
            && let Err(error) = events.scalars(epoch.epoch, &values)
        {
            warn("TensorBoard's file ends here", &error, report);
            self.events = None;
        }
        if self.next.is_none_or(|next| Instant::now() >= next) {
            self.write(Overlays::LeftOut, report);
        }
    }

    /// Shows a training as it stands, when it begins, is done or is interrupted.
    pub fn write(&mut self, overlays: Overlays, report: &mut dyn FnMut(Event)) {
        let begin = Instant::now();
        if let Err(error) = write_report(&self.run, self.fold, overlays, None)
            && !std::mem::replace(&mut self.failed, true)
        {
            warn("the report cannot be written; the training goes on without it", &error, report);
        }
        self.next = Some(Instant::now() + REPORT_AGE.max(begin.elapsed() * REPORT_SHARE));
    }
}

fn warn(what: &str, error: &crate::Error, report: &mut dyn FnMut(Event)) {
    let cause = std::error::Error::source(error).map(|cause| format!(" ({cause})"));
    report(Event::Note(&format!("warning: {what}: {error}{}", cause.unwrap_or_default())));
}

/// The numbers of an epoch by the names that TensorBoard groups them by.
fn scalars(epoch: &Epoch, targets: &[String]) -> Vec<(String, f64)> {
    let mut all = vec![
        ("loss/training".to_owned(), epoch.loss),
        ("learning_rate".to_owned(), epoch.learning_rate),
        ("seconds/epoch".to_owned(), epoch.seconds),
        ("seconds/validation".to_owned(), epoch.validation_seconds),
        ("share/augmentation".to_owned(), epoch.augment_share),
        ("share/policy_step".to_owned(), epoch.policy_share),
        ("skipped_steps".to_owned(), epoch.skipped as f64),
    ];
    let optional = [
        ("loss/validation", epoch.val_loss),
        ("loss/search", epoch.search_loss),
        ("dice/moving_mean", epoch.dice_average),
        ("search/delta", epoch.delta),
        ("search/mean_entropy", epoch.mean_entropy),
    ];
    all.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    for (target, dice) in targets.iter().zip(&epoch.dice) {
        all.extend(dice.map(|dice| (format!("dice/{target}"), dice)));
    }
    all
}
