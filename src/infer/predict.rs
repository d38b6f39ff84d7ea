//! Segments images with the networks of one run or of several.

use super::decision::{Decision, Voxel};
use super::output::{Member, Prediction, Source, predict_on_file_grid, write_prediction};
use super::predictor::{Predictor, WindowOptions};
use super::probabilities::ProbabilityFormat;
use super::targets::targets;
use super::warnings;
use crate::data::Axes;
use crate::data::inputs::{Inputs, find_images};
use crate::data::labels::Labels;
use crate::data::names::are_numbered;
use crate::data::preprocess::{PreparedImage, prepare_image};
use crate::data::{Case, Preprocessing};
use crate::error::{Error, Result};
use crate::gpu::{AdapterChoice, Gpu};
use crate::metrics::components::{keep_largest, keep_largest_foreground};
use crate::nn::tuning;
use crate::nn::unet::UNet;
use crate::numbers::{counted, named};
use crate::phase::Phase;
use crate::run::{
    CheckpointKind, FoldId, RunConfig, checkpoint_path, fold_folder, read_weights, trained_folds,
};
use half::f16;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Instant;

/// Which components of a segmentation are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LargestComponent {
    /// The largest of all foreground, whatever its labels.
    All,
    /// The largest of this label.
    Label(u16),
}

/// What to predict, and with what.
#[derive(Clone, Debug)]
pub struct PredictOptions {
    /// Folders of the runs.
    pub runs: Vec<PathBuf>,
    /// Files, or folders in either layout.
    pub inputs: Vec<PathBuf>,
    /// A folder; or a file, where the input is one case.
    pub output: PathBuf,
    /// The folds whose networks are averaged; empty: all folds of the cross-validation that are there,
    /// else the network on all cases.
    pub folds: Vec<FoldId>,
    /// Which weights.
    pub checkpoint: CheckpointKind,
    /// Tile step as a share of the patch.
    pub step: f64,
    /// Average over mirrored images, if the run was trained with mirroring.
    pub mirror: bool,
    /// Also write the class probabilities, into a folder of their own below that of the labels.
    pub save_probabilities: Option<ProbabilityFormat>,
    /// Remove smaller components.
    pub largest: Vec<LargestComponent>,
    /// Pass over cases whose files are there already.
    pub skip_existing: bool,
    /// Which adapter.
    pub adapter: AdapterChoice,
    /// Keep bounds checks in the shaders.
    pub checked_shaders: bool,
}

impl PredictOptions {
    /// Refuses what no run could be asked for, before any work.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the flag.
    pub fn check(&self) -> Result<()> {
        match (0.05..=1.0).contains(&self.step) {
            true => Ok(()),
            false => Err(Error::Usage(format!(
                "--step {} is out of range; give a share of the patch from 0.05 to 1",
                self.step
            ))),
        }
    }
}

/// How a case ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Predicted and written to this file.
    Written(PathBuf),
    /// Its files were there already.
    Skipped,
    /// Why there is no prediction.
    Failed(String),
}

/// Where the time of a case went. The next case is prepared meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seconds {
    /// Reading, cropping, resampling, normalising.
    pub prepare: f64,
    /// The networks.
    pub network: f64,
    /// Bringing the result to the file's grid, and writing it.
    pub export: f64,
}

impl Seconds {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.prepare + self.network + self.export
    }
}

