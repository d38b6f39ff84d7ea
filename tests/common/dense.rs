//! Runs norms, losses and optimizers of golden files through the kernels.

use super::{Golden, close, close_sampled, generated};
use asng_wgpu::gpu::{Gpu, Lifetime, Memory, MemoryPlan, Program, Recording, SlotId};
use asng_wgpu::ops::loss::{DiceCrossEntropy, DownsampleLabels, out_elements};
use asng_wgpu::ops::norm::{
    NormActivation, NormActivationBackward, NormStatistics, statistics_slot,
};
use asng_wgpu::ops::optimizer::{GradientNorm, OptimizerStep, Rule, adam_hyper, sgd_hyper};
use asng_wgpu::ops::tensor::{Storage, Tensors, View, host};
use asng_wgpu::ops::{ConvVariant, Lowering, ParamRef};

const KEEP: Lifetime = Lifetime::Persistent;

fn fail(e: asng_wgpu::Error) -> String {
    e.to_string()
}

/// Tensors, a recording, and after `place` the device's memory.
pub struct Bench {
    pub tensors: Tensors,
    pub recording: Recording,
}

impl Bench {
    pub fn new(gpu: &Gpu) -> Bench {
        Bench { tensors: Tensors::new(gpu.caps()), recording: Recording::new() }
    }

    pub fn lowering(&mut self) -> Lowering<'_> {
        let variant = ConvVariant::Simt;
        Lowering { tensors: &mut self.tensors, recording: &mut self.recording, variant }
    }

    pub fn view(&mut self, shape: &[usize]) -> Result<View, String> {
        let [n, c, d, h, w] = shape.iter().map(|&e| e as u32).collect::<Vec<_>>()[..] else {
            return Err("not N,C,D,H,W".into());
        };
        let id = self.tensors.add("t", n, &[c], [d, h, w], Storage::Buffer, KEEP).map_err(fail)?;
        Ok(id.view())
    }

    pub fn flat(&mut self, len: usize) -> ParamRef {
        let bytes = (len as u64 * 4).next_multiple_of(256);
        ParamRef {
            slot: self.tensors.slots.buffer("flat", bytes, KEEP),
            offset: 0,
            len: len as u64,
        }
    }

    pub fn slot(&mut self, bytes: usize) -> SlotId {
        self.tensors.slots.buffer("slot", bytes as u64, KEEP)
    }

    pub fn place(&self, gpu: &Gpu) -> Result<Memory, String> {
        let plan = MemoryPlan::new(&self.tensors.slots, &[&self.recording]);
        Memory::new(gpu, &self.tensors.slots, &plan).map_err(fail)
    }

    pub fn run(&self, gpu: &Gpu, memory: &Memory) -> Result<(), String> {
        Program::new(gpu, memory, &self.recording).and_then(|p| p.submit(gpu)).map_err(fail)
    }
}

