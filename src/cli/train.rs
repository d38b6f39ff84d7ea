//! `asng-wgpu train DATASET`.

use super::cross_validate::cross_validate;
use super::interpolation::InterpolationFlags;
use super::measures::label_rows;
use super::mirroring::MirrorFlags;
use super::network::{NetworkFlags, bytes};
use super::progress::TrainProgress;
use super::recipe::RecipeFlags;
use super::resume::resume_command;
use super::search::SearchFlags;
use super::signals::stop_flag;
use super::table::table;
use super::{DeviceFlags, checked_shaders, print, say};
use crate::crash;
use crate::data::Axes;
use crate::data::dataset::folder_of;
use crate::error::{Error, Result};
use crate::nn::step::Optimizer;
use crate::run::{FoldId, fold_folder};
use crate::train::{
    Schedule, SearcherKind, TimeLimit, TrainOptions, check_finished, fold_count, folder_name,
    is_finished, is_trained, train,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu train Task04_Hippocampus --patch 40,56,40 --features 12 --levels 4

Searches the augmentation policy while it trains (--searcher none, default, random, trivial or fixed
does without), then predicts and evaluates the fold's validation cases. Leaves config.json and
fold_K/: config.json, metrics.jsonl, policy.jsonl, policy.json, checkpoints, validation/. Meanwhile
fold_K/progress.png shows the curves and fold_K/report.html all there is to know; both are updated
after each epoch, but not more often than every 10 seconds. Ctrl-C finishes the iteration and
leaves checkpoint_last (exit code 130); a second one stops at once. The same command with --resume
continues from there, or from the end of the last epoch after a kill or a power failure, to the same
result as without an interruption.

A run holds folds of one data set, one split and one set of the flags that affect results. Any other
training into --out is refused with a list of what differs, and changes nothing there.")]
pub(super) struct Train {
    /// Folder of the data set (Medical Segmentation Decathlon or nnU-Net layout), or its dataset.json.
    dataset: PathBuf,
    /// Folder of the run [default: runs/<data set>-<time>].
    #[arg(long)]
    out: Option<PathBuf>,
    /// What is trained: a fold of the cross-validation, 0 to 4; all (or cv): the folds of the
    /// cross-validation, one after the other, each a network of its own; full: one network on all
    /// labelled cases, without validation (nnU-Net's fold all).
    #[arg(long, default_value = "0", value_name = "N|all|full", value_parser = fold)]
    fold: FoldChoice,
    /// The folds, in the form of nnU-Net's splits_final.json [default: that file in the data set's
    /// folder, else 5 folds; by patient where patients.json or patients.csv lies there].
    #[arg(long, value_name = "FILE")]
    splits: Option<PathBuf>,
    /// Folder of prepared cases, which several runs may share [default: cache in the run's
    /// folder].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Do not predict and evaluate the validation cases at the end.
    #[arg(long)]
    no_validate: bool,
    /// Stop after this many minutes as Ctrl-C does: with a state that --resume continues, and exit
    /// code 130. The last message then begins with "time limit reached", that of Ctrl-C with
    /// "interrupted".
    #[arg(long, value_name = "MINUTES")]
    max_minutes: Option<f64>,
    /// Stop at a case whose prepared file cannot be read any more, in place of leaving the case out.
    #[arg(long)]
    strict: bool,
    /// Host memory for prepared cases, as in 6GiB; others are read as they are needed [default: half
    /// of what is free].
    #[arg(long, value_name = "SIZE")]
    host_memory: Option<String>,
    /// Resume the training in --out, with the data and flags that it began with; start it where it has
    /// no state yet.
    #[arg(long, requires = "out")]
    resume: bool,
    /// Write event files for TensorBoard into fold_K/tensorboard.
    #[arg(long)]
    tensorboard: bool,
    #[command(flatten)]
    recipe: RecipeFlags,
    #[command(flatten)]
    training: TrainingFlags,
    #[command(flatten)]
    mirror: MirrorFlags,
    #[command(flatten)]
    interpolation: InterpolationFlags,
    #[command(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    search: SearchFlags,
    #[command(flatten)]
    device: DeviceFlags,
    /// Seconds for timing the register tiles of convolutions that were not timed on this device; the
    /// fastest are remembered for later trainings. No result depends on them [default: 10, 0 on
    /// software adapters].
    #[arg(long, value_name = "SECONDS", help_heading = super::DEVICE)]
    tune: Option<f64>,
}

/// Flags of how the weights are trained.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Training")]
struct TrainingFlags {
    /// Optimizer: Adam with amsgrad, or SGD with Nesterov momentum 0.99 [default: adam].
    #[arg(long, value_enum)]
    optimizer: Option<Optimizer>,
    /// Learning rate of the first epoch [default: 3e-4 for adam, 1e-2 for sgd].
    #[arg(long)]
    lr: Option<f64>,
    /// How the learning rate falls [default: poly; with --preset paper: plateau].
    #[arg(long, value_enum)]
    schedule: Option<Schedule>,
    /// Bound of the gradient's norm; 0 is none.
    #[arg(long, default_value_t = 12.0)]
    clip: f64,
    /// Dice over the batch instead of per sample.
    #[arg(long)]
    batch_dice: bool,
    /// Online validation every N epochs.
    #[arg(long, default_value_t = 1, value_name = "N")]
    val_every: u64,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Train {
    /// The flags, resolved and checked.
    pub(super) fn options(&self) -> Result<TrainOptions> {
        self.resolved().map(|(options, _)| options)
    }

    /// The options, and the sentence about the preset, if there is one.
    fn resolved(&self) -> Result<(TrainOptions, Option<String>)> {
        let dataset = folder_of(&self.dataset);
        let default_out = || {
            let name = folder_name(&dataset);
            let time = jiff::ZonedDateTime::now().strftime("%Y%m%d-%H%M%S").to_string();
            unused(Path::new("runs"), &format!("{}-{time}", name.unwrap_or("run".into())))
        };
        let recipe = self.recipe.recipe(&dataset);
        let training = &self.training;
        let optimizer = training.optimizer.unwrap_or(recipe.optimizer);
        let learning_rate = match optimizer {
            Optimizer::Adam => 3e-4,
            Optimizer::Sgd => 1e-2,
        };
        let host_memory = self.host_memory.as_deref().map(|text| bytes("--host-memory", text));
        let mut options = TrainOptions {
            out: self.out.clone().unwrap_or_else(default_out),
            cache: self.cache.clone(),
            splits: self.splits.clone(),
            validate_every: training.val_every,
            learning_rate: training.lr.unwrap_or(learning_rate),
            clip: training.clip,
            batch_dice: training.batch_dice,
            mirror: self.mirror.axes().unwrap_or(Axes::ALL),
            interpolation: self.interpolation.resolved(),
            validate: !self.no_validate,
            seed: training.seed,
            threads: super::threads(),
            adapter: self.device.choice(),
            checked_shaders: checked_shaders(),
            resume: self.resume,
            strict: self.strict,
            host_memory_bytes: host_memory.transpose()?,
            time_limit: self.time_limit()?,
            tensorboard: self.tensorboard,
            tune_seconds: self.tune,
            ..TrainOptions::new(&dataset, self.search.options(&recipe)?)
        };
        self.recipe.apply(&mut options, &recipe);
        options.optimizer = optimizer;
        options.schedule = training.schedule.unwrap_or(recipe.schedule);
        let mirrors = self.mirror.axes().is_some_and(|axes| !axes.is_empty());
        if mirrors && options.search.searcher == SearcherKind::None {
            return Err(Error::Usage(
                "--searcher none does not mirror; drop --mirror-axes or use another searcher"
                    .into(),
            ));
        }
        self.network.apply(&mut options, &recipe)?;
        options.check()?;
        let sentence = recipe.sentence(&options);
        Ok((options, sentence))
    }

    /// When `--max-minutes` is over.
    fn time_limit(&self) -> Result<Option<TimeLimit>> {
        let Some(minutes) = self.max_minutes else { return Ok(None) };
        let duration = Duration::try_from_secs_f64(minutes * 60.0).ok();
        match duration.filter(|d| !d.is_zero()).and_then(|d| Instant::now().checked_add(d)) {
            Some(at) => Ok(Some(TimeLimit { minutes, at })),
            None => Err(Error::Usage(format!(
                "--max-minutes {minutes} is no time to stop after; give minutes, as in 55 or 0.5"
            ))),
        }
    }

    pub(super) fn run(&self) -> Result<()> {
        let (options, preset) = self.resolved()?;
        if let Some(sentence) = preset {
            say(&sentence);
        }
        self.network.check_orientation(&options.dataset)?;
        let stop = stop_flag()?;
        crash::note(|facts| facts.resume = Some(resume_command(&options.out)));
        let folds: Vec<FoldId> = match self.fold {
            FoldChoice::One(fold) => vec![fold],
            FoldChoice::All => (0..fold_count(&options)?).map(FoldId::Number).collect(),
        };
        let several = folds.len() > 1;
        if several {
            say(&format!("cross-validation: {} folds, one after the other", folds.len()));
        }
        let mut validated = false;
        for fold in folds {
            let options = TrainOptions { fold, ..options.clone() };
            let done = match self.resume {
                true => is_finished(&options),
                false => several && is_trained(&options),
            };
            if done {
                check_finished(&options)?;
                say(&format!("fold {fold} is trained already"));
                validated |=
                    fold_folder(&options.out, fold).join("validation/summary.json").exists();
                continue;
            }
            if several {
                say(&format!("fold {fold}"));
            }
            let mut progress = TrainProgress::new(options.epochs, options.iterations);
            let trained = train(&options, &stop, &mut |event| progress.show(event));
            progress.finish();
            let going_on = |what| format!("{what}; go on with: {}", resume_command(&options.out));
            let trained = trained.map_err(|error| match error {
                Error::Interrupted(what) => Error::Interrupted(going_on(what)),
                Error::DeviceLost(what) => Error::DeviceLost(going_on(what)),
                error => error,
            })?;
            validated |= trained.summary.is_some();
            // Several folds are put together at the end.
            if let Some(summary) = trained.summary.as_ref().filter(|_| !several) {
                print(&table(&label_rows(summary)))?;
            }
        }
        say(&format!("the run is in '{}'", options.out.display()));
        if validated && several && options.validate {
            return cross_validate(&options.out, false);
        }
        Ok(())
    }
}

/// A path in `folder` that nothing has: clocks are set back, and two trainings may begin within a
/// second.
fn unused(folder: &Path, name: &str) -> PathBuf {
    let numbered = (2..).map(|number| folder.join(format!("{name}-{number}")));
    let mut paths = std::iter::once(folder.join(name)).chain(numbered);
    paths.find(|path| !path.exists()).unwrap_or_else(|| folder.join(name))
}

/// Which folds are trained.
#[derive(Clone, Copy, Debug)]
enum FoldChoice {
    One(FoldId),
    /// All folds of the cross-validation.
    All,
}

fn fold(text: &str) -> std::result::Result<FoldChoice, String> {
    match (text, text.parse()) {
        ("all" | "cv", _) => Ok(FoldChoice::All),
        (_, Ok(fold)) => Ok(FoldChoice::One(fold)),
        _ => Err("give a number from 0, all or full".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_of_the_same_second_have_folders_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["heart", "heart-2", "heart-3"] {
            let path = unused(folder.path(), "heart");
            assert_eq!(path, folder.path().join(name));
            std::fs::create_dir(path).unwrap();
        }
    }
}
