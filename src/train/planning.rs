//! Chooses the patch that a device's memory allows, and forecasts memory and time.

use super::blueprint::{Blueprint, Candidates, SessionSpec};
use super::event::Event;
use super::feed::source_voxels;
use super::forecast::forecast;
use super::options::{SearchMode, TrainOptions};
use super::parts::unsearchable;
use crate::data::labels::Labels;
use crate::data::preprocess::{Fingerprint, PrepareOptions, Preprocessing, survey_headers};
use crate::data::{Dataset, preprocess};
use crate::error::{Error, Result};
use crate::gpu::Caps;
use crate::nn::heads::Heads;
use crate::nn::plan::{NetworkPlan, divisible_patch, divisors};
use crate::nn::tuning;
use crate::ops::ConvVariant;
use crate::phase::Phase;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Version of the plan's file.
pub const PLAN_VERSION: u32 = 1;
/// Memory that a patch is chosen for where `--memory` says nothing: what common cards have free.
const GPU_BYTES: u64 = 8 << 30;
/// The same for software adapters, whose speed is the tighter bound.
const CPU_BYTES: u64 = 2 << 30;
/// What `plan` prints and writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlanFile {
    /// Layout, [`PLAN_VERSION`].
    pub version: u32,
    /// The data set's name.
    pub dataset: String,
    /// Labelled cases.
    pub cases: usize,
    /// How cases are prepared.
    pub preprocessing: Preprocessing,
    /// Median edges of prepared cases, along their own axes.
    pub median_shape: [usize; 3],
    /// The network and its batch.
    pub network: NetworkPlan,
    /// Numbers that are trained.
    pub parameters: u64,
    /// Adapter and driver.
    pub adapter: String,
    /// Device memory of a training, in bytes.
    pub memory_bytes: u64,
    /// Levels whose activations are made again in the backward pass, so that it is no more.
    #[serde(default)]
    pub recompute: u32,
    /// What an iteration takes on this device, in seconds: measured on a patch of this size or a
    /// smaller one.
    pub seconds_per_iteration: Option<f64>,
    /// Iterations an epoch.
    pub iterations: u64,
    /// Epochs.
    pub epochs: u64,
}

impl PlanFile {
    /// Reads a plan.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Input`] for what is no plan of this version.
    pub fn read(path: &Path) -> Result<Self> {
        let text = crate::files::read_text(path).map_err(|e| Error::io("read", path, e))?;
        let refuse = |why: String| {
            Error::Input(format!("'{}' is no plan: {why}; make one with `plan`", path.display()))
        };
        let mut json = serde_json::Deserializer::from_str(&text);
        let plan: PlanFile =
            serde_path_to_error::deserialize(&mut json).map_err(|e| refuse(e.to_string()))?;
        if plan.version != PLAN_VERSION {
            return Err(refuse(format!(
                "it has version {}, this program reads {PLAN_VERSION}",
                plan.version
            )));
        }
        plan.network.validate()?;
        plan.preprocessing.validate().map_err(|e| refuse(e.to_string()))?;
        Ok(plan)
    }
}

// Data and network mean the same by an index.
const _: () = assert!(crate::data::labels::IGNORED as u32 == crate::nn::heads::IGNORE);

/// What the output channels of a network for these labels are.
fn heads(labels: &Labels) -> Heads {
    match labels.regions() {
        [] => Heads::Softmax,
        _ => Heads::Sigmoid { regions: labels.target_indices() },
    }
}

/// The part of a plan that the data decide.
pub(super) struct Wanted<'a> {
    pub options: &'a TrainOptions,
    pub channels: usize,
    /// Output channels.
    pub classes: usize,
    pub heads: Heads,
    pub spacing_mm: [f64; 3],
    pub median_shape: [usize; 3],
    /// Voxels of the largest prepared case.
    pub largest: usize,
    /// Whether a policy is searched.
    pub searching: bool,
}

impl<'a> Wanted<'a> {
    pub fn new(
        options: &'a TrainOptions,
        dataset: &Dataset,
        fingerprint: &Fingerprint,
        preprocessing: &Preprocessing,
        searching: bool,
    ) -> Self {
        Wanted {
            options,
            channels: dataset.modalities.len(),
            classes: dataset.labels.outputs(),
            heads: heads(&dataset.labels),
            spacing_mm: preprocessing.spacing_mm,
            median_shape: fingerprint.median_shape(preprocessing),
            largest: fingerprint.largest_case(preprocessing),
            searching,
        }
    }