/// What happens while scans are predicted.
#[derive(Debug)]
pub enum PredictEvent<'a> {
    /// A sentence about what was decided.
    Note(&'a str),
    /// A part of the work begins.
    Begin(Phase),
    /// A case is about to be predicted.
    Case {
        /// Its number, from 0.
        number: usize,
        /// How many there are.
        cases: usize,
        /// Its name.
        name: &'a str,
    },
    /// A case has ended.
    Done(&'a Predicted),
}

/// One case's line.
#[derive(Clone, Debug)]
pub struct Predicted {
    /// Number, from 1.
    pub number: usize,
    /// Number of cases.
    pub cases: usize,
    /// The case's name.
    pub name: String,
    /// Tiles of the sliding window, 0 if it was not reached.
    pub tiles: usize,
    /// Wall time.
    pub seconds: Seconds,
    /// What is odd about its image.
    pub warnings: Vec<String>,
    /// What became of it.
    pub outcome: Outcome,
}

/// Networks of one plan and one preprocessing, from one run or several.
struct Group {
    network: UNet,
    weights: Vec<Vec<f32>>,
    preprocessing: Preprocessing,
    mirror: Axes,
}

/// Predicts all cases. A case that cannot be read is passed over.
///
/// # Errors
/// What concerns all cases, before any work; a lost device; at the end, the names of those cases
/// that failed.
pub fn predict(options: &PredictOptions, report: &mut dyn FnMut(PredictEvent)) -> Result<()> {
    options.check()?;
    let Networks { groups, labels, names: used, files } = networks(options)?;
    let channels = groups[0].network.plan.in_channels as usize;
    let written = labels.written();
    for component in &options.largest {
        if let LargestComponent::Label(label) = *component
            && !written.contains(&label)
        {
            let list = written.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            return Err(Error::Usage(format!(
                "--largest-component {label} is no label that the run predicts; give one of \
                 {list}, or all"
            )));
        }
    }
    let split = RunConfig::read(&options.runs[0])?.split;
    let names = split.iter().flat_map(|fold| fold.train.iter().chain(&fold.val));
    let numbered = are_numbered(names.map(String::as_str));
    let Inputs { cases, notes } = find_images(&options.inputs, channels, numbered)?;
    for note in &notes {
        report(PredictEvent::Note(note));
    }
    report(PredictEvent::Begin(Phase::Testing));
    // Before the output folder is made, so that a wrong device leaves nothing behind.
    let (gpu, variant) = tuning::open(&options.adapter, options.checked_shaders)?;
    let (targets, _made) = targets(&options.output, &cases)?;
    let mut counts: Vec<usize> =
        groups.iter().map(|g| if options.mirror { g.mirror.subsets().len() } else { 1 }).collect();
    counts.dedup();
    let flips = match counts[..] {
        [1] => "without flips".into(),
        [count] => format!("averaged over {count} flips"),
        _ => "averaged over the flips that each run was trained with".into(),
    };
    report(PredictEvent::Note(&format!("{used} on '{}', {flips}", gpu.name())));
    report(PredictEvent::Begin(Phase::Compiling));
    let predictors = groups
        .iter()
        .map(|g| Predictor::new(&gpu, g.network.clone(), &g.weights[0], variant))
        .collect::<Result<Vec<_>>>()?;
    let decision = &Decision::new(&labels);
    let job = Job { options, gpu: &gpu, groups: &groups, predictors: &predictors, decision };
    let there = |target: &PathBuf| {
        let probabilities = options.save_probabilities.map(|format| format.path(target));
        options.skip_existing && target.exists() && probabilities.is_none_or(|path| path.exists())
    };
    let there: Vec<bool> = targets.iter().map(there).collect();
    let kept: Vec<&Path> =
        targets.iter().zip(&there).filter(|(_, t)| **t).map(|(path, _)| path.as_path()).collect();
    for warning in warnings::orientations(&options.runs, &cases)? {
        report(PredictEvent::Note(&format!("warning: {warning}")));
    }
    if let Some(warning) = warnings::outdated(&files, &kept) {
        report(PredictEvent::Note(&format!("warning: {warning}")));
    }
    let todo: Vec<&Case> = cases.iter().zip(&there).filter(|(_, t)| !**t).map(|(c, _)| c).collect();
    let mut failed = Vec::new();
    report(PredictEvent::Begin(Phase::Predicting));
    std::thread::scope(|scope| {
        // While a case is predicted, the next one is prepared; no more than one waits.
        let (sender, receiver) = mpsc::sync_channel(0);
        let loading = &groups;
        scope.spawn(move || {
            // The receiver is gone when the device is.
            let _ = todo.into_iter().try_for_each(|case| sender.send(load(loading, case)));
        });
        for (i, ((case, target), there)) in cases.iter().zip(targets).zip(there).enumerate() {
            let mut told = Told::default();
            let (number, name) = (i, case.name.as_str());
            report(PredictEvent::Case { number, cases: cases.len(), name });
            let outcome = if there {
                Outcome::Skipped
            } else {
                let done = receiver
                    .recv()
                    .map_err(|_| Error::Input("the thread that prepares images ended early".into()))
                    .and_then(|loaded| job.case(loaded, &target, &mut told));
                match done {
                    Ok(()) => Outcome::Written(target),
                    // A lost device fails every case that follows.
                    Err(Error::DeviceLost(what)) => {
                        return Err(Error::DeviceLost(format!(
                            "{what}; --continue passes over the {} before '{}'",
                            counted(i, "case"),
                            case.name
                        )));
                    }
                    Err(error @ Error::Device(_)) => return Err(error),
                    Err(error) => {
                        failed.push(case.name.clone());
                        Outcome::Failed(error.sentence())
                    }
                }
            };
            report(PredictEvent::Done(&Predicted {
                number: i + 1,
                cases: cases.len(),
                name: case.name.clone(),
                tiles: told.tiles,
                seconds: told.seconds,
                warnings: told.warnings,
                outcome,
            }));
        }
        Ok(())
    })?;
    match failed.len() {
        0 => Ok(()),
        1 if cases.len() == 1 => Err(Error::Input(format!(
            "'{}' could not be predicted, for the reason above; nothing is written",
            failed[0]
        ))),
        n if n == cases.len() => Err(Error::Input(format!(
            "all {n} cases failed, for the reasons above; nothing is written"
        ))),
        n => Err(Error::Input(format!(
            "{n} of {} cases failed, for the reasons above: {}; the others are written",
            cases.len(),
            named(&failed)
        ))),
    }
}

/// A case's image as each group of networks takes it.
struct Loaded {
    images: Result<Vec<PreparedImage>>,
    seconds: f64,
}

fn load(groups: &[Group], case: &Case) -> Loaded {
    let begin = Instant::now();
    let image = |group: &Group| {
        let channels = group.network.plan.in_channels as usize;
        prepare_image(&case.images, channels, &group.preprocessing)
    };
    let images = groups.iter().map(image).collect();
    Loaded { images, seconds: begin.elapsed().as_secs_f64() }
}

/// What a case tells while it is predicted.
#[derive(Default)]
struct Told {
    tiles: usize,
    seconds: Seconds,
    warnings: Vec<String>,
}

/// What all cases share.
struct Job<'a> {
    options: &'a PredictOptions,
    gpu: &'a Gpu,
    groups: &'a [Group],
    predictors: &'a [Predictor],
    decision: &'a Decision,
}

