//! Where patches are taken: random cases, random places, a share of them on the
//! foreground.

use super::preprocess::PreparedCase;
use super::rng::{self, Purpose};
use rand_chacha::ChaCha8Rng;
use std::borrow::Borrow;

/// A patch's place: `start` is its first voxel (D, H, W) in the prepared case,
/// negative where the case is smaller than the patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchLocation {
    /// Index into the list of cases.
    pub case: usize,
    /// First voxel, D, H, W.
    pub start: [i64; 3],
}

/// Draws the patches of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PatchSampler {
    /// D, H, W of a patch.
    pub patch: [usize; 3],
    /// Samples a batch.
    pub batch: usize,
    /// Least share of samples centred on foreground.
    pub oversample: f64,
}

impl PatchSampler {
    /// A sampler; nnU-Net's `oversample` is 1/3, which is one of two samples.
    pub fn new(patch: [usize; 3], batch: usize, oversample: f64) -> Self {
        Self { patch, batch, oversample }
    }

    /// Whether the sample of this index in a batch is centred on foreground:
    /// index >= round(batch (1 - oversample)).
    pub fn on_foreground(&self, index: usize) -> bool {
        index as f64 >= (self.batch as f64 * (1.0 - self.oversample)).round_ties_even()
    }

    /// The batch of an epoch and iteration of a run: depends on nothing else but
    /// the cases. `purpose` tells training from validation. Empty if there are
    /// no cases.
    pub fn batch<C: Borrow<PreparedCase>>(
        &self,
        seed: u64,
        purpose: Purpose,
        epoch: u64,
        iteration: u64,
        cases: &[C],
    ) -> Vec<PatchLocation> {
        self.draw(&mut rng::stream(seed, purpose, &[epoch, iteration]), cases)
    }

    /// One batch from a generator. Cases uniformly with replacement; a sample on
    /// the foreground lies around a random kept voxel of a random class or region that the
    /// case has, others around a random labelled voxel where the data set has an ignore label, and
    /// anywhere otherwise, as the former where the case has no foreground; all are clipped
    /// into the case. An axis shorter than the patch is padded centrally.
    pub fn draw<C: Borrow<PreparedCase>>(
        &self,
        rng: &mut ChaCha8Rng,
        cases: &[C],
    ) -> Vec<PatchLocation> {
        if cases.is_empty() {
            return Vec::new();
        }
        (0..self.batch)
            .map(|index| {
                let case = rng::below(rng, cases.len() as u64) as usize;
                PatchLocation { case, start: self.start(rng, cases[case].borrow(), index) }
            })
            .collect()
    }

    /// The sample of an index in a batch, in a case of `among` (indices into `cases`); none where
    /// that is empty.
    pub fn draw_among<C: Borrow<PreparedCase>>(
        &self,
        rng: &mut ChaCha8Rng,
        cases: &[C],
        among: &[usize],
        index: usize,
    ) -> Option<PatchLocation> {
        let case = *among.get(rng::below(rng, among.len() as u64) as usize)?;
        Some(PatchLocation { case, start: self.start(rng, cases.get(case)?.borrow(), index) })
    }

    /// The first voxel of a patch in a case.
    fn start(&self, rng: &mut ChaCha8Rng, case: &PreparedCase, index: usize) -> [i64; 3] {
        let foreground = if self.on_foreground(index) { foreground_voxel(rng, case) } else { None };
        let centre = foreground.or_else(|| labelled_voxel(rng, case));
        [0, 1, 2].map(|a| {
            let free = case.shape[a] as i64 - self.patch[a] as i64;
            match centre {
                _ if free < 0 => -(-free / 2),
                Some(v) => (v[a] as i64 - self.patch[a] as i64 / 2).clamp(0, free),
                None => rng::below(rng, free as u64 + 1) as i64,
            }
        })
    }
}

/// A random kept voxel of a random class that is present.
fn foreground_voxel(rng: &mut ChaCha8Rng, case: &PreparedCase) -> Option<[usize; 3]> {
    let lists = &case.places.foreground;
    let present: Vec<&Vec<u32>> = lists.iter().filter(|f| !f.is_empty()).collect();
    let class = present.get(rng::below(rng, present.len() as u64) as usize)?;
    one_of(rng, class, case.shape)
}

/// A random labelled voxel of a data set with an ignore label, so that no patch is wholly without
/// labels (nnU-Net v2); none elsewhere.
fn labelled_voxel(rng: &mut ChaCha8Rng, case: &PreparedCase) -> Option<[usize; 3]> {
    let labelled = case.places.labelled.as_ref().filter(|list| !list.is_empty())?;
    one_of(rng, labelled, case.shape)
}

/// A random voxel of a list, as D, H, W.
fn one_of(rng: &mut ChaCha8Rng, list: &[u32], shape: [usize; 3]) -> Option<[usize; 3]> {
    let index = *list.get(rng::below(rng, list.len() as u64) as usize)? as usize;
    let [_, h, w] = shape;
    Some([index / (h * w), index / w % h, index % w])
}