    /// The network for a patch.
    fn network(&self, patch: [u32; 3], features: u32) -> Result<NetworkPlan> {
        let TrainOptions { batch, levels, accumulate, .. } = *self.options;
        let (channels, classes) = (self.channels as u32, self.classes as u32);
        let spacing = self.spacing_mm;
        let mut plan =
            NetworkPlan::from_spacing(channels, classes, features, patch, batch, spacing, levels);
        plan.accumulate = accumulate;
        plan.heads = self.heads.clone();
        plan.validate()?;
        if levels != 0 && plan.levels() != levels as usize {
            return Err(Error::Usage(format!(
                "--levels {levels} does not suit a patch of {patch:?}: at most {} levels are \
                 possible; use fewer levels, or a larger --patch whose edges can be halved more \
                 often",
                plan.levels()
            )));
        }
        Ok(plan)
    }

    /// What an iteration of this training needs.
    pub fn spec(&self, caps: &Caps, patch: [u32; 3], recompute: usize) -> SessionSpec {
        let search = &self.options.search;
        let paper = self.searching && search.mode == SearchMode::Paper;
        let judged = if paper { search.lambda } else { 0 };
        let channels = self.channels as u64;
        SessionSpec {
            candidates: Candidates { weights: search.lambda, judged },
            updates: search.updates,
            judging: if self.searching { search.batches as usize } else { 0 },
            source_voxels: source_voxels(self.largest, channels, patch, caps.max_binding_bytes),
            interpolation: self.options.interpolation,
            recompute,
        }
    }

    /// The training for a patch and a feature count that makes as few activations again as `fits`
    /// allows; with all made again where nothing fits.
    fn recomputing(
        &self,
        caps: &Caps,
        variant: ConvVariant,
        plan: NetworkPlan,
        fits: impl Fn(&Blueprint) -> bool,
    ) -> Result<Blueprint> {
        let TrainOptions { optimizer, batch_dice, .. } = *self.options;
        let patch = plan.patch;
        // What normalises on load keeps no activations that could be made again.
        let most = if variant.fuses_norms() { 0 } else { plan.levels() };
        let least = most.min(self.options.recompute as usize);
        let made = |recompute: usize| {
            let spec = self.spec(caps, patch, recompute);
            Blueprint::new(caps, variant, optimizer, batch_dice, plan.clone(), spec)
        };
        let first = made(least)?;
        if least == most || fits(&first) {
            return Ok(first);
        }
        // The memory only falls: what does not fit with all made again does not with fewer.
        let last = made(most)?;
        if fits(&last) {
            for recompute in least + 1..most {
                let blueprint = made(recompute)?;
                if fits(&blueprint) {
                    return Ok(blueprint);
                }
            }
        }
        Ok(last)
    }

    /// The training for a patch and a feature count: all samples at once, or, where that does not
    /// fit and `one_by_one` allows it, one after the other.
    fn blueprint(
        &self,
        caps: &Caps,
        variant: ConvVariant,
        patch: [u32; 3],
        features: u32,
        one_by_one: bool,
        fits: impl Fn(&Blueprint) -> bool,
    ) -> Result<Blueprint> {
        let plan = self.network(patch, features)?;
        let at_once = self.recomputing(caps, variant, plan.clone(), &fits)?;
        let helps = plan.batch > 1 && !plan.accumulate && !self.options.batch_dice;
        if fits(&at_once) || !one_by_one || !helps {
            return Ok(at_once);
        }
        let plan = NetworkPlan { accumulate: true, ..plan };
        let one_by_one = self.recomputing(caps, variant, plan, &fits)?;
        // The sum of the gradients takes memory too.
        let less = one_by_one.placed.bytes() < at_once.placed.bytes();
        Ok(if less || fits(&one_by_one) { one_by_one } else { at_once })
    }

