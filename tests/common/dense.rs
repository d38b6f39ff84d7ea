//! Runs norms, losses and optimizers through the kernels.

use super::bench::{Bench, KEEP};
use super::fence::{self, Fenced};
use super::{
    Array, Golden, Outcome, all, close, close_sampled, except, generated_input, last3, nothing,
    text,
};
use asng_wgpu::gpu::{Caps, Gpu, Memory, MemoryPlan, Program, Recording};
use asng_wgpu::nn::heads::{Heads, IGNORE};
use asng_wgpu::ops::ConvVariant;
use asng_wgpu::ops::loss::{Channels, DiceCrossEntropy, DownsampleLabels, out_elements};
use asng_wgpu::ops::norm::{
    NormActivation, NormActivationBackward, NormStatistics, NormSums, SegmentNorm, statistics_slot,
};
use asng_wgpu::ops::optimizer::{GradientNorm, OptimizerStep, Ranges, Rule, adam_hyper, sgd_hyper};
use asng_wgpu::ops::tensor::{Storage, host};
use asng_wgpu::reference::loss as twin;

/// One instance norm with activation, and the gradients on its output.
pub struct NormCase {
    /// N,C,D,H,W.
    pub shape: [usize; 5],
    pub z: Vec<f32>,
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
    pub slope: f32,
    pub da: Vec<f32>,
    pub da2: Option<Vec<f32>>,
    /// Statistics are the constants 0 and 1: what is left is the activation.
    pub frozen: bool,
}

/// What the kernels gave.
pub struct NormResults {
    pub a: Vec<f32>,
    pub dz: Vec<f32>,
    pub dgamma: Vec<f32>,
    pub dbeta: Vec<f32>,
}

/// Forward and backward of a case, on a device of (perhaps reduced) limits, outputs in `storage`.
pub fn norm(
    gpu: &Gpu,
    caps: &Caps,
    case: &NormCase,
    storage: Storage,
) -> Result<NormResults, String> {
    let [n, c, d, h, w] = case.shape;
    let edges = [d, h, w].map(|e| e as u32);
    let mut b = Bench::of(caps, ConvVariant::Simt);
    let (z, da) = (b.view(&case.shape)?, b.view(&case.shape)?);
    let da2 = case.da2.as_ref().map(|_| b.view(&case.shape)).transpose()?;
    let a = Fenced::add(&mut b, n as u32, c as u32, edges, storage)?;
    let dz = Fenced::add(&mut b, n as u32, c as u32, edges, storage)?;
    let (gamma, beta) = (b.flat(c), b.flat(c));
    let (dgamma, dbeta) = (fence::flat(&mut b, c), fence::flat(&mut b, c));
    let (slope, frozen) = (case.slope, case.frozen);
    let mut l = b.lowering();
    let stats = statistics_slot(&mut l, z, KEEP);
    let norm = SegmentNorm { stats, gamma, beta, slope };
    let sums = statistics_slot(&mut l, z, KEEP);
    let of = NormSums { z, norm, sums, dgamma, dbeta };
    [a, dz].iter().for_each(|f| f.before(&mut l));
    if !frozen {
        NormStatistics { z, stats }.lower(&mut l);
    }
    NormActivation { z, norm, a: a.view() }.lower(&mut l).map_err(text)?;
    let summed = false;
    NormActivationBackward { of, summed, frozen, da, da2, dz: dz.view() }
        .lower(&mut l)
        .map_err(text)?;
    [a, dz].iter().for_each(|f| f.after(&mut l));
    let memory = b.place(gpu)?;
    let upload =
        |view, data: &[f32]| host::upload(gpu, &memory, &b.tensors, view, data).map_err(text);
    upload(z, &case.z)?;
    upload(da, &case.da)?;
    if let (Some(view), Some(values)) = (da2, &case.da2) {
        upload(view, values)?;
    }
    gpu.write(&memory, gamma.slot, 0, &case.gamma).map_err(text)?;
    gpu.write(&memory, beta.slot, 0, &case.beta).map_err(text)?;
    let rows = n * c.div_ceil(4);
    let fixed = |i: usize| if i % 8 < 4 { 0.0 } else { 1.0 };
    let values: Vec<f32> =
        (0..rows * 8).map(|i| if frozen { fixed(i) } else { f32::NAN }).collect();
    gpu.write(&memory, stats, 0, &values).map_err(text)?;
    a.poison(gpu, &memory, &b)?;
    dz.poison(gpu, &memory, &b)?;
    for at in [dgamma, dbeta] {
        fence::poison_flat(gpu, &memory, at, &vec![f32::NAN; c])?;
    }
    b.run(gpu, &memory)?;
    Ok(NormResults {
        a: a.take(gpu, &memory, &b).map_err(|e| format!("y: {e}"))?,
        dz: dz.take(gpu, &memory, &b).map_err(|e| format!("gx: {e}"))?,
        dgamma: fence::take_flat(gpu, &memory, dgamma).map_err(|e| format!("ggamma: {e}"))?,
        dbeta: fence::take_flat(gpu, &memory, dbeta).map_err(|e| format!("gbeta: {e}"))?,
    })
}

