//! Sliding window weights and predictions of golden files.

use super::{Golden, close, golden_folder};
use asng_wgpu::gpu::Gpu;
use asng_wgpu::infer::predictor::{Predictor, WindowOptions, argmax};
use asng_wgpu::infer::window::{gaussian, tile_starts};
use asng_wgpu::nn::plan::NetworkPlan;
use asng_wgpu::nn::unet::UNet;
use asng_wgpu::ops::ConvVariant;

pub fn run_weights(golden: &Golden) -> Result<(), String> {
    for i in 0.. {
        let Some(reference) = golden.tensors.get(&format!("gauss{i}")) else { break };
        let patch = golden.triple(&format!("patch{i}"))?.map(|e| e as usize);
        let name = format!("gauss{i}");
        close(&name, &gaussian(patch), &reference.f32s, golden.tolerance(&name)?)?;
    }
    for case in golden.params["steps"].as_array().ok_or("no steps")? {
        let number = |key: &str, axis: usize| case[key][axis].as_u64().unwrap_or(0) as usize;
        for axis in 0..3 {
            let step = case["step"].as_f64().ok_or("no step")?;
            let got = tile_starts(number("image", axis), number("patch", axis), step);
            let expected: Vec<usize> =
                serde_json::from_value(case["starts"][axis].clone()).map_err(|e| e.to_string())?;
            if got != expected {
                return Err(format!("starts {got:?} instead of {expected:?}"));
            }
        }
    }
    Ok(())
}

pub fn run_prediction(golden: &Golden, gpu: &Gpu, variant: ConvVariant) -> Result<(), String> {
    let fail = |e: asng_wgpu::Error| e.to_string();
    let source = golden.params["weights_from"].as_str().ok_or("no weights_from")?;
    let file = source.split_whitespace().next().ok_or("no file")?;
    let network = Golden::load(&golden_folder().join(file))?;
    let number = |key: &str| network.params[key].as_u64().unwrap_or(0) as u32;
    let json = |e: serde_json::Error| e.to_string();
    let plan = NetworkPlan {
        in_channels: number("in_ch"),
        classes: number("classes"),
        base_features: number("base"),
        patch: golden.triple("patch")?,
        batch: 1,
        pools: serde_json::from_value(network.params["pools"].clone()).map_err(json)?,
        kernels: serde_json::from_value(network.params["kernels"].clone()).map_err(json)?,
    };
    let classes = plan.classes as usize;
    let net = UNet::new(plan);
    let mut weights = vec![0f32; net.parameters.elements() as usize];
    for parameter in net.parameters.iter() {
        let values = &network.get(&format!("w.{}", parameter.name))?.f32s;
        let start = parameter.offset as usize;
        weights[start..start + values.len()].copy_from_slice(values);
    }
    let predictor = Predictor::new(gpu, net, &weights, variant).map_err(fail)?;
    let x = golden.get("x")?;
    let shape = [x.shape[1], x.shape[2], x.shape[3]];
    let step = golden.params["step_size"].as_f64().ok_or("no step_size")?;
    for mirror in [false, true] {
        let options = WindowOptions { step, mirror };
        let got = predictor.probabilities(gpu, &x.f32s, shape, options).map_err(fail)?;
        let tol = golden.tolerance("prob")?;
        if mirror {
            super::close_sampled(golden, "prob_mirror", tol, &got)?;
        } else {
            close("prob", &got, &golden.get("prob")?.f32s, tol)?;
        }
        let labels = argmax(&got, classes);
        let reference = &golden.get(if mirror { "seg_mirror" } else { "seg" })?.i32s;
        let voxels = labels.len();
        for v in 0..voxels {
            let mut values: Vec<f32> = (0..classes).map(|c| got[c * voxels + v]).collect();
            values.sort_by(|a, b| b.total_cmp(a));
            if values[0] - values[1] > 1e-3 && i32::from(labels[v]) != reference[v] {
                return Err(format!("label of voxel {v} differs (mirror {mirror})"));
            }
        }
    }
    Ok(())
}
