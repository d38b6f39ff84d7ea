//! Before the first step: the cases of the fold, the plan, the run folder.

use super::blueprint::Blueprint;
use super::event::Event;
use super::feed::Drawing;
use super::iteration::Trainer;
use super::options::{SearchValidation, TrainOptions};
use super::parts::{FoldParts, fold_parts, folds};
use super::planning::{Wanted, check_patch};
use super::session::Session;
use super::state::{Conditions, Start};
use crate::augment::record::is_dummy_2d;
use crate::crash;
use crate::data::dataset::Dataset;
use crate::data::patients::patients;
use crate::data::preprocess::{PrepareOptions, PreparedCase, prepare};
use crate::data::split::{self, Fold};
use crate::data::{Axes, check};
use crate::error::{Error, Result};
use crate::files;
use crate::gpu::Gpu;
use crate::nn::tuning;
use crate::numbers::{counted, edges};
use crate::phase::Phase;
use crate::run::{CONFIG_VERSION, CheckpointKind, DatasetSummary, RunConfig, RunLock};
use crate::run::{checkpoint_path, fold_folder, state_paths};
use crate::search::space::Space;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Seconds for timing tiles on a GPU where nothing is said.
const TUNE_SECONDS: f64 = 10.0;

/// A list of cases that several feeds share.
pub(super) type Cases = Arc<Vec<Arc<PreparedCase>>>;

/// The cases of a fold by what they are for.
pub(super) struct FoldCases {
    /// All training cases.
    pub train: Cases,
    /// The training cases while the search sets some aside; all of them without.
    pub weights: Cases,
    /// Cases that judge candidates; empty without a search.
    pub search: Cases,
    /// The fold's validation cases.
    pub validation: Cases,
}

/// A training that is ready to begin.
pub(super) struct Setup {
    pub config: RunConfig,
    pub cases: FoldCases,
    /// Label file of each validation case.
    pub references: Vec<PathBuf>,
    pub space: Space,
    pub trainer: Trainer,
    pub folder: PathBuf,
    pub start: Start,
    pub conditions: Conditions,
    /// Held until the training ends.
    pub _lock: RunLock,
}