/// A golden file of instance norm or leaky ReLU; the latter is a norm with statistics (0, 1) that
/// are constants.
pub fn run_norm(golden: &Golden, gpu: &Gpu) -> Outcome {
    if let Some(what) = golden.differs("eps", 1e-5) {
        return nothing(what);
    }
    let frozen = golden.op.starts_with("leaky_relu");
    let (shape, z, da) = if golden.has("x") {
        let (x, gy) = (golden.get("x")?, golden.get("gy")?);
        (x.shape.clone(), x.f32s.clone(), gy.f32s.clone())
    } else {
        let shape: Vec<usize> = golden.list("x_shape")?.iter().map(|&e| e as usize).collect();
        let count = shape.iter().product();
        let input = |name: &str| generated_input(golden, name, count);
        (shape.clone(), input("x")?, input("gy")?)
    };
    let shape: [usize; 5] = match shape.try_into() {
        Ok(shape) => shape,
        Err(_) if frozen => [1, 1, 1, 1, z.len()],
        Err(other) => return Err(format!("{other:?} is not N,C,D,H,W")),
    };
    let stored = |name: &str, default: f32| {
        golden.find(name).map_or(vec![default; shape[1]], |t| t.f32s.clone())
    };
    let (gamma, beta) = (stored("gamma", 1.0), stored("beta", 0.0));
    let slope = if frozen { golden.number("negative_slope")? as f32 } else { 1.0 };
    let case = NormCase { shape, z, gamma, beta, slope, da, da2: None, frozen };
    let got = norm(gpu, gpu.caps(), &case, Storage::Buffer)?;
    for (name, values) in [("y", &got.a), ("gx", &got.dz)] {
        if golden.has(name) {
            golden.check(name, values)?;
        } else {
            close_sampled(golden, name, golden.tolerance(name)?, values)?;
        }
    }
    for (name, values) in [("ggamma", &got.dgamma), ("gbeta", &got.dbeta)] {
        if golden.has(name) {
            golden.check(name, values)?;
        }
    }
    all()
}

/// One head of a loss.
pub struct LossCase<'a> {
    /// N,classes,D,H,W.
    pub shape: [usize; 5],
    pub logits: &'a [f32],
    pub labels: &'a [i32],
    /// Label indices of each channel's region; none for softmax.
    pub regions: &'a [Vec<u8>],
    pub weight: f32,
    pub batch_dice: bool,
}

impl LossCase<'_> {
    pub fn of<'a>(
        logits: &'a Array,
        labels: &'a Array,
        weight: f32,
        batch_dice: bool,
    ) -> Result<LossCase<'a>, String> {
        let shape = logits.shape.clone();
        let shape = shape.try_into().map_err(|s| format!("logits {s:?} are not N,C,D,H,W"))?;
        let (logits, labels) = (&logits.f32s, &labels.i32s);
        Ok(LossCase { shape, logits, labels, regions: &[], weight, batch_dice })
    }

    fn channels(&self) -> Channels {
        match self.regions {
            [] => Channels::Labels,
            regions => Heads::Sigmoid { regions: regions.to_vec() }.channels(),
        }
    }

    /// The same in f64.
    pub fn twin(&self) -> twin::Loss {
        let [_, classes, d, h, w] = self.shape;
        let logits: Vec<f64> = self.logits.iter().map(|&l| f64::from(l)).collect();
        match self.regions {
            [] => twin::dice_ce(&logits, self.labels, classes, d * h * w, self.batch_dice),
            regions => twin::dice_bce(&logits, self.labels, regions, d * h * w, self.batch_dice),
        }
    }
}

