//! The training job: cases in; weights, the learned policy and logs out.

mod attributes;
mod blueprint;
mod epoch;
mod event;
mod feed;
mod feeds;
mod follow;
mod forecast;
mod identity;
mod iteration;
mod job;
#[cfg(test)]
mod limits;
mod made;
mod options;
mod parts;
mod patch;
mod planning;
mod plateau;
mod preset;
mod recover;
mod results;
mod search_options;
mod session;
mod setup;
mod stages;
mod state;

pub use epoch::Epoch;
pub use event::Event;
pub use forecast::{Rehearsal, Rehearsed};
pub use job::Trained;
pub use options::{
    AfterSearch, CandidateDraws, CandidateUpdates, Schedule, SearchMode, SearchOptions,
    SearchValidation, SearchVariables, SearcherKind, TimeLimit, TrainOptions,
};
pub use planning::{PlanFile, plan, size};
pub use preset::{PaperTask, Preset, Recipe, folder_name};
pub use recover::train;
pub use setup::{check_finished, fold_count, is_finished, is_trained};
