//! Before the first step: the cases of the fold, the plan, the run folder.

use super::blueprint::Blueprint;
use super::event::Event;
use super::feed::Drawing;
use super::identity::{self, Identity, digests_of};
use super::iteration::Trainer;
use super::made::MadeFolders;
use super::options::{SearchValidation, SearcherKind, TrainOptions};
use super::parts::{FoldParts, fold_of, fold_parts, folds};
use super::planning::{Wanted, check_patch};
use super::session::Session;
use super::state::{Conditions, Start, file_digests};
use crate::augment::record::is_dummy_2d;
use crate::crash;
use crate::data::dataset::Dataset;
use crate::data::patients::patients;
use crate::data::preprocess::{Content, PrepareOptions, Prepared, PreparedCase, contents, prepare};
use crate::data::split::{self, Fold};
use crate::data::{Axes, check};
use crate::error::{Error, Result};
use crate::files;
use crate::gpu::Gpu;
use crate::nn::tuning;
use crate::numbers::{counted, edges};
use crate::phase::Phase;
use crate::run::{CONFIG_VERSION, CheckpointKind, FoundState, RunConfig, RunLock};
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
    /// Reads the data set, holds it and the options against the run's records, opens the device,
    /// prepares the cases, and records what is trained. Nothing is written into the run's folder
    /// before all of this is accepted.
    ///
    /// # Errors
    /// As its parts, [`Identity::check`] and [`Start::find`].
    pub fn new(options: &TrainOptions, report: &mut dyn FnMut(Event)) -> Result<Self> {
        options.check()?;
        let (searcher, space) = options.search.build()?;
        let searching = searcher.learns();
        let dataset = Dataset::open(&options.dataset)?;
        let patients = patients(&dataset.dir, &dataset.labelled_names())?;
        let split = folds(options, &dataset)?;
        for sentence in patients.iter().flat_map(|p| split::patient_leaks(&split, p)) {
            report(Event::Note(&format!("warning: {sentence}")));
        }
        let fold = fold_of(options, &dataset, &split)?;
        let parts = fold_parts(&fold, patients.as_ref(), options, searching)?;
        if fold.val.is_empty() {
            report(Event::Note(&format!(
                "fold {} trains on {} and has no validation cases: no Dice is measured, there \
                 is no checkpoint_best, and the final weights are the result",
                options.fold,
                counted(fold.train.len(), "case")
            )));
        }
        let folder = fold_folder(&options.out, options.fold);
        if RunLock::is_held(&folder) {
            // Another process is training this fold: whatever else differs, this comes first.
            drop(RunLock::acquire(&folder, &mut |s| report(Event::Note(s)))?);
        }
        let digests = file_digests(&space, searcher.as_ref())?;
        let identity = Identity::new(options, &dataset, &split, digests)?;
        identity.check(None)?;
        if !options.resume {
            Start::refuse_again(options)?;
        }
        // Before any case is read and anything is written, so that a wrong device leaves nothing
        // behind.
        report(Event::Begin(Phase::Testing));
        let (mut gpu, variant) = tuning::open(&options.adapter, options.checked_shaders)?;
        warn_of_doubts(options, &dataset, report)?;
        check_patch(options, &dataset, gpu.caps(), variant, searching)?;
        let contents = contents(&dataset, &dataset.cases, options.threads, &mut |p| {
            report(Event::Preparing(p))
        })?;
        let files = digests_of(&dataset, &contents);
        identity.check(Some(&files))?;
        let made = MadeFolders::create(&options.out, options.fold)?;
        let lock = RunLock::acquire(&folder, &mut |s| report(Event::Note(s)))?;
        let states = state_paths(&options.out, options.fold);
        crash::note(|facts| facts.states = states.to_vec());
        let start = Start::find(options, report)?;
        let prepared = prepare_cases(options, &dataset, contents, report)?;
        let mut orientations = BTreeMap::new();
        for case in &prepared.cases {
            *orientations.entry(case.origin.header.orientation().to_string()).or_insert(0) += 1;
        }
        let preprocessing = prepared.preprocessing;
        let cases = fold_cases(prepared.cases, &fold, &parts);
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
            dataset: identity::summary(options, &dataset),
            preprocessing,
            plan: plan.clone(),
            mirror,
            interpolation: options.interpolation,
            validation_used_in_search: searching
                && options.search.validation == SearchValidation::Fold,
            training: serde_json::to_value(options)
                .map_err(|e| Error::Input(format!("the flags cannot be recorded: {e}")))?,
            orientations,
            split: split.clone(),
            data_folder: std::path::absolute(&options.dataset).ok(),
            cases: files,
            digests: identity.digests().clone(),
        };
        let conditions = Conditions::new(options, &config, &fold, &cases)?;
        start.check(&conditions, &plan, report)?;
        identity.check_plan(&plan, &config.preprocessing)?;
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
        record(options, &identity, &config, &start, report)?;
        made.keep();
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