/// Instance norm or leaky ReLU; the latter is a norm with statistics (0, 1) that are constants.
pub fn run_norm(golden: &Golden, gpu: &Gpu) -> Result<(), String> {
    let leaky = golden.op == "leaky_relu";
    let (shape, x, gy) = if let Some(x) = golden.tensors.get("x") {
        (x.shape.clone(), x.f32s.clone(), golden.get("gy")?.f32s.clone())
    } else {
        let shape: Vec<usize> = golden.list("x_shape")?.iter().map(|&e| e as usize).collect();
        let make = |name: &str| -> Result<Vec<f32>, String> {
            let seed = golden.params["hash_seed"][name].as_u64().ok_or("no seed")? as u32;
            let scale = golden.params["hash_log2scale"][name].as_i64().ok_or("no scale")? as i32;
            Ok(generated(seed, scale, shape.iter().product()))
        };
        (shape.clone(), make("x")?, make("gy")?)
    };
    let channels = shape[1];
    let mut b = Bench::new(gpu);
    let (z, a, da, dz) = (b.view(&shape)?, b.view(&shape)?, b.view(&shape)?, b.view(&shape)?);
    let (gamma, beta) = (b.flat(channels), b.flat(channels));
    let (dgamma, dbeta) = (b.flat(channels), b.flat(channels));
    let slope = if leaky { 0.01 } else { 1.0 };
    let mut l = b.lowering();
    let stats = statistics_slot(&mut l, z, KEEP);
    if !leaky {
        NormStatistics { z, stats }.lower(&mut l);
    }
    NormActivation { z, stats, gamma, beta, slope, a }.lower(&mut l);
    let frozen = leaky;
    let da2 = None;
    NormActivationBackward { z, stats, gamma, beta, slope, frozen, da, da2, dz, dgamma, dbeta }
        .lower(&mut l);
    let memory = b.place(gpu)?;
    let upload =
        |view, data: &[f32]| host::upload(gpu, &memory, &b.tensors, view, data).map_err(fail);
    upload(z, &x)?;
    upload(da, &gy)?;
    upload(a, &vec![f32::NAN; x.len()])?;
    upload(dz, &vec![f32::NAN; x.len()])?;
    let stored = |name: &str, default: f32| {
        golden.tensors.get(name).map_or(vec![default; channels], |t| t.f32s.clone())
    };
    gpu.write(&memory, gamma.slot, 0, &stored("gamma", 1.0)).map_err(fail)?;
    gpu.write(&memory, beta.slot, 0, &stored("beta", 0.0)).map_err(fail)?;
    if leaky {
        let rows = shape[0] * channels.div_ceil(4);
        let ones: Vec<f32> = (0..rows * 8).map(|i| if i % 8 < 4 { 0.0 } else { 1.0 }).collect();
        gpu.write(&memory, stats, 0, &ones).map_err(fail)?;
    }
    b.run(gpu, &memory)?;
    for (name, view) in [("y", a), ("gx", dz)] {
        let values = host::download(gpu, &memory, &b.tensors, view).map_err(fail)?;
        let tol = golden.tolerance(name)?;
        match golden.tensors.get(name) {
            Some(t) => close(name, &values, &t.f32s, tol)?,
            None => close_sampled(golden, name, tol, &values)?,
        }
    }
    if !leaky {
        for (name, slot) in [("ggamma", dgamma.slot), ("gbeta", dbeta.slot)] {
            let values: Vec<f32> = gpu.read(&memory, slot, 0, channels).map_err(fail)?;
            close(name, &values, &golden.get(name)?.f32s, golden.tolerance(name)?)?;
        }
    }
    Ok(())
}

/// One head of a loss: logits, labels, weight. Gives the output values and the gradient.
fn loss(
    gpu: &Gpu,
    logits: &super::Array,
    labels: &[i32],
    weight: f32,
    batch_dice: bool,
) -> Result<(Vec<f32>, Vec<f32>), String> {
    let classes = logits.shape[1] as u32;
    let mut b = Bench::new(gpu);
    let (view, dlogits) = (b.view(&logits.shape)?, b.view(&logits.shape)?);
    let slot = b.slot(labels.len() * 4);
    let out = b.slot(out_elements(classes) as usize * 4);
    let op = DiceCrossEntropy {
        logits: view,
        labels: slot,
        dlogits: Some(dlogits),
        weight,
        batch_dice,
        out,
        out_offset: 0,
    };
    op.lower(&mut b.lowering());
    let memory = b.place(gpu)?;
    host::upload(gpu, &memory, &b.tensors, view, &logits.f32s).map_err(fail)?;
    gpu.write(&memory, slot, 0, labels).map_err(fail)?;
    b.run(gpu, &memory)?;
    let values = gpu.read(&memory, out, 0, out_elements(classes) as usize).map_err(fail)?;
    Ok((values, host::download(gpu, &memory, &b.tensors, dlogits).map_err(fail)?))
}

pub fn run_loss(golden: &Golden, gpu: &Gpu) -> Result<(), String> {
    let batch_dice = golden.params["batch_dice"].as_bool().ok_or("no batch_dice")?;
    let logits = golden.get("logits")?;
    let labels = &golden.get("target")?.i32s;
    let (values, gradient) = loss(gpu, logits, labels, 1.0, batch_dice)?;
    for (i, name) in ["ce", "dice", "total"].iter().enumerate() {
        close(name, &values[i..=i], &golden.get(name)?.f32s, golden.tolerance(name)?)?;
    }
    close("g_total", &gradient, &golden.get("g_total")?.f32s, golden.tolerance("g_total")?)?;
    let reference: f32 = labels.iter().filter(|&&l| l == 1).count() as f32;
    close("reference voxels of class 1", &[values[7] + values[9]], &[reference], 0.0)
}

pub fn run_deep_supervision(golden: &Golden, gpu: &Gpu) -> Result<(), String> {
    let batch_dice = golden.params["batch_dice"].as_bool().ok_or("no batch_dice")?;
    let weights = golden.get("weights")?.f32s.clone();
    let mut sum = 0.0;
    for (i, &weight) in weights.iter().enumerate() {
        let logits = golden.get(&format!("logits{i}"))?;
        let labels = &golden.get(&format!("target{i}"))?.i32s;
        let (values, gradient) = loss(gpu, logits, labels, weight, batch_dice)?;
        sum += f64::from(values[2]) * f64::from(weight);
        let name = format!("g{i}");
        close(&name, &gradient, &golden.get(&name)?.f32s, golden.tolerance(&name)?)?;
    }
    close("loss", &[sum as f32], &golden.get("loss")?.f32s, golden.tolerance("loss")?)
}