    /// The training for the patch that was asked for, or for the largest one up to the median
    /// shape that fits the memory (nnU-Net: the axis that is largest against the median shape
    /// shrinks first).
    ///
    /// # Errors
    /// [`Error::Usage`] when nothing fits, saying what would.
    pub fn choose(&self, caps: &Caps, variant: ConvVariant) -> Result<Blueprint> {
        let options = self.options;
        let Some(patch) = options.patch else {
            let start = divisible_patch(self.median_shape, self.spacing_mm, options.levels);
            let bytes =
                options.memory_bytes.unwrap_or(if caps.cpu { CPU_BYTES } else { GPU_BYTES });
            // Patches as large as with all samples at once are worth more than larger ones of which
            // an iteration takes longer.
            for one_by_one in [false, true] {
                if let Some(fitting) = self.shrunk(caps, variant, start, one_by_one, bytes)? {
                    return Ok(fitting);
                }
            }
            return Err(Error::Usage(format!(
                "{} do not hold a training with {} features and a batch of {}; use fewer \
                 --features, a smaller --batch-size or more --memory",
                size(bytes),
                options.features,
                options.batch
            )));
        };
        let bytes = options.memory_bytes.unwrap_or(u64::MAX);
        let fits = |blueprint: &Blueprint| fits(blueprint, caps, bytes);
        let why = match self.blueprint(caps, variant, patch, options.features, true, fits) {
            Ok(blueprint) if fits(&blueprint) => return Ok(blueprint),
            Ok(blueprint) => match blueprint.check(caps) {
                Ok(()) => format!(
                    "this training needs {} of device memory, more than --memory {}",
                    size(blueprint.placed.bytes()),
                    size(bytes)
                ),
                Err(e) => self.beyond(patch, &e),
            },
            Err(e @ Error::Device(_)) => self.beyond(patch, &e),
            Err(e) => return Err(e),
        };
        Err(self.too_large(caps, variant, patch, why, bytes))
    }

    /// Says that a patch is beyond what the device allows.
    fn beyond(&self, [d, h, w]: [u32; 3], limit: &Error) -> String {
        let batch = self.options.batch;
        format!(
            "--patch {d},{h},{w} with --batch-size {batch} is too large for this device: {limit}"
        )
    }

    /// Says why a training does not fit, and which patch or feature count would.
    fn too_large(
        &self,
        caps: &Caps,
        variant: ConvVariant,
        patch: [u32; 3],
        why: String,
        bytes: u64,
    ) -> Error {
        let mut ways = Vec::new();
        if let Ok(Some(smaller)) = self.shrunk(caps, variant, patch, true, bytes) {
            let [d, h, w] = smaller.net.plan.patch;
            ways.push(format!("--patch {d},{h},{w}"));
        }
        let fits = |blueprint: &Blueprint| fits(blueprint, caps, bytes);
        let halves = std::iter::successors(Some(self.options.features / 2), |&n| Some(n / 2));
        let features = halves.take_while(|&features| features > 0).find(|&features| {
            self.blueprint(caps, variant, patch, features, true, fits).is_ok_and(|b| fits(&b))
        });
        ways.extend(features.map(|features| format!("--features {features}")));
        if ways.is_empty() {
            ways.push("a smaller --batch-size".into());
        }
        Error::Usage(format!("{why}; {} would fit", ways.join(" or ")))
    }

    /// The largest training, from a patch downward, that needs no more than `bytes`.
    fn shrunk(
        &self,
        caps: &Caps,
        variant: ConvVariant,
        start: [u32; 3],
        one_by_one: bool,
        bytes: u64,
    ) -> Result<Option<Blueprint>> {
        let levels = self.options.levels;
        let mut patch = start;
        loop {
            let fits = |blueprint: &Blueprint| fits(blueprint, caps, bytes);
            let features = self.options.features;
            match self.blueprint(caps, variant, patch, features, one_by_one, fits) {
                Ok(blueprint) if fits(&blueprint) => return Ok(Some(blueprint)),
                // A tensor of a patch that is far too large cannot even be recorded.
                Ok(_) | Err(Error::Device(_)) => {}
                Err(e) => return Err(e),
            }
            let step = divisors(patch, self.spacing_mm, levels);
            let share =
                |axis: usize| f64::from(patch[axis]) / self.median_shape[axis].max(1) as f64;
            let can = |&axis: &usize| patch[axis] > step[axis].max(4);
            let Some(axis) = (0..3).filter(can).max_by(|&a, &b| share(a).total_cmp(&share(b)))
            else {
                return Ok(None);
            };
            let mut edges = patch.map(|edge| edge as usize);
            edges[axis] -= step[axis] as usize;
            let next = divisible_patch(edges, self.spacing_mm, levels);
            let voxels = |p: [u32; 3]| p.iter().map(|&e| u64::from(e)).product::<u64>();
            if voxels(next) >= voxels(patch) {
                return Ok(None);
            }
            patch = next;
        }
    }
}