/// Reports warnings about a data set, from its headers.
fn warn_of_doubts(
    options: &TrainOptions,
    dataset: &Dataset,
    report: &mut dyn FnMut(Event),
) -> Result<()> {
    for remark in &dataset.remarks {
        report(Event::Note(&remark.line()));
    }
    let settled = |kind: check::Kind| match kind {
        check::Kind::Orientation => options.reorient || dataset.reorient,
        // Who names the axes has thought of the sides.
        check::Kind::Sides => {
            options.mirror != Axes::ALL || options.search.searcher == SearcherKind::None
        }
        _ => false,
    };
    for (kind, sentence) in check::quick(dataset)? {
        if !settled(kind) {
            report(Event::Note(&format!("warning: {sentence}")));
        }
    }
    Ok(())
}

/// Prepares the cases, or reads them from the cache.
fn prepare_cases(
    options: &TrainOptions,
    dataset: &Dataset,
    contents: Vec<Content>,
    report: &mut dyn FnMut(Event),
) -> Result<Prepared> {
    let (count, name) = (dataset.cases.len(), &dataset.name);
    report(Event::Note(&format!("preparing {count} cases of {name}")));
    let how = PrepareOptions {
        threads: options.threads,
        spacing_mm: options.spacing_mm,
        reorient: options.reorient || dataset.reorient,
        cache: Some(options.cache.clone().unwrap_or_else(|| options.out.join("cache"))),
        memory_bytes: options.host_memory_bytes,
        contents: Some(contents),
    };
    let prepared = prepare(dataset, &dataset.cases, &how, &mut |p| report(Event::Preparing(p)))?;
    if !prepared.remade.is_empty() {
        report(Event::Note(&format!(
            "warning: damaged files in the cache are replaced: {}",
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
    Ok(prepared)
}

/// Records what is trained in the fold's folder, and in the run's where no other fold has done so.
/// What is trained already keeps its record.
fn record(
    options: &TrainOptions,
    identity: &Identity,
    config: &RunConfig,
    start: &Start,
    report: &mut dyn FnMut(Event),
) -> Result<()> {
    let (run, fold) = (&options.out, options.fold);
    if !matches!(start, Start::Finished { .. }) {
        // Two folds that begin at the same time must not miss each other.
        let _lock = RunLock::acquire(run, &mut |s| report(Event::Note(s)))?;
        identity.check(Some(&config.cases))?;
        identity.check_plan(&config.plan, &config.preprocessing)?;
        let mut config = config.clone();
        if matches!(start, Start::Interrupted(_)) && RunConfig::fold_path(run, fold).is_file() {
            let before = RunConfig::of_fold(run, fold)?;
            // Where it began; the data set may have moved since.
            (config.program, config.adapter, config.driver) =
                (before.program, before.adapter, before.driver);
        }
        config.write_fold(run, fold)?;
        if !identity.is_shared()? || !RunConfig::path(run).is_file() {
            config.write(run)?;
        }
    }
    if let Some(damaged) = start.damaged() {
        FoundState::set_damaged_aside(damaged)?;
    }
    files::remove_unfinished(&fold_folder(run, fold))
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

/// Whether the options' fold is trained, and validated where that is wanted and possible.
pub fn is_finished(options: &TrainOptions) -> bool {
    let (run, fold) = (&options.out, options.fold);
    let summary = fold_folder(run, fold).join("validation/summary.json");
    let validates = || {
        let record = RunConfig::of_fold(run, fold).ok().and_then(|record| record.fold(fold));
        record.is_none_or(|fold| !fold.val.is_empty())
    };
    is_trained(options) && (!options.validate || summary.exists() || !validates())
}

/// Holds the options against what a finished fold was trained with, and on which cases, from
/// headers and names alone.
///
/// # Errors
/// [`Error::Usage`] where flags differ, [`Error::Input`] where the cases, labels or folds do; as
/// opening the data set and its split.
pub fn check_finished(options: &TrainOptions) -> Result<()> {
    options.check()?;
    let (searcher, space) = options.search.build()?;
    let dataset = Dataset::open(&options.dataset)?;
    let split = folds(options, &dataset)?;
    fold_of(options, &dataset, &split)?;
    let digests = file_digests(&space, searcher.as_ref())?;
    Identity::new(options, &dataset, &split, digests)?.check(None)
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
