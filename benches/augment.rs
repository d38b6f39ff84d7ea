//! Augmentation with everything on: elastic, rotation and scale in one warp, gamma.

mod common;

use asng_wgpu::augment::batch::{Augmenter, AugmenterSpec};
use asng_wgpu::gpu::Lifetime;
use asng_wgpu::ops::tensor::Storage;
use asng_wgpu::ops::warp::{ImageInterpolation, Interpolation, Placement, WarpRecord};
use common::{Against, Bench, Result, Rig};

fn row(bench: &mut Bench, edge: u32, image: ImageInterpolation) -> Result<()> {
    let interpolation = Interpolation { image, ..Interpolation::default() };
    let kind = if image == ImageInterpolation::Cubic { " cubic" } else { "" };
    let case = format!("augment all{kind} {edge}x{edge}x{edge}");
    if !bench.wants(&case) {
        return Ok(());
    }
    let patch = [edge; 3];
    // What rotation and displacement reach around the patch.
    let source = [edge * 3 / 2; 3];
    let capacity = source.iter().map(|&e| u64::from(e)).product();
    let spec =
        AugmenterSpec { batch: 1, channels: 1, patch, capacity, candidates: 1, interpolation };
    let mut rig = Rig::new(&bench.gpu);
    let augmenter = Augmenter::new(&mut rig.tensors, spec)?;
    let image = rig.output(1, &[1], patch, Storage::Buffer)?;
    let voxels = u64::from(edge).pow(3);
    let labels = rig.tensors.slots.buffer("labels", voxels * 4, Lifetime::Persistent);
    augmenter.record(&mut rig.lowering(), 0, image, labels)?;
    let ready = rig.ready(&bench.gpu)?;
    let values: Vec<f32> = (0..capacity as u32).map(|i| (i % 251) as f32 * 0.01).collect();
    let classes: Vec<u32> = (0..capacity as u32).map(|i| i / 97 % 3).collect();
    let record = WarpRecord::copy(&Placement::whole(source, [edge as i32 / 4; 3], patch))
        .affine([[0.9, 0.2, 0.0], [-0.2, 0.9, 0.1], [0.0, -0.1, 0.9]])
        .elastic(450.0, 11.0, 7, false)?
        .gamma(&[1.2], false)?;
    augmenter.upload_source(&bench.gpu, &ready.memory, 0, &values, &classes)?;
    augmenter.upload_draws(&bench.gpu, &ready.memory, 0, &[record])?;
    bench.row(&case, Against::Copy, &ready).map(|_| ())
}

fn main() -> Result<()> {
    let mut bench = Bench::start("augment")?;
    for image in [ImageInterpolation::Linear, ImageInterpolation::Cubic] {
        row(&mut bench, 64, image)?;
        if !bench.quick {
            row(&mut bench, 128, image)?;
        }
    }
    Ok(())
}
