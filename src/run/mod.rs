//! What a run folder holds: its configuration, its checkpoints, and the lock that keeps two
//! trainings apart.
//!
//! ```text
//! runs/<name>/
//!   config.json: what all folds share, as the first of them recorded it
//!   fold_0/
//!     config.json: the fold's own record
//!     metrics.jsonl, policy.jsonl, policy.json
//!     progress.png, report.html: how the training goes
//!     checkpoint_last, checkpoint_previous (.safetensors): states that a training goes on from
//!     checkpoint_best, checkpoint_final (.safetensors): weights alone
//!     validation/<case>.nii.gz, validation/summary.json
//!     tensorboard/events.out.tfevents.*: where they are wanted
//!   fold_full/: the same for a training on all cases, without validation
//! ```

mod checkpoint;
mod config;
mod container;
mod fold;
mod lock;
mod policy;
mod state;

pub use checkpoint::{read_weights, write_checkpoint};
pub use config::{CONFIG_VERSION, DatasetSummary, RunConfig};
pub use fold::{FoldId, fold_folder, folds_of, has_weights, trained_folds};
pub use lock::RunLock;
pub use policy::{DEFAULT_POLICY, find_policy, open_policy, policy_config};
pub use state::{FoundState, STATE_VERSION, State, find_state, state_paths, write_state};

use std::path::{Path, PathBuf};

/// Which weights of a fold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckpointKind {
    /// The weights after the last epoch.
    #[default]
    Final,
    /// Those of the best moving average of the online validation Dice.
    Best,
    /// The latest.
    Last,
}

/// The file of a fold's checkpoint.
pub fn checkpoint_path(run: &Path, fold: impl Into<FoldId>, kind: CheckpointKind) -> PathBuf {
    let name = match kind {
        CheckpointKind::Final => "checkpoint_final.safetensors",
        CheckpointKind::Best => "checkpoint_best.safetensors",
        CheckpointKind::Last => "checkpoint_last.safetensors",
    };
    fold_folder(run, fold).join(name)
}
