//! The whole network: its gradient against differences of its loss, and the same bits twice.

mod common;

use asng_wgpu::gpu::{AdapterChoice, Gpu, Memory, MemoryPlan, Program, Recording};
use asng_wgpu::nn::heads::{Heads, IGNORE};
use asng_wgpu::nn::plan::NetworkPlan;
use asng_wgpu::nn::step::{
    Batch, LossPlan, LossSlot, Optimizer, TrainingState, record_loss, record_step,
};
use asng_wgpu::nn::unet::{Backward, UNet};
use asng_wgpu::ops::optimizer::{adam_hyper, sgd_hyper};
use asng_wgpu::ops::tensor::{Storage, Tensors, View, host};
use asng_wgpu::ops::{ConvVariant, Lowering};
use common::bench::KEEP;
use common::{generated, gpu};

fn isotropic() -> NetworkPlan {
    NetworkPlan {
        in_channels: 2,
        classes: 3,
        heads: Heads::Softmax,
        base_features: 5,
        patch: [8, 8, 12],
        batch: 2,
        accumulate: false,
        pools: vec![[2, 2, 2], [2, 2, 2]],
        kernels: vec![[3, 3, 3]; 3],
    }
}

fn anisotropic() -> NetworkPlan {
    NetworkPlan {
        in_channels: 1,
        classes: 2,
        heads: Heads::Softmax,
        base_features: 3,
        patch: [3, 16, 8],
        batch: 1,
        accumulate: false,
        pools: vec![[1, 2, 2], [1, 2, 2]],
        kernels: vec![[1, 3, 3], [1, 3, 3], [3, 3, 3]],
    }
}

/// Image and labels of a batch: blobs of every class, so that no Dice term is degenerate.
fn batch_of(plan: &NetworkPlan) -> (Vec<f32>, Vec<u32>) {
    let voxels = plan.patch.iter().product::<u32>() as usize;
    let samples = plan.batch as usize;
    let image = generated(1, 0, samples * plan.in_channels as usize * voxels);
    let [_, h, w] = plan.patch.map(|e| e as usize);
    let blob = |v: usize| (v / (h * w) / 2 + v / w % h / 3 + v % w / 4) as u32 % plan.classes;
    (image, (0..samples * voxels).map(|i| blob(i % voxels)).collect())
}

/// Parameters as random as after some training: no norm is the identity, no bias is 0.
fn parameters_of(net: &UNet) -> Vec<f32> {
    let mut flat = net.parameters.initial(7);
    let noise = generated(9, -3, flat.len());
    for p in net.parameters.iter().filter(|p| p.shape.len() == 1) {
        let range = p.offset as usize..(p.offset + p.len()) as usize;
        range.for_each(|i| flat[i] += noise[i]);
    }
    flat
}

struct Session {
    memory: Memory,
    batch: Batch,
    /// Device memory of loss and gradient.
    bytes: u64,
    loss: Program,
    gradient: Program,
    state: TrainingState,
    losses: [LossSlot; 2],
}

/// Records the loss alone, and the loss with its gradient, on the same parameters.
fn session(gpu: &Gpu, net: &UNet, variant: ConvVariant, recompute: usize) -> Session {
    // With samples one after the other there is no batch to take Dice over.
    session_of(gpu, net, variant, recompute, true)
}

fn session_of(
    gpu: &Gpu,
    net: &UNet,
    variant: ConvVariant,
    recompute: usize,
    batch_dice: bool,
) -> Session {
    let plan = &net.plan;
    let mut tensors = Tensors::new(gpu.caps());
    let state = TrainingState::new(&mut tensors, net, Optimizer::Sgd);
    let (image, label_slot) = inputs(&mut tensors, plan);
    let batch = Batch { image, labels: label_slot };
    // Every head weighs, so that every parameter has a gradient.
    let head_weights = (0..plan.pools.len()).map(|i| 0.5f32.powi(i as i32)).collect();
    let loss = LossPlan { head_weights, batch_dice };
    let mut record = |backward| {
        let mut recording = Recording::new();
        let mut l = Lowering { tensors: &mut tensors, recording: &mut recording, variant };
        let slot = record_loss(&mut l, net, state.parameters, backward, batch, &loss).unwrap();
        (recording, slot)
    };
    let (alone, first) = record(None);
    let (whole, second) = record(Some(Backward { gradient: state.gradient, recompute }));
    let placed = MemoryPlan::new(&tensors.slots, &[&alone, &whole]);
    let memory = Memory::new(gpu, &tensors.slots, &placed).unwrap();
    upload(gpu, &memory, &tensors, plan, batch);
    Session {
        bytes: MemoryPlan::new(&tensors.slots, &[&whole]).bytes(),
        loss: Program::new(gpu, &memory, &alone).unwrap(),
        gradient: Program::new(gpu, &memory, &whole).unwrap(),
        memory,
        batch,
        state,
        losses: [first, second],
    }
}

