//! Trains the reference networks of golden files through the kernels.

use super::bench::KEEP;
use super::{Golden, Outcome, all, close, nothing, text};
use asng_wgpu::gpu::{Gpu, Memory, MemoryPlan, Program, Recording, SlotId};
use asng_wgpu::nn::heads::Heads;
use asng_wgpu::nn::plan::NetworkPlan;
use asng_wgpu::nn::step::{Batch, LossPlan, Optimizer, TrainingState, record_step};
use asng_wgpu::nn::unet::UNet;
use asng_wgpu::ops::optimizer::{Rule, adam_hyper, sgd_hyper};
use asng_wgpu::ops::stage::Stage;
use asng_wgpu::ops::tensor::{Storage, Tensors, View, host};
use asng_wgpu::ops::{ConvVariant, Lowering};

/// The plan that a golden file of a network describes.
pub fn plan(golden: &Golden) -> Result<NetworkPlan, String> {
    let number = |key: &str| {
        golden.params[key].as_u64().map(|v| v as u32).ok_or(format!("no '{key}' in params"))
    };
    let edges = |key: &str| -> Result<Vec<[u32; 3]>, String> {
        serde_json::from_value(golden.params[key].clone()).map_err(|e| format!("'{key}': {e}"))
    };
    Ok(NetworkPlan {
        in_channels: number("in_ch")?,
        classes: number("classes")?,
        heads: Heads::Softmax,
        base_features: number("base")?,
        patch: golden.triple("patch")?,
        batch: number("batch")?,
        accumulate: false,
        pools: edges("pools")?,
        kernels: edges("kernels")?,
    })
}

/// Parameters of a network under their names in a golden file, flat as the engine has them.
pub fn weights(golden: &Golden, net: &UNet, prefix: &str) -> Result<Vec<f32>, String> {
    let mut flat = vec![0f32; net.parameters.elements() as usize];
    for parameter in net.parameters.iter() {
        let array = golden.get(&format!("{prefix}{}", parameter.name))?;
        let shape: Vec<u32> = array.shape.iter().map(|&e| e as u32).collect();
        if shape != parameter.shape {
            return Err(format!(
                "'{}' is {:?}, the file has {shape:?}",
                parameter.name, parameter.shape
            ));
        }
        flat[parameter.offset as usize..][..array.f32s.len()].copy_from_slice(&array.f32s);
    }
    Ok(flat)
}

/// All heads' logits, copied to where they stay.
fn record_logits(
    tensors: &mut Tensors,
    variant: ConvVariant,
    net: &UNet,
    parameters: SlotId,
    image: View,
) -> Result<(Recording, Vec<View>), String> {
    let mut recording = Recording::new();
    let mut l = Lowering { tensors, recording: &mut recording, variant };
    let heads = vec![true; net.plan.pools.len()];
    let activations = net.forward(&mut l, parameters, image, &heads).map_err(text)?;
    let mut kept = Vec::new();
    for &from in &activations.logits {
        let (samples, edges) = (l.tensors.of(from).samples, l.tensors.of(from).spatial);
        let classes = [net.plan.classes];
        let to = l.tensors.add("kept logits", samples, &classes, edges, Storage::Buffer, KEEP);
        let to = to.map_err(text)?.view();
        Stage { from, to }.lower(&mut l);
        kept.push(to);
    }
    Ok((recording, kept))
}

