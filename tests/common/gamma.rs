//! Runs gamma through the kernels.

use super::bench::{Bench, KEEP};
use super::{Golden, Outcome, close_shaped, except, nothing, text};
use asng_wgpu::gpu::Gpu;
use asng_wgpu::ops::gamma::Gamma;
use asng_wgpu::ops::tensor::{Storage, host};
use asng_wgpu::ops::warp::{MAX_CHANNELS, Placement, WarpRecord};
use asng_wgpu::reference;

/// Gamma on one sample, C,D,H,W.
pub fn gamma(
    gpu: &Gpu,
    record: WarpRecord,
    image: &[f32],
    channels: u32,
    shape: [u32; 3],
) -> Result<Vec<f32>, String> {
    let mut bench = Bench::new(gpu);
    let draws = bench.slot(size_of::<WarpRecord>());
    let view = bench
        .tensors
        .add("image", 1, &[channels], shape, Storage::Buffer, KEEP)
        .map_err(text)?
        .view();
    Gamma { draws, sample: 0, image: view }.lower(&mut bench.lowering()).map_err(text)?;
    let (memory, program) = bench.ready(gpu)?;
    gpu.write(&memory, draws, 0, &[record]).map_err(text)?;
    host::upload(gpu, &memory, &bench.tensors, view, image).map_err(text)?;
    program.submit(gpu).map_err(text)?;
    host::download(gpu, &memory, &bench.tensors, view).map_err(text)
}

/// A golden file, by kernel and twin: per channel, statistics retained, not inverted.
pub fn run_golden(g: &Golden, gpu: &Gpu) -> Outcome {
    if let Some(what) = g.differs("epsilon", 1e-7) {
        return nothing(what);
    }
    let (shape, x) = (g.edges("x")?, &g.get("x")?.f32s);
    let voxels = shape.iter().product::<u32>() as usize;
    let channels = x.len() / voxels;
    if channels > MAX_CHANNELS {
        return nothing(format!("{channels} channels (the engine augments up to {MAX_CHANNELS})"));
    }
    let exponents: Vec<f64> = serde_json::from_value(g.params["gammas"].clone()).map_err(text)?;
    let mut done = Vec::new();
    for (i, &exponent) in exponents.iter().enumerate() {
        let key = format!("g{i}_inv0_pc1_rs1");
        if !g.has(&key) {
            continue;
        }
        let record = WarpRecord::copy(&Placement::whole(shape, [0; 3], shape))
            .gamma(&vec![exponent; channels], false)
            .map_err(text)?;
        g.check(&key, &gamma(gpu, record, x, channels as u32, shape)?)?;
        let mut twin = Vec::new();
        for channel in x.chunks_exact(voxels) {
            let wide: Vec<f64> = channel.iter().map(|&v| f64::from(v)).collect();
            twin.extend(reference::gamma::gamma(&wide, exponent).iter().map(|&v| v as f32));
        }
        let array = g.get(&key)?;
        close_shaped(&format!("{key} (twin)"), &twin, &array.f32s, 1e-6, &array.shape)?;
        done.push(key);
    }
    if done.is_empty() {
        return Err("no tensor 'g0_inv0_pc1_rs1' or of another exponent".into());
    }
    let others = g.names("g").into_iter().filter(|n| !done.contains(n));
    except(others.map(|n| format!("{n} (the engine's gamma: inv0 pc1 rs1)")).collect())
}
