//! What a run folder holds: its configuration, its checkpoints, and the lock that keeps two
//! trainings apart.
//!
//! ```text
//! runs/<name>/
//!   config.json
//!   fold_0/
//!     metrics.jsonl, policy.jsonl, policy.json
//!     progress.png, report.html: how the training goes
//!     checkpoint_last, checkpoint_previous (.safetensors): states that a training goes on from
//!     checkpoint_best, checkpoint_final (.safetensors): weights alone
//!     validation/<case>.nii.gz, validation/summary.json
//!     tensorboard/events.out.tfevents.*: where they are wanted
//! ```

mod checkpoint;
mod config;
mod container;
mod lock;
mod policy;
mod state;

pub use checkpoint::{read_weights, write_checkpoint};
pub use config::{CONFIG_VERSION, DatasetSummary, RunConfig};
pub use lock::RunLock;
pub use policy::find_policy;
pub use state::{FoundState, STATE_VERSION, State, find_state, state_paths, write_state};

use crate::{Error, Result};
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

/// The folder of one fold of a run.
pub fn fold_folder(run: &Path, fold: usize) -> PathBuf {
    run.join(format!("fold_{fold}"))
}

/// The file of a fold's checkpoint.
pub fn checkpoint_path(run: &Path, fold: usize, kind: CheckpointKind) -> PathBuf {
    let name = match kind {
        CheckpointKind::Final => "checkpoint_final.safetensors",
        CheckpointKind::Best => "checkpoint_best.safetensors",
        CheckpointKind::Last => "checkpoint_last.safetensors",
    };
    fold_folder(run, fold).join(name)
}

/// The folds of a run that have a checkpoint of this kind, in order.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be read; [`Error::Input`] when no fold has one.
pub fn trained_folds(run: &Path, kind: CheckpointKind) -> Result<Vec<usize>> {
    let entries = std::fs::read_dir(run).map_err(|e| Error::io("read the run", run, e))?;
    let mut folds: Vec<usize> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_prefix("fold_")?.parse().ok())
        .filter(|&fold| checkpoint_path(run, fold, kind).is_file())
        .collect();
    folds.sort_unstable();
    if folds.is_empty() {
        let wanted = checkpoint_path(run, 0, kind);
        return Err(Error::Input(format!(
            "the run '{}' has no '{}' in any fold; let the training finish, or name another run \
             or --checkpoint",
            run.display(),
            wanted.file_name().unwrap_or_default().to_string_lossy()
        )));
    }
    Ok(folds)
}
