//! What a training is asked to do.

use super::plateau::LEAST_RATE;
use super::preset::Preset;
pub use super::search_options::{
    AfterSearch, CandidateDraws, CandidateUpdates, SearchMode, SearchOptions, SearchValidation,
    SearchVariables, SearcherKind,
};
use crate::data::Axes;
use crate::gpu::AdapterChoice;
use crate::nn::plan::{MAX_FEATURES, MOST_BATCH, MOST_VOXELS};
use crate::nn::step::Optimizer;
use crate::numbers::plain;
use crate::ops::warp::Interpolation;
use crate::run::FoldId;
use crate::{Error, Result};
use clap::ValueEnum;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Most epochs, and iterations an epoch.
const MOST_COUNT: u64 = 100_000_000;

/// Most seconds for timing tiles.
const MOST_TUNE_SECONDS: f64 = 3600.0;

/// How the learning rate falls (`--schedule`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// `lr (1 - epoch / epochs)^0.9` (nnU-Net).
    Poly,
    /// `lr`.
    Constant,
    /// `lr` falls to a fifth where the moving average of the training loss has not improved by 5e-4 in
    /// 30 epochs; the training ends below 1e-6 or after 50 epochs without improvement (the paper).
    Plateau,
}

impl Schedule {
    /// The learning rate of an epoch, from 0; of `Plateau`, that of the first.
    pub fn learning_rate(self, first: f64, epoch: u64, epochs: u64) -> f64 {
        match self {
            Schedule::Poly => first * (1.0 - epoch as f64 / epochs.max(1) as f64).powf(0.9),
            Schedule::Constant | Schedule::Plateau => first,
        }
    }
}

/// When a training stops with a state, as if interrupted (`--max-minutes`).
#[derive(Clone, Copy, Debug)]
pub struct TimeLimit {
    /// The limit as it was given.
    pub minutes: f64,
    /// When it is over.
    pub at: Instant,
}

/// What to train, and on what.
#[derive(Clone, Debug, Serialize)]
pub struct TrainOptions {
    /// The recipe that the flags which were not given follow.
    pub preset: Option<Preset>,
    /// Folder of the data set.
    pub dataset: PathBuf,
    /// Folder of the run.
    pub out: PathBuf,
    /// Fold.
    pub fold: FoldId,
    /// Epochs.
    pub epochs: u64,
    /// Batches an epoch.
    pub iterations: u64,
    /// Epochs from one online validation to the next (and after the last).
    pub validate_every: u64,
    /// Samples a batch.
    pub batch: u32,
    /// Patch edges along the prepared axes; `None`: what fits the memory, up to the median case.
    pub patch: Option<[u32; 3]>,
    /// Device memory that the patch must fit, in bytes.
    pub memory_bytes: Option<u64>,
    /// Levels whose activations are made again in the backward pass, at least.
    pub recompute: u32,
    /// Let the samples of a batch through the network one after the other.
    pub accumulate: bool,
    /// Voxel size of prepared cases (D, H, W of the files, mm); `None`: by nnU-Net's rule.
    pub spacing_mm: Option<[f64; 3]>,
    /// Turn all volumes to RAS before all else.
    pub reorient: bool,
    /// Another split than the data set's, in the form of nnU-Net's `splits_final.json`.
    pub splits: Option<PathBuf>,
    /// Folder of prepared cases; `None`: `cache` in the run's folder.
    pub cache: Option<PathBuf>,
    /// Features of the full-resolution level.
    pub features: u32,
    /// Levels; 0 by nnU-Net's rules.
    pub levels: u32,
    /// Optimizer.
    pub optimizer: Optimizer,
    /// Learning rate of the first epoch.
    pub learning_rate: f64,
    /// How it falls.
    pub schedule: Schedule,
    /// Bound of the gradient's norm; 0 is none.
    pub clip: f64,
    /// Dice over the batch instead of per sample.
    pub batch_dice: bool,
    /// Mirror these axes with probability 0.5 each.
    pub mirror: Axes,
    /// How augmentation reads cases between voxels.
    pub interpolation: Interpolation,
    /// The search.
    pub search: SearchOptions,
    /// Predict and evaluate the fold's validation cases at the end.
    pub validate: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// Host threads for preparing cases; 0: as many as cores.
    pub threads: usize,
    /// Prepared cases held in host memory, in bytes; `None`: half of what is free.
    pub host_memory_bytes: Option<u64>,
    /// Stop at a case that cannot be read any more, instead of leaving it out.
    pub strict: bool,
    /// When to stop with a state, as if interrupted.
    #[serde(skip)]
    pub time_limit: Option<TimeLimit>,
    /// Which adapter.
    #[serde(skip)]
    pub adapter: AdapterChoice,
    /// Seconds for timing tiles that were not timed on this device; `None`: some, on a GPU.
    #[serde(skip)]
    pub tune_seconds: Option<f64>,
    /// Keep bounds checks in the shaders.
    pub checked_shaders: bool,
    /// Go on from the latest state in the run's folder.
    #[serde(skip)]
    pub resume: bool,
    /// Write event files for TensorBoard.
    #[serde(skip)]
    pub tensorboard: bool,
}