impl Setup {
    /// Opens the device, reads and prepares the data set, writes `config.json`.
    ///
    /// # Errors
    /// As its parts and [`Start::find`]; [`Error::Input`] when the run folder holds another run.
    pub fn new(options: &TrainOptions, report: &mut dyn FnMut(Event)) -> Result<Self> {
        options.check()?;
        let (searcher, space) = options.search.build()?;
        let dataset = Dataset::open(&options.dataset)?;
        let patients = patients(&dataset.dir, &dataset.labelled_names())?;
        let folds = folds(options, &dataset)?;
        let fold = folds
            .get(match options.fold {
                crate::run::FoldId::Number(n) => n,
                _ => usize::MAX,
            })
            .ok_or_else(|| {
                Error::Usage(format!(
                    "--fold {} does not exist; use 0 to {}",
                    options.fold,
                    folds.len() - 1
                ))
            })?;
        let searching = searcher.learns();
        let parts = fold_parts(fold, patients.as_ref(), options, searching)?;
        // Before any case is read and anything is written, so that a wrong device leaves nothing
        // behind.
        report(Event::Begin(Phase::Testing));
        let (mut gpu, variant) = tuning::open(&options.adapter, options.checked_shaders)?;
        for remark in &dataset.remarks {
            report(Event::Note(&remark.line()));
        }
        let settled = |kind: check::Kind| match kind {
            check::Kind::Orientation => options.reorient || dataset.reorient,
            // Who names the axes has thought of the sides.
            check::Kind::Sides => options.mirror != Axes::ALL || searcher.name() == "none",
            _ => false,
        };
        for (kind, sentence) in check::quick(&dataset)? {
            if !settled(kind) {
                report(Event::Note(&format!("warning: {sentence}")));
            }
        }
        check_patch(options, &dataset, gpu.caps(), variant, searching)?;
        for sentence in patients.iter().flat_map(|p| split::patient_leaks(&folds, p)) {
            report(Event::Note(&format!("warning: {sentence}")));
        }
        let folder = fold_folder(&options.out, options.fold);
        files::create_folder(&folder)?;
        let lock = RunLock::acquire(&folder, &mut |s| report(Event::Note(s)))?;
        files::remove_unfinished(&folder)?;
        let states = state_paths(&options.out, options.fold);
        crash::note(|facts| facts.states = states.to_vec());
        let start = Start::find(options, report)?;
        let (count, name) = (dataset.cases.len(), &dataset.name);
        report(Event::Note(&format!("preparing {count} cases of {name}")));
        let how = PrepareOptions {
            threads: options.threads,
            spacing_mm: options.spacing_mm,
            reorient: options.reorient || dataset.reorient,
            cache: Some(options.cache.clone().unwrap_or_else(|| options.out.join("cache"))),
            memory_bytes: options.host_memory_bytes,
        };
        let prepared =
            prepare(&dataset, &dataset.cases, &how, &mut |p| report(Event::Preparing(p)))?;
        if !prepared.remade.is_empty() {
            report(Event::Note(&format!(
                "warning: files in the cache were damaged and are made again: {}",
                prepared.remade.join(", ")
            )));
        }
        let constant: Vec<&String> =
            prepared.cases.iter().filter_map(|c| c.constant.as_ref()).collect();
        if let [first, rest @ ..] = constant.as_slice() {
            let more = match rest.len() {
                0 => String::new(),
                n => format!(" ({} alike)", counted(n, "more file")),
            };
            report(Event::Note(&format!("warning: {first}{more}")));
        }
        let mut orientations = BTreeMap::new();
        for case in &prepared.cases {
            *orientations.entry(case.origin.header.orientation().to_string()).or_insert(0) += 1;
        }
        let preprocessing = prepared.preprocessing;
        let cases = fold_cases(prepared.cases, fold, &parts);
        report(Event::Note(&format!(
            "{} training and {} validation cases, {}, voxels of {} mm (z, y, x)",
            cases.train.len(),
            cases.validation.len(),
            dataset.labels.count_text(),
            edges(preprocessing.spacing_mm)
        )));
        let references = references(&dataset, &cases.validation)?;
        let fingerprint = &prepared.fingerprint;
        let wanted = Wanted::new(options, &dataset, fingerprint, &preprocessing, searching);
        let mut blueprint = wanted.choose(gpu.caps(), variant)?;
        if tune(&mut gpu, &blueprint, options, report)? {
            blueprint = wanted.choose(gpu.caps(), variant)?;
        }
        let plan = blueprint.net.plan.clone();
        let capacity = blueprint.augmenter.spec().capacity;
        let mirror = if searcher.name() == "none" { Axes::NONE } else { options.mirror };
        let config = RunConfig {
            version: CONFIG_VERSION,
            program: crate::VERSION.into(),
            adapter: gpu.name().into(),
            driver: gpu.driver().into(),
            dataset: DatasetSummary {
                name: dataset.name.clone(),
                dir: options.dataset.clone(),
                channels: dataset.modalities.clone(),
                labels: dataset.labels.clone(),
            },
            preprocessing,
            plan: plan.clone(),
            mirror,
            interpolation: options.interpolation,
            validation_used_in_search: searching
                && options.search.validation == SearchValidation::Fold,
            training: serde_json::to_value(options)
                .map_err(|e| Error::Input(format!("the flags cannot be recorded: {e}")))?,
            orientations,
            split: folds.clone(),
        };
        let conditions =
            Conditions::new(options, &config, fold, &cases, &space, searcher.as_ref())?;
        start.check(&conditions, &plan, report)?;
        check_config(&config, options)?;
        // What is trained already keeps the flags that it was trained with.
        if !matches!(start, Start::Finished { .. }) {
            config.write(&options.out)?;
        }
        let (lambda, updates) = (options.search.lambda, options.search.updates);
        let drawing = Drawing {
            seed: options.seed,
            fold: options.fold.key(),
            mirror,
            dummy_2d: is_dummy_2d(config.preprocessing.spacing_mm),
            mask: config.preprocessing.nonzero_mask,
            patch: plan.patch,
            capacity,
            interpolation: options.interpolation.image,
            draws: options.search.draws,
        };
        report(Event::Begin(Phase::Compiling));
        let session = Session::open(gpu, blueprint, options.seed, options.clip)?;
        let trainer =
            Trainer { session, searcher, drawing, lambda, updates, settled: false, iterations: 0 };
        Ok(Setup {
            config,
            cases,
            references,
            space,
            trainer,
            folder,
            start,
            conditions,
            _lock: lock,
        })
    }
}

