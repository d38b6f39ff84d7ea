//! One sample's augmentation on the device.

use super::source::Source;
use crate::augment::batch::{Augmenter, AugmenterSpec};
use crate::augment::draw::Draw;
use crate::augment::record::record;
use crate::error::Result;
use crate::gpu::{Gpu, Lifetime, Memory, MemoryPlan, Program, Recording, SlotId};
use crate::ops::tensor::{Storage, Tensors, View, host};
use crate::ops::warp::{Interpolation, Placement};
use crate::ops::{ConvVariant, Lowering};

/// An augmenter for one sample, and its case on the device.
pub(super) struct Bench {
    augmenter: Augmenter,
    tensors: Tensors,
    memory: Memory,
    program: Program,
    image: View,
    labels: SlotId,
}

impl Bench {
    /// Records the augmentation of a source's patch and places it on the device.
    ///
    /// # Errors
    /// [`crate::Error::Device`] where the patch exceeds what the device allows.
    pub(super) fn new(
        gpu: &Gpu,
        source: &Source,
        patch: [u32; 3],
        interpolation: Interpolation,
    ) -> Result<Self> {
        let bench = Self::fitting(gpu, source, patch, interpolation);
        bench.map_err(|e| e.advise("use a smaller --patch"))
    }

    fn fitting(
        gpu: &Gpu,
        source: &Source,
        patch: [u32; 3],
        interpolation: Interpolation,
    ) -> Result<Self> {
        let channels = source.image.channels as u32;
        let mut tensors = Tensors::new(gpu.caps());
        let capacity = source.labels.len() as u64;
        let spec =
            AugmenterSpec { batch: 1, channels, patch, capacity, candidates: 1, interpolation };
        let augmenter = Augmenter::new(&mut tensors, spec)?;
        let keep = Lifetime::Persistent;
        let image = tensors.add("image", 1, &[channels], patch, Storage::Buffer, keep)?.view();
        let voxels: u64 = patch.iter().map(|&e| u64::from(e)).product();
        let labels = tensors.slots.buffer("labels", voxels * 4, keep);
        let mut recording = Recording::new();
        let variant = ConvVariant::Simt;
        let mut l = Lowering { tensors: &mut tensors, recording: &mut recording, variant };
        augmenter.record(&mut l, 0, image, labels)?;
        recording.check(&tensors.slots, gpu.caps())?;
        let placed = MemoryPlan::new(&tensors.slots, &[&recording]);
        let memory = Memory::new(gpu, &tensors.slots, &placed)?;
        let program = Program::new(gpu, &memory, &recording)?;
        augmenter.upload_source(gpu, &memory, 0, &source.image.image, &source.labels)?;
        Ok(Bench { augmenter, tensors, memory, program, image, labels })
    }

    /// Image C,D,H,W and labels D,H,W of a draw.
    pub(super) fn run(
        &self,
        gpu: &Gpu,
        draw: &Draw,
        place: &Placement,
        dummy_2d: bool,
        mask: bool,
    ) -> Result<(Vec<f32>, Vec<u32>)> {
        let record = record(draw, place, dummy_2d, mask)?;
        self.augmenter.upload_draws(gpu, &self.memory, 0, &[record])?;
        self.program.submit(gpu)?;
        let image = host::download(gpu, &self.memory, &self.tensors, self.image)?;
        let voxels = self.tensors.voxels(self.image) as usize;
        Ok((image, gpu.read(&self.memory, self.labels, 0, voxels)?))
    }
}
