//! Whole training steps, with a profile by kernel, planned memory and the host's part.

mod common;

use asng_wgpu::gpu::{Caps, Lifetime, MemoryPlan, Recording, Timing};
use asng_wgpu::nn::step::{Batch, LossPlan, Optimizer, TrainingState, record_step};
use asng_wgpu::nn::unet::UNet;
use asng_wgpu::ops::ConvVariant;
use asng_wgpu::ops::optimizer::adam_hyper;
use asng_wgpu::ops::tensor::{Storage, Tensors};
use common::cases::{BATCH, CLASSES, STEPS, Step};
use common::least::Least;
use common::rig::fill_bytes;
use common::{Against, Bench, Ready, Result, Rig};
use std::time::Instant;

impl Step {
    fn network(&self) -> Result<UNet> {
        let plan = self.plan();
        plan.validate()?;
        Ok(UNet::new(plan))
    }

    /// Prints what the step needs by each variant, whether or not the device would choose it.
    fn print_needs(&self, caps: &Caps) -> Result<()> {
        let net = self.network()?;
        for variant in [ConvVariant::Simt, ConvVariant::Subgroup] {
            let caps = Caps { cpu: variant == ConvVariant::Subgroup, ..caps.clone() };
            let least = Least::of(&net, variant);
            let (bytes, recording) = self.record(&caps, &net, variant, 0)?;
            let traffic = recording.dispatches().map(|d| d.bytes).sum::<u64>();
            let fills = recording.commands.iter().map(fill_bytes).sum::<u64>();
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            print!(
                "{} {}: memory {:.0} MiB, {:.2} of what must be kept",
                self.name(),
                variant.name(),
                mib(bytes),
                bytes as f64 / least.memory as f64,
            );
            if !variant.fuses_norms() {
                let (again, _) = self.record(&caps, &net, variant, 1)?;
                print!("; {:.0} MiB with the top level made again", mib(again));
            }
            println!(
                ". Traffic {:.0} MiB, {:.2} of a step with every fusion, and {:.0} MiB by filling \
                 textures",
                mib(traffic),
                traffic as f64 / least.traffic as f64,
                mib(fills)
            );
        }
        Ok(())
    }

    /// Device memory of a step that makes the activations of `recompute` levels again, and its
    /// recording.
    fn record(
        &self,
        caps: &Caps,
        net: &UNet,
        variant: ConvVariant,
        recompute: usize,
    ) -> Result<(u64, Recording)> {
        let mut tensors = Tensors::new(caps);
        let state = TrainingState::new(&mut tensors, net, Optimizer::Adam);
        let keep = Lifetime::Persistent;
        let image = tensors.add("image", BATCH, &[1], self.patch, Storage::Buffer, keep)?.view();
        let voxels = u64::from(BATCH * self.patch.iter().product::<u32>());
        let labels = tensors.slots.buffer("labels", voxels * 4, keep);
        let loss = LossPlan { head_weights: net.plan.head_weights(), batch_dice: false };
        let batch = Batch { image, labels };
        let (recording, _) =
            record_step(&mut tensors, variant, net, &state, batch, &loss, recompute)?;
        Ok((MemoryPlan::new(&tensors.slots, &[&recording]).bytes(), recording))
    }