impl TrainOptions {
    /// What `train` does with a data set where no flag says otherwise, without a run's folder.
    pub fn new(dataset: &Path, search: SearchOptions) -> Self {
        TrainOptions {
            preset: None,
            dataset: dataset.to_owned(),
            out: PathBuf::new(),
            fold: FoldId::default(),
            epochs: 200,
            iterations: 250,
            validate_every: 1,
            batch: 2,
            patch: None,
            memory_bytes: None,
            recompute: 0,
            accumulate: false,
            spacing_mm: None,
            reorient: false,
            splits: None,
            cache: None,
            features: 32,
            levels: 0,
            optimizer: Optimizer::Adam,
            learning_rate: 3e-4,
            schedule: Schedule::Poly,
            clip: 12.0,
            batch_dice: false,
            mirror: Axes::ALL,
            interpolation: Interpolation::default(),
            search,
            validate: true,
            seed: 0,
            threads: 0,
            host_memory_bytes: None,
            strict: false,
            time_limit: None,
            adapter: AdapterChoice::default(),
            tune_seconds: None,
            checked_shaders: false,
            resume: false,
            tensorboard: false,
        }
    }

    /// Refuses what cannot be trained, before any work.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the flag.
    pub fn check(&self) -> Result<()> {
        let counts = [
            ("--epochs", self.epochs),
            ("--iterations", self.iterations),
            ("--val-every", self.validate_every),
        ];
        for (flag, value) in counts {
            if value == 0 {
                return Err(Error::Usage(format!("{flag} 0 is not possible; use 1 or more")));
            }
        }
        for (flag, value) in counts {
            if value > MOST_COUNT {
                return Err(Error::Usage(format!(
                    "{flag} {value} is too large; use at most {MOST_COUNT}"
                )));
            }
        }
        self.check_network()?;
        if self.accumulate && self.batch_dice {
            return Err(Error::Usage(
                "--accumulate sees one sample at a time, so that --batch-dice has no batch; drop one \
                 of them"
                    .into(),
            ));
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Err(Error::Usage(format!(
                "--lr {} is not a positive number; give one, as in 3e-4",
                self.learning_rate
            )));
        }
        if self.schedule == Schedule::Plateau && self.learning_rate < LEAST_RATE {
            return Err(Error::Usage(format!(
                "--lr {:e} is below {LEAST_RATE:e}, where --schedule plateau ends a training; use a \
                 larger one",
                self.learning_rate
            )));
        }
        if let Some(spacing) = self.spacing_mm
            && !spacing.iter().all(|&mm| mm.is_finite() && (0.01..=100.0).contains(&mm))
        {
            return Err(Error::Usage(format!(
                "--spacing {} is out of range; give three voxel edges of 0.01 to 100 mm",
                spacing.map(plain).join(",")
            )));
        }
        if !(self.clip.is_finite() && self.clip >= 0.0) {
            return Err(Error::Usage(format!(
                "--clip {} is not a bound; use 12 as nnU-Net does, or 0 for none",
                self.clip
            )));
        }
        if let Some(seconds) = self.tune_seconds
            && !(0.0..=MOST_TUNE_SECONDS).contains(&seconds)
        {
            return Err(Error::Usage(format!(
                "--tune {seconds} is out of range; give 0 to {MOST_TUNE_SECONDS} seconds"
            )));
        }
        self.search.check()
    }
}

impl TrainOptions {
    /// Refuses flags that no network can have, whatever the data.
    fn check_network(&self) -> Result<()> {
        let usage = |text: String| Err(Error::Usage(text));
        if !(1..=MOST_BATCH).contains(&self.batch) {
            return usage(format!(
                "--batch-size {} is out of range; use 1 to {MOST_BATCH}",
                self.batch
            ));
        }
        if !(1..=MAX_FEATURES).contains(&self.features) {
            return usage(format!(
                "--features {} is out of range; use 1 to {MAX_FEATURES}",
                self.features
            ));
        }
        if self.levels != 0 && !(2..=7).contains(&self.levels) {
            return usage(format!("--levels {} is out of range; use 2 to 7", self.levels));
        }
        if let Some(patch) = self.patch {
            let voxels: u64 = patch.iter().map(|&e| u64::from(e)).fold(1, u64::saturating_mul);
            if voxels == 0 || voxels.saturating_mul(self.batch.into()) > MOST_VOXELS {
                let [d, h, w] = patch;
                return usage(format!(
                    "--patch {d},{h},{w} is out of range; use edges from 8, and at most \
                     {MOST_VOXELS} voxels in a batch of {}",
                    self.batch
                ));
            }
        }
        Ok(())
    }
}

/// Options of a small training, for tests.
#[cfg(test)]
pub(super) fn example() -> TrainOptions {
    let search = SearchOptions { mode: SearchMode::Shared, ..SearchOptions::paper() };
    TrainOptions {
        out: "run".into(),
        epochs: 1,
        iterations: 1,
        batch: 1,
        patch: Some([16; 3]),
        features: 4,
        levels: 2,
        learning_rate: 1e-3,
        validate: false,
        seed: 3,
        threads: 1,
        checked_shaders: true,
        ..TrainOptions::new(Path::new("data"), search)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_falls_by_nnunets_rule() {
        assert_eq!(Schedule::Poly.learning_rate(1e-2, 0, 100), 1e-2);
        let half = Schedule::Poly.learning_rate(1.0, 50, 100);
        assert!((half - 0.5f64.powf(0.9)).abs() < 1e-15);
        assert_eq!(Schedule::Constant.learning_rate(3e-4, 99, 100), 3e-4);
    }
}
