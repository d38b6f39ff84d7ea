//! What happens while a training runs, or is planned.

use super::epoch::Epoch;
use crate::data::preprocess::Progress;
use crate::phase::Phase;

/// What a training tells while it runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// A sentence about the run.
    Note(&'a str),
    /// A part of the work begins.
    Begin(Phase),
    /// The data set is being prepared.
    Preparing(Progress),
    /// An iteration is done.
    Iteration {
        /// Iterations done since the run began.
        done: u64,
        /// Its training loss.
        loss: f64,
    },
    /// The iterations of an epoch are done, and its online validation begins.
    OnlineValidation,
    /// An epoch is done.
    Epoch(&'a Epoch),
    /// A validation case is about to be predicted.
    Validating {
        /// Its number, from 0.
        number: usize,
        /// How many there are.
        cases: usize,
        /// Its name.
        name: &'a str,
    },
}