fn inputs(tensors: &mut Tensors, plan: &NetworkPlan) -> (View, asng_wgpu::gpu::SlotId) {
    let voxels = u64::from(plan.batch * plan.patch.iter().product::<u32>());
    let channels = [plan.in_channels];
    let image = tensors.add("image", plan.batch, &channels, plan.patch, Storage::Buffer, KEEP);
    (image.unwrap().view(), tensors.slots.buffer("labels", voxels * 4, KEEP))
}

fn upload(gpu: &Gpu, memory: &Memory, tensors: &Tensors, plan: &NetworkPlan, batch: Batch) {
    let (image, labels) = batch_of(plan);
    host::upload(gpu, memory, tensors, batch.image, &image).unwrap();
    gpu.write(memory, batch.labels, 0, &labels).unwrap();
}

impl Session {
    /// The loss at parameters.
    fn at(&self, gpu: &Gpu, parameters: &[f32]) -> f64 {
        gpu.write(&self.memory, self.state.parameters, 0, parameters).unwrap();
        self.loss.submit(gpu).unwrap();
        self.value(gpu, &self.losses[0])
    }

    fn value(&self, gpu: &Gpu, slot: &LossSlot) -> f64 {
        slot.total(&gpu.read(&self.memory, slot.slot, 0, slot.len()).unwrap())
    }

    /// Hard counts at the parameters of the last gradient.
    fn counts(&self, gpu: &Gpu) -> Vec<[f32; 3]> {
        let slot = &self.losses[1];
        slot.counts(&gpu.read(&self.memory, slot.slot, 0, slot.len()).unwrap())
    }

    /// Loss and gradient at parameters.
    fn gradient(&self, gpu: &Gpu, parameters: &[f32]) -> (f64, Vec<f32>) {
        gpu.write(&self.memory, self.state.parameters, 0, parameters).unwrap();
        self.gradient.submit(gpu).unwrap();
        let count = parameters.len();
        let flat = gpu.read(&self.memory, self.state.gradient, 0, count).unwrap();
        (self.value(gpu, &self.losses[1]), flat)
    }
}