    /// Everything of a step on the device; prints what getting there took.
    fn ready(&self, bench: &Bench) -> Result<Ready> {
        let begin = Instant::now();
        let (net, patch) = (self.network()?, self.patch);
        let mut rig = Rig::new(&bench.gpu);
        let state = TrainingState::new(&mut rig.tensors, &net, Optimizer::Adam);
        let image = rig.input(BATCH, &[1], patch, Storage::Buffer)?;
        let voxels = u64::from(BATCH * patch.iter().product::<u32>());
        let labels = rig.values(voxels).slot;
        let loss = LossPlan { head_weights: net.plan.head_weights(), batch_dice: false };
        let batch = Batch { image, labels };
        let (recording, _) =
            record_step(&mut rig.tensors, rig.variant, &net, &state, batch, &loss, 0)?;
        rig.recording = recording;
        let recorded = begin.elapsed();
        let ready = rig.ready(&bench.gpu)?;
        let compiled = begin.elapsed();
        let gpu = &bench.gpu;
        let classes: Vec<u32> = (0..voxels as u32).map(|v| v / 97 % CLASSES).collect();
        gpu.write(&ready.memory, labels, 0, &classes)?;
        gpu.write(&ready.memory, state.parameters, 0, &net.parameters.initial(1))?;
        gpu.write(&ready.memory, state.hyper, 0, &adam_hyper(1e-3, 3e-5, 12.0, 1))?;
        ready.program.submit(gpu)?;
        gpu.wait()?;
        println!(
            "{}: {} dispatches, {:.1} GFLOP, {} MiB; recorded in {:.1} ms, pipelines ready after \
             {:.1} s, first step done after {:.1} s",
            self.name(),
            ready.dispatches,
            ready.flops as f64 * 1e-9,
            ready.planned_bytes >> 20,
            recorded.as_secs_f64() * 1e3,
            compiled.as_secs_f64(),
            begin.elapsed().as_secs_f64()
        );
        Ok(ready)
    }
}

/// Processor time of this thread, in seconds, where the system tells.
fn thread_time() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse::<f64>().ok().map(|ns| ns * 1e-9)
}

/// The host's time until everything is submitted, against the whole. Where a submission waits for the one before
/// it, as on software adapters, only its processor time tells what it works.
fn host_part(bench: &Bench, ready: &Ready) -> Result<()> {
    let (begin, worked) = (Instant::now(), thread_time());
    ready.program.submit(&bench.gpu)?;
    let submitted = begin.elapsed().as_secs_f64();
    let worked = thread_time().zip(worked).map(|(end, begin)| end - begin);
    bench.gpu.wait()?;
    let whole = begin.elapsed().as_secs_f64();
    let share = |part: f64| format!("{:.2} ms, {:.2}% of the step", part * 1e3, part / whole * 1e2);
    print!("host: submitted after {}", share(submitted));
    if let Some(worked) = worked {
        print!("; worked {}", share(worked));
    }
    println!();
    Ok(())
}

/// Time by kernel, largest first.
fn profile(bench: &Bench, ready: &Ready) -> Result<()> {
    if !bench.gpu.caps().timestamps {
        println!("no profile: the adapter offers no timestamps");
        return Ok(());
    }
    let timings = ready.program.profile(&bench.gpu)?;
    let whole: f64 = timings.iter().map(|t| t.ms).sum();
    let mut kernels: Vec<(String, Vec<Timing>)> = Vec::new();
    for timing in timings {
        match kernels.iter_mut().find(|(name, _)| *name == timing.kernel) {
            Some((_, list)) => list.push(timing),
            None => kernels.push((timing.kernel.clone(), vec![timing])),
        }
    }
    let sum = |list: &[Timing]| list.iter().map(|t| t.ms).sum::<f64>();
    kernels.sort_by(|a, b| sum(&b.1).total_cmp(&sum(&a.1)));
    println!(
        "  {:64} {:>5} {:>9} {:>6} {:>8} {:>7} {:>7}",
        "kernel", "count", "ms", "share", "GFLOP/s", "GB/s", "longest"
    );
    for (name, list) in &kernels {
        let ms = sum(list);
        let work = |of: fn(&Timing) -> u64| list.iter().map(of).sum::<u64>() as f64 / ms * 1e-6;
        let longest = list.iter().map(|t| t.ms).fold(0.0, f64::max);
        println!(
            "  {name:64} {:5} {ms:9.2} {:6.3} {:8.2} {:7.2} {longest:7.1}",
            list.len(),
            ms / whole,
            work(|t| t.flops),
            work(|t| t.bytes)
        );
    }
    println!("  {:64} {:>5} {whole:9.2}", "sum", "");
    Ok(())
}

fn main() -> Result<()> {
    let mut bench = Bench::start("step")?;
    for step in STEPS {
        if !bench.wants(&step.name()) || (bench.quick && step.long) {
            continue;
        }
        step.print_needs(bench.gpu.caps())?;
        let ready = step.ready(&bench)?;
        bench.row(&step.name(), Against::MultiplyAdd, &ready)?;
        host_part(&bench, &ready)?;
        profile(&bench, &ready)?;
    }
    Ok(())
}
