//! Single kernels: convolutions against the multiply-add limit, the others against the copy limit.

mod common;

use asng_wgpu::gpu::Lifetime;
use asng_wgpu::ops::conv3d::{Conv3dBackwardInput, Conv3dBackwardWeight, Conv3dForward, Geometry};
use asng_wgpu::ops::gamma::Gamma;
use asng_wgpu::ops::loss::{Channels, DiceCrossEntropy, out_elements};
use asng_wgpu::ops::norm::{
    NormActivation, NormActivationBackward, NormStatistics, NormSums, SegmentNorm, statistics_slot,
};
use asng_wgpu::ops::optimizer::{GradientNorm, OptimizerStep, Rule, adam_hyper};
use asng_wgpu::ops::tensor::Storage;
use asng_wgpu::ops::warp::{LabelInterpolation, Placement, Warp, WarpRecord};
use common::cases::{LAYERS, Layer};
use common::{Against, Bench, Result, Rig};

impl Layer {
    fn geometry(&self) -> Geometry {
        let padding = if self.transposed { [0; 3] } else { self.kernel.map(|k| k / 2) };
        let stride = [self.stride; 3];
        Geometry { kernel: self.kernel, stride, padding, transposed: self.transposed }
    }

    fn weights(&self) -> u64 {
        let channels = self.input.iter().sum::<u32>() * self.output;
        u64::from(channels * self.kernel.iter().product::<u32>())
    }

    fn rows(&self, bench: &mut Bench) -> Result<()> {
        let (geometry, edges) = (self.geometry(), [self.edge; 3]);
        let out = geometry.output(edges);
        for direction in ["forward", "backward_input", "backward_weight"] {
            let case = format!("conv3d {direction} {}", self.name);
            if !bench.wants(&case) {
                continue;
            }
            let mut rig = Rig::new(&bench.gpu);
            let operand = rig.variant.operand();
            let w = rig.values(self.weights());
            match direction {
                "forward" => {
                    let x = rig.input(1, self.input, edges, operand)?;
                    let y = rig.output(1, &[self.output], out, operand)?;
                    Conv3dForward {
                        x,
                        on_load: None,
                        w,
                        bias: None,
                        y,
                        statistics: None,
                        geometry,
                    }
                    .lower(&mut rig.lowering())?;
                }
                "backward_input" => {
                    let dy = rig.input(1, &[self.output], out, operand)?;
                    let mut dx = Vec::new();
                    for &segment in self.input {
                        dx.push(Some(rig.output(1, &[segment], edges, operand)?.into()));
                    }
                    let segments = self.input.to_vec();
                    Conv3dBackwardInput { dy, w, dx, segments, geometry }
                        .lower(&mut rig.lowering())?;
                }
                _ => {
                    let x = rig.input(1, self.input, edges, operand)?;
                    let dy = rig.input(1, &[self.output], out, operand)?;
                    Conv3dBackwardWeight { x, on_load: None, dy, dw: w, db: None, geometry }
                        .lower(&mut rig.lowering())?;
                }
            }
            let ready = rig.ready(&bench.gpu)?;
            bench.row(&case, Against::MultiplyAdd, &ready)?;
        }
        Ok(())
    }
}

const EDGES: [u32; 3] = [64; 3];

fn norm_rows(bench: &mut Bench) -> Result<()> {
    let channels = 32;
    for backward in [false, true] {
        let case = if backward { "norm backward 32 64x64x64" } else { "norm forward 32 64x64x64" };
        if !bench.wants(case) {
            continue;
        }
        let mut rig = Rig::new(&bench.gpu);
        let operand = rig.variant.operand();
        let [gamma, beta, dgamma, dbeta] = [(); 4].map(|()| rig.values(u64::from(channels)));
        let z = rig.input(1, &[channels], EDGES, operand)?;
        let da = rig.input(1, &[channels], EDGES, operand)?;
        let a = rig.output(1, &[channels], EDGES, operand)?;
        let mut l = rig.lowering();
        let stats = statistics_slot(&mut l, z, Lifetime::Persistent);
        let norm = SegmentNorm { stats, gamma, beta, slope: 0.01 };
        if backward {
            let sums = statistics_slot(&mut l, z, Lifetime::Persistent);
            let of = NormSums { z, norm, sums, dgamma, dbeta };
            let (summed, frozen, da2, dz) = (false, false, None, a);
            NormActivationBackward { of, summed, frozen, da, da2, dz }.lower(&mut l)?;
        } else {
            NormStatistics { z, stats }.lower(&mut l);
            NormActivation { z, norm, a }.lower(&mut l)?;
        }
        let ready = rig.ready(&bench.gpu)?;
        bench.row(case, Against::Copy, &ready)?;
    }
    Ok(())
}