/// Times the tiles of the blueprint's network where that is wanted; true where some were chosen.
fn tune(
    gpu: &mut Gpu,
    blueprint: &Blueprint,
    options: &TrainOptions,
    report: &mut dyn FnMut(Event),
) -> Result<bool> {
    let seconds = options.tune_seconds.unwrap_or(if gpu.caps().cpu { 0.0 } else { TUNE_SECONDS });
    if seconds == 0.0 {
        return Ok(false);
    }
    let limit = Duration::from_secs_f64(seconds);
    report(Event::Begin(Phase::Timing));
    let Some(tuned) =
        tuning::tune(gpu, &blueprint.net, blueprint.variant, blueprint.recompute, limit)?
    else {
        return Ok(false);
    };
    let [before, after] = tuned.ms;
    report(Event::Note(&format!(
        "timed the tiles of {} kinds of convolution on '{}': {} changed, {:.0}% less time",
        tuned.classes,
        gpu.name(),
        tuned.changed,
        (1.0 - after / before) * 100.0
    )));
    if let Some(error) = tuned.unwritten {
        report(Event::Note(&format!("warning: the next training times them again: {error}")));
    }
    Ok(true)
}

/// Number of folds of the options' data set.
///
/// # Errors
/// As opening the data set and its split.
pub fn fold_count(options: &TrainOptions) -> Result<usize> {
    Ok(folds(options, &Dataset::open(&options.dataset)?)?.len())
}

/// Whether the options' fold has its final weights already.
pub fn is_trained(options: &TrainOptions) -> bool {
    checkpoint_path(&options.out, options.fold, CheckpointKind::Final).exists()
}

/// Whether the options' fold is trained, and validated where that is wanted.
pub fn is_finished(options: &TrainOptions) -> bool {
    let summary = fold_folder(&options.out, options.fold).join("validation/summary.json");
    is_trained(options) && (!options.validate || summary.exists())
}

/// Sorts prepared cases by their part in the fold; cases in neither half are left out.
fn fold_cases(prepared: Vec<PreparedCase>, fold: &Fold, parts: &FoldParts) -> FoldCases {
    let all: Vec<Arc<PreparedCase>> = prepared.into_iter().map(Arc::new).collect();
    let pick = |names: &[String]| -> Cases {
        Arc::new(all.iter().filter(|c| names.contains(&c.name)).cloned().collect())
    };
    FoldCases {
        train: pick(&fold.train),
        weights: pick(&parts.weights),
        search: pick(&parts.search),
        validation: pick(&fold.val),
    }
}

/// The label file of each case.
fn references(dataset: &Dataset, cases: &[Arc<PreparedCase>]) -> Result<Vec<PathBuf>> {
    let names: Vec<String> = cases.iter().map(|c| c.name.clone()).collect();
    Ok(dataset.select(&names)?.into_iter().filter_map(|c| c.label).collect())
}

/// Holds a configuration against that of the folds trained before.
fn check_config(config: &RunConfig, options: &TrainOptions) -> Result<()> {
    let path = RunConfig::path(&options.out);
    if !path.exists() {
        return Ok(());
    }
    let earlier = RunConfig::read(&options.out)?;
    let same = earlier.plan == config.plan
        && earlier.preprocessing == config.preprocessing
        && earlier.dataset.labels == config.dataset.labels
        && earlier.mirror == config.mirror;
    match same {
        true => Ok(()),
        false => Err(Error::Input(format!(
            "'{}' is of a run with other data or another network; give another --out",
            path.display()
        ))),
    }
}
