//! Runs a convolution between two norms: the statistics of its output, and its input gradient as the gradient
//! on the activation of the norm in front.

use super::bench::{Bench, KEEP};
use super::conv::{Case, LastNorm};
use super::fence::{self, Fenced};
use super::text;
use asng_wgpu::gpu::{Caps, Gpu};
use asng_wgpu::ops::ConvVariant;
use asng_wgpu::ops::conv3d::{Conv3dBackwardInput, Conv3dForward, GradientSums, InputGradient};
use asng_wgpu::ops::norm::{
    NormActivationBackward, NormOnLoad, NormStatistics, NormSums, SegmentNorm, statistics_slot,
};
use asng_wgpu::ops::stage::Stage;
use asng_wgpu::ops::tensor::{Storage, host};

/// The norm in front of a convolution of one input segment.
pub struct Front {
    pub norm: LastNorm,
    /// N,Ci,D,H,W: what it normalises.
    pub z: Vec<f32>,
    /// Another gradient on its activation, where the variant adds while it stores.
    pub before: Option<Vec<f32>>,
}

/// What the kernels gave.
#[derive(PartialEq)]
pub struct Results {
    /// Mean and 1 / standard deviation of each sample and output channel.
    pub stats: Vec<[f32; 2]>,
    pub dz: Vec<f32>,
    pub dgamma: Vec<f32>,
    pub dbeta: Vec<f32>,
}

/// Forward pass and input gradient of a case by a variant, on a device of (perhaps reduced) limits.
pub fn run(
    gpu: &Gpu,
    caps: &Caps,
    variant: ConvVariant,
    case: &Case,
    front: &Front,
) -> Result<Results, String> {
    let ([n, ci, d, h, w], geometry, co) = (case.x_shape, case.geometry, case.out_channels);
    let (edges, operand) = ([d, h, w], variant.operand());
    let out = geometry.output(edges);
    let mut b = Bench::of(caps, variant);
    let mut add = |channels, edges, storage| {
        b.tensors.add("t", n, &[channels], edges, storage, KEEP).map(|t| t.view()).map_err(text)
    };
    let [x_host, z_host, da_host] = [(); 3].map(|()| add(ci, edges, Storage::Buffer));
    let (x_host, z_host, da_host) = (x_host?, z_host?, da_host?);
    let [x, z, da] = [(); 3].map(|()| add(ci, edges, operand));
    let (x, z, da) = (x?, z?, da?);
    let (dy_host, dy) = (add(co, out, Storage::Buffer)?, add(co, out, operand)?);
    let y = add(co, out, operand)?;
    let dz = Fenced::add(&mut b, n, ci, edges, operand)?;
    let [weight, bias] = [case.w.len(), co as usize].map(|len| b.flat(len));
    let [gamma, beta] = [(); 2].map(|()| b.flat(ci as usize));
    let [dgamma, dbeta] = [(); 2].map(|()| fence::flat(&mut b, ci as usize));
    let l = &mut b.lowering();
    for (from, to) in [(x_host, x), (z_host, z), (da_host, da), (dy_host, dy)] {
        Stage { from, to }.lower(l);
    }
    dz.before(l);
    let y_stats = statistics_slot(l, y, KEEP);
    let (on_load, has_bias, statistics) = (None, case.b.as_ref().map(|_| bias), Some(y_stats));
    Conv3dForward { x, on_load, w: weight, bias: has_bias, y, statistics, geometry }
        .lower(l)
        .map_err(text)?;
    let (stats, sums) = (statistics_slot(l, z, KEEP), statistics_slot(l, z, KEEP));
    NormStatistics { z, stats }.lower(l);
    let norm = SegmentNorm { stats, gamma, beta, slope: front.norm.slope };
    let of = NormSums { z, norm, sums, dgamma, dbeta };
    let table = NormOnLoad { z, segments: vec![Some(norm)] }.lower(l);
    let sums = Some(GradientSums { of, table });
    let dx = vec![Some(InputGradient { to: da, add: front.before.is_some(), sums })];
    Conv3dBackwardInput { dy, w: weight, dx, segments: vec![ci], geometry }
        .lower(l)
        .map_err(text)?;
    let (summed, frozen, da2) = (true, false, None);
    NormActivationBackward { of, summed, frozen, da, da2, dz: dz.view() }.lower(l).map_err(text)?;
    dz.after(l);
    let memory = b.place(gpu)?;
    let nan = vec![f32::NAN; front.z.len()];
    let before = front.before.as_ref().unwrap_or(&nan);
    let tensors = [(x_host, &case.x), (z_host, &front.z), (da_host, before), (dy_host, &case.dy)];
    for (view, values) in tensors {
        host::upload(gpu, &memory, &b.tensors, view, values).map_err(text)?;
    }
    let flats = [(gamma, &front.norm.gamma), (beta, &front.norm.beta), (weight, &case.w)];
    for (at, values) in flats.into_iter().chain(case.b.as_ref().map(|values| (bias, values))) {
        gpu.write(&memory, at.slot, 0, values).map_err(text)?;
    }
    dz.poison(gpu, &memory, &b)?;
    for at in [dgamma, dbeta] {
        fence::poison_flat(gpu, &memory, at, &vec![f32::NAN; ci as usize])?;
    }
    b.run(gpu, &memory)?;
    let blocks = co.div_ceil(4);
    let flat: Vec<f32> = gpu.read(&memory, y_stats, 0, (n * blocks * 8) as usize).map_err(text)?;
    let pair = |n: u32, c: u32| {
        let i = ((n * blocks + c / 4) * 8 + c % 4) as usize;
        [flat[i], flat[i + 4]]
    };
    Ok(Results {
        stats: (0..n).flat_map(|n| (0..co).map(move |c| (n, c))).map(|(n, c)| pair(n, c)).collect(),
        dz: dz.take(gpu, &memory, &b).map_err(|e| format!("dz: {e}"))?,
        dgamma: fence::take_flat(gpu, &memory, dgamma).map_err(|e| format!("dgamma: {e}"))?,
        dbeta: fence::take_flat(gpu, &memory, dbeta).map_err(|e| format!("dbeta: {e}"))?,
    })
}