/// Slope of the loss along a direction by the best of some steps, and the change of the loss over
/// the largest of them.
///
/// The loss is of the order of 1 in f32, so a difference carries about 2e-7 of rounding whatever
/// the step; its truncation grows with the square of the step, and where a pre-activation crosses
/// the leaky ReLU's kink it grows with the step. Steps change the loss by 1e-2 down to 1e-4, so
/// rounding is at most 2e-3 of the slope, and the best step stays below the bound of 1e-2. A wrong
/// formula (a missing term, a factor, a transposed index) is off by tens of percent.
fn slope_error(s: &Session, parameters: &[f32], direction: &[f32], expected: f64) -> f64 {
    let moved = |by: f64| -> Vec<f32> {
        let step = |(p, d): (&f32, &f32)| (f64::from(*p) + by * f64::from(*d)) as f32;
        parameters.iter().zip(direction).map(step).collect()
    };
    let mut best = f64::INFINITY;
    for change in [1e-2, 3e-3, 1e-3, 3e-4, 1e-4] {
        let h = change / expected.abs();
        let (up, down) = (moved(h), moved(-h));
        // The step that f32 parameters really make.
        let difference = s.at(gpu(), &up) - s.at(gpu(), &down);
        best = best.min((difference / (2.0 * h) / expected - 1.0).abs());
    }
    best
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

#[test]
fn gradients_are_differences_of_the_loss() {
    let groups = [
        "conv_blocks_context.0",
        "conv_blocks_context.1",
        "conv_blocks_context.2",
        "conv_blocks_localization.0",
        "conv_blocks_localization.1",
        "tu.",
        "seg_outputs.",
        "instnorm.weight",
        "instnorm.bias",
        "conv.weight",
        "",
    ];
    let mut failures = Vec::new();
    for plan in [isotropic(), anisotropic()] {
        let net = UNet::new(plan);
        let parameters = parameters_of(&net);
        for variant in ConvVariant::available(gpu().caps()) {
            let s = session(gpu(), &net, variant, 0);
            let (loss, gradient) = s.gradient(gpu(), &parameters);
            assert_eq!(loss, s.at(gpu(), &parameters), "loss with and without a gradient");
            let mut worst = 0f64;
            for (g, group) in groups.iter().enumerate() {
                for seed in 0..2u32 {
                    // A random direction in the group's parameters, half of it along the
                    // gradient, so that the slope is no small difference of large terms.
                    let mut random = generated(100 + 2 * g as u32 + seed, 0, parameters.len());
                    let mut mine = vec![false; parameters.len()];
                    for p in net.parameters.iter().filter(|p| p.name.contains(group)) {
                        let range = p.offset as usize..(p.offset + p.len()) as usize;
                        range.for_each(|i| mine[i] = !p.name.ends_with("conv.bias"));
                    }
                    random.iter_mut().zip(&mine).for_each(|(r, m)| *r *= f32::from(*m as u8));
                    let along: Vec<f32> =
                        gradient.iter().zip(&mine).map(|(v, m)| v * f32::from(*m as u8)).collect();
                    let ratio = (dot(&random, &random) / dot(&along, &along)).sqrt() as f32;
                    let direction: Vec<f32> =
                        random.iter().zip(&along).map(|(r, a)| r + a * ratio).collect();
                    let expected = dot(&gradient, &direction);
                    let error = slope_error(&s, &parameters, &direction, expected);
                    worst = worst.max(error);
                    if error.is_nan() || error >= 1e-2 {
                        failures.push(format!(
                            "{variant:?} {:?} '{group}' seed {seed}: slope off by {error:.1e}",
                            net.plan.pools
                        ));
                    }
                }
            }
            println!("{variant:?} {:?}: worst {worst:.1e}", net.plan.pools);
            // A bias in front of a norm changes nothing.
            let biases = || net.parameters.iter().filter(|p| p.name.ends_with("conv.bias"));
            assert!(biases().count() > 4);
            for p in biases() {
                let range = p.offset as usize..(p.offset + p.len()) as usize;
                assert!(gradient[range].iter().all(|&v| v == 0.0), "{}", p.name);
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// The loss by softmax over few and over many labels and by sigmoid, each with ignored voxels, reaches
/// every parameter as it should.
#[test]
fn gradients_of_regions_and_of_ignored_voxels_are_differences_of_the_loss() {
    let regions = vec![vec![1, 2], vec![2], vec![0, 1], vec![1], vec![2, 0]];
    let sigmoid = NetworkPlan { classes: 5, heads: Heads::Sigmoid { regions }, ..isotropic() };
    let one = Heads::Sigmoid { regions: vec![vec![1]] };
    let single = NetworkPlan { classes: 1, heads: one, ..anisotropic() };
    let many = NetworkPlan { classes: 10, ..anisotropic() };
    for plan in [isotropic(), sigmoid, single, many] {
        let net = UNet::new(plan);
        let parameters = parameters_of(&net);
        let (_, mut labels) = batch_of(&NetworkPlan { classes: 3, ..net.plan.clone() });
        labels.iter_mut().skip(1).step_by(3).for_each(|label| *label = IGNORE);
        for variant in ConvVariant::available(gpu().caps()) {
            let s = session(gpu(), &net, variant, 0);
            gpu().write(&s.memory, s.batch.labels, 0, &labels).unwrap();
            let (loss, gradient) = s.gradient(gpu(), &parameters);
            assert_eq!(loss, s.at(gpu(), &parameters), "loss with and without a gradient");
            let error = slope_error(&s, &parameters, &gradient, dot(&gradient, &gradient));
            assert!(error < 1e-2, "{variant:?} {:?}: slope off by {error:.1e}", net.plan.heads);
            // Every voxel that counts is counted once per channel that it belongs to.
            let counts = s.counts(gpu());
            assert_eq!(counts.len(), net.plan.classes as usize);
            let members = |c: usize| match &net.plan.heads {
                Heads::Softmax => vec![c as u32],
                Heads::Sigmoid { regions } => regions[c].iter().map(|&l| l.into()).collect(),
            };
            for (c, [tp, _, missed]) in counts.into_iter().enumerate() {
                let members = members(c);
                let expected = labels.iter().filter(|&label| members.contains(label)).count();
                assert_eq!(tp + missed, expected as f32, "{:?} channel {c}", net.plan.heads);
            }
        }
    }
}

#[test]
fn activations_made_again_give_the_same_bits_in_less_memory() {
    let gpu = gpu();
    for variant in ConvVariant::available(gpu.caps()) {
        for plan in [isotropic(), anisotropic()] {
            let net = UNet::new(plan);
            let parameters = parameters_of(&net);
            let mut last = u64::MAX;
            let kept = session(gpu, &net, variant, 0).gradient(gpu, &parameters);
            for recompute in 0..=net.plan.levels() {
                let again = session(gpu, &net, variant, recompute);
                let (loss, gradient) = again.gradient(gpu, &parameters);
                assert_eq!(loss.to_bits(), kept.0.to_bits());
                let unlike = gradient.iter().zip(&kept.1).filter(|(a, b)| a != b).count();
                assert_eq!(unlike, 0, "{variant:?}, {recompute} levels");
                if variant.fuses_norms() {
                    // It keeps no activations in the first place.
                    assert!(recompute == 0 || again.bytes == last);
                } else {
                    assert!(again.bytes <= last && (recompute != 1 || again.bytes < last));
                }
                last = again.bytes;
            }
        }
    }
}

#[test]
fn samples_one_by_one_give_the_gradient_of_the_batch() {
    let gpu = gpu();
    for variant in ConvVariant::available(gpu.caps()) {
        for (plan, batch) in [(isotropic(), 2), (anisotropic(), 3)] {
            let plan = NetworkPlan { batch, ..plan };
            let parameters = parameters_of(&UNet::new(plan.clone()));
            let run = |accumulate| {
                let net = UNet::new(NetworkPlan { accumulate, ..plan.clone() });
                let session = session_of(gpu, &net, variant, 0, false);
                let (loss, gradient) = session.gradient(gpu, &parameters);
                assert_eq!(loss, session.at(gpu, &parameters), "with and without a gradient");
                let counts = session.counts(gpu);
                (loss, gradient, counts)
            };
            let (whole, one_by_one) = (run(false), run(true));
            assert!((whole.0 - one_by_one.0).abs() < 1e-6, "{} {}", whole.0, one_by_one.0);
            assert_eq!(whole.2, one_by_one.2);
            let largest = whole.1.iter().fold(0f32, |m, g| m.max(g.abs()));
            let unlike = |(a, b): (&f32, &f32)| (a - b).abs();
            let worst = whole.1.iter().zip(&one_by_one.1).map(unlike).fold(0f32, f32::max);
            assert!(worst < 2e-5 * largest, "{variant:?}: {worst} of {largest}");
            assert!(whole.1.len() == one_by_one.1.len() && largest > 0.0);
        }
    }
}

/// Bits of the losses of some steps, and of the parameters behind them, on a device of its own.
fn train(plan: &NetworkPlan, variant: ConvVariant, optimizer: Optimizer) -> Vec<u32> {
    let gpu = Gpu::open(&AdapterChoice::default(), true).unwrap();
    let net = UNet::new(plan.clone());
    let mut tensors = Tensors::new(gpu.caps());
    let state = TrainingState::new(&mut tensors, &net, optimizer);
    let (image, labels) = inputs(&mut tensors, plan);
    let batch = Batch { image, labels };
    let loss = LossPlan { head_weights: plan.head_weights(), batch_dice: true };
    let (recording, losses) =
        record_step(&mut tensors, variant, &net, &state, batch, &loss, 0).unwrap();
    let placed = MemoryPlan::new(&tensors.slots, &[&recording]);
    let memory = Memory::new(&gpu, &tensors.slots, &placed).unwrap();
    upload(&gpu, &memory, &tensors, plan, batch);
    let parameters = parameters_of(&net);
    gpu.write(&memory, state.parameters, 0, &parameters).unwrap();
    let program = Program::new(&gpu, &memory, &recording).unwrap();
    let mut bits = Vec::new();
    for t in 1..=4 {
        let hyper = match optimizer {
            Optimizer::Adam => adam_hyper(1e-3, 3e-5, 12.0, t),
            Optimizer::Sgd => sgd_hyper(1e-2, 3e-5, 0.99, 12.0, t),
        };
        gpu.write(&memory, state.hyper, 0, &hyper).unwrap();
        program.submit(&gpu).unwrap();
        bits.extend(gpu.read::<u32>(&memory, losses.slot, 0, losses.len()).unwrap());
    }
    bits.extend(gpu.read::<u32>(&memory, state.parameters, 0, parameters.len()).unwrap());
    bits
}

#[test]
fn the_same_seed_gives_the_same_bits_twice() {
    for variant in ConvVariant::available(gpu().caps()) {
        for (plan, optimizer) in [(isotropic(), Optimizer::Adam), (anisotropic(), Optimizer::Sgd)] {
            let first = train(&plan, variant, optimizer);
            let second = train(&plan, variant, optimizer);
            let unlike = first.iter().zip(&second).filter(|(a, b)| a != b).count();
            assert_eq!(unlike, 0, "{variant:?} {optimizer:?}: of {} values", first.len());
            let loss = f32::from_bits(first[2]);
            assert!(loss.is_finite() && first.len() > 1000, "{loss}");
        }
    }
}