fn loss_rows(bench: &mut Bench) -> Result<()> {
    for (classes, edge) in [(3, 64), (8, 64), (32, 64), (105, 32)] {
        let case = format!("loss dice_ce {classes} classes {edge}x{edge}x{edge} b2");
        loss_row(bench, &case, classes, [edge; 3], Channels::Labels)?;
    }
    // Three regions, each within the one before.
    let mut masks = [0; 256];
    masks[1..4].copy_from_slice(&[0b001, 0b011, 0b111]);
    let regions = Channels::Regions(Box::new(masks));
    loss_row(bench, "loss dice_bce 3 regions 64x64x64 b2", 3, EDGES, regions)
}

fn loss_row(
    bench: &mut Bench,
    case: &str,
    classes: u32,
    edges: [u32; 3],
    channels: Channels,
) -> Result<()> {
    let samples = 2;
    if !bench.wants(case) {
        return Ok(());
    }
    let mut rig = Rig::new(&bench.gpu);
    let operand = rig.variant.operand();
    let logits = rig.input(samples, &[classes], edges, Storage::Buffer)?;
    let dlogits = Some(rig.output(samples, &[classes], edges, operand)?);
    let voxels = u64::from(samples * edges.iter().product::<u32>());
    let labels = rig.tensors.slots.buffer("labels", voxels * 4, Lifetime::Persistent);
    let out = rig.values(u64::from(out_elements(classes))).slot;
    let (weight, batch_dice, out_offset) = (1.0, false, 0);
    DiceCrossEntropy { logits, channels, labels, dlogits, weight, batch_dice, out, out_offset }
        .lower(&mut rig.lowering())?;
    let ready = rig.ready(&bench.gpu)?;
    bench.row(case, Against::Copy, &ready).map(|_| ())
}

fn adam_row(bench: &mut Bench) -> Result<()> {
    let (case, len) = ("optimizer adam 4194304", 1 << 22);
    if !bench.wants(case) {
        return Ok(());
    }
    let mut rig = Rig::new(&bench.gpu);
    let [parameters, gradient, m, v, vmax] = [(); 5].map(|()| rig.values(len).slot);
    let [hyper, norm] = [8, 4].map(|n| rig.values(n).slot);
    let (ranges, rule) = (vec![(0, len)], Rule::Adam { m, v, vmax: Some(vmax) });
    let mut l = rig.lowering();
    GradientNorm { gradient, ranges: ranges.clone(), out: norm }.lower(&mut l);
    OptimizerStep { rule, parameters, gradient, ranges, hyper, norm, trial: None }.lower(&mut l);
    let ready = rig.ready(&bench.gpu)?;
    bench.gpu.write(&ready.memory, hyper, 0, &adam_hyper(1e-3, 3e-5, 12.0, 1))?;
    bench.row(case, Against::Copy, &ready).map(|_| ())
}

/// The kernels that a draw parameterises: a rotation with scaling, and gamma.
fn augmentation_rows(bench: &mut Bench) -> Result<()> {
    let record = WarpRecord::copy(&Placement::whole(EDGES, [0; 3], EDGES))
        .affine([[0.9, 0.2, 0.0], [-0.2, 0.9, 0.1], [0.0, -0.1, 0.9]])
        .gamma(&[1.2], false)?;
    for case in ["warp linear 1 64x64x64", "gamma 1 64x64x64"] {
        if !bench.wants(case) {
            continue;
        }
        let mut rig = Rig::new(&bench.gpu);
        let voxels = u64::from(EDGES.iter().product::<u32>());
        let draws = rig.values(size_of::<WarpRecord>() as u64 / 4).slot;
        let image = rig.input(1, &[1], EDGES, Storage::Buffer)?;
        if case.starts_with("gamma") {
            Gamma { draws, sample: 0, image }.lower(&mut rig.lowering())?;
        } else {
            let source = rig.values(voxels).slot;
            let [source_labels, labels] = [(); 2].map(|()| rig.values(voxels).slot);
            let (sample, displacement) = (0, None);
            Warp {
                draws,
                sample,
                source,
                source_labels,
                coefficients: None,
                label_interpolation: LabelInterpolation::Linear,
                displacement,
                image,
                labels,
            }
            .lower(&mut rig.lowering())?;
        }
        let ready = rig.ready(&bench.gpu)?;
        bench.gpu.write(&ready.memory, draws, 0, &[record])?;
        bench.row(case, Against::Copy, &ready)?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let mut bench = Bench::start("kernels")?;
    for layer in LAYERS {
        layer.rows(&mut bench)?;
    }
    norm_rows(&mut bench)?;
    loss_rows(&mut bench)?;
    adam_row(&mut bench)?;
    augmentation_rows(&mut bench)
}