/// Refuses a patch that was asked for and no training can have, by the headers of the data set alone:
/// before any case is read. What is let pass may still be refused once the cases are known.
///
/// # Errors
/// As [`Wanted::choose`].
pub(super) fn check_patch(
    options: &TrainOptions,
    dataset: &Dataset,
    caps: &Caps,
    variant: ConvVariant,
    searching: bool,
) -> Result<()> {
    let fingerprint = survey_headers(dataset);
    // Turned volumes have their axes elsewhere.
    let turned = options.reorient || dataset.reorient;
    if options.patch.is_none() || turned || fingerprint.cases.is_empty() {
        return Ok(());
    }
    let preprocessing = fingerprint.preprocessing(options.spacing_mm);
    let wanted = Wanted::new(options, dataset, &fingerprint, &preprocessing, searching);
    // Cropped cases are smaller than their files say.
    Wanted { largest: 0, ..wanted }.choose(caps, variant).map(drop)
}

/// Whether a training needs no more than `bytes` and nothing that the device does not allow.
fn fits(blueprint: &Blueprint, caps: &Caps, bytes: u64) -> bool {
    blueprint.placed.bytes() <= bytes && blueprint.check(caps).is_ok()
}

/// A number of bytes for a person.
pub fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 => format!("{:.1} GiB", b as f64 / (1u64 << 30) as f64),
        b => format!("{} MiB", b.div_ceil(1 << 20)),
    }
}

/// Plans a training: opens the device, reads the data set, and times an iteration unless
/// `measure` is false.
///
/// # Errors
/// As reading the data set and opening the device; [`Error::Usage`] when nothing fits.
pub fn plan(
    options: &TrainOptions,
    measure: bool,
    report: &mut dyn FnMut(Event),
) -> Result<PlanFile> {
    let (searcher, _) = options.search.build()?;
    let searching = searcher.learns();
    let dataset = Dataset::open(&options.dataset)?;
    if searching {
        for sentence in unsearchable(options, &dataset)? {
            report(Event::Note(&format!("warning: {sentence}")));
        }
    }
    report(Event::Begin(Phase::Testing));
    let (gpu, variant) = tuning::open(&options.adapter, options.checked_shaders)?;
    check_patch(options, &dataset, gpu.caps(), variant, searching)?;
    let how = PrepareOptions {
        threads: options.threads,
        reorient: options.reorient || dataset.reorient,
        ..PrepareOptions::default()
    };
    let fingerprint = preprocess::survey(&dataset, &dataset.cases, &how, &mut |progress| {
        report(Event::Preparing(progress));
    })?;
    let preprocessing = fingerprint.preprocessing(options.spacing_mm);
    fingerprint.check_sizes(&preprocessing)?;
    let wanted = Wanted::new(options, &dataset, &fingerprint, &preprocessing, searching);
    let blueprint = wanted.choose(gpu.caps(), variant)?;
    let adapter = format!("{} ({})", gpu.name(), gpu.driver());
    let network = blueprint.net.plan.clone();
    let (parameters, bytes) = (blueprint.net.parameters.count(), blueprint.placed.bytes());
    let recompute = blueprint.recompute as u32;
    let seconds = if measure { Some(forecast(gpu, &wanted, blueprint, report)?) } else { None };
    Ok(PlanFile {
        version: PLAN_VERSION,
        dataset: dataset.name.clone(),
        cases: dataset.cases.len(),
        median_shape: wanted.median_shape,
        preprocessing,
        network,
        parameters,
        adapter,
        memory_bytes: bytes,
        recompute,
        seconds_per_iteration: seconds,
        iterations: options.iterations,
        epochs: options.epochs,
    })
}

#[cfg(test)]
mod tests {
    use super::super::options::example;
    use super::*;
    use std::collections::BTreeSet;

