//! `asng-wgpu train DATASET`.

use super::cross_validate::cross_validate;
use super::measures::label_rows;
use super::network::NetworkFlags;
use super::progress::TrainProgress;
use super::resume::resume_command;
use super::search::SearchFlags;
use super::table::table;
use super::{DeviceFlags, checked_shaders, print, say};
use crate::error::{Error, Result};
use crate::nn::step::Optimizer;
use crate::train::{Schedule, TrainOptions, fold_count, is_finished, is_trained, train};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu train Task04_Hippocampus --patch 40,56,40 --features 12 --levels 4

Searches the augmentation policy while it trains (--searcher none, default, random, trivial or fixed
does without), then predicts and evaluates the fold's validation cases. Leaves config.json and
fold_K/: metrics.jsonl, policy.jsonl, policy.json, checkpoints, validation/. Meanwhile
fold_K/progress.png shows the curves and fold_K/report.html all there is to know; both are written
anew after each epoch, but not more often than every 10 seconds. Ctrl-C finishes the iteration and
leaves checkpoint_last (exit code 130); a second one stops at once. The same command with --resume
goes on from there, or from the last epoch's end after a kill or a power failure, to the same result
as without an interruption.")]
pub(super) struct Train {
    /// Folder of the data set (Medical Segmentation Decathlon or nnU-Net layout).
    dataset: PathBuf,
    /// Folder of the run [default: runs/<data set>-<time>].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Fold of the cross-validation, 0 to 4; or all, one after the other.
    #[arg(long, default_value = "0", value_name = "N|all", value_parser = fold)]
    fold: FoldChoice,
    /// The folds, in the form of nnU-Net's splits_final.json [default: that file in the data set's
    /// folder, else 5 folds; by patient where patients.json or patients.csv lies there].
    #[arg(long, value_name = "FILE")]
    splits: Option<PathBuf>,
    /// Folder of prepared cases, which several runs may share [default: cache in the run's
    /// folder].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Epochs.
    #[arg(long, default_value_t = 200)]
    epochs: u64,
    /// Iterations an epoch.
    #[arg(long, default_value_t = 250)]
    iterations: u64,
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
    /// Go on with the training in --out, with the flags that it began with; begin it where there is
    /// none yet.
    #[arg(long, requires = "out")]
    resume: bool,
    /// Write event files for TensorBoard into fold_K/tensorboard.
    #[arg(long)]
    tensorboard: bool,
    #[command(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    search: SearchFlags,
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
    fn options(&self) -> Result<TrainOptions> {
        let default_out = || {
            let name = self.dataset.file_name().map(|n| n.to_string_lossy().into_owned());
            let time = jiff::ZonedDateTime::now().strftime("%Y%m%d-%H%M%S").to_string();
            PathBuf::from("runs").join(format!("{}-{time}", name.unwrap_or("run".into())))
        };
        let learning_rate = match self.optimizer {
            Optimizer::Adam => 3e-4,
            Optimizer::Sgd => 1e-2,
        };
        let mut options = TrainOptions {
            out: self.out.clone().unwrap_or_else(default_out),
            cache: self.cache.clone(),
            splits: self.splits.clone(),
            epochs: self.epochs,
            iterations: self.iterations,
            validate_every: self.val_every,
            optimizer: self.optimizer,
            learning_rate: self.lr.unwrap_or(learning_rate),
            schedule: self.schedule,
            clip: self.clip,
            batch_dice: self.batch_dice,
            mirror: !self.no_mirror,
            validate: !self.no_validate,
            seed: self.seed,
            threads: self.threads,
            adapter: self.device.choice(),
            checked_shaders: checked_shaders(),
            resume: self.resume,
            tensorboard: self.tensorboard,
            ..TrainOptions::new(&self.dataset, self.search.options())
        };
        self.network.apply(&mut options)?;
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
        let folds: Vec<usize> = match self.fold {
            FoldChoice::One(fold) => vec![fold],
            FoldChoice::All => (0..fold_count(&options)?).collect(),
        };
        let several = folds.len() > 1;
        for fold in folds {
            let options = TrainOptions { fold, ..options.clone() };
            let done = match self.resume {
                true => is_finished(&options),
                false => several && is_trained(&options),
            };
            if done {
                say(&format!("fold {fold} is trained already"));
                continue;
            }
            if several {
                say(&format!("fold {fold}"));
            }
            let mut progress = TrainProgress::new(options.epochs, options.iterations);
            let trained = train(&options, &stop, &mut |event| progress.show(event));
            progress.finish();
            let trained = trained.map_err(|error| match error {
                Error::Interrupted(what) => Error::Interrupted(format!(
                    "{what}; go on with: {}",
                    resume_command(&options.out)
                )),
                error => error,
            })?;
            // Several folds are put together at the end.
            if let Some(summary) = trained.summary.as_ref().filter(|_| !several) {
                print(&table(&label_rows(summary)))?;
            }
        }
        say(&format!("the run is in '{}'", options.out.display()));
        if several && options.validate {
            return cross_validate(&options.out, false);
        }
        Ok(())
    }
}

/// Which folds are trained.
#[derive(Clone, Copy, Debug)]
enum FoldChoice {
    One(usize),
    All,
}

fn fold(text: &str) -> std::result::Result<FoldChoice, String> {
    match (text, text.parse()) {
        ("all", _) => Ok(FoldChoice::All),
        (_, Ok(number)) => Ok(FoldChoice::One(number)),
        _ => Err("give a number from 0, or all".into()),
    }
}
