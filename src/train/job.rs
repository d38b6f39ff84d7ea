//! Trains one fold.

use super::patch;
use crate::data::dataset::Dataset;
use crate::data::prefetch::{Batch as HostBatch, PrefetchPlan, Prefetcher};
use crate::data::preprocess::{PreparedCase, prepare_all};
use crate::data::rng::Purpose;
use crate::data::sampler::PatchSampler;
use crate::data::split;
use crate::error::{Error, Result};
use crate::gpu::{AdapterChoice, Gpu, Lifetime, Memory, MemoryPlan, Program, Recording};
use crate::nn::plan::NetworkPlan;
use crate::nn::step::{
    Batch, LossPlan, LossSlot, Optimizer, TrainingState, record_loss, record_step,
};
use crate::nn::unet::UNet;
use crate::ops::optimizer::adam_hyper;
use crate::ops::tensor::{Storage, Tensors, host};
use crate::ops::{ConvVariant, Lowering};
use crate::run::write_checkpoint;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Steps in a row that may be skipped for non-finite gradients before the run stops.
const MOST_SKIPPED: u32 = 20;
const WEIGHT_DECAY: f64 = 3e-5;
const CLIP: f64 = 12.0;

/// What to train, and on what.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Folder of the data set.
    pub dataset: PathBuf,
    /// Folder of the run.
    pub out: PathBuf,
    /// Fold, from 0.
    pub fold: usize,
    /// Epochs.
    pub epochs: u64,
    /// Batches an epoch.
    pub iterations: u64,
    /// Samples a batch.
    pub batch: u32,
    /// Patch edges D, H, W.
    pub patch: [u32; 3],
    /// Features of the full-resolution level.
    pub features: u32,
    /// Levels; 0 by nnU-Net's rules.
    pub levels: u32,
    /// Learning rate of the first epoch.
    pub learning_rate: f64,
    /// Seed of everything random.
    pub seed: u64,
    /// Which adapter.
    pub adapter: AdapterChoice,
    /// Keep bounds checks in the shaders.
    pub checked_shaders: bool,
}

/// One epoch's line.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Epoch {
    /// Number, from 1.
    pub epoch: u64,
    /// Mean training loss.
    pub loss: f64,
    /// Mean loss of validation patches.
    pub val_loss: f64,
    /// Hard Dice of each foreground class over all validation patches of the epoch.
    pub dice: Vec<Option<f64>>,
    /// Learning rate.
    pub learning_rate: f64,
    /// Wall time.
    pub seconds: f64,
    /// Steps skipped for non-finite gradients.
    pub skipped: u32,
}

/// What a run left.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The last epoch.
    pub last: Option<Epoch>,
    /// The final weights.
    pub checkpoint: PathBuf,
}

/// A network in training on a device.
struct Session {
    gpu: Gpu,
    memory: Memory,
    tensors: Tensors,
    net: UNet,
    state: TrainingState,
    batch: Batch,
    step: Program,
    step_losses: LossSlot,
    validate: Program,
    validate_losses: LossSlot,
    steps: u64,
    variant: ConvVariant,
    bytes: u64,
}

impl Session {
    fn open(options: &TrainOptions, plan: NetworkPlan) -> Result<Session> {
        let gpu = Gpu::open(&options.adapter, options.checked_shaders)?;
        let variant = ConvVariant::available(gpu.caps())[0];
        let net = UNet::new(plan);
        let plan = &net.plan;
        let mut tensors = Tensors::new(gpu.caps());
        let state = TrainingState::new(&mut tensors, &net, Optimizer::Adam);
        let (channels, keep) = ([plan.in_channels], Lifetime::Persistent);
        let image =
            tensors.add("image", plan.batch, &channels, plan.patch, Storage::Buffer, keep)?.view();
        let voxels: u64 = plan.patch.iter().map(|&e| u64::from(e)).product();
        let labels = tensors.slots.buffer("labels", u64::from(plan.batch) * voxels * 4, keep);
        let batch = Batch { image, labels };
        let loss = LossPlan { head_weights: plan.head_weights(), batch_dice: false };
        let (step, step_losses) = record_step(&mut tensors, variant, &net, &state, batch, &loss)?;
        let mut validate = Recording::new();
        let full = LossPlan { head_weights: vec![1.0], batch_dice: false };
        let mut l = Lowering { tensors: &mut tensors, recording: &mut validate, variant };
        let validate_losses = record_loss(&mut l, &net, state.parameters, None, batch, &full)?;
        let placed = MemoryPlan::new(&tensors.slots, &[&step, &validate]);
        let memory = Memory::new(&gpu, &tensors.slots, &placed)?;
        gpu.write(&memory, state.parameters, 0, &net.parameters.initial(options.seed))?;
        let step = Program::new(&gpu, &memory, &step)?;
        let validate = Program::new(&gpu, &memory, &validate)?;
        let bytes = placed.bytes();
        Ok(Session {
            gpu,
            memory,
            tensors,
            net,
            state,
            batch,
            step,
            step_losses,
            validate,
            validate_losses,
            steps: 0,
            variant,
            bytes,
        })
    }

