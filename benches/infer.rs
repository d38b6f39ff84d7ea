//! Prediction: the sliding window, and what the host does before and after it.

mod common;

use asng_wgpu::data::Axes;
use asng_wgpu::data::resample::{Interpolation, resample_image, resample_labels, resampled_shape};
use asng_wgpu::gpu::Gpu;
use asng_wgpu::infer::predictor::{Predictor, WindowOptions};
use asng_wgpu::nn::plan::NetworkPlan;
use asng_wgpu::nn::unet::UNet;
use asng_wgpu::ops::ConvVariant;
use common::{Against, Bench, Result};

/// D, H, W of the volume that is predicted.
const VOLUME: [usize; 3] = [128, 160, 160];
const PATCH: [u32; 3] = [64; 3];

fn window(bench: &mut Bench, mirror: bool) -> Result<()> {
    let flips = if mirror { 8 } else { 1 };
    let [d, h, w] = VOLUME;
    let case = format!("sliding window {w}x{h}x{d} patch 64 f8 l4, {flips} flips");
    if !bench.wants(&case) {
        return Ok(());
    }
    let variant = ConvVariant::available(bench.gpu.caps())[0];
    let plan = NetworkPlan::from_spacing(1, 3, 8, PATCH, 1, [1.0; 3], 4);
    let net = UNet::new(plan);
    let weights = net.parameters.initial(1);
    let predictor = Predictor::new(&bench.gpu, net, &weights, variant)?;
    let image: Vec<f32> = (0..d * h * w).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect();
    let axes = if mirror { Axes::ALL } else { Axes::NONE };
    let options = WindowOptions { step: 0.5, mirror: axes };
    let flops = predictor.flops() * (predictor.tiles(VOLUME, 0.5) * flips) as u64;
    let mut run = |gpu: &Gpu| predictor.probabilities(gpu, &image, VOLUME, options).map(|_| ());
    let rounds = if mirror || bench.quick { 1 } else { 3 };
    bench.work(&case, Against::MultiplyAdd, flops, rounds, &mut run).map(|_| ())
}

/// A case of four channels onto another spacing, as preprocessing does.
fn resampling(bench: &mut Bench) -> Result<()> {
    let from = [155, 240, 240];
    let to = resampled_shape(from, [1.0; 3], [0.8, 0.9, 0.9]);
    let voxels: usize = from.iter().product();
    let made: usize = to.iter().product();
    let image: Vec<f32> = (0..4 * voxels).map(|i| (i % 4093) as f32).collect();
    let labels: Vec<u8> = (0..voxels).map(|i| (i / 4001 % 4) as u8).collect();
    let rounds = if bench.quick { 1 } else { 3 };
    let bytes = 16 * (voxels + made) as u64;
    let case = "resample cubic 4x155x240x240 to 4x194x267x267";
    if bench.wants(case) {
        bench.work(case, Against::Copy, bytes, rounds, &mut |_| {
            std::hint::black_box(resample_image(&image, from, to, Interpolation::Cubic, None));
            Ok(())
        })?;
    }
    let case = "resample labels 155x240x240 to 194x267x267";
    if bench.wants(case) {
        bench.work(case, Against::Copy, (voxels + made) as u64, rounds, &mut |_| {
            std::hint::black_box(resample_labels(&labels, from, to, None));
            Ok(())
        })?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let mut bench = Bench::start("infer")?;
    window(&mut bench, false)?;
    if !bench.quick {
        window(&mut bench, true)?;
    }
    resampling(&mut bench)
}
