//! `asng-wgpu predict -m RUN -i IN -o OUT`.

use super::progress::Phases;
use super::{DeviceFlags, checked_shaders, complain, say};
use crate::error::{Error, Result};
use crate::infer::predict::{
    LargestComponent, Outcome, PredictEvent, PredictOptions, Predicted, predict,
};
use crate::infer::probabilities::ProbabilityFormat;
use crate::phase::Phase;
use crate::run::{CheckpointKind, FoldId};
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu predict -m runs/heart -i heart/imagesTs -o predictions

One broken input does not stop the others: it is named, and the exit code is 1.")]
pub(super) struct Predict {
    /// Folder of the run that `train` wrote; several are averaged.
    #[arg(short, long, value_name = "RUN", required = true, num_args = 1..)]
    model: Vec<PathBuf>,
    /// Images, folders of images, or a .txt file that lists them: one file a case, or one file a
    /// channel (_0000, _0001...).
    #[arg(short, long, value_name = "IN", required = true, num_args = 1..)]
    input: Vec<PathBuf>,
    /// Folder for the label maps; or a name ending in .nii.gz where the input is one image.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Folds whose networks are averaged, as 0 or 0,1,2; all: those of the cross-validation; full:
    /// the network on all cases [default: all, or full where it is the only one].
    #[arg(long, value_delimiter = ',', value_name = "N|full|all", value_parser = fold)]
    fold: Vec<FoldChoice>,
    /// Which weights.
    #[arg(long, value_enum, default_value = "final")]
    checkpoint: Checkpoint,
    /// Step from tile to tile as a share of the patch: smaller is slower and smoother.
    #[arg(long, default_value_t = 0.5)]
    step: f64,
    /// Do not average over the 8 mirror images (8 times faster).
    #[arg(long)]
    no_tta: bool,
    /// Also write the class probabilities, into OUT/probabilities: as 4-D CASE.nii.gz, or as
    /// CASE.npz with CASE.pkl, which nnU-Net writes and reads [FORMAT by default: nifti].
    #[arg(long, value_enum, value_name = "FORMAT", num_args = 0..=1, default_missing_value = "nifti")]
    save_probabilities: Option<Probabilities>,
    /// Keep only the largest component (26 neighbours) of these labels, or of all foreground: as
    /// 1 or 1,2 or all.
    #[arg(long, value_name = "LABEL|all", value_delimiter = ',')]
    largest_component: Vec<String>,
    /// Skip scans that have a label map already, whatever made it.
    #[arg(long = "continue")]
    skip_existing: bool,
    #[command(flatten)]
    device: DeviceFlags,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Checkpoint {
    /// After the last epoch.
    Final,
    /// Best validation Dice.
    Best,
    /// The latest, of a training that goes on.
    Last,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Probabilities {
    Nifti,
    Npz,
}

impl Predict {
    /// The flags, resolved.
    pub(super) fn options(&self) -> Result<PredictOptions> {
        Ok(PredictOptions {
            runs: self.model.clone(),
            inputs: self.input.clone(),
            output: self.output.clone(),
            folds: folds(&self.fold)?,
            checkpoint: match self.checkpoint {
                Checkpoint::Final => CheckpointKind::Final,
                Checkpoint::Best => CheckpointKind::Best,
                Checkpoint::Last => CheckpointKind::Last,
            },
            step: self.step,
            mirror: !self.no_tta,
            save_probabilities: self.save_probabilities.map(|format| match format {
                Probabilities::Nifti => ProbabilityFormat::Nifti,
                Probabilities::Npz => ProbabilityFormat::Npz,
            }),
            largest: self.largest_component.iter().map(|l| component(l)).collect::<Result<_>>()?,
            skip_existing: self.skip_existing,
            adapter: self.device.choice(),
            checked_shaders: checked_shaders(),
        })
    }

    pub(super) fn run(&self) -> Result<()> {
        let mut phases = Phases::default();
        let done = predict(&self.options()?, &mut |event| match event {
            PredictEvent::Note(sentence) => phases.line(|| say(sentence)),
            // It has a bar with a length, which its first case tells.
            PredictEvent::Begin(Phase::Predicting) => phases.finish(),
            PredictEvent::Begin(phase) => phases.begin(phase.name()),
            PredictEvent::Case { number, cases, name } => {
                phases.count(Phase::Predicting.name(), "case", number, cases);
                phases.message(name);
            }
            PredictEvent::Done(case) => phases.line(|| report(case)),
        });
        phases.finish();
        done
    }
}

/// A value of `--fold`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FoldChoice {
    One(FoldId),
    All,
}

fn fold(text: &str) -> std::result::Result<FoldChoice, String> {
    match text {
        "all" => Ok(FoldChoice::All),
        _ => text.parse().map(FoldChoice::One).map_err(|why: String| format!("{why}, or all")),
    }
}

/// The folds that were named; none for all of the cross-validation.
fn folds(choices: &[FoldChoice]) -> Result<Vec<FoldId>> {
    let named = choices.iter().filter_map(|choice| match choice {
        FoldChoice::One(fold) => Some(*fold),
        FoldChoice::All => None,
    });
    let named: Vec<FoldId> = named.collect();
    match choices.contains(&FoldChoice::All) && !named.is_empty() {
        true => Err(Error::Usage(
            "--fold all names every fold of the cross-validation; drop it, or the others".into(),
        )),
        false => Ok(named),
    }
}

/// A value of `--largest-component`.
fn component(text: &str) -> Result<LargestComponent> {
    if text == "all" {
        return Ok(LargestComponent::All);
    }
    match text.parse() {
        Ok(label) if label > 0 => Ok(LargestComponent::Label(label)),
        _ => Err(Error::Usage(format!(
            "--largest-component '{text}' is no label; give a number from 1, or all"
        ))),
    }
}

/// `[3/40] la_003: 12 tiles, 3.4 s (prepare 0.2, network 3.0, export 0.2)`; failures are printed even with --quiet.
fn report(case: &Predicted) {
    let head = format!("[{}/{}] {}", case.number, case.cases, case.name);
    for warning in &case.warnings {
        say(&format!("warning: {warning}"));
    }
    match &case.outcome {
        Outcome::Written(_) => {
            let s = if case.tiles == 1 { "" } else { "s" };
            let seconds = &case.seconds;
            say(&format!(
                "{head}: {} tile{s}, {:.1} s (prepare {:.1}, network {:.1}, export {:.1})",
                case.tiles,
                seconds.total(),
                seconds.prepare,
                seconds.network,
                seconds.export
            ));
        }
        Outcome::Skipped => say(&format!("{head}: is there already")),
        Outcome::Failed(why) => complain(&format!("{head}: {why}")),
    }
}