    fn wanted(options: &TrainOptions, median_shape: [usize; 3]) -> Wanted<'_> {
        Wanted {
            options,
            channels: 1,
            classes: 3,
            heads: Heads::Softmax,
            spacing_mm: [1.0; 3],
            median_shape,
            largest: median_shape.iter().product(),
            searching: true,
        }
    }

    #[test]
    fn the_patch_shrinks_with_the_memory() {
        let caps =
            Caps { max_buffer_bytes: 1 << 40, max_binding_bytes: 1 << 30, ..Caps::portable() };
        let variant = ConvVariant::available(&caps)[0];
        let mut patches = BTreeSet::new();
        let mut last = u64::MAX;
        for mib in [4096u64, 1024, 256] {
            let options = TrainOptions {
                patch: None,
                levels: 0,
                features: 16,
                memory_bytes: Some(mib << 20),
                ..example()
            };
            let chosen = wanted(&options, [150, 130, 90]).choose(&caps, variant).unwrap();
            let bytes = chosen.placed.bytes();
            assert!(bytes <= mib << 20 && bytes <= last);
            last = bytes;
            patches.insert(chosen.net.plan.patch);
        }
        assert!(patches.len() == 3, "{patches:?}");
        let small = TrainOptions { memory_bytes: Some(100 << 10), patch: None, ..example() };
        let error = wanted(&small, [64; 3]).choose(&caps, variant).err().unwrap();
        assert!(error.to_string().contains("--memory"), "{error}");
    }

    #[test]
    fn activations_are_made_again_before_the_patch_shrinks() {
        let caps = Caps { subgroup_lanes: Some(8), cpu: true, ..Caps::portable() };
        let variant = ConvVariant::available(&caps)[0];
        for patch in [Some([64; 3]), None] {
            let all = TrainOptions { patch, levels: 3, features: 16, ..example() };
            let whole = wanted(&all, [64; 3]).choose(&caps, variant).unwrap();
            assert_eq!((whole.net.plan.patch, whole.recompute), ([64; 3], 0));
            let memory_bytes = Some(whole.placed.bytes() * 19 / 20);
            let less = TrainOptions { memory_bytes, ..all.clone() };
            let again = wanted(&less, [64; 3]).choose(&caps, variant).unwrap();
            assert_eq!(again.net.plan.patch, [64; 3]);
            assert!(again.recompute > 0 && Some(again.placed.bytes()) <= memory_bytes);
            // A plan that was made so is followed without the bound.
            let planned = TrainOptions { recompute: again.recompute as u32, ..all };
            let same = wanted(&planned, [64; 3]).choose(&caps, variant).unwrap();
            assert_eq!(same.placed.bytes(), again.placed.bytes());
        }
        // What normalises on load has none to make again, and does not say so.
        let asked = TrainOptions { levels: 3, features: 16, recompute: 3, ..example() };
        let plan = wanted(&asked, [64; 3]).choose(&Caps::portable(), ConvVariant::Simt).unwrap();
        assert_eq!(plan.recompute, 0);
    }

    #[test]
    fn samples_pass_one_by_one_before_a_patch_is_refused() {
        let caps = Caps::portable();
        let variant = ConvVariant::available(&caps)[0];
        let all = TrainOptions {
            patch: Some([64; 3]),
            levels: 3,
            features: 16,
            batch: 4,
            recompute: 3,
            ..example()
        };
        let whole = wanted(&all, [64; 3]).choose(&caps, variant).unwrap();
        assert!(!whole.net.plan.accumulate);
        let memory_bytes = Some(whole.placed.bytes() - 1);
        let less = TrainOptions { memory_bytes, ..all.clone() };
        let one_by_one = wanted(&less, [64; 3]).choose(&caps, variant).unwrap();
        let plan = &one_by_one.net.plan;
        assert!(plan.accumulate && plan.patch == [64; 3] && plan.batch == 4);
        assert!(one_by_one.placed.bytes() < whole.placed.bytes() / 2);
        // A plan that was made so is followed without the bound; Dice over the batch needs the batch.
        let planned = TrainOptions { accumulate: true, ..all };
        let same = wanted(&planned, [64; 3]).choose(&caps, variant).unwrap();
        assert_eq!(same.placed.bytes(), one_by_one.placed.bytes());
        assert_eq!(
            TrainOptions { batch_dice: true, ..planned }.check().unwrap_err().exit_code(),
            2
        );
        let batch_dice = TrainOptions { batch_dice: true, ..less };
        assert!(wanted(&batch_dice, [64; 3]).choose(&caps, variant).is_err());
    }

    #[test]
    fn a_patch_that_does_not_fit_is_refused_with_what_does() {
        let caps = Caps::portable();
        let variant = ConvVariant::available(&caps)[0];
        let options = TrainOptions {
            patch: Some([64; 3]),
            levels: 3,
            features: 16,
            memory_bytes: Some(100 << 20),
            ..example()
        };
        let error = wanted(&options, [64; 3]).choose(&caps, variant).err().unwrap().to_string();
        assert!(error.contains("--patch ") && error.contains("--features "), "{error}");
        // What it says is true.
        let text = error.split("--patch ").nth(1).unwrap().split(' ').next().unwrap();
        let edges: Vec<u32> = text.split(',').map(|e| e.parse().unwrap()).collect();
        let fits = TrainOptions { patch: Some(edges.try_into().unwrap()), ..options };
        assert!(wanted(&fits, [64; 3]).choose(&caps, variant).is_ok());
    }
}
