//! Runs convolutions through the kernels.

use super::bench::{Bench, KEEP};
use super::fence::{self, Fenced};
use super::{Golden, Outcome, all, close, close_sampled, generated_input, nothing, text};
use asng_wgpu::gpu::{Caps, Gpu};
use asng_wgpu::ops::ConvVariant;
use asng_wgpu::ops::conv3d::{Conv3dBackwardInput, Conv3dBackwardWeight, Conv3dForward, Geometry};
use asng_wgpu::ops::norm::{NormOnLoad, NormStatistics, SegmentNorm, statistics_slot};
use asng_wgpu::ops::stage::Stage;
use asng_wgpu::ops::tensor::{Storage, host};
use asng_wgpu::reference::norm::Norm;

/// One convolution with its inputs.
pub struct Case {
    pub geometry: Geometry,
    /// N, Ci, D, H, W; the channels may be cut into segments.
    pub x_shape: [u32; 5],
    pub segments: Vec<u32>,
    pub out_channels: u32,
    pub x: Vec<f32>,
    pub w: Vec<f32>,
    pub b: Option<Vec<f32>>,
    pub dy: Vec<f32>,
    /// Normalisation of the last segment of x while it is loaded.
    pub on_load: Option<LastNorm>,
}

/// Instance norm and leaky ReLU of a segment.
pub struct LastNorm {
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
    pub slope: f32,
}

impl Case {
    /// What the convolution's sums are taken over: x, its last segment normalised where that is asked for.
    pub fn loaded(&self) -> Vec<f32> {
        let Some(LastNorm { gamma, beta, slope }) = &self.on_load else { return self.x.clone() };
        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let [n, ci, d, h, w] = self.x_shape.map(|e| e as usize);
        let (voxels, last) = (d * h * w, gamma.len());
        let norm = Norm { channels: last, voxels, slope: f64::from(*slope) };
        let mut loaded = self.x.clone();
        for sample in 0..n {
            let range = ((sample + 1) * ci - last) * voxels..(sample + 1) * ci * voxels;
            let a = norm.forward(&wide(&self.x[range.clone()]), &wide(gamma), &wide(beta));
            loaded[range].iter_mut().zip(a).for_each(|(to, from)| *to = from as f32);
        }
        loaded
    }

    /// Shape of the output.
    pub fn y_shape(&self) -> [usize; 5] {
        let [n, _, d, h, w] = self.x_shape;
        let [od, oh, ow] = self.geometry.output([d, h, w]);
        [n, self.out_channels, od, oh, ow].map(|e| e as usize)
    }

    /// Shape of the weight.
    pub fn w_shape(&self) -> [usize; 5] {
        let (ci, co) = (self.x_shape[1], self.out_channels);
        let [kd, kh, kw] = self.geometry.kernel;
        let [first, second] = if self.geometry.transposed { [ci, co] } else { [co, ci] };
        [first, second, kd, kh, kw].map(|e| e as usize)
    }
}

/// What the kernels gave.
pub struct Results {
    pub y: Vec<f32>,
    pub dx: Vec<f32>,
    pub dw: Vec<f32>,
    pub db: Vec<f32>,
}