    fn upload(&self, host_batch: &HostBatch) -> Result<()> {
        let (mut image, mut labels) = (Vec::new(), Vec::new());
        let plan = &self.net.plan;
        for sample in &host_batch.samples {
            let edges = plan.patch.map(|e| e as usize);
            patch::append(sample, plan.in_channels as usize, edges, &mut image, &mut labels);
        }
        host::upload(&self.gpu, &self.memory, &self.tensors, self.batch.image, &image)?;
        self.gpu.write(&self.memory, self.batch.labels, 0, &labels)
    }

    /// One training step: the loss, and whether the step was skipped.
    fn train(&mut self, batch: &HostBatch, learning_rate: f64) -> Result<(f64, bool)> {
        self.upload(batch)?;
        let hyper = adam_hyper(learning_rate, WEIGHT_DECAY, CLIP, self.steps + 1);
        self.gpu.write(&self.memory, self.state.hyper, 0, &hyper)?;
        self.step.submit(&self.gpu)?;
        let losses = &self.step_losses;
        let values: Vec<f32> = self.gpu.read(&self.memory, losses.slot, 0, losses.len())?;
        let norm: Vec<f32> = self.gpu.read(&self.memory, self.state.norm, 0, 2)?;
        let skipped = norm[1] != 0.0;
        self.steps += u64::from(!skipped);
        Ok((losses.total(&values), skipped))
    }

    /// Loss and hard counts per class of a validation batch.
    fn validate(&self, batch: &HostBatch) -> Result<(f64, Vec<[f32; 3]>)> {
        self.upload(batch)?;
        self.validate.submit(&self.gpu)?;
        let losses = &self.validate_losses;
        let values: Vec<f32> = self.gpu.read(&self.memory, losses.slot, 0, losses.len())?;
        Ok((losses.total(&values), losses.counts(&values).collect()))
    }

    fn save(&self, path: &Path, epoch: u64) -> Result<()> {
        let elements = self.net.parameters.elements() as usize;
        let values = self.gpu.read(&self.memory, self.state.parameters, 0, elements)?;
        write_checkpoint(path, &self.net, &values, epoch)
    }
}

fn create_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| Error::io("create folder", path, e))
}

fn prefetch(
    cases: Arc<Vec<PreparedCase>>,
    options: &TrainOptions,
    purpose: Purpose,
    iterations: u64,
) -> Result<Prefetcher> {
    let patch = options.patch.map(|e| e as usize);
    let sampler = PatchSampler::new(patch, options.batch as usize, 1.0 / 3.0);
    let voxels: usize = patch.iter().product();
    Prefetcher::start(
        cases,
        PrefetchPlan {
            sampler,
            seed: options.seed,
            purpose,
            epochs: (0, options.epochs),
            iterations,
            depth: 4,
            max_voxels: voxels,
        },
    )
}