/// What the kernels gave: ce, dice, total, non-finite, per class hard tp, fp, fn; and the gradient
/// on the logits. Computing the loss alone must give the same bits.
pub fn loss(
    gpu: &Gpu,
    caps: &Caps,
    case: &LossCase,
    storage: Storage,
) -> Result<(Vec<f32>, Vec<f32>), String> {
    let [n, classes, d, h, w] = case.shape;
    let edges = [d, h, w].map(|e| e as u32);
    let mut b = Bench::of(caps, ConvVariant::Simt);
    let logits = b.view(&case.shape)?;
    let dlogits = Fenced::add(&mut b, n as u32, classes as u32, edges, storage)?;
    let labels = b.slot(case.labels.len() * 4);
    let elements = out_elements(classes as u32) as usize;
    // Two runs of values between elements that nobody writes.
    let (first, second) = (3, 3 + elements + 5);
    let out = b.slot((second + elements + 7) * 4);
    let op = DiceCrossEntropy {
        logits,
        channels: case.channels(),
        labels,
        dlogits: Some(dlogits.view()),
        weight: case.weight,
        batch_dice: case.batch_dice,
        out,
        out_offset: first as u32,
    };
    let mut l = b.lowering();
    dlogits.before(&mut l);
    op.lower(&mut l).map_err(text)?;
    DiceCrossEntropy { dlogits: None, out_offset: second as u32, ..op.clone() }
        .lower(&mut l)
        .map_err(text)?;
    dlogits.after(&mut l);
    let memory = b.place(gpu)?;
    host::upload(gpu, &memory, &b.tensors, logits, case.logits).map_err(text)?;
    gpu.write(&memory, labels, 0, case.labels).map_err(text)?;
    gpu.write(&memory, out, 0, &vec![fence::SENTINEL; second + elements + 7]).map_err(text)?;
    dlogits.poison(gpu, &memory, &b)?;
    b.run(gpu, &memory)?;
    let values: Vec<f32> = gpu.read(&memory, out, 0, second + elements + 7).map_err(text)?;
    let inside = |i: &usize| {
        (first..first + elements).contains(i) || (second..second + elements).contains(i)
    };
    if let Some(i) = (0..values.len()).find(|i| !inside(i) && values[*i] != fence::SENTINEL) {
        return Err(format!("element {i} of the loss values was written: {}", values[i]));
    }
    let (one, two) = (&values[first..first + elements], &values[second..second + elements]);
    if one.iter().zip(two).any(|(a, b)| a.to_bits() != b.to_bits()) {
        return Err(format!("with a gradient {one:?}, without {two:?}"));
    }
    let gradient = dlogits.take(gpu, &memory, &b).map_err(|e| format!("g_total: {e}"))?;
    Ok((one.to_vec(), gradient))
}

/// Hard true positives, false positives and false negatives of each channel.
pub fn hard_counts(case: &LossCase) -> Vec<f32> {
    let [n, classes, d, h, w] = case.shape;
    let voxels = d * h * w;
    let mut counts = vec![0f32; 3 * classes];
    for i in (0..n * voxels).filter(|&i| case.labels[i] != IGNORE as i32) {
        let logit = |c: usize| case.logits[(i / voxels * classes + c) * voxels + i % voxels];
        let best = (1..classes).fold(0, |best, c| if logit(c) > logit(best) { c } else { best });
        for c in 0..classes {
            let (hard, target) = match case.regions.get(c) {
                None => (best == c, case.labels[i] as usize == c),
                Some(region) => (logit(c) > 0.0, region.contains(&(case.labels[i] as u8))),
            };
            match (hard, target) {
                (true, true) => counts[3 * c] += 1.0,
                (true, false) => counts[3 * c + 1] += 1.0,
                (false, true) => counts[3 * c + 2] += 1.0,
                (false, false) => {}
            }
        }
    }
    counts
}

/// What a golden file of losses asks for that the kernels do not compute.
fn other_loss(golden: &Golden) -> Option<String> {
    golden
        .differs("smooth", 1e-5)
        .or(golden.differs("do_bg", false))
        .or(golden.differs("weight_ce", 1))
        .or(golden.differs("weight_dice", 1))
}

pub fn run_loss(golden: &Golden, gpu: &Gpu) -> Outcome {
    if let Some(what) = other_loss(golden) {
        return nothing(what);
    }
    let (logits, target) = (golden.get("logits")?, golden.get("target")?);
    let case = LossCase::of(logits, target, 1.0, golden.flag("batch_dice")?)?;
    let (values, gradient) = loss(gpu, gpu.caps(), &case, Storage::Buffer)?;
    for (i, name) in ["ce", "dice", "total"].iter().enumerate() {
        golden.check(name, &values[i..=i])?;
    }
    golden.check("g_total", &gradient)?;
    close("hard counts", &values[4..], &hard_counts(&case), 0.0)?;
    let inner = ["softmax", "g_ce", "g_dice"].iter().filter(|n| golden.has(n));
    except(inner.map(|n| format!("{n} (never leaves the kernels)")).collect())
}

