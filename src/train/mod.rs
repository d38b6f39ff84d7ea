//! The training job: cases in; weights, the learned policy and logs out.

mod epoch;
mod feed;
mod iteration;
mod job;
mod options;
mod patch;
mod session;
mod setup;
mod stages;

pub use epoch::Epoch;
pub use job::{Event, Trained, train};
pub use options::{
    Schedule, SearchMode, SearchOptions, SearchValidation, SearcherKind, TrainOptions,
};
