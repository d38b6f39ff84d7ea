//! The training job: cases in; weights, the learned policy and logs out.

mod blueprint;
mod epoch;
mod feed;
mod follow;
mod forecast;
mod iteration;
mod job;
mod options;
mod patch;
mod planning;
mod results;
mod session;
mod setup;
mod stages;
mod state;

pub use epoch::Epoch;
pub use forecast::{Rehearsal, Rehearsed};
pub use job::{Event, Trained, train};
pub use options::{
    Schedule, SearchMode, SearchOptions, SearchValidation, SearcherKind, TrainOptions,
};
pub use planning::{PlanFile, plan, size};
pub use setup::{fold_count, is_finished, is_trained};
