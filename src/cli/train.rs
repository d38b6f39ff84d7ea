//! `asng-wgpu train DATASET`.

use super::measures::label_rows;
use super::progress::TrainProgress;
use super::table::table;
use super::{DeviceFlags, checked_shaders, print, say};
use crate::error::{Error, Result};
use crate::nn::step::Optimizer;
use crate::train::{
    Schedule, SearchMode, SearchOptions, SearchValidation, SearcherKind, TrainOptions, train,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu train Task04_Hippocampus --patch 40,56,40 --features 12 --levels 4

Searches the augmentation policy while it trains (--searcher none, default, random, trivial or fixed
does without), then predicts and evaluates the fold's validation cases. Leaves config.json and
fold_K/: metrics.jsonl, policy.jsonl, policy.json, checkpoints, validation/. Ctrl-C finishes the
iteration and leaves checkpoint_last (exit code 130); a second one stops at once.")]
pub(super) struct Train {
    /// Folder of the data set (Medical Segmentation Decathlon or nnU-Net layout).
    dataset: PathBuf,
    /// Folder of the run [default: runs/<data set>-<time>].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Fold of the cross-validation, 0 to 4.
    #[arg(long, default_value_t = 0)]
    fold: usize,
    /// Epochs.
    #[arg(long, default_value_t = 200)]
    epochs: u64,
    /// Iterations an epoch.
    #[arg(long, default_value_t = 250)]
    iterations: u64,
    /// Samples a batch.
    #[arg(long, default_value_t = 2)]
    batch_size: u32,
    /// Patch edges in voxels: D,H,W.
    #[arg(long, value_delimiter = ',', num_args = 1, default_value = "64,64,64")]
    patch: Vec<u32>,
    /// Features of the full-resolution level, doubled a level.
    #[arg(long, default_value_t = 32)]
    features: u32,
    /// Levels, 2 to 7 [default: by nnU-Net's rules].
    #[arg(long)]
    levels: Option<u32>,
    /// Optimizer: Adam with amsgrad, or SGD with Nesterov momentum 0.99.
    #[arg(long, value_enum, default_value = "adam")]
    optimizer: Optimizer,
    /// Learning rate of the first epoch [default: 3e-4 for adam, 1e-2 for sgd].
    #[arg(long)]
    lr: Option<f64>,
    /// How the learning rate falls.
    #[arg(long, value_enum, default_value = "poly")]
    schedule: Schedule,
    /// Bound of the gradient's norm; 0 is none.
    #[arg(long, default_value_t = 12.0)]
    clip: f64,
    /// Dice over the batch instead of per sample.
    #[arg(long)]
    batch_dice: bool,
    /// Do not mirror.
    #[arg(long)]
    no_mirror: bool,
    /// Online validation every so many epochs.
    #[arg(long, default_value_t = 1)]
    val_every: u64,
    /// Do not predict and evaluate the validation cases at the end.
    #[arg(long)]
    no_validate: bool,
    /// Who chooses the augmentation.
    #[arg(long, value_enum, default_value = "asng", help_heading = "Search")]
    searcher: SearcherKind,
    /// For `--searcher fixed`: the policy.json of a run.
    #[arg(long, help_heading = "Search")]
    policy: Option<PathBuf>,
    /// Candidate policies an iteration, each with a batch of its own [default: 2 for searches, 1
    /// otherwise].
    #[arg(long, help_heading = "Search")]
    lambda: Option<usize>,
    /// Judge the candidates of the weight step, or fresh ones as in the paper.
    #[arg(long, value_enum, default_value = "shared", help_heading = "Search")]
    search_mode: SearchMode,
    /// Judge candidates on a quarter of the training cases, set aside until the search stops, or on
    /// the fold's own validation cases (their results are optimistic then).
    #[arg(long, value_enum, default_value = "inner", help_heading = "Search")]
    search_val: SearchValidation,
    /// A policy step every so many iterations.
    #[arg(long, default_value_t = 1, help_heading = "Search")]
    search_every: u64,
    /// Share of the epochs after which the distribution is frozen and all training cases are used.
    #[arg(long, default_value_t = 0.8, help_heading = "Search")]
    search_until: f64,
    /// Where the distribution starts: uniform, default (near nnU-Net's policy), or the policy.json
    /// of a run.
    #[arg(long, default_value = "uniform", help_heading = "Search")]
    search_init: String,
    /// TOML or JSON file with another policy space.
    #[arg(long, help_heading = "Search")]
    space: Option<PathBuf>,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Host threads that prepare cases [default: as many as cores].
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    threads: usize,
    #[command(flatten)]
    device: DeviceFlags,
}

impl Train {
    fn search(&self) -> SearchOptions {
        let searcher = self.searcher;
        let learns = matches!(searcher, SearcherKind::Asng | SearcherKind::Sng);
        SearchOptions {
            searcher,
            policy: self.policy.clone(),
            lambda: self.lambda.unwrap_or(if learns { 2 } else { 1 }),
            mode: self.search_mode,
            validation: self.search_val,
            every: self.search_every,
            until: self.search_until,
            init: self.search_init.clone(),
            space: self.space.clone(),
        }
    }

    fn options(&self) -> Result<TrainOptions> {
        let patch: [u32; 3] = self.patch.clone().try_into().map_err(|_| {
            Error::Usage("--patch needs three edges, as in --patch 40,56,40".to_string())
        })?;
        let default_out = || {
            let name = self.dataset.file_name().map(|n| n.to_string_lossy().into_owned());
            let time = jiff::ZonedDateTime::now().strftime("%Y%m%d-%H%M%S").to_string();
            PathBuf::from("runs").join(format!("{}-{time}", name.unwrap_or("run".into())))
        };
        let learning_rate = match self.optimizer {
            Optimizer::Adam => 3e-4,
            Optimizer::Sgd => 1e-2,
        };
        let options = TrainOptions {
            dataset: self.dataset.clone(),
            out: self.out.clone().unwrap_or_else(default_out),
            fold: self.fold,
            epochs: self.epochs,
            iterations: self.iterations,
            validate_every: self.val_every,
            batch: self.batch_size,
            patch,
            features: self.features,
            levels: self.levels.unwrap_or(0),
            optimizer: self.optimizer,
            learning_rate: self.lr.unwrap_or(learning_rate),
            schedule: self.schedule,
            clip: self.clip,
            batch_dice: self.batch_dice,
            mirror: !self.no_mirror,
            search: self.search(),
            validate: !self.no_validate,
            seed: self.seed,
            threads: self.threads,
            adapter: self.device.choice(),
            checked_shaders: checked_shaders(),
        };
        options.check()?;
        Ok(options)
    }

    pub(super) fn run(&self) -> Result<()> {
        let options = self.options()?;
        let stop = Arc::new(AtomicBool::new(false));
        let handler = stop.clone();
        ctrlc::set_handler(move || {
            // The second signal stops at once.
            if handler.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        })
        .map_err(|e| Error::Device(format!("signals cannot be handled: {e}")))?;
        let mut progress = TrainProgress::new(options.epochs, options.iterations);
        let trained = train(&options, &stop, &mut |event| progress.show(event));
        progress.finish();
        let trained = trained?;
        if let Some(summary) = &trained.summary {
            print(&table(&label_rows(summary)))?;
        }
        say(&format!("the run is in '{}'", options.out.display()));
        Ok(())
    }
}
