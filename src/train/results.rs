//! What the host wants to know of an iteration, in one buffer that is read once.

use crate::gpu::{Command, SlotId};
use crate::nn::step::LossSlot;

/// Floats kept of a gradient norm: the norm, and 1 where it is not finite.
const NORM: usize = 4;

/// What the device told of one candidate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// Training loss of its augmented batch.
    pub train_loss: f64,
    /// Validation loss after its trial step; NaN when its gradient was not finite, 0 without one.
    pub validation_loss: f64,
}

/// Floats of the buffer: one row a candidate (training losses, gradient norm, trial losses), then
/// the norm of the weight step's gradient.
pub(super) struct ResultLayout {
    /// Losses of the augmented batch.
    pub train: LossSlot,
    /// Losses of the validation batch after a trial step; where there is a search.
    pub trial: Option<LossSlot>,
    /// Candidates.
    pub rows: usize,
}

impl ResultLayout {
    fn row(&self) -> usize {
        self.train.len() + NORM + self.trial.as_ref().map_or(0, LossSlot::len)
    }

    /// Number of floats.
    pub fn len(&self) -> usize {
        self.rows * self.row() + NORM
    }

    /// Copies a candidate's losses and the norm of its gradient into its row.
    pub fn keep(&self, row: usize, norm: SlotId, results: SlotId) -> Vec<Command> {
        let mut parts = vec![(self.train.slot, self.train.len()), (norm, NORM)];
        parts.extend(self.trial.iter().map(|trial| (trial.slot, trial.len())));
        let mut offset = row * self.row();
        let copies = parts.into_iter().map(|(slot, count)| {
            let copy = copy(slot, results, offset, count);
            offset += count;
            copy
        });
        copies.collect()
    }

    /// Copies the norm of the weight step's gradient to its place.
    pub fn keep_norm(&self, norm: SlotId, results: SlotId) -> Command {
        copy(norm, results, self.rows * self.row(), NORM)
    }

    /// One outcome a candidate, and whether the weight step was skipped because its gradient was
    /// not finite.
    pub fn read(&self, values: &[f32]) -> (Vec<Outcome>, bool) {
        let (rows, norm) = values.split_at(self.rows * self.row());
        let outcomes = rows.chunks_exact(self.row()).map(|row| {
            let (train, rest) = row.split_at(self.train.len());
            let (norm, trial) = rest.split_at(NORM);
            let train_loss = self.train.total(train);
            let validation_loss = match &self.trial {
                Some(_) if norm[1] != 0.0 => f64::NAN,
                Some(losses) => losses.total(trial),
                None => 0.0,
            };
            Outcome { train_loss, validation_loss }
        });
        (outcomes.collect(), norm[1] != 0.0)
    }
}

fn copy(from: SlotId, results: SlotId, offset: usize, count: usize) -> Command {
    let (to, bytes) = ((results, offset as u64 * 4), count as u64 * 4);
    Command::Copy { from: (from, 0), to, bytes }
}
