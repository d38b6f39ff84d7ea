//! Trains the reference networks of golden files for three steps through the kernels.

use super::{Golden, close};
use asng_wgpu::gpu::{Gpu, Lifetime, Memory, MemoryPlan, Program};
use asng_wgpu::nn::plan::NetworkPlan;
use asng_wgpu::nn::step::{Batch, LossPlan, Optimizer, TrainingState, record_step};
use asng_wgpu::nn::unet::UNet;
use asng_wgpu::ops::ConvVariant;
use asng_wgpu::ops::optimizer::{adam_hyper, sgd_hyper};
use asng_wgpu::ops::tensor::{Storage, Tensors, host};

pub fn run(golden: &Golden, gpu: &Gpu, variant: ConvVariant) -> Result<(), String> {
    let fail = |e: asng_wgpu::Error| e.to_string();
    let parse = |key: &str| golden.params[key].clone();
    let json = |e: serde_json::Error| e.to_string();
    let number =
        |key: &str| golden.params[key].as_u64().map(|v| v as u32).ok_or(format!("no {key}"));
    let plan = NetworkPlan {
        in_channels: number("in_ch")?,
        classes: number("classes")?,
        base_features: number("base")?,
        patch: golden.triple("patch")?,
        batch: number("batch")?,
        pools: serde_json::from_value(parse("pools")).map_err(json)?,
        kernels: serde_json::from_value(parse("kernels")).map_err(json)?,
    };
    let opt = &golden.params["opt"];
    let adam = opt["kind"] == "adam";
    let value = |key: &str| opt[key].as_f64().ok_or(format!("no {key}"));
    let (lr, wd) = (value("lr")?, value("wd")?);
    let net = UNet::new(plan.clone());
    let mut tensors = Tensors::new(gpu.caps());
    let optimizer = if adam { Optimizer::Adam } else { Optimizer::Sgd };
    let state = TrainingState::new(&mut tensors, &net, optimizer);
    let (buffer, keep) = (Storage::Buffer, Lifetime::Persistent);
    let image = tensors
        .add("image", plan.batch, &[plan.in_channels], plan.patch, buffer, keep)
        .map_err(fail)?
        .view();
    let labels = &golden.get("target0")?.i32s;
    let label_slot = tensors.slots.buffer("labels", labels.len() as u64 * 4, keep);
    let loss = LossPlan {
        head_weights: serde_json::from_value(parse("head_weights")).map_err(json)?,
        batch_dice: golden.params["batch_dice"].as_bool().unwrap_or(false),
    };
    let batch = Batch { image, labels: label_slot };
    let (recording, losses) =
        record_step(&mut tensors, variant, &net, &state, batch, &loss).map_err(fail)?;
    let memory_plan = MemoryPlan::new(&tensors.slots, &[&recording]);
    let memory = Memory::new(gpu, &tensors.slots, &memory_plan).map_err(fail)?;
    host::upload(gpu, &memory, &tensors, image, &golden.get("x")?.f32s).map_err(fail)?;
    gpu.write(&memory, label_slot, 0, labels).map_err(fail)?;
    for parameter in net.parameters.iter() {
        let values = golden.get(&format!("w.{}", parameter.name))?;
        let shape: Vec<u32> = values.shape.iter().map(|&e| e as u32).collect();
        if shape != parameter.shape {
            return Err(format!("'{}' has shape {:?}", parameter.name, parameter.shape));
        }
        gpu.write(&memory, state.parameters, parameter.offset * 4, &values.f32s).map_err(fail)?;
    }
    let flat = |slot| -> Result<Vec<f32>, String> {
        gpu.read(&memory, slot, 0, net.parameters.elements() as usize).map_err(fail)
    };
    let before = flat(state.parameters)?;
    let program = Program::new(gpu, &memory, &recording).map_err(fail)?;
    let expected = &golden.get("losses")?.f32s;
    for t in 1..=4u64 {
        let hyper = if adam {
            adam_hyper(lr, wd, 0.0, t)
        } else {
            sgd_hyper(lr, wd, value("nesterov_momentum")?, 0.0, t)
        };
        gpu.write(&memory, state.hyper, 0, &hyper).map_err(fail)?;
        let after = if t == 4 { Some(flat(state.parameters)?) } else { None };
        program.submit(gpu).map_err(fail)?;
        let values: Vec<f32> = gpu.read(&memory, losses.slot, 0, losses.len()).map_err(fail)?;
        let total = [losses.total(&values) as f32];
        let k = t as usize - 1;
        // The losses after the first steps carry the optimizer's amplification of rounding.
        let tol = if k == 0 { golden.tolerance("losses")? } else { 1e-3 };
        close(&format!("losses[{k}]"), &total, &expected[k..=k], tol)?;
        if t == 1 {
            gradients(golden, &net, &flat(state.gradient)?)?;
        }
        if let Some(after) = after {
            updates(golden, &net, &before, &after)?;
        }
    }
    Ok(())
}

/// Gradients of the first step, each relative to its own largest value; those in front of a norm
/// are 0 but for noise.
fn gradients(golden: &Golden, net: &UNet, flat: &[f32]) -> Result<(), String> {
    for parameter in net.parameters.iter() {
        let name = format!("grad.{}", parameter.name);
        let reference = &golden.get(&name)?.f32s;
        let got = &flat[parameter.offset as usize..(parameter.offset + parameter.len()) as usize];
        if parameter.name.ends_with("conv.bias") {
            let worst = got.iter().zip(reference).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            if worst.is_nan() || worst > 1e-6 {
                return Err(format!("{name}: off by {worst}"));
            }
        } else {
            close(&name, got, reference, 0.002)?;
        }
    }
    Ok(())
}

/// `mean |after - reference| / mean |reference - before|` over all parameters.
fn updates(golden: &Golden, net: &UNet, before: &[f32], after: &[f32]) -> Result<(), String> {
    let (mut error, mut moved) = (0f64, 0f64);
    for parameter in net.parameters.iter() {
        let reference = &golden.get(&format!("after3.{}", parameter.name))?.f32s;
        for (i, &r) in reference.iter().enumerate() {
            let at = parameter.offset as usize + i;
            error += f64::from((after[at] - r).abs());
            moved += f64::from((r - before[at]).abs());
        }
    }
    let (ratio, bound) = (error / moved, golden.tolerance("after3_update_ratio")?);
    if ratio.is_nan() || ratio > bound {
        return Err(format!("update ratio {ratio:.4}, allowed {bound}"));
    }
    println!("{}: update ratio {ratio:.5}", golden.name);
    Ok(())
}