/// Forward and all gradients of a case by a variant, on a device of (perhaps reduced) limits.
/// Outputs lie in `storage`.
pub fn run(
    gpu: &Gpu,
    caps: &Caps,
    variant: ConvVariant,
    case: &Case,
    storage: Storage,
) -> Result<Results, String> {
    let [n, _, d, h, w] = case.x_shape;
    let geometry = case.geometry;
    let out = geometry.output([d, h, w]);
    let mut b = Bench::of(caps, variant);
    let mut input = |name: &str, segments: &[u32], edges, storage| {
        b.tensors.add(name, n, segments, edges, storage, KEEP).map(|t| t.view()).map_err(text)
    };
    let operand = variant.operand();
    let x_host = input("x host", &case.segments, [d, h, w], Storage::Buffer)?;
    let x = input("x", &case.segments, [d, h, w], operand)?;
    let dy_host = input("dy host", &[case.out_channels], out, Storage::Buffer)?;
    let dy = input("dy", &[case.out_channels], out, operand)?;
    let y = Fenced::add(&mut b, n, case.out_channels, out, storage)?;
    let mut dx = Vec::new();
    for &segment in &case.segments {
        dx.push(Fenced::add(&mut b, n, segment, [d, h, w], storage)?);
    }
    let weight = b.flat(case.w.len());
    let bias = b.flat(case.out_channels as usize);
    let dw = fence::flat(&mut b, case.w.len());
    let db = fence::flat(&mut b, case.out_channels as usize);
    let last =
        case.on_load.as_ref().map(|norm| (norm, b.flat(norm.gamma.len()), b.flat(norm.beta.len())));
    let mut l = b.lowering();
    Stage { from: x_host, to: x }.lower(&mut l);
    let on_load = last.as_ref().map(|&(norm, gamma, beta)| {
        let z = x.tensor.segment(case.segments.len() as u32 - 1);
        let stats = statistics_slot(&mut l, z, KEEP);
        NormStatistics { z, stats }.lower(&mut l);
        let mut segments = vec![None; case.segments.len() - 1];
        segments.push(Some(SegmentNorm { stats, gamma, beta, slope: norm.slope }));
        NormOnLoad { z: x, segments }.lower(&mut l)
    });
    Stage { from: dy_host, to: dy }.lower(&mut l);
    y.before(&mut l);
    dx.iter().for_each(|f| f.before(&mut l));
    let has_bias = case.b.as_ref().map(|_| bias);
    Conv3dForward {
        x,
        on_load,
        w: weight,
        bias: has_bias,
        y: y.view(),
        statistics: None,
        geometry,
    }
    .lower(&mut l)
    .map_err(text)?;
    Conv3dBackwardInput {
        dy,
        w: weight,
        dx: dx.iter().map(|f| Some(f.view().into())).collect(),
        segments: case.segments.clone(),
        geometry,
    }
    .lower(&mut l)
    .map_err(text)?;
    Conv3dBackwardWeight { x, on_load, dy, dw, db: Some(db), geometry }
        .lower(&mut l)
        .map_err(text)?;
    y.after(&mut l);
    dx.iter().for_each(|f| f.after(&mut l));
    let memory = b.place(gpu)?;
    host::upload(gpu, &memory, &b.tensors, x_host, &case.x).map_err(text)?;
    host::upload(gpu, &memory, &b.tensors, dy_host, &case.dy).map_err(text)?;
    gpu.write(&memory, weight.slot, 0, &case.w).map_err(text)?;
    if let Some(values) = &case.b {
        gpu.write(&memory, bias.slot, 0, values).map_err(text)?;
    }
    if let Some((norm, gamma, beta)) = last {
        gpu.write(&memory, gamma.slot, 0, &norm.gamma).map_err(text)?;
        gpu.write(&memory, beta.slot, 0, &norm.beta).map_err(text)?;
    }
    y.poison(gpu, &memory, &b)?;
    dx.iter().try_for_each(|f| f.poison(gpu, &memory, &b))?;
    for at in [dw, db] {
        fence::poison_flat(gpu, &memory, at, &vec![f32::NAN; at.len as usize])?;
    }
    b.run(gpu, &memory)?;
    let parts: Result<Vec<Vec<f32>>, String> =
        dx.iter().map(|f| f.take(gpu, &memory, &b).map_err(|e| format!("gx: {e}"))).collect();
    let parts = parts?;
    let voxels = (d * h * w) as usize;
    let mut joined = Vec::new();
    for sample in 0..n as usize {
        for (part, &segment) in parts.iter().zip(&case.segments) {
            let len = segment as usize * voxels;
            joined.extend_from_slice(&part[sample * len..(sample + 1) * len]);
        }
    }
    Ok(Results {
        y: y.take(gpu, &memory, &b).map_err(|e| format!("y: {e}"))?,
        dx: joined,
        dw: fence::take_flat(gpu, &memory, dw).map_err(|e| format!("gw: {e}"))?,
        db: fence::take_flat(gpu, &memory, db).map_err(|e| format!("gb: {e}"))?,
    })
}

