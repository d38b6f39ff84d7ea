//! Batches prepared ahead of the GPU on a host thread.

use super::preprocess::{PreparedCase, crop};
use super::rng::{self, Purpose};
use super::sampler::{PatchLocation, PatchSampler};
use crate::{Error, Result};
use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// The part of a case that a patch is (or its augmentation may be) made from.
#[derive(Clone, Debug)]
pub struct SourceBox {
    /// First voxel in the prepared case, D, H, W; never negative.
    pub start: [i64; 3],
    /// D, H, W of the box.
    pub shape: [usize; 3],
    /// C, D, H, W values.
    pub image: Vec<f32>,
    /// D, H, W labels.
    pub labels: Vec<u8>,
    /// Whether the box is the whole case.
    pub whole: bool,
}

/// One sample of a batch.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Case and first voxel of the patch.
    pub location: PatchLocation,
    /// What to take it from.
    pub source: SourceBox,
}

/// One batch.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Epoch.
    pub epoch: u64,
    /// Iteration within the epoch.
    pub iteration: u64,
    /// Its samples in order.
    pub samples: Vec<Sample>,
    /// Cases that were found unreadable while it was made, and are left out from then on.
    pub unreadable: Vec<Unreadable>,
}

/// A case that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its name.
    pub case: String,
    /// Why, as a sentence.
    pub why: String,
}

/// The box for a patch: the whole case if it has at most `max_voxels` voxels,
/// else the patch with the largest equal margin on all sides that stays within
/// `max_voxels` after clipping into the case. The patch itself is always
/// included, even if it is larger.
pub fn source_range(
    shape: [usize; 3],
    start: [i64; 3],
    patch: [usize; 3],
    max_voxels: usize,
) -> ([usize; 3], [usize; 3]) {
    if shape.iter().product::<usize>() <= max_voxels {
        return ([0; 3], shape);
    }
    let clipped = |margin: i64| {
        let low = [0, 1, 2].map(|a| (start[a] - margin).clamp(0, shape[a] as i64) as usize);
        let high = [0, 1, 2]
            .map(|a| (start[a] + patch[a] as i64 + margin).clamp(0, shape[a] as i64) as usize);
        (low, [0, 1, 2].map(|a| high[a] - low[a]))
    };
    let (mut fits, mut fails) = (0i64, shape.iter().copied().max().unwrap_or(0) as i64 + 1);
    while fails - fits > 1 {
        let middle = (fits + fails) / 2;
        if clipped(middle).1.iter().product::<usize>() <= max_voxels {
            fits = middle;
        } else {
            fails = middle;
        }
    }
    clipped(fits)
}

/// Copies the box of [`source_range`] out of a case.
///
/// # Errors
/// As [`PreparedCase::voxels`].
pub fn extract(
    case: &PreparedCase,
    start: [i64; 3],
    patch: [usize; 3],
    max_voxels: usize,
) -> Result<SourceBox> {
    let (from, shape) = source_range(case.shape, start, patch, max_voxels);
    let voxels = case.voxels()?;
    Ok(SourceBox {
        start: from.map(|v| v as i64),
        shape,
        image: crop(&voxels.image, case.channels, case.shape, from, shape),
        labels: crop(&voxels.labels, 1, case.shape, from, shape),
        whole: shape == case.shape,
    })
}

/// What a [`Prefetcher`] is to deliver.
#[derive(Clone, Copy, Debug)]
pub struct PrefetchPlan {
    /// Draws the patches.
    pub sampler: PatchSampler,
    /// The run's seed.
    pub seed: u64,
    /// Which stream: training, search or validation patches.
    pub purpose: Purpose,
    /// First epoch, and the one to stop before.
    pub epochs: (u64, u64),
    /// Iterations an epoch.
    pub iterations: u64,
    /// Batches to leave out at the beginning.
    pub skip: u64,
    /// Batches kept ready.
    pub depth: usize,
    /// Most voxels of a source box (see [`source_range`]).
    pub max_voxels: usize,
}

/// An iterator over batches in order of epoch and iteration, filled ahead by its own thread. A case
/// that cannot be read is left out from then on, and its samples are drawn anew from the others;
/// where no case is left, the iterator ends with an error. Dropping it stops the thread.
pub struct Prefetcher {
    receiver: Option<Receiver<Result<Batch>>>,
    thread: Option<JoinHandle<()>>,
}

