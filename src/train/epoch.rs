//! What an epoch amounts to: one line of `metrics.jsonl`.

use super::stages::{Stage, StageTimes};
use crate::error::{Error, Result};
use crate::files;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Weight of the past in the moving average of the online Dice (nnU-Net).
const DICE_MEMORY: f64 = 0.9;

/// One epoch's line. Numbers that are not finite or were not measured are null.
#[derive(Clone, Debug, Serialize)]
pub struct Epoch {
    /// Number, from 1.
    pub epoch: u64,
    /// Mean training loss.
    pub loss: f64,
    /// Mean loss of the fold's validation patches.
    pub val_loss: Option<f64>,
    /// Hard Dice of each foreground class or region over all validation patches of the epoch; none where
    /// neither prediction nor reference has it.
    pub dice: Vec<Option<f64>>,
    /// Moving average of the mean of `dice`.
    pub dice_average: Option<f64>,
    /// Learning rate.
    pub learning_rate: f64,
    /// Wall time.
    pub seconds: f64,
    /// Wall time of the validation within.
    pub validation_seconds: f64,
    /// Share of an iteration's time spent in making augmented batches.
    pub augment_share: f64,
    /// Share spent in judging candidates.
    pub policy_share: f64,
    /// Steps skipped for non-finite gradients.
    pub skipped: u64,
    /// Cases left out so far because they cannot be read.
    pub unreadable: u64,
    /// Delta of ASNG.
    pub delta: Option<f64>,
    /// Mean entropy of theta, nats.
    pub mean_entropy: Option<f64>,
    /// Mean validation loss of the candidates.
    pub search_loss: Option<f64>,
}

/// Sums of an epoch while it runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub times: StageTimes,
    pub skipped: u64,
    pub updates: u64,
    pub updates_skipped: u64,
    /// Wall time of the iterations.
    pub train_seconds: f64,
    loss: Mean,
    search_loss: Mean,
    search_difference: Mean,
}

/// A running mean; none of nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    /// Adds a value that is finite.
    pub fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.sum += value;
            self.count += 1;
        }
    }

    /// The mean.
    pub fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

impl Tally {
    /// Takes the training losses of an iteration's candidates.
    pub fn trained(&mut self, losses: impl Iterator<Item = f64>) {
        losses.for_each(|loss| self.loss.add(loss));
    }

    /// Takes the validation losses of candidates that were judged.
    pub fn judged(&mut self, losses: &[f64], skipped: bool) {
        self.updates += 1;
        self.updates_skipped += u64::from(skipped);
        losses.iter().for_each(|&loss| self.search_loss.add(loss));
        let finite = || losses.iter().copied().filter(|l| l.is_finite());
        let (low, high) = (finite().fold(f64::MAX, f64::min), finite().fold(f64::MIN, f64::max));
        self.search_difference.add(high - low);
    }

    /// Mean training loss; NaN of nothing.
    pub fn loss(&self) -> f64 {
        self.loss.value().unwrap_or(f64::NAN)
    }

    /// Mean validation loss of the candidates, and mean difference of best and worst.
    pub fn search_losses(&self) -> (Option<f64>, Option<f64>) {
        (self.search_loss.value(), self.search_difference.value())
    }

    /// Share of policy updates that were skipped, 0..1.
    pub fn skipped_share(&self) -> f64 {
        if self.updates == 0 { 0.0 } else { self.updates_skipped as f64 / self.updates as f64 }
    }

    /// Milliseconds of the epoch's iterations spent in a stage.
    pub fn milliseconds(&self, stage: Stage) -> f64 {
        self.train_seconds * 1e3 * self.times.share(stage)
    }
}

/// Hard Dice of each foreground class or region from its counts (true positives, false positives,
/// false negatives).
pub(super) fn dice(counts: &[[f64; 3]]) -> Vec<Option<f64>> {
    let one = |&[tp, fp, fn_]: &[f64; 3]| {
        let size = 2.0 * tp + fp + fn_;
        (size > 0.0).then_some(2.0 * tp / size)
    };
    counts.iter().map(one).collect()
}

/// The moving average of the online Dice, and the best it has been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct DiceAverage {
    average: Option<f64>,
    best: Option<f64>,
}

impl DiceAverage {
    /// Takes an epoch's Dice; true if the average is the best so far.
    pub fn add(&mut self, dice: &[Option<f64>]) -> bool {
        let mut mean = Mean::default();
        dice.iter().flatten().for_each(|&d| mean.add(d));
        let Some(now) = mean.value() else { return false };
        let past = self.average.unwrap_or(now);
        let average = DICE_MEMORY * past + (1.0 - DICE_MEMORY) * now;
        self.average = Some(average);
        let better = self.best.is_none_or(|best| average > best);
        if better {
            self.best = Some(average);
        }
        better
    }

    pub fn value(&self) -> Option<f64> {
        self.average
    }
}

/// `metrics.jsonl`.
pub(super) struct MetricsLog {
    path: PathBuf,
    file: File,
}

impl MetricsLog {
    /// Opens the log to go on after `epochs` (0 for a new run): lines of later epochs, and a line
    /// cut off by a killed process, are removed.
    pub fn open(path: &Path, epochs: u64) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            epoch: u64,
        }
        files::keep_lines(path, |line| {
            serde_json::from_slice::<Head>(line).is_ok_and(|head| head.epoch <= epochs)
        })?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|e| Error::io("open", path, e))?;
        Ok(MetricsLog { path: path.to_owned(), file })
    }

    /// Appends a line, safely on the disk.
    pub fn append(&mut self, epoch: &Epoch) -> Result<()> {
        serde_json::to_string(epoch)
            .map_err(std::io::Error::other)
            .and_then(|line| self.file.write_all(format!("{line}\n").as_bytes()))
            .and_then(|()| self.file.sync_data())
            .map_err(|e| files::unwritten(&self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_leaves_out_absent_classes() {
        let counts = [[3.0, 1.0, 1.0], [0.0; 3]];
        assert_eq!(dice(&counts), [Some(0.75), None]);
    }

    #[test]
    fn the_average_follows_slowly_and_remembers_the_best() {
        let mut average = DiceAverage::default();
        assert!(average.add(&[Some(0.4), Some(0.6)]));
        assert!(average.add(&[Some(1.0), None]));
        assert!((average.value().unwrap() - 0.55).abs() < 1e-12);
        assert!(!average.add(&[Some(0.0)]));
        assert!(!average.add(&[None]));
    }

    #[test]
    fn a_tally_ignores_what_is_not_finite() {
        let mut tally = Tally::default();
        tally.trained([1.0, f64::NAN, 3.0].into_iter());
        tally.judged(&[0.5, f64::NAN], false);
        tally.judged(&[0.5, 0.7], true);
        assert_eq!(tally.loss(), 2.0);
        let (mean, difference) = tally.search_losses();
        assert!((mean.unwrap() - 1.7 / 3.0).abs() < 1e-12);
        assert!((difference.unwrap() - 0.1).abs() < 1e-12);
        assert_eq!(tally.skipped_share(), 0.5);
    }
}