pub fn run_deep_supervision(golden: &Golden, gpu: &Gpu) -> Outcome {
    if let Some(what) = other_loss(golden) {
        return nothing(what);
    }
    let weights = golden.get("weights")?.f32s.clone();
    let mut sum = 0.0;
    for (i, &weight) in weights.iter().enumerate() {
        let logits = golden.get(&format!("logits{i}"))?;
        let labels = golden.get(&format!("target{i}"))?;
        let case = LossCase::of(logits, labels, weight, golden.flag("batch_dice")?)?;
        let (values, gradient) = loss(gpu, gpu.caps(), &case, Storage::Buffer)?;
        sum += f64::from(values[2]) * f64::from(weight);
        golden.check(&format!("g{i}"), &gradient)?;
    }
    golden.check("loss", &[sum as f32])?;
    all()
}

/// Nearest labels of other edges, by the kernel.
pub fn downsample(
    gpu: &Gpu,
    caps: &Caps,
    labels: &[i32],
    samples: u32,
    from_shape: [u32; 3],
    to_shape: [u32; 3],
) -> Result<Vec<i32>, String> {
    let count = (samples * to_shape.iter().product::<u32>()) as usize;
    let mut b = Bench::of(caps, ConvVariant::Simt);
    let (from, to) = (b.slot(labels.len() * 4), b.slot(count * 4 + 64));
    DownsampleLabels { from, from_shape, to, to_shape, samples }.lower(&mut b.lowering());
    let memory = b.place(gpu)?;
    gpu.write(&memory, from, 0, labels).map_err(text)?;
    gpu.write(&memory, to, 0, &vec![i32::MIN; count + 16]).map_err(text)?;
    b.run(gpu, &memory)?;
    let mut got: Vec<i32> = gpu.read(&memory, to, 0, count + 16).map_err(text)?;
    if got.drain(count..).any(|l| l != i32::MIN) {
        return Err("labels were written behind the output".into());
    }
    Ok(got)
}

pub fn run_downsample(golden: &Golden, gpu: &Gpu) -> Outcome {
    for name in golden.names("in") {
        let (source, output) = (golden.get(&name)?, name.replacen("in", "out", 1));
        let target = golden.get(&output)?;
        let edges = |a: &Array| last3(&a.shape).ok_or(format!("{:?} is no volume", a.shape));
        let (from, to) = (edges(source)?, edges(target)?);
        let samples = source.i32s.len() as u32 / from.iter().product::<u32>();
        let got = downsample(gpu, gpu.caps(), &source.i32s, samples, from, to)?;
        let wrong = got.iter().zip(&target.i32s).position(|(a, b)| a != b);
        if let (Some(i), _) | (None, Some(i)) =
            (wrong, (got.len() != target.i32s.len()).then_some(got.len()))
        {
            let at = super::close::position(&target.shape, i, target.i32s.len());
            return Err(format!("{output}{at} differs"));
        }
    }
    all()
}

/// One optimizer on flat buffers, for several steps of given gradients.
pub struct OptimizerCase<'a> {
    pub adam: bool,
    pub amsgrad: bool,
    pub lr: f64,
    pub weight_decay: f64,
    pub momentum: f64,
    pub clip: f64,
    pub p0: &'a [f32],
    /// One a step.
    pub gradients: Vec<&'a [f32]>,
    /// What is stepped; the rest must stay as it is.
    pub ranges: Ranges,
}

/// After a step.
pub struct OptimizerResults {
    pub parameters: Vec<f32>,
    /// m, v, vmax (Adam) or the momentum alone.
    pub state: Vec<Vec<f32>>,
    pub norm: f32,
}