impl Prefetcher {
    /// Starts the thread.
    ///
    /// # Errors
    /// No cases, or the system refuses a thread.
    pub fn start<C>(cases: Arc<Vec<C>>, plan: PrefetchPlan) -> Result<Self>
    where
        C: Borrow<PreparedCase> + Send + Sync + 'static,
    {
        Self::start_without(cases, plan, &[])
    }

    /// As [`Prefetcher::start`], where the cases of some names have been left out before.
    ///
    /// # Errors
    /// As [`Prefetcher::start`].
    pub fn start_without<C>(
        cases: Arc<Vec<C>>,
        plan: PrefetchPlan,
        left_out: &[String],
    ) -> Result<Self>
    where
        C: Borrow<PreparedCase> + Send + Sync + 'static,
    {
        if cases.is_empty() {
            return Err(Error::Input("there are no cases to sample patches from; add some".into()));
        }
        let (sender, receiver) = sync_channel(plan.depth.max(1));
        let is_left_out = |case: &C| left_out.contains(&case.borrow().name);
        let left_out = (0..cases.len()).filter(|&i| is_left_out(&cases[i])).collect();
        let mut maker = Maker { cases, plan, left_out };
        let work = move || {
            let epochs = plan.epochs.1.saturating_sub(plan.epochs.0);
            for number in plan.skip..epochs.saturating_mul(plan.iterations) {
                let epoch = plan.epochs.0 + number / plan.iterations;
                let batch = maker.batch(epoch, number % plan.iterations);
                let failed = batch.is_err();
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        let thread =
            std::thread::Builder::new().name("prefetch".into()).spawn(work).map_err(|source| {
                Error::Io {
                    context: "cannot start the thread that prepares batches".into(),
                    source,
                }
            })?;
        Ok(Self { receiver: Some(receiver), thread: Some(thread) })
    }
}

/// Makes batches.
struct Maker<C> {
    cases: Arc<Vec<C>>,
    plan: PrefetchPlan,
    /// Indices of cases that cannot be read.
    left_out: BTreeSet<usize>,
}

impl<C: Borrow<PreparedCase>> Maker<C> {
    fn batch(&mut self, epoch: u64, iteration: u64) -> Result<Batch> {
        let PrefetchPlan { sampler, seed, purpose, .. } = self.plan;
        let places = sampler.batch(seed, purpose, epoch, iteration, &self.cases);
        let (mut samples, mut unreadable) = (Vec::new(), Vec::new());
        for (index, place) in places.into_iter().enumerate() {
            samples.push(self.sample(epoch, iteration, index, place, &mut unreadable)?);
        }
        Ok(Batch { epoch, iteration, samples, unreadable })
    }

    /// The sample at a place, or at another one where that case cannot be read.
    fn sample(
        &mut self,
        epoch: u64,
        iteration: u64,
        index: usize,
        mut location: PatchLocation,
        unreadable: &mut Vec<Unreadable>,
    ) -> Result<Sample> {
        let PrefetchPlan { sampler, seed, purpose, max_voxels, .. } = self.plan;
        let mut last = None;
        for attempt in 0.. {
            let case = self.cases[location.case].borrow();
            if !self.left_out.contains(&location.case) {
                match extract(case, location.start, sampler.patch, max_voxels) {
                    Ok(source) => return Ok(Sample { location, source }),
                    Err(error) => {
                        self.left_out.insert(location.case);
                        let (case, why) = (case.name.clone(), error.sentence());
                        unreadable.push(Unreadable { case, why });
                        last = Some(error);
                    }
                }
            }
            let among: Vec<usize> =
                (0..self.cases.len()).filter(|i| !self.left_out.contains(i)).collect();
            let counters = [epoch, iteration, index as u64, attempt];
            let mut rng = rng::stream(seed, purpose, &counters);
            match sampler.draw_among(&mut rng, &self.cases, &among, index) {
                Some(other) => location = other,
                None => break,
            }
        }
        Err(last.unwrap_or_else(|| {
            Error::Input("none of the cases can be read any more; restore their files".into())
        }))
    }
}

impl Iterator for Prefetcher {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        self.receiver.as_ref()?.recv().ok()
    }
}

impl Drop for Prefetcher {
    fn drop(&mut self) {
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was already reported by the thread itself.
            let _ = thread.join();
        }
    }
}
