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
    /// Mean loss of the validation batches after its trial step, 0 without batches; NaN when its
    /// gradient was not finite.
    pub validation_loss: f64,
}

/// Floats of the buffer: one row a candidate (training losses, gradient norm, losses of each
/// validation batch), then the gradient norm of each weight step.
pub(super) struct ResultLayout {
    /// Losses of the augmented batch.
    pub train: LossSlot,
    /// Losses of each validation batch after a trial step; none without a search.
    pub trial: Vec<LossSlot>,
    /// Candidates.
    pub rows: usize,
    /// Weight steps.
    pub steps: usize,
}

impl ResultLayout {
    fn row(&self) -> usize {
        self.train.len() + NORM + self.trial.iter().map(LossSlot::len).sum::<usize>()
    }

    /// Number of floats.
    pub fn len(&self) -> usize {
        self.rows * self.row() + self.steps * NORM
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

    /// Copies the norm of a weight step's gradient to its place.
    pub fn keep_norm(&self, step: usize, norm: SlotId, results: SlotId) -> Command {
        copy(norm, results, self.rows * self.row() + step * NORM, NORM)
    }

    /// One outcome a candidate, and how many weight steps were skipped because their gradients
    /// were not finite.
    pub fn read(&self, values: &[f32]) -> (Vec<Outcome>, usize) {
        let (rows, norms) = values.split_at(self.rows * self.row());
        let outcomes = rows.chunks_exact(self.row()).map(|row| {
            let (train, rest) = row.split_at(self.train.len());
            let (norm, mut trials) = rest.split_at(NORM);
            let train_loss = self.train.total(train);
            let finite = norm[1] == 0.0;
            let mut validation_loss = if finite { 0.0 } else { f64::NAN };
            for losses in &self.trial {
                let (trial, others) = trials.split_at(losses.len());
                validation_loss += losses.total(trial) / self.trial.len() as f64;
                trials = others;
            }
            Outcome { train_loss, validation_loss }
        });
        let skipped = norms.chunks_exact(NORM).filter(|norm| norm[1] != 0.0).count();
        (outcomes.collect(), skipped)
    }
}

fn copy(from: SlotId, results: SlotId, offset: usize, count: usize) -> Command {
    let (to, bytes) = ((results, offset as u64 * 4), count as u64 * 4);
    Command::Copy { from: (from, 0), to, bytes }
}
