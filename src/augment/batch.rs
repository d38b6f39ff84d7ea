//! Augmented batches on the GPU: sources uploaded once, candidates drawn from them.

use crate::error::{Error, Result};
use crate::gpu::{Gpu, Lifetime, Memory, SlotId};
use crate::ops::Lowering;
use crate::ops::gamma::Gamma;
use crate::ops::noise::Noise;
use crate::ops::smooth::{self, GaussianSmooth, TAPS};
use crate::ops::spline::{Prefilter, SPLINE_MARGIN};
use crate::ops::tensor::{Tensors, View};
use crate::ops::warp::{
    ImageInterpolation, Interpolation, MAX_CHANNELS, Placement, Warp, WarpRecord, flags,
};

/// Sizes of an [`Augmenter`].
#[derive(Clone, Copy, Debug)]
pub struct AugmenterSpec {
    /// Samples of a batch.
    pub batch: u32,
    /// Channels of the image.
    pub channels: u32,
    /// Edges D, H, W of the patch.
    pub patch: [u32; 3],
    /// Voxels of the largest source box.
    pub capacity: u64,
    /// Batches drawn from the same sources.
    pub candidates: u32,
    /// How the sources are read between voxels.
    pub interpolation: Interpolation,
}

/// Slots of the sources and draws, and the dispatches between them and a batch.
#[derive(Clone, Debug)]
pub struct Augmenter {
    spec: AugmenterSpec,
    /// Image f32 \[C\]\[box\] and labels u32 \[box\] of each sample.
    sources: Vec<(SlotId, SlotId)>,
    /// Records \[N\] and taps \[N\]\[3\]\[TAPS\] of each candidate.
    draws: Vec<(SlotId, SlotId)>,
}

impl Augmenter {
    /// Declares the slots.
    ///
    /// # Errors
    /// [`Error::Usage`] for too many channels; [`Error::Device`] when a source or the displacement
    /// exceeds what the device binds at once.
    pub fn new(tensors: &mut Tensors, spec: AugmenterSpec) -> Result<Self> {
        if spec.channels == 0 || spec.channels as usize > MAX_CHANNELS {
            return Err(Error::Usage(format!(
                "augmentation handles 1 to {MAX_CHANNELS} channels, not {}",
                spec.channels
            )));
        }
        let limit = tensors.caps().max_binding_bytes;
        let image_bytes = spec.capacity.saturating_mul(u64::from(spec.channels) * 4);
        let voxels: u64 = spec.patch.iter().map(|&e| u64::from(e)).product();
        if image_bytes > limit || voxels * 16 > limit {
            return Err(Error::Device(format!(
                "a source of {} voxels or a patch of {voxels} exceeds what this device can bind \
                 at once",
                spec.capacity
            )));
        }
        let slots = &mut tensors.slots;
        let keep = Lifetime::Persistent;
        let sources = (0..spec.batch).map(|_| {
            let image = slots.buffer("source image", image_bytes, keep);
            (image, slots.buffer("source labels", spec.capacity * 4, keep))
        });
        let sources = sources.collect();
        let n = u64::from(spec.batch);
        let draws = (0..spec.candidates).map(|_| {
            let records = slots.buffer("draws", n * size_of::<WarpRecord>() as u64, keep);
            (records, slots.buffer("taps", n * 3 * TAPS as u64 * 4, keep))
        });
        let draws = draws.collect();
        Ok(Augmenter { spec, sources, draws })
    }

    /// The sizes it was made for.
    pub fn spec(&self) -> &AugmenterSpec {
        &self.spec
    }

    /// Appends everything that makes one candidate's batch: image (N,C,D,H,W, in buffers) and
    /// labels (u32 \[N\]\[D\]\[H\]\[W\]). What a draw leaves out is skipped when it runs.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown candidate or a tensor of another shape; [`Error::Device`]
    /// when a sample exceeds a binding.
    pub fn record(
        &self,
        l: &mut Lowering,
        candidate: u32,
        image: View,
        labels: SlotId,
    ) -> Result<()> {
        let (draws, taps) = self.check(l, candidate, image)?;
        let shape = self.spec.patch;
        let bytes = u64::from(l.tensors.voxels(image)) * 16;
        for sample in 0..self.spec.batch {
            let slots = &mut l.tensors.slots;
            let noise = slots.buffer("noise", bytes, Lifetime::Transient);
            let displacement = slots.buffer("displacement", bytes, Lifetime::Transient);
            Noise { draws, sample, shape, out: noise }.lower(l)?;
            GaussianSmooth { draws, taps, sample, shape, from: noise, to: displacement }
                .lower(l)?;
            let displacement = Some(displacement);
            Warp { displacement, ..self.warp(l, draws, sample, image, labels) }.lower(l)?;
            Gamma { draws, sample, image }.lower(l)?;
        }
        Ok(())
    }