pub fn run_downsample(golden: &Golden, gpu: &Gpu) -> Result<(), String> {
    for i in 0.. {
        let Some(source) = golden.tensors.get(&format!("in{i}")) else { break };
        let target = golden.get(&format!("out{i}"))?;
        let edges = |shape: &[usize]| std::array::from_fn(|a| shape[a] as u32);
        let mut b = Bench::new(gpu);
        let (from, to) = (b.slot(source.i32s.len() * 4), b.slot(target.i32s.len() * 4));
        let (from_shape, to_shape) = (edges(&source.shape), edges(&target.shape));
        DownsampleLabels { from, from_shape, to, to_shape, samples: 1 }.lower(&mut b.lowering());
        let memory = b.place(gpu)?;
        gpu.write(&memory, from, 0, &source.i32s).map_err(fail)?;
        b.run(gpu, &memory)?;
        let got: Vec<i32> = gpu.read(&memory, to, 0, target.i32s.len()).map_err(fail)?;
        if got != target.i32s {
            return Err(format!("out{i} differs"));
        }
    }
    Ok(())
}

pub fn run_optimizer(golden: &Golden, gpu: &Gpu) -> Result<(), String> {
    let adam = golden.op == "adam";
    let number = |key: &str| golden.params[key].as_f64().ok_or(format!("no '{key}'"));
    let amsgrad = golden.params["amsgrad"].as_bool().unwrap_or(false);
    let p0 = &golden.get("p0")?.f32s;
    let (n, steps) = (p0.len(), number("steps")? as usize);
    let mut b = Bench::new(gpu);
    let flat: Vec<SlotId> = (0..6).map(|_| b.flat(n).slot).collect();
    let (parameters, gradient, m, v, vmax, trial) =
        (flat[0], flat[1], flat[2], flat[3], flat[4], flat[5]);
    let (hyper, norm) = (b.slot(32), b.slot(16));
    let ranges = vec![(0, (n as u64).next_multiple_of(64))];
    let rule = if adam {
        Rule::Adam { m, v, vmax: amsgrad.then_some(vmax) }
    } else {
        Rule::Sgd { momentum: m }
    };
    let mut l = b.lowering();
    GradientNorm { gradient, ranges: ranges.clone(), out: norm }.lower(&mut l);
    let step =
        OptimizerStep { rule, parameters, gradient, ranges, hyper, norm, trial: Some(trial) };
    step.lower(&mut l);
    OptimizerStep { trial: None, ..step }.lower(&mut l);
    let memory = b.place(gpu)?;
    gpu.write(&memory, parameters, 0, p0).map_err(fail)?;
    let grads = &golden.get("grads")?.f32s;
    let after = &golden.get("p_after")?.f32s;
    let (lr, wd) = (number("lr")?, number("weight_decay")?);
    let program = Program::new(gpu, &memory, &b.recording).map_err(fail)?;
    for t in 1..=steps {
        let run = (t - 1) * n..t * n;
        gpu.write(&memory, gradient, 0, &grads[run.clone()]).map_err(fail)?;
        let values = if adam {
            adam_hyper(lr, wd, 0.0, t as u64)
        } else {
            sgd_hyper(lr, wd, number("momentum")?, 0.0, t as u64)
        };
        gpu.write(&memory, hyper, 0, &values).map_err(fail)?;
        program.submit(gpu).map_err(fail)?;
        for slot in [trial, parameters] {
            let got: Vec<f32> = gpu.read(&memory, slot, 0, n).map_err(fail)?;
            close(
                &format!("p_after[{t}]"),
                &got,
                &after[run.clone()],
                golden.tolerance("p_after")?,
            )?;
        }
        let length: Vec<f32> = gpu.read(&memory, norm, 0, 1).map_err(fail)?;
        let expected = grads[run].iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        close("norm", &length, &[expected as f32], 1e-5)?;
    }
    for (name, slot) in [("m", m), ("v", v), ("vmax", vmax), ("buf", m)] {
        if let Some(reference) = golden.tensors.get(name) {
            let got: Vec<f32> = gpu.read(&memory, slot, 0, n).map_err(fail)?;
            close(name, &got, &reference.f32s, golden.tolerance(name)?)?;
        }
    }
    Ok(())
}
