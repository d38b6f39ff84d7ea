//! Whole training steps: forward, loss, backward, clipping, Adam.

use crate::bench::{Bench, Case, Result, timed};
use crate::cases::{BATCH, CLASSES, STEPS, Step};
use crate::{Job, loss, random, unet};
use asng_wgpu::nn::parameters::Parameters;
use asng_wgpu::nn::plan::NetworkPlan;
use burn::grad_clipping::GradientClippingConfig;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use unet::UNet;

const LEARNING_RATE: f64 = 1e-3;

/// A network in training, with its one batch.
struct Training {
    net: Option<UNet>,
    optimizer: ModuleOptimizer,
    weights: Vec<f32>,
    image: Tensor<5>,
    labels: Tensor<5, Int>,
}

/// Adam with amsgrad, weight decay and clipping. Burn clips each parameter's gradient by its own
/// norm, not the whole gradient by the norm of all.
fn optimizer() -> ModuleOptimizer {
    AdamConfig::new()
        .with_epsilon(1e-8)
        .with_amsgrad(true)
        .with_weight_decay(Some(WeightDecayConfig::new(3e-5)))
        .with_grad_clipping(Some(GradientClippingConfig::Norm(12.0)))
        .init()
}

impl Training {
    fn new(plan: &NetworkPlan, device: &Device) -> Self {
        let [d, h, w] = plan.patch.map(|edge| edge as usize);
        let shape = [BATCH as usize, 1, d, h, w];
        let voxels: usize = shape.iter().product();
        let classes: Vec<i32> = (0..voxels).map(|v| (v / 97 % CLASSES as usize) as i32).collect();
        device.seed(1);
        Training {
            net: Some(UNet::new(plan, device)),
            optimizer: optimizer(),
            weights: plan.head_weights(),
            image: Tensor::from_data(TensorData::new(random::values(voxels), shape), device),
            labels: Tensor::from_data(TensorData::new(classes, shape), device),
        }
    }

    fn parameters(&self) -> u64 {
        self.net.as_ref().map_or(0, |net| net.num_params() as u64)
    }

    /// One step; the loss before it.
    fn step(&mut self) -> Tensor<1> {
        let net = self.net.take().expect("each step gives the network back");
        let wanted: Vec<bool> = self.weights.iter().map(|&weight| weight > 0.0).collect();
        let heads = net.forward(self.image.clone(), &wanted);
        let loss = loss::deep_supervision(&heads, &self.weights, &self.labels);
        let gradients = GradientsParams::from_grads(loss.backward(), &net);
        self.net = Some(self.optimizer.step(LEARNING_RATE, net, gradients));
        loss.without_autodiff()
    }
}

/// A step that does not lower the loss is none.
fn check(name: &str, losses: &[f32]) -> Result<()> {
    let (Some(first), Some(last)) = (losses.first(), losses.last()) else { return Ok(()) };
    println!(
        "{name}: loss {first:.4} before the first step, {last:.4} before step {}",
        losses.len()
    );
    if losses.iter().all(|loss| loss.is_finite()) && last < first {
        return Ok(());
    }
    Err(format!("{name}: the loss does not fall: {losses:?}"))
}

impl Step {
    fn row(&self, bench: &mut Bench, name: &str) -> Result<()> {
        let (plan, device) = (self.plan(), bench.device.clone().autodiff());
        plan.validate().map_err(|e| e.to_string())?;
        let mut training = Training::new(&plan, &device);
        let (ours, burns) = (Parameters::new(&plan).count(), training.parameters());
        println!("{name}: {burns} parameters, of {ours} in the main package");
        assert_eq!(burns, ours, "both networks have the same parameters");
        let mut losses = Vec::new();
        let case = Case { bench: "step", name, flops: unet::step_flops(&plan) };
        bench.row(&case, || {
            let (loss, time) = timed(&device, || training.step());
            losses.push(loss.into_scalar::<f32>());
            time
        })?;
        check(name, &losses)
    }
}

/// The steps.
pub fn jobs() -> Vec<Job> {
    let job = |step: &'static Step| Job {
        name: step.name(),
        long: step.long,
        run: Box::new(|bench, name| step.row(bench, name)),
    };
    STEPS.iter().map(job).collect()
}