    /// Appends only the warps: for batches whose draws are neither elastic nor have gamma
    /// (validation). Elastic and gamma flags of their records are ignored.
    ///
    /// # Errors
    /// As [`Augmenter::record`].
    pub fn record_plain(
        &self,
        l: &mut Lowering,
        candidate: u32,
        image: View,
        labels: SlotId,
    ) -> Result<()> {
        let (draws, _) = self.check(l, candidate, image)?;
        for sample in 0..self.spec.batch {
            self.warp(l, draws, sample, image, labels).lower(l)?;
        }
        Ok(())
    }

    /// The spline coefficients of a sample's source, where it is read by a spline.
    fn prefilter(&self, l: &mut Lowering, draws: SlotId, sample: u32) -> Option<SlotId> {
        let AugmenterSpec { channels, capacity, interpolation, .. } = self.spec;
        if interpolation.image != ImageInterpolation::Cubic {
            return None;
        }
        let bytes = capacity * u64::from(channels) * 4;
        let coefficients = l.tensors.slots.buffer("spline", bytes, Lifetime::Transient);
        let (source, _) = self.sources[sample as usize];
        Prefilter { draws, sample, channels, capacity, source, coefficients }.lower(l);
        Some(coefficients)
    }

    /// The warp of a sample without displacement; appends the prefilter that it needs.
    fn warp(
        &self,
        l: &mut Lowering,
        draws: SlotId,
        sample: u32,
        image: View,
        labels: SlotId,
    ) -> Warp {
        let (source, source_labels) = self.sources[sample as usize];
        Warp {
            draws,
            sample,
            source,
            source_labels,
            coefficients: self.prefilter(l, draws, sample),
            label_interpolation: self.spec.interpolation.labels,
            displacement: None,
            image,
            labels,
        }
    }

    fn draws_of(&self, candidate: u32) -> Result<(SlotId, SlotId)> {
        self.draws.get(candidate as usize).copied().ok_or_else(|| {
            Error::Usage(format!(
                "candidate {candidate} was asked for, but there are {}",
                self.spec.candidates
            ))
        })
    }

    fn check(&self, l: &Lowering, candidate: u32, image: View) -> Result<(SlotId, SlotId)> {
        let tensor = l.tensors.of(image);
        let channels = l.tensors.channels(image);
        let spec = &self.spec;
        if (tensor.samples, channels, tensor.spatial) != (spec.batch, spec.channels, spec.patch) {
            return Err(Error::Usage(format!(
                "a batch of {} x {channels} x {:?} was given where {} x {} x {:?} is augmented",
                tensor.samples, tensor.spatial, spec.batch, spec.channels, spec.patch
            )));
        }
        self.draws_of(candidate)
    }

    /// Uploads one sample's source: image C,D,H,W and labels D,H,W of its box.
    ///
    /// # Errors
    /// [`Error::Usage`] when it does not fit; [`Error::Device`] as [`Gpu::write`].
    pub fn upload_source(
        &self,
        gpu: &Gpu,
        memory: &Memory,
        sample: u32,
        image: &[f32],
        labels: &[u32],
    ) -> Result<()> {
        let fits = labels.len() as u64 <= self.spec.capacity
            && image.len() == labels.len() * self.spec.channels as usize;
        match self.sources.get(sample as usize) {
            Some(&(image_slot, label_slot)) if fits => {
                gpu.write(memory, image_slot, 0, image)?;
                gpu.write(memory, label_slot, 0, labels)
            }
            _ => Err(Error::Usage(format!(
                "source {sample} of {} values and {} labels does not fit {} samples of {} \
                 channels and {} voxels",
                image.len(),
                labels.len(),
                self.spec.batch,
                self.spec.channels,
                self.spec.capacity
            ))),
        }
    }