impl Job<'_> {
    /// Predicts one case and writes its files.
    fn case(&self, loaded: Loaded, target: &Path, told: &mut Told) -> Result<()> {
        let options = self.options;
        told.seconds.prepare = loaded.seconds;
        // Several groups have grids of their own, so they meet on the file's grid.
        let keep = options.save_probabilities.is_some() || self.groups.len() > 1;
        let mut parts: Vec<(Prediction, usize)> = Vec::new();
        let mut origin = None;
        let groups = self.groups.iter().zip(self.predictors);
        for (image, (group, predictor)) in loaded.images?.into_iter().zip(groups) {
            for note in image.grids.iter().chain(&image.constant) {
                if !told.warnings.contains(note) {
                    told.warnings.push(note.clone());
                }
            }
            told.tiles += predictor.tiles(image.shape, options.step);
            let member = Member {
                predictor,
                decision: self.decision,
                weights: &group.weights,
                axes: group.preprocessing.axes,
                window: WindowOptions {
                    step: options.step,
                    mirror: if options.mirror { group.mirror } else { Axes::NONE },
                },
            };
            let source = Source::of_image(&image);
            let begin = Instant::now();
            let prediction = predict_on_file_grid(self.gpu, &member, source, keep)?;
            told.seconds.export += prediction.export_seconds;
            told.seconds.network += begin.elapsed().as_secs_f64() - prediction.export_seconds;
            parts.push((prediction, group.weights.len()));
            origin = Some(image.origin);
        }
        let begin = Instant::now();
        let (Some(origin), Some(prediction)) = (origin, average(parts, self.decision)) else {
            return Ok(());
        };
        let Prediction { mut labels, probabilities, .. } = prediction;
        if let (Some(format), Some(probabilities)) = (options.save_probabilities, probabilities) {
            format.write(target, &probabilities, &origin)?;
        }
        for component in &options.largest {
            let shape = origin.header.shape();
            match component {
                LargestComponent::All => keep_largest_foreground(&mut labels, shape),
                LargestComponent::Label(label) => keep_largest(&mut labels, shape, *label),
            };
        }
        write_prediction(target, &labels, &origin)?;
        told.seconds.export += begin.elapsed().as_secs_f64();
        Ok(())
    }
}