/// The state after each step. A trial of each step must give the same parameters beforehand and
/// leave everything as it is.
pub fn optimizer(
    gpu: &Gpu,
    caps: &Caps,
    case: &OptimizerCase,
) -> Result<Vec<OptimizerResults>, String> {
    let len = case.p0.len();
    let padded = len.next_multiple_of(64);
    let mut b = Bench::of(caps, ConvVariant::Simt);
    let mut flat = || b.flat(padded).slot;
    let (parameters, gradient, trial) = (flat(), flat(), flat());
    let state = if case.adam { vec![flat(), flat(), flat()] } else { vec![flat()] };
    let (hyper, norm) = (b.slot(32), b.slot(16));
    let rule = if case.adam {
        Rule::Adam { m: state[0], v: state[1], vmax: case.amsgrad.then_some(state[2]) }
    } else {
        Rule::Sgd { momentum: state[0] }
    };
    let ranges = case.ranges.clone();
    let mut l = b.lowering();
    GradientNorm { gradient, ranges: ranges.clone(), out: norm }.lower(&mut l);
    let stepped = Some(trial);
    let step = OptimizerStep { rule, parameters, gradient, ranges, hyper, norm, trial: stepped };
    step.lower(&mut l);
    let trials = l.recording.commands.len();
    OptimizerStep { trial: None, ..step }.lower(&mut l);
    let real = Recording { commands: b.recording.commands.split_off(trials) };
    let plan = MemoryPlan::new(&b.tensors.slots, &[&b.recording, &real]);
    let memory = Memory::new(gpu, &b.tensors.slots, &plan).map_err(text)?;
    let trial_program = b.program(gpu, &memory)?;
    let program = Program::new(gpu, &memory, &real).map_err(text)?;
    let read = |slot| -> Result<Vec<f32>, String> { gpu.read(&memory, slot, 0, len).map_err(text) };
    gpu.write(&memory, parameters, 0, case.p0).map_err(text)?;
    gpu.write(&memory, trial, 0, case.p0).map_err(text)?;
    let mut results = Vec::new();
    for (t, values) in (1..).zip(&case.gradients) {
        gpu.write(&memory, gradient, 0, values).map_err(text)?;
        let numbers = if case.adam {
            adam_hyper(case.lr, case.weight_decay, case.clip, t)
        } else {
            sgd_hyper(case.lr, case.weight_decay, case.momentum, case.clip, t)
        };
        gpu.write(&memory, hyper, 0, &numbers).map_err(text)?;
        let all =
            || state.iter().chain([&parameters]).map(|&s| read(s)).collect::<Result<Vec<_>, _>>();
        let before = all()?;
        trial_program.submit(gpu).map_err(text)?;
        if before != all()? {
            return Err(format!("the trial of step {t} changed what it should only read"));
        }
        let tried = read(trial)?;
        program.submit(gpu).map_err(text)?;
        let now = read(parameters)?;
        // One compiled text may contract a product and a sum that the other does not.
        close(&format!("trial of step {t}"), &tried, &now, 1e-6)?;
        results.push(OptimizerResults {
            parameters: now,
            state: state.iter().map(|&s| read(s)).collect::<Result<_, _>>()?,
            norm: gpu.read::<f32>(&memory, norm, 0, 1).map_err(text)?[0],
        });
    }
    Ok(results)
}

pub fn run_optimizer(golden: &Golden, gpu: &Gpu) -> Outcome {
    let adam = golden.op.starts_with("adam");
    let fixed = if adam {
        golden.differs("betas", vec![0.9, 0.999]).or(golden.differs("eps", 1e-8))
    } else {
        golden.differs("nesterov", true).or(golden.differs("dampening", 0))
    };
    if let Some(what) = fixed {
        return nothing(what);
    }
    let p0 = &golden.get("p0")?.f32s;
    let n = p0.len();
    let grads = &golden.get("grads")?.f32s;
    let case = OptimizerCase {
        adam,
        amsgrad: golden.params["amsgrad"].as_bool().unwrap_or(false),
        lr: golden.number("lr")?,
        weight_decay: golden.number("weight_decay")?,
        momentum: if adam { 0.0 } else { golden.number("momentum")? },
        clip: 0.0,
        p0,
        gradients: grads.chunks_exact(n).collect(),
        ranges: vec![(0, (n as u64).next_multiple_of(64))],
    };
    let steps = optimizer(gpu, gpu.caps(), &case)?;
    let after = &golden.get("p_after")?.f32s;
    for (t, (got, expected)) in steps.iter().zip(after.chunks_exact(n)).enumerate() {
        let name = format!("p_after[{t}]");
        close(&name, &got.parameters, expected, golden.tolerance("p_after")?)?;
        let squares = case.gradients[t].iter().map(|&g| f64::from(g).powi(2)).sum::<f64>();
        close("gradient norm", &[got.norm], &[squares.sqrt() as f32], 1e-5)?;
    }
    let last = steps.last().ok_or("no steps")?;
    let names: &[&str] = if adam { &["m", "v", "vmax"] } else { &["buf"] };
    for (name, values) in names.iter().zip(&last.state) {
        if golden.has(name) {
            golden.check(name, values)?;
        }
    }
    all()
}