/// A golden file of op `conv3d`, `conv_transpose3d` or either with generated inputs.
pub fn run_golden(golden: &Golden, gpu: &Gpu, variant: ConvVariant) -> Outcome {
    let transposed = golden.op.starts_with("conv_transpose3d");
    let stored = golden.has("x");
    let shape = |name: &str| -> Result<[u32; 5], String> {
        let list: Vec<u32> = match golden.find(name) {
            Some(array) => array.shape.iter().map(|&e| e as u32).collect(),
            None => golden.list(&format!("{name}_shape"))?,
        };
        list.try_into().map_err(|_| format!("'{name}' has not five axes"))
    };
    let (x_shape, w_shape) = (shape("x")?, shape("w")?);
    let kernel = [w_shape[2], w_shape[3], w_shape[4]];
    let padding = if transposed { [0; 3] } else { kernel.map(|k| k / 2) };
    let geometry = Geometry {
        kernel,
        stride: golden.triple("stride").unwrap_or(if transposed { kernel } else { [1; 3] }),
        padding: golden.triple("padding").unwrap_or(padding),
        transposed,
    };
    if transposed && (geometry.stride != kernel || geometry.padding != [0; 3]) {
        return nothing("a transposed convolution other than kernel = stride, no padding");
    }
    let out_channels = if transposed { w_shape[1] } else { w_shape[0] };
    let out = geometry.output([x_shape[2], x_shape[3], x_shape[4]]);
    // Every weight meets every position of the gathering side, forward and in two gradients.
    let gathering = if transposed { &x_shape[2..] } else { &out[..] };
    let factors = w_shape.iter().chain(gathering).chain(&x_shape[..1]);
    if 6.0 * factors.map(|&e| f64::from(e)).product::<f64>() > 2e10 && super::too_heavy(variant) {
        return nothing(super::HEAVY);
    }
    let input = |name: &str, count: u32| match golden.find(name) {
        Some(array) => Ok(array.f32s.clone()),
        None => generated_input(golden, name, count as usize),
    };
    let has_bias = golden.has("b") || (!stored && !golden.params["hash_seed"]["b"].is_null());
    let case = Case {
        geometry,
        x_shape,
        segments: vec![x_shape[1]],
        out_channels,
        x: input("x", x_shape.iter().product())?,
        w: input("w", w_shape.iter().product())?,
        b: if has_bias { Some(input("b", out_channels)?) } else { None },
        dy: input("gy", x_shape[0] * out_channels * out.iter().product::<u32>())?,
        on_load: None,
    };
    let got = run(gpu, gpu.caps(), variant, &case, Storage::Buffer)?;
    for (name, values) in [("y", &got.y), ("gx", &got.dx), ("gw", &got.dw), ("gb", &got.db)] {
        if golden.has(name) {
            golden.check(name, values)?;
        } else if golden.has(&format!("{name}_idx")) {
            close_sampled(golden, name, golden.tolerance(name)?, values)?;
        }
    }
    if let (Some(reference), false) = (golden.find("gw_l2_per_out"), transposed) {
        let length = |row: &[f32]| row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let rows = got.dw.chunks_exact(got.dw.len() / out_channels as usize);
        let lengths: Vec<f32> = rows.map(|row| length(row) as f32).collect();
        close("gw_l2_per_out", &lengths, &reference.f32s, golden.tolerance("gw")?)?;
    }
    all()
}