/// The prediction of several groups: the mean of their probabilities, each as often as it has
/// networks, and the labels that follow from it.
fn average(mut parts: Vec<(Prediction, usize)>, decision: &Decision) -> Option<Prediction> {
    if parts.len() < 2 {
        return parts.pop().map(|(prediction, _)| prediction);
    }
    let voxels = parts[0].0.labels.len();
    let total: usize = parts.iter().map(|(_, count)| count).sum();
    let parts: Vec<(Vec<f16>, f32)> = parts
        .into_iter()
        .filter_map(|(p, count)| Some((p.probabilities?, count as f32 / total as f32)))
        .collect();
    let mut decided = vec![Voxel::default(); voxels];
    let values = parts.first().map_or(0, |(values, _)| values.len());
    let mut probabilities = Vec::with_capacity(values);
    for at in 0..values {
        let p: f32 = parts.iter().map(|(values, share)| values[at].to_f32() * share).sum();
        decision.take(&mut decided[at % voxels], at / voxels, p);
        probabilities.push(f16::from_f32(p));
    }
    let labels = decided.into_iter().map(|voxel| voxel.value).collect();
    Some(Prediction { labels, probabilities: Some(probabilities), export_seconds: 0.0 })
}

/// The networks to average.
struct Networks {
    /// Those of the same plan and preprocessing together.
    groups: Vec<Group>,
    /// What they segment.
    labels: Labels,
    /// Their names for a person.
    names: String,
    /// Their checkpoints.
    files: Vec<PathBuf>,
}

fn networks(options: &PredictOptions) -> Result<Networks> {
    let mut groups: Vec<Group> = Vec::new();
    let (mut names, mut files) = (Vec::new(), Vec::new());
    let mut first: Option<(&Path, RunConfig)> = None;
    for run in &options.runs {
        // Says whether the folder is a run at all.
        let common = RunConfig::read(run)?;
        let folds = chosen_folds(run, options)?;
        let config = folds.first().map_or(Ok(common), |&fold| RunConfig::of_fold(run, fold))?;
        if let Some((other, known)) = &first
            && (known.dataset.labels != config.dataset.labels
                || known.dataset.channels.len() != config.dataset.channels.len())
        {
            return Err(Error::Input(format!(
                "'{}' has other labels or channels than '{}'; average runs of one task only",
                run.display(),
                other.display()
            )));
        }
        let list = folds.iter().map(FoldId::to_string).collect::<Vec<_>>().join(", ");
        let s = if folds.len() == 1 { "" } else { "s" };
        names.push(match options.runs.len() {
            1 => format!("fold{s} {list}"),
            _ => format!("fold{s} {list} of '{}'", run.display()),
        });
        for fold in folds {
            let config = RunConfig::of_fold(run, fold)?;
            let file = checkpoint_path(run, fold, options.checkpoint);
            let (network, weights) = read_weights(&file)?;
            files.push(file);
            if network.plan.classes as usize != config.dataset.labels.outputs() {
                return Err(Error::Input(format!(
                    "the networks of '{}' have {} output channels, but the labels in its \
                     config.json need {}; restore config.json, or train again",
                    run.display(),
                    network.plan.classes,
                    config.dataset.labels.outputs()
                )));
            }
            let known = groups.iter_mut().find(|g| {
                g.network.plan == network.plan
                    && g.preprocessing == config.preprocessing
                    && g.mirror == config.mirror
            });
            match known {
                Some(group) => group.weights.push(weights),
                None => groups.push(Group {
                    network,
                    weights: vec![weights],
                    preprocessing: config.preprocessing.clone(),
                    mirror: config.mirror,
                }),
            }
        }
        first.get_or_insert((run, config));
    }
    match first {
        Some((_, config)) if !groups.is_empty() => {
            let (labels, names) = (config.dataset.labels, names.join(" and "));
            Ok(Networks { groups, labels, names, files })
        }
        _ => Err(Error::Usage("there is no network to predict with; name a run with -m".into())),
    }
}

fn chosen_folds(run: &Path, options: &PredictOptions) -> Result<Vec<FoldId>> {
    let there = trained_folds(run, options.checkpoint)?;
    if options.folds.is_empty() {
        // The network on all cases has seen what the folds were validated on: it is no part of
        // their average.
        let mut folds = there.clone();
        folds.retain(|fold| *fold != FoldId::Full);
        return Ok(if folds.is_empty() { there } else { folds });
    }
    let mut folds = options.folds.clone();
    folds.sort_unstable();
    folds.dedup();
    match folds.iter().find(|fold| !there.contains(fold)) {
        None => Ok(folds),
        Some(&fold) => {
            let path = checkpoint_path(run, fold, options.checkpoint);
            Err(Error::Input(format!(
                "'{}' has no '{}'; give --fold {}, or leave it out",
                fold_folder(run, fold).display(),
                path.file_name().unwrap_or_default().to_string_lossy(),
                there.iter().map(FoldId::to_string).collect::<Vec<_>>().join(" or ")
            )))
        }
    }
}
