//! Cases to batches: patches drawn ahead on a host thread, draws of policies, and the part of each
//! case that the draws reach.

use super::options::{CandidateDraws, TrainOptions};
use super::patch;
use crate::augment::batch::reach;
use crate::augment::draw::{StreamKey, draw};
use crate::augment::record::record;
use crate::data::Axes;
use crate::data::prefetch::{Batch, PrefetchPlan, Prefetcher, Sample, Unreadable, source_range};
use crate::data::preprocess::{PreparedCase, crop};
use crate::data::rng::Purpose;
use crate::data::sampler::PatchSampler;
use crate::error::{Error, Result};
use crate::ops::warp::{ImageInterpolation, Placement, WarpRecord};
use crate::search::policy::Policy;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Batches kept ready ahead of the device.
const DEPTH: usize = 4;
/// Share of samples centred on foreground, at least (nnU-Net: 1/3).
const OVERSAMPLE: f64 = 1.0 / 3.0;
/// Source boxes hold at most this many times the voxels of a patch. A larger one would be reached
/// by the corners of extreme draws alone (scale 1.5 with turns about all axes); these read 0 there.
const SOURCE_PATCHES: usize = 16;

/// Batches of some cases in a fixed random order.
pub(super) struct Feed {
    cases: Arc<Vec<Arc<PreparedCase>>>,
    batches: Prefetcher,
    purpose: Purpose,
    unreadable: Vec<Unreadable>,
}

/// Which batches a feed delivers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// First epoch, and the one to stop before.
    pub epochs: (u64, u64),
    /// Batches an epoch.
    pub batches: u64,
    /// Batches to leave out at the beginning.
    pub skip: u64,
}

/// A case that a feed leaves out because it cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeftOut {
    /// What the feed is for.
    pub feed: Purpose,
    pub case: String,
}

/// One sample's source on the host.
pub(super) struct Source {
    pub image: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Feed {
    /// Batches over a span, of the cases that have not been left out.
    ///
    /// # Errors
    /// [`Error::Input`] without cases.
    pub fn new(
        cases: &Arc<Vec<Arc<PreparedCase>>>,
        options: &TrainOptions,
        patch: [u32; 3],
        purpose: Purpose,
        span: Span,
        left_out: &[LeftOut],
    ) -> Result<Self> {
        let patch = patch.map(|e| e as usize);
        let sampler = PatchSampler::new(patch, options.batch as usize, OVERSAMPLE);
        // Whole cases up to twice the patch along each axis, so that most draws find all they
        // reach; the others cut their box themselves.
        let max_voxels = patch.iter().product::<usize>() * 8;
        let (seed, depth) = (options.seed, DEPTH);
        let Span { epochs, batches: iterations, skip } = span;
        let plan =
            PrefetchPlan { sampler, seed, purpose, epochs, iterations, skip, depth, max_voxels };
        let without = left_out.iter().filter(|l| l.feed == purpose).map(|l| l.case.clone());
        let without: Vec<String> = without.collect();
        let batches = Prefetcher::start_without(cases.clone(), plan, &without)?;
        Ok(Feed { cases: cases.clone(), batches, purpose, unreadable: Vec::new() })
    }

    /// The next batch.
    ///
    /// # Errors
    /// None of the cases can be read any more; [`Error::Input`] when the thread that prepares
    /// batches ended early.
    pub fn next(&mut self) -> Result<Batch> {
        let mut batch = self.batches.next().unwrap_or_else(|| {
            Err(Error::Input("the thread that prepares batches ended early".into()))
        })?;
        self.unreadable.append(&mut batch.unreadable);
        Ok(batch)
    }

    /// Leaves out the next batches.
    ///
    /// # Errors
    /// As [`Feed::next`].
    pub fn skip(&mut self, batches: usize) -> Result<()> {
        (0..batches).try_for_each(|_| self.next().map(drop))
    }

    /// The cases that were left out since this was asked last, and why.
    pub fn take_unreadable(&mut self) -> Vec<(LeftOut, String)> {
        let of = |u: Unreadable| (LeftOut { feed: self.purpose, case: u.case }, u.why);
        std::mem::take(&mut self.unreadable).into_iter().map(of).collect()
    }
}

/// Voxels that the largest source box needs, where the largest case has `largest` voxels.
pub(super) fn source_voxels(largest: usize, channels: u64, patch: [u32; 3], max_bytes: u64) -> u64 {
    let patch: usize = patch.iter().map(|&e| e as usize).product();
    let bound = largest.min(patch * SOURCE_PATCHES).max(patch) as u64;
    bound.min(max_bytes / (4 * channels.max(1)))
}

/// Draws policies for the samples of batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawing {
    pub seed: u64,
    pub fold: u32,
    pub mirror: Axes,
    /// Strongly anisotropic data: slices stay slices.
    pub dummy_2d: bool,
    /// Voxels that are 0 in all channels stay so.
    pub mask: bool,
    pub patch: [u32; 3],
    /// Voxels of the largest source box.
    pub capacity: u64,
    /// How images are read between voxels.
    pub interpolation: ImageInterpolation,
    /// Which random numbers candidates take that are judged; others have their own, as equal policies
    /// would make equal samples of them.
    pub draws: CandidateDraws,
}

