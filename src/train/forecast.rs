//! How long an iteration takes on the device at hand: some are made, on made-up data.

use super::blueprint::{Blueprint, Candidates, SessionSpec};
use super::event::Event;
use super::feed::source_voxels;
use super::options::{CandidateUpdates, TrainOptions};
use super::planning::Wanted;
use super::session::Session;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::nn::plan::{NetworkPlan, divisors};
use crate::nn::step::Optimizer;
use crate::ops::selftest;
use crate::ops::warp::{Interpolation, Placement, WarpRecord};
use crate::phase::Phase;
use std::time::Instant;

/// FLOPs of the batch that is timed for a forecast, at most.
const FORECAST_FLOPS: u64 = 400_000_000_000;
/// The same on a software adapter.
const FORECAST_CPU_FLOPS: u64 = 15_000_000_000;
/// Iterations that take longer are timed once.
const LONG_SECONDS: f64 = 1.0;

/// How an iteration searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rehearsed {
    /// Not at all: so many batches and the weight step by their mean gradient.
    Plain(usize),
    /// So many candidates, each judged by a trial step (`--search-mode shared`).
    Shared(usize),
    /// So many candidates for the weights, as many fresh ones judged (`--search-mode paper`).
    Paper(usize),
}

impl Rehearsed {
    fn candidates(self) -> Candidates {
        match self {
            Rehearsed::Plain(weights) | Rehearsed::Shared(weights) => {
                Candidates { weights, judged: 0 }
            }
            Rehearsed::Paper(weights) => Candidates { weights, judged: weights },
        }
    }
}

/// A training on made-up data with every transform of the augmentation on.
pub struct Rehearsal {
    session: Session,
    draws: Vec<WarpRecord>,
    candidates: Candidates,
    judges: bool,
    /// FLOPs of loss and gradient of one batch.
    pub learn_flops: u64,
    /// Planned device memory.
    pub bytes: u64,
}

impl Rehearsal {
    /// Of a network by itself, with Adam.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when there is too little memory.
    pub fn new(gpu: Gpu, plan: NetworkPlan, how: Rehearsed) -> Result<Self> {
        let variant = selftest::choose(&gpu)?;
        let voxels = plan.patch.iter().map(|&e| e as usize).product::<usize>() * 2;
        let caps = gpu.caps();
        let bytes = caps.max_binding_bytes;
        let spec = SessionSpec {
            candidates: how.candidates(),
            updates: CandidateUpdates::Mean,
            judging: usize::from(!matches!(how, Rehearsed::Plain(_))),
            source_voxels: source_voxels(voxels, u64::from(plan.in_channels), plan.patch, bytes),
            interpolation: Interpolation::default(),
            recompute: 0,
        };
        let blueprint = Blueprint::new(caps, variant, Optimizer::Adam, false, plan, spec)?;
        Self::of(gpu, blueprint, spec)
    }

    fn of(gpu: Gpu, blueprint: Blueprint, spec: SessionSpec) -> Result<Self> {
        let (learn_flops, bytes) = (blueprint.learn_flops(), blueprint.placed.bytes());
        let NetworkPlan { patch, batch, in_channels, classes, .. } = blueprint.net.plan;
        let session = Session::open(gpu, blueprint, 0, 0.0)?;
        let voxels = patch.iter().product::<u32>();
        let image: Vec<f32> =
            (0..voxels * in_channels).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect();
        let labels: Vec<u32> = (0..voxels).map(|i| i / 97 % classes).collect();
        for sample in 0..batch {
            session.upload_source(sample, &image, &labels)?;
        }
        let (image, labels) = (image.repeat(batch as usize), labels.repeat(batch as usize));
        for number in 0..spec.judging.max(1) {
            session.upload_validation(number, &image, &labels)?;
        }
        let record = WarpRecord::copy(&Placement::whole(patch, [0; 3], patch))
            .affine([[0.9, 0.2, 0.0], [-0.2, 0.9, 0.1], [0.0, -0.1, 0.9]])
            .elastic(450.0, 11.0, 7, false)?
            .gamma(&vec![1.2; in_channels as usize], false)?;
        Ok(Rehearsal {
            session,
            draws: vec![record; batch as usize],
            candidates: spec.candidates,
            judges: spec.judging > 0,
            learn_flops,
            bytes,
        })
    }

    /// Makes one iteration as a training does; gives its seconds.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device was lost.
    pub fn iteration(&mut self) -> Result<f64> {
        let begin = Instant::now();
        let (session, candidates) = (&mut self.session, self.candidates);
        for row in 0..candidates.all() {
            session.augment(&self.draws)?;
            session.learn()?;
            if self.judges && (row >= candidates.weights || candidates.judged == 0) {
                session.trial(1e-4, 0)?;
            }
            session.keep(row)?;
            if row + 1 == candidates.weights {
                for number in 0..session.steps_an_iteration() {
                    session.step(number, 1e-4)?;
                }
            }
        }
        session.finish()?;
        Ok(begin.elapsed().as_secs_f64())
    }
}

/// Seconds of an iteration of a blueprint: timed on its own patch, or on a smaller one and scaled
/// by the FLOPs.
pub(super) fn forecast(
    gpu: Gpu,
    wanted: &Wanted,
    blueprint: Blueprint,
    report: &mut dyn FnMut(Event),
) -> Result<f64> {
    let (caps, variant) = (gpu.caps().clone(), blueprint.variant);
    let recompute = blueprint.recompute;
    let whole = blueprint.learn_flops();
    let most = if caps.cpu { FORECAST_CPU_FLOPS } else { FORECAST_FLOPS };
    let TrainOptions { optimizer, batch_dice, levels, .. } = *wanted.options;
    let mut timed = blueprint;
    while timed.learn_flops() > most {
        let patch = timed.net.plan.patch;
        let step = divisors(patch, wanted.spacing_mm, levels);
        let axis = (0..3).fold(0, |large, a| if patch[a] > patch[large] { a } else { large });
        if patch[axis] <= step[axis] {
            break;
        }
        let mut smaller = patch;
        smaller[axis] =
            (patch[axis] / 2).next_multiple_of(step[axis]).min(patch[axis] - step[axis]);
        // The same network: a smaller patch must keep its levels.
        let plan = NetworkPlan { patch: smaller, ..timed.net.plan.clone() };
        if plan.validate().is_err() {
            break;
        }
        let spec = wanted.spec(&caps, smaller, recompute);
        timed = Blueprint::new(&caps, variant, optimizer, batch_dice, plan, spec)?;
    }
    let spec = wanted.spec(&caps, timed.net.plan.patch, recompute);
    report(Event::Begin(Phase::Compiling));
    let mut rehearsal = Rehearsal::of(gpu, timed, spec)?;
    // The first one also compiles and allocates.
    rehearsal.iteration()?;
    report(Event::Begin(Phase::Timing));
    let mut seconds = rehearsal.iteration()?;
    if seconds < LONG_SECONDS {
        seconds = seconds.min(rehearsal.iteration()?);
    }
    Ok(seconds * whole as f64 / rehearsal.learn_flops as f64)
}