/// Trains a fold without augmentation. `report` gets sentences about the run, `epoch_done` every
/// epoch; `stop` is looked at after every iteration.
///
/// # Errors
/// As its parts; [`Error::Interrupted`] after a checkpoint when `stop` was set;
/// [`Error::NonFinite`] when gradients stay non-finite.
pub fn train(
    options: &TrainOptions,
    stop: &AtomicBool,
    report: &mut dyn FnMut(&str),
    epoch_done: &mut dyn FnMut(&Epoch),
) -> Result<Trained> {
    let dataset = Dataset::open(&options.dataset)?;
    let folds = split::folds(&dataset)?;
    let fold = folds.get(options.fold).ok_or_else(|| {
        Error::Usage(format!(
            "--fold {} does not exist; use 0 to {}",
            options.fold,
            folds.len() - 1
        ))
    })?;
    let prepared = prepare_all(&dataset, &dataset.cases, 0)?;
    let spacing = prepared.preprocessing.spacing_mm;
    let channels = dataset.modalities.len() as u32;
    let classes = dataset.labels.len() as u32;
    let plan = NetworkPlan::from_spacing(
        channels,
        classes,
        options.features,
        options.patch,
        options.batch,
        spacing,
        options.levels,
    );
    plan.validate()?;
    let (train_cases, val_cases): (Vec<PreparedCase>, Vec<PreparedCase>) =
        prepared.cases.into_iter().partition(|c| fold.train.contains(&c.name));
    report(&format!(
        "{}: {} training and {} validation cases, {} labels",
        dataset.name,
        train_cases.len(),
        val_cases.len(),
        classes - 1
    ));
    let folder = options.out.join(format!("fold_{}", options.fold));
    create_folder(&folder)?;
    let mut session = Session::open(options, plan)?;
    report(&format!(
        "{} ({}), {:?} kernels, {} parameters, {} MiB of device memory",
        session.gpu.name(),
        session.gpu.driver(),
        session.variant,
        session.net.parameters.count(),
        session.bytes >> 20
    ));
    let log_path = folder.join("metrics.jsonl");
    let mut log =
        std::fs::File::create(&log_path).map_err(|e| Error::io("create", &log_path, e))?;
    let val_iterations = options.iterations.div_ceil(5).min(50);
    let training = prefetch(Arc::new(train_cases), options, Purpose::Patches, options.iterations)?;
    let mut validation =
        prefetch(Arc::new(val_cases), options, Purpose::ValidationPatches, val_iterations)?;
    let last_path = folder.join("checkpoint_last.safetensors");
    let mut training = training.into_iter();
    let mut last = None;
    let mut skipped_in_a_row = 0;
    for epoch in 0..options.epochs {
        let begin = Instant::now();
        let progress = epoch as f64 / options.epochs as f64;
        let learning_rate = options.learning_rate * (1.0 - progress).powf(0.9);
        let (mut sum, mut counted, mut skipped) = (0.0, 0u64, 0);
        for batch in training.by_ref().take(options.iterations as usize) {
            let (loss, was_skipped) = session.train(&batch, learning_rate)?;
            if was_skipped || !loss.is_finite() {
                skipped += 1;
                skipped_in_a_row += 1;
                if skipped_in_a_row >= MOST_SKIPPED {
                    return Err(Error::NonFinite(format!(
                        "{MOST_SKIPPED} steps in a row had a non-finite loss or gradient; lower \
                         --lr, or check the data set for broken intensities; the weights of the \
                         last epoch are in '{}'",
                        last_path.display()
                    )));
                }
            } else {
                skipped_in_a_row = 0;
                sum += loss;
                counted += 1;
            }
            if stop.load(Ordering::Relaxed) {
                session.save(&last_path, epoch)?;
                return Err(Error::Interrupted(format!(
                    "interrupted in epoch {}; the weights so far are in '{}'",
                    epoch + 1,
                    last_path.display()
                )));
            }
        }
        let mut val_sum = 0.0;
        let mut counts = vec![[0f64; 3]; classes as usize];
        for batch in validation.by_ref().take(val_iterations as usize) {
            let (loss, batch_counts) = session.validate(&batch)?;
            val_sum += loss;
            for (all, now) in counts.iter_mut().zip(batch_counts) {
                for i in 0..3 {
                    all[i] += f64::from(now[i]);
                }
            }
        }
        let dice = counts[1..].iter().map(|&[tp, fp, fn_]| {
            let size = 2.0 * tp + fp + fn_;
            (size > 0.0).then_some(2.0 * tp / size)
        });
        let done = Epoch {
            epoch: epoch + 1,
            loss: sum / counted.max(1) as f64,
            val_loss: val_sum / val_iterations as f64,
            dice: dice.collect(),
            learning_rate,
            seconds: begin.elapsed().as_secs_f64(),
            skipped,
        };
        let line = serde_json::to_string(&done)
            .map_err(|e| Error::Input(format!("the epoch cannot be logged: {e}")))?;
        writeln!(log, "{line}")
            .and_then(|()| log.flush())
            .map_err(|e| Error::io("write", &log_path, e))?;
        session.save(&last_path, epoch + 1)?;
        epoch_done(&done);
        last = Some(done);
    }
    let checkpoint = folder.join("checkpoint_final.safetensors");
    session.save(&checkpoint, options.epochs)?;
    Ok(Trained { last, checkpoint })
}