impl Drawing {
    /// Draws every policy for every sample: records \[candidate\]\[sample\], and the sources that
    /// all candidates share. `judged` tells whether the candidates will be held against each other.
    ///
    /// # Errors
    /// [`Error::Usage`] for a policy that the kernels cannot do.
    pub fn draw(
        &self,
        feed: &Feed,
        batch: &Batch,
        policies: &[&Policy],
        judged: bool,
    ) -> Result<(Vec<Vec<WarpRecord>>, Vec<Source>)> {
        let draws = if judged { self.draws } else { CandidateDraws::Own };
        let mut records = vec![Vec::new(); policies.len()];
        let mut sources = Vec::new();
        for (sample, number) in batch.samples.iter().zip(0..) {
            let case = &feed.cases[sample.location.case];
            let at = Placement::whole(
                case.shape.map(|e| e as u32),
                sample.location.start.map(|s| s as i32),
                self.patch,
            );
            let mut drawn = Vec::new();
            for (policy, row) in policies.iter().zip(0..) {
                let candidate = match draws {
                    CandidateDraws::Own => row,
                    CandidateDraws::Common => 0,
                };
                let key = StreamKey {
                    seed: self.seed,
                    fold: self.fold,
                    epoch: batch.epoch as u32,
                    iteration: batch.iteration,
                    sample: number,
                    candidate,
                };
                let one = draw(policy, case.channels, self.mirror, &mut key.rng());
                drawn.push(record(&one, &at, self.dummy_2d, self.mask)?);
            }
            let (start, shape, source) = self.source(case, sample, &drawn)?;
            for (record, list) in drawn.into_iter().zip(&mut records) {
                list.push(WarpRecord { box_start: start, box_shape: shape, ..record });
            }
            sources.push(source);
        }
        Ok((records, sources))
    }

    /// The box that the draws reach: the prefetched one where it is large enough.
    fn source(
        &self,
        case: &PreparedCase,
        sample: &Sample,
        drawn: &[WarpRecord],
    ) -> Result<([i32; 3], [u32; 3], Source)> {
        let ready = &sample.source;
        let (start, shape) = reach(drawn, self.patch, self.interpolation)?;
        let inside = (0..3).all(|i| {
            let (low, high) = (ready.start[i], ready.start[i] + ready.shape[i] as i64);
            i64::from(start[i]) >= low && i64::from(start[i]) + i64::from(shape[i]) <= high
        });
        let widen = |labels: &[u8]| labels.iter().map(|&l| u32::from(l)).collect();
        let fits = ready.labels.len() as u64 <= self.capacity;
        let as_it_is = || {
            let source = Source { image: ready.image.clone(), labels: widen(&ready.labels) };
            Ok((ready.start.map(|s| s as i32), ready.shape.map(|e| e as u32), source))
        };
        if (inside || ready.whole) && fits {
            return as_it_is();
        }
        let voxels: u64 = shape.iter().map(|&e| u64::from(e)).product();
        let (from, shape) = if voxels <= self.capacity {
            (start.map(|s| s as usize), shape.map(|e| e as usize))
        } else {
            let patch = self.patch.map(|e| e as usize);
            source_range(case.shape, sample.location.start, patch, self.capacity as usize)
        };
        let voxels = match case.voxels() {
            Ok(voxels) => voxels,
            // Its file went away since the patch was read: the corners read 0 this once, and the
            // next patch of the case is drawn from another one.
            Err(_) if fits => return as_it_is(),
            Err(error) => return Err(error),
        };
        let image = crop(&voxels.image, case.channels, case.shape, from, shape);
        let labels = widen(&crop(&voxels.labels, 1, case.shape, from, shape));
        let source = Source { image, labels };
        Ok((from.map(|s| s as i32), shape.map(|e| e as u32), source))
    }
}

/// A batch of plain patches: image N,C,D,H,W and labels N,D,H,W.
pub(super) fn plain(batch: &Batch, channels: u32, patch: [u32; 3]) -> (Vec<f32>, Vec<u32>) {
    let (mut image, mut labels) = (Vec::new(), Vec::new());
    for sample in &batch.samples {
        patch::append(
            sample,
            channels as usize,
            patch.map(|e| e as usize),
            &mut image,
            &mut labels,
        );
    }
    (image, labels)
}
