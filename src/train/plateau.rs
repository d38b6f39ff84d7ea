//! The schedule `plateau` (nnU-Net v1): the learning rate falls where the training loss no longer does,
//! and the training ends where that no longer helps.

use serde::{Deserialize, Serialize};

/// Weight of the past in the moving average of the training loss.
const MEMORY: f64 = 0.93;
/// By how much the moving average must fall to count as improved.
const IMPROVEMENT: f64 = 5e-4;
/// Epochs without improvement that the learning rate lasts; the next one lowers it.
const PATIENCE: u64 = 30;
/// What the learning rate is multiplied by.
const FACTOR: f64 = 0.2;
/// Below this learning rate the training ends.
pub(super) const LEAST_RATE: f64 = 1e-6;
/// Epochs without improvement that the training lasts; the next one ends it.
const STOP_PATIENCE: u64 = 50;

/// Where the schedule is, after whole epochs.
///
/// Counting is that of PyTorch's `ReduceLROnPlateau` and of nnU-Net v1's `manage_patience`: the first
/// moving average is the first loss; an epoch improves if it is below the best by more than
/// 5e-4; more than 30 epochs in a row that do not improve lower the learning rate, and counting begins
/// again. nnU-Net's code asks for 1e-3 where it lowers the learning rate, and ends a training only where
/// both the patience is over and the learning rate is below 1e-6; here either ends it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Plateau {
    /// Moving average of the training loss; none before the first epoch.
    average: Option<f64>,
    /// The least average so far.
    best: Option<f64>,
    /// Epochs in a row without improvement since the learning rate fell.
    waiting: u64,
    /// Epochs in a row without improvement.
    stagnant: u64,
    /// How often the learning rate fell.
    falls: u32,
}

/// What an epoch did to the learning rate.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// It is lower from the next epoch on.
    Lower,
    /// The training ends, for this reason.
    End(String),
}

impl Plateau {
    /// The learning rate of the next epoch, from that of the first.
    pub fn learning_rate(&self, first: f64) -> f64 {
        first * FACTOR.powi(self.falls as i32)
    }

    /// Takes the mean training loss of an epoch; one that is not finite is no improvement. `first`:
    /// the learning rate of the first epoch.
    pub fn add(&mut self, loss: f64, first: f64) -> Change {
        if loss.is_finite() {
            let past = self.average.unwrap_or(loss);
            self.average = Some(MEMORY * past + (1.0 - MEMORY) * loss);
        }
        let improved = match (self.average, self.best) {
            (Some(average), Some(best)) => average < best - IMPROVEMENT,
            (average, _) => average.is_some() && loss.is_finite(),
        };
        if improved {
            (self.best, self.waiting, self.stagnant) = (self.average, 0, 0);
        } else {
            self.waiting += 1;
            self.stagnant += 1;
        }
        let falls = self.waiting > PATIENCE;
        if falls {
            self.falls += 1;
            self.waiting = 0;
        }
        match self.end(first) {
            Some(why) => Change::End(why),
            None if falls => Change::Lower,
            None => Change::None,
        }
    }

    /// Why the training ends here; `None` if it continues.
    pub fn end(&self, first: f64) -> Option<String> {
        if self.stagnant > STOP_PATIENCE {
            return Some(format!(
                "the moving average of the training loss has not improved by {IMPROVEMENT:e} in \
                 {STOP_PATIENCE} epochs"
            ));
        }
        // Before the first epoch nothing has been tried.
        let rate = self.learning_rate(first);
        (self.best.is_some() && rate < LEAST_RATE)
            .then(|| format!("the learning rate has fallen to {rate:.1e}, below {LEAST_RATE:e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: f64 = 3e-4;

    /// Epochs, from 1, after which something changed, until the training ends.
    fn changes(losses: impl Iterator<Item = f64>) -> (Plateau, Vec<(usize, Change)>) {
        let (mut plateau, mut changes) = (Plateau::default(), Vec::new());
        for (epoch, loss) in (1..).zip(losses) {
            let change = plateau.add(loss, FIRST);
            let ends = matches!(change, Change::End(_));
            assert_eq!(ends, plateau.end(FIRST).is_some());
            if change != Change::None {
                changes.push((epoch, change));
            }
            if ends {
                break;
            }
        }
        (plateau, changes)
    }

    #[test]
    fn the_average_follows_slowly_from_the_first_loss_on() {
        let mut plateau = Plateau::default();
        for (loss, average) in [(1.0, 1.0), (0.0, 0.93), (0.5, 0.93 * 0.93 + 0.07 * 0.5)] {
            assert_eq!(plateau.add(loss, FIRST), Change::None);
            assert!((plateau.average.unwrap() - average).abs() < 1e-15);
            assert_eq!((plateau.best, plateau.waiting), (plateau.average, 0));
        }
        // Not finite: no improvement, and the average stays.
        let before = plateau.clone();
        plateau.add(f64::NAN, FIRST);
        assert_eq!(plateau, Plateau { waiting: 1, stagnant: 1, ..before });
    }

    #[test]
    fn a_loss_that_stands_still_lowers_the_rate_after_30_epochs_and_ends_after_50() {
        let (plateau, changes) = changes(std::iter::repeat(0.5));
        // Epoch 1 is the best one; 2 to 31 are 30 without improvement.
        let [(32, Change::Lower), (52, Change::End(why))] = &changes[..] else {
            panic!("{changes:?}");
        };
        assert!(why.contains("5e-4 in 50 epochs"), "{why}");
        assert!((plateau.learning_rate(FIRST) - 6e-5).abs() < 1e-18);
    }

    #[test]
    fn an_improvement_begins_the_counting_again_but_not_the_rate() {
        // After 35 epochs of 0 a loss of -0.1, which the average, -0.1 (1 - 0.93^k), follows: it
        // improves by 5e-4 for the last time in epoch 108.
        let losses = [0.0; 35].into_iter().chain(std::iter::repeat(-0.1));
        let (plateau, changes) = changes(losses);
        let [(32, Change::Lower), (139, Change::Lower), (159, Change::End(_))] = &changes[..]
        else {
            panic!("{changes:?}");
        };
        assert!((plateau.learning_rate(FIRST) - 1.2e-5).abs() < 1e-18);
        // Steps of less than 5e-4 are no improvement until they add up to as much.
        let (_, changes) = self::changes((0..).map(|epoch| -1e-5 * f64::from(epoch)));
        assert!(matches!(&changes[..], [(32, Change::Lower), (52, Change::End(_))]), "{changes:?}");
    }

    #[test]
    fn a_rate_below_1e_6_ends_the_training() {
        let mut plateau = Plateau { average: Some(0.0), best: Some(0.0), ..Plateau::default() };
        plateau.falls = 3;
        plateau.waiting = PATIENCE;
        assert_eq!(plateau.end(FIRST), None);
        let Change::End(why) = plateau.add(0.0, FIRST) else { panic!("it goes on") };
        assert!(why.contains("4.8e-7, below 1e-6"), "{why}");
        // Before any epoch it does not.
        assert_eq!(Plateau::default().end(1e-9), None);
    }

    #[test]
    fn the_state_reads_back_to_the_same_bits() {
        let mut plateau = Plateau::default();
        for loss in [0.1, -0.7 / 3.0, 1e-17] {
            plateau.add(loss, FIRST);
        }
        let text = serde_json::to_string(&plateau).unwrap();
        assert_eq!(serde_json::from_str::<Plateau>(&text).unwrap(), plateau);
    }
}
