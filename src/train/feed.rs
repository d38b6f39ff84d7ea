//! Cases to batches: patches drawn ahead on a host thread, draws of policies, and the part of each
//! case that the draws reach.

use super::options::TrainOptions;
use super::patch;
use crate::augment::batch::reach;
use crate::augment::draw::{StreamKey, draw};
use crate::augment::record::record;
use crate::data::Axes;
use crate::data::prefetch::{Batch, PrefetchPlan, Prefetcher, Sample, source_range};
use crate::data::preprocess::{PreparedCase, crop};
use crate::data::rng::Purpose;
use crate::data::sampler::PatchSampler;
use crate::error::{Error, Result};
use crate::ops::warp::{ImageInterpolation, Placement, WarpRecord};
use crate::search::policy::Policy;
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
}

/// One sample's source on the host.
pub(super) struct Source {
    pub image: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Feed {
    /// Batches of `iterations` an epoch, over epochs `epochs.0..epochs.1`, but the first `skip`.
    ///
    /// # Errors
    /// [`Error::Input`] without cases.
    pub fn new(
        cases: &Arc<Vec<Arc<PreparedCase>>>,
        options: &TrainOptions,
        patch: [u32; 3],
        purpose: Purpose,
        epochs: (u64, u64),
        iterations: u64,
        skip: u64,
    ) -> Result<Self> {
        let patch = patch.map(|e| e as usize);
        let sampler = PatchSampler::new(patch, options.batch as usize, OVERSAMPLE);
        // Whole cases up to twice the patch along each axis, so that most draws find all they
        // reach; the others cut their box themselves.
        let max_voxels = patch.iter().product::<usize>() * 8;
        let (seed, depth) = (options.seed, DEPTH);
        let plan =
            PrefetchPlan { sampler, seed, purpose, epochs, iterations, skip, depth, max_voxels };
        Ok(Feed { cases: cases.clone(), batches: Prefetcher::start(cases.clone(), plan)? })
    }

    /// The next batch.
    ///
    /// # Errors
    /// A case that cannot be read from the cache any more; [`Error::Input`] when the thread that
    /// prepares batches ended early.
    pub fn next(&mut self) -> Result<Batch> {
        self.batches.next().unwrap_or_else(|| {
            Err(Error::Input("the thread that prepares batches ended early".into()))
        })
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
}

impl Drawing {
    /// Draws every policy for every sample: records \[candidate\]\[sample\], and the sources that
    /// all candidates share.
    ///
    /// # Errors
    /// [`Error::Usage`] for a policy that the kernels cannot do.
    pub fn draw(
        &self,
        feed: &Feed,
        batch: &Batch,
        policies: &[&Policy],
    ) -> Result<(Vec<Vec<WarpRecord>>, Vec<Source>)> {
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
            for (policy, candidate) in policies.iter().zip(0..) {
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
        if (inside || ready.whole) && ready.labels.len() as u64 <= self.capacity {
            let source = Source { image: ready.image.clone(), labels: widen(&ready.labels) };
            return Ok((ready.start.map(|s| s as i32), ready.shape.map(|e| e as u32), source));
        }
        let voxels: u64 = shape.iter().map(|&e| u64::from(e)).product();
        let (from, shape) = if voxels <= self.capacity {
            (start.map(|s| s as usize), shape.map(|e| e as usize))
        } else {
            let patch = self.patch.map(|e| e as usize);
            source_range(case.shape, sample.location.start, patch, self.capacity as usize)
        };
        let voxels = case.voxels()?;
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