    /// Uploads one candidate's records, one a sample, with their taps.
    ///
    /// # Errors
    /// [`Error::Usage`] when their number or a box does not fit; [`Error::Device`] as
    /// [`Gpu::write`].
    pub fn upload_draws(
        &self,
        gpu: &Gpu,
        memory: &Memory,
        candidate: u32,
        records: &[WarpRecord],
    ) -> Result<()> {
        let (record_slot, tap_slot) = self.draws_of(candidate)?;
        let fits = |r: &WarpRecord| {
            r.box_shape.iter().try_fold(1u64, |n, &e| n.checked_mul(u64::from(e)))
                <= Some(self.spec.capacity)
        };
        if records.len() != self.spec.batch as usize || !records.iter().all(fits) {
            return Err(Error::Usage(format!(
                "{} draws do not fit {} samples of up to {} voxels",
                records.len(),
                self.spec.batch,
                self.spec.capacity
            )));
        }
        gpu.write(memory, record_slot, 0, records)?;
        for (record, n) in records.iter().zip(0u64..) {
            if record.has(flags::ELASTIC) {
                gpu.write(memory, tap_slot, n * 3 * TAPS as u64 * 4, &taps_of(record)?)?;
            }
        }
        Ok(())
    }
}

/// The taps of a record's three axes, \[3\]\[TAPS\].
///
/// # Errors
/// [`Error::Usage`] as [`smooth::taps`].
pub fn taps_of(record: &WarpRecord) -> Result<[[f32; TAPS]; 3]> {
    let table = smooth::taps(f64::from(record.sigma))?;
    let mut still = [0f32; TAPS];
    still[0] = 1.0;
    Ok(record.radius.map(|r| if r == 0 { still } else { table }))
}

/// The box of a case (start, edges) that the records' draws can reach, for sources that are
/// shared by candidates. A displacement counts with 6.5 of its standard deviations (at most
/// alpha): what would lie further out, less than one voxel in 10^10, becomes 0.
///
/// The records' own boxes are not read. `patch`: edges of the patch. A spline needs
/// [`SPLINE_MARGIN`] voxels more on each side.
pub fn reach(
    records: &[WarpRecord],
    patch: [u32; 3],
    image: ImageInterpolation,
) -> Result<([i32; 3], [u32; 3])> {
    let spline = match image {
        ImageInterpolation::Linear => 0.0,
        ImageInterpolation::Cubic => f64::from(SPLINE_MARGIN),
    };
    let mut low = [f64::INFINITY; 3];
    let mut high = [f64::NEG_INFINITY; 3];
    let mut case = [1i32; 3];
    for record in records {
        case = record.case_shape;
        let mut half = [0f64; 3];
        let margin =
            if record.has(flags::ELASTIC) { displacement_bound(record)? } else { [0.0; 3] };
        for i in 0..3 {
            half[i] = f64::from(patch[i].saturating_sub(1)) / 2.0 + margin[i];
        }
        let rows = [record.row0, record.row1, record.row2];
        for j in 0..3 {
            let r: f64 = (0..3).map(|i| half[i] * f64::from(rows[i][j].abs())).sum();
            let slack = if record.has(flags::SPATIAL) { 1e-3 + spline } else { 0.0 };
            low[j] = low[j].min(f64::from(record.centre[j]) - r - slack);
            high[j] = high[j].max(f64::from(record.centre[j]) + r + slack);
        }
    }
    let mut start = [0i32; 3];
    let mut shape = [1u32; 3];
    for i in 0..3 {
        let last = case[i] - 1;
        start[i] = (low[i].floor() as i32).clamp(0, last.max(0));
        let end = (high[i].ceil() as i32).clamp(start[i], last.max(start[i]));
        shape[i] = (end - start[i]) as u32 + 1;
    }
    Ok((start, shape))
}

/// What the displacement hardly ever exceeds, per axis, in voxels.
fn displacement_bound(record: &WarpRecord) -> Result<[f64; 3]> {
    let alpha = f64::from(record.alpha).abs();
    let mut variance = 1.0 / 3.0;
    for taps in taps_of(record)? {
        let squares: f64 = taps.iter().map(|&t| f64::from(t).powi(2)).sum();
        variance *= 2.0 * squares - f64::from(taps[0]).powi(2);
    }
    let bound = alpha * (6.5 * f64::sqrt(variance)).min(1.0);
    Ok([if record.has(flags::PLANAR) { 0.0 } else { bound }, bound, bound])
}

/// The record that copies a patch as it is.
pub fn copy_record(at: &Placement) -> WarpRecord {
    WarpRecord::copy(at)
}