pub fn run(golden: &Golden, gpu: &Gpu, variant: ConvVariant) -> Outcome {
    if let Some(what) = golden.differs("smooth", 1e-5).or(golden.differs("do_bg", false)) {
        return nothing(what);
    }
    let plan = plan(golden)?;
    let opt = &golden.params["opt"];
    let adam = opt["kind"] == "adam";
    let value = |key: &str| opt[key].as_f64().ok_or(format!("no '{key}' in params.opt"));
    let (lr, wd) = (value("lr")?, value("wd")?);
    let net = UNet::new(plan.clone());
    let mut tensors = Tensors::new(gpu.caps());
    let optimizer = if adam { Optimizer::Adam } else { Optimizer::Sgd };
    let mut state = TrainingState::new(&mut tensors, &net, optimizer);
    if let Rule::Adam { vmax, .. } = &mut state.rule
        && opt["amsgrad"] == false
    {
        *vmax = None;
    }
    let image = tensors
        .add("image", plan.batch, &[plan.in_channels], plan.patch, Storage::Buffer, KEEP)
        .map_err(text)?
        .view();
    let labels = &golden.get("target0")?.i32s;
    let label_slot = tensors.slots.buffer("labels", labels.len() as u64 * 4, KEEP);
    let head_weights: Vec<f32> =
        serde_json::from_value(golden.params["head_weights"].clone()).map_err(text)?;
    let loss = LossPlan { head_weights, batch_dice: golden.flag("batch_dice")? };
    let batch = Batch { image, labels: label_slot };
    let (recording, losses) =
        record_step(&mut tensors, variant, &net, &state, batch, &loss, 0).map_err(text)?;
    let (forward, logits) = record_logits(&mut tensors, variant, &net, state.parameters, image)?;
    let memory_plan = MemoryPlan::new(&tensors.slots, &[&recording, &forward]);
    let memory = Memory::new(gpu, &tensors.slots, &memory_plan).map_err(text)?;
    host::upload(gpu, &memory, &tensors, image, &golden.get("x")?.f32s).map_err(text)?;
    gpu.write(&memory, label_slot, 0, labels).map_err(text)?;
    let before = weights(golden, &net, "w.")?;
    gpu.write(&memory, state.parameters, 0, &before).map_err(text)?;
    let flat = |slot| -> Result<Vec<f32>, String> {
        gpu.read(&memory, slot, 0, net.parameters.elements() as usize).map_err(text)
    };
    let program = Program::new(gpu, &memory, &recording).map_err(text)?;
    let forward = Program::new(gpu, &memory, &forward).map_err(text)?;
    let head = |level: usize| -> Result<Vec<f32>, String> {
        forward.submit(gpu).map_err(text)?;
        host::download(gpu, &memory, &tensors, logits[level]).map_err(text)
    };
    for level in 0..logits.len() {
        let name = format!("logits{level}");
        if golden.has(&name) {
            let array = golden.get(&name)?;
            let tol = golden.tolerance(&name).or(golden.tolerance("logits"))?;
            super::close_shaped(&name, &head(level)?, &array.f32s, tol, &array.shape)?;
        }
    }
    let expected = &golden.get("losses")?.f32s;
    let steps = expected.len() - 1;
    for (k, wanted) in expected.iter().enumerate() {
        let t = k as u64 + 1;
        let hyper = if adam {
            adam_hyper(lr, wd, 0.0, t)
        } else {
            sgd_hyper(lr, wd, value("nesterov_momentum")?, 0.0, t)
        };
        gpu.write(&memory, state.hyper, 0, &hyper).map_err(text)?;
        if k == steps {
            let name = format!("logits0_after{steps}");
            if golden.has(&name) {
                golden.check(&name, &head(0)?)?;
            }
            updates(golden, &net, steps, &before, &flat(state.parameters)?)?;
        }
        program.submit(gpu).map_err(text)?;
        let values: Vec<f32> = gpu.read(&memory, losses.slot, 0, losses.len()).map_err(text)?;
        // The losses after the first steps carry the optimizer's amplification of rounding.
        let tol = if k == 0 { golden.tolerance("losses")? } else { 1e-3 };
        close(&format!("losses[{k}]"), &[losses.total(&values) as f32], &[*wanted], tol)?;
        if k == 0 {
            gradients(golden, &net, &flat(state.gradient)?)?;
        }
    }
    all()
}

/// Gradients of the first step, each relative to its own largest value; those of a bias in front
/// of a norm are 0 but for noise.
fn gradients(golden: &Golden, net: &UNet, flat: &[f32]) -> Result<(), String> {
    let tol = golden.tolerance("grad(no conv.bias)")?;
    let noise = golden.tolerance("grad conv.bias (absolute)")?;
    for parameter in net.parameters.iter() {
        let name = format!("grad.{}", parameter.name);
        let array = golden.get(&name)?;
        let got = &flat[parameter.offset as usize..][..parameter.len() as usize];
        if parameter.name.ends_with("conv.bias") {
            let off = got.iter().zip(&array.f32s).map(|(a, b)| (a - b).abs());
            let worst = off.fold(0.0, |m: f32, v| if v.is_nan() { v } else { m.max(v) });
            if worst.is_nan() || f64::from(worst) > noise {
                return Err(format!("{name}: off by {worst}"));
            }
        } else {
            super::close_shaped(&name, got, &array.f32s, tol, &array.shape)?;
        }
    }
    Ok(())
}

/// `mean |after - reference| / mean |reference - before|` over all parameters.
fn updates(
    golden: &Golden,
    net: &UNet,
    steps: usize,
    before: &[f32],
    after: &[f32],
) -> Result<(), String> {
    let reference = weights(golden, net, &format!("after{steps}."))?;
    let mean =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from((x - y).abs())).sum::<f64>();
    let ratio = mean(after, &reference) / mean(&reference, before);
    let bound = golden.tolerance(&format!("after{steps}_update_ratio"))?;
    if ratio.is_nan() || ratio > bound {
        return Err(format!("update ratio {ratio:.4}, allowed {bound}"));
    }
    Ok(())
}
