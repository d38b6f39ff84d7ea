//! Runs convolutions of golden files through the kernels.

use super::{Golden, close, close_sampled, generated};
use asng_wgpu::gpu::{Caps, Gpu, Lifetime, Memory, MemoryPlan, Program, Recording};
use asng_wgpu::ops::conv3d::{Conv3dBackwardInput, Conv3dBackwardWeight, Conv3dForward, Geometry};
use asng_wgpu::ops::stage::Stage;
use asng_wgpu::ops::tensor::{Storage, Tensors, View, host};
use asng_wgpu::ops::{ConvVariant, Lowering, ParamRef};

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
}

/// What the kernels gave.
pub struct Outcome {
    pub y: Vec<f32>,
    pub dx: Vec<f32>,
    pub dw: Vec<f32>,
    pub db: Vec<f32>,
}

/// Forward and both gradients of a case by a variant, on a device of (perhaps reduced) limits.
pub fn run(
    gpu: &Gpu,
    caps: &Caps,
    variant: ConvVariant,
    case: &Case,
    y_storage: Storage,
) -> Result<Outcome, String> {
    let [n, ci, d, h, w] = case.x_shape;
    let out = case.geometry.output([d, h, w]);
    let mut tensors = Tensors::new(caps);
    let keep = Lifetime::Persistent;
    let fail = |e: asng_wgpu::Error| e.to_string();
    let mut add = |name: &str, segments: &[u32], edges, storage| {
        tensors.add(name, n, segments, edges, storage, keep).map(|t| t.view()).map_err(fail)
    };
    let operand = variant.operand();
    let x_host = add("x host", &case.segments, [d, h, w], Storage::Buffer)?;
    let x = add("x", &case.segments, [d, h, w], operand)?;
    let dy_host = add("dy host", &[case.out_channels], out, Storage::Buffer)?;
    let dy = add("dy", &[case.out_channels], out, operand)?;
    let y = add("y", &[case.out_channels], out, y_storage)?;
    let y_host = add("y host", &[case.out_channels], out, Storage::Buffer)?;
    let mut dx = Vec::new();
    for &segment in &case.segments {
        dx.push(add("dx", &[segment], [d, h, w], Storage::Buffer)?);
    }
    let mut flat = |name: &str, len: usize| ParamRef {
        slot: tensors.slots.buffer(name, (len as u64 * 4).next_multiple_of(256), keep),
        offset: 0,
        len: len as u64,
    };
    let (weight, dw) = (flat("w", case.w.len()), flat("dw", case.w.len()));
    let bias_len = case.out_channels as usize;
    let (bias, db) = (flat("b", bias_len), flat("db", bias_len));
    let mut recording = Recording::new();
    let mut l = Lowering { tensors: &mut tensors, recording: &mut recording, variant };
    let geometry = case.geometry;
    Stage { from: x_host, to: x }.lower(&mut l);
    Stage { from: dy_host, to: dy }.lower(&mut l);
    let has_bias = case.b.as_ref().map(|_| bias);
    Conv3dForward { x, w: weight, bias: has_bias, y, geometry }.lower(&mut l).map_err(fail)?;
    Stage { from: y, to: y_host }.lower(&mut l);
    Conv3dBackwardInput {
        dy,
        w: weight,
        dx: dx.iter().map(|&v| Some(v)).collect(),
        segments: case.segments.clone(),
        geometry,
    }
    .lower(&mut l)
    .map_err(fail)?;
    Conv3dBackwardWeight { x, dy, dw, db: Some(db), geometry }.lower(&mut l);
    let plan = MemoryPlan::new(&tensors.slots, &[&recording]);
    let memory = Memory::new(gpu, &tensors.slots, &plan).map_err(fail)?;
    host::upload(gpu, &memory, &tensors, x_host, &case.x).map_err(fail)?;
    host::upload(gpu, &memory, &tensors, dy_host, &case.dy).map_err(fail)?;
    let nan = |view: View| {
        let count = n * tensors.channels(view) * tensors.voxels(view);
        host::upload(gpu, &memory, &tensors, view, &vec![f32::NAN; count as usize]).map_err(fail)
    };
    // Voxels that no kernel writes stay NaN and fail the comparison.
    nan(y_host)?;
    dx.iter().try_for_each(|&v| nan(v))?;
    if y_storage == Storage::Buffer {
        nan(y)?;
    }
    gpu.write(&memory, dw.slot, 0, &vec![f32::NAN; case.w.len()]).map_err(fail)?;
    gpu.write(&memory, weight.slot, 0, &case.w).map_err(fail)?;
    if let Some(b) = &case.b {
        gpu.write(&memory, bias.slot, 0, b).map_err(fail)?;
    }
    Program::new(gpu, &memory, &recording).and_then(|p| p.submit(gpu)).map_err(fail)?;
    let read = |view| host::download(gpu, &memory, &tensors, view).map_err(fail);
    let parts: Result<Vec<Vec<f32>>, String> = dx.iter().map(|&v| read(v)).collect();
    let parts = parts?;
    let voxels = (d * h * w) as usize;
    let mut joined = Vec::new();
    for sample in 0..n as usize {
        for (part, &segment) in parts.iter().zip(&case.segments) {
            let len = segment as usize * voxels;
            joined.extend_from_slice(&part[sample * len..(sample + 1) * len]);
        }
    }
    debug_assert_eq!(joined.len(), (n * ci) as usize * voxels);
    Ok(Outcome {
        y: read(y_host)?,
        dx: joined,
        dw: gpu.read(&memory, dw.slot, 0, case.w.len()).map_err(fail)?,
        db: gpu.read(&memory, db.slot, 0, bias_len).map_err(fail)?,
    })
}

fn shape5(list: &[u32]) -> Result<[u32; 5], String> {
    list.try_into().map_err(|_| "not N,C,D,H,W".to_string())
}

/// A golden file of op `conv3d`, `conv_transpose3d` or `conv3d(generated inputs)`.
pub fn run_golden(golden: &Golden, gpu: &Gpu, variant: ConvVariant) -> Result<(), String> {
    let transposed = golden.op == "conv_transpose3d";
    let stored = golden.tensors.contains_key("x");
    let (x_shape, w_shape) = if stored {
        let shape = |n: &str| -> Result<Vec<u32>, String> {
            Ok(golden.get(n)?.shape.iter().map(|&e| e as u32).collect())
        };
        (shape("x")?, shape("w")?)
    } else {
        (golden.list("x_shape")?, golden.list("w_shape")?)
    };
    let kernel = [w_shape[2], w_shape[3], w_shape[4]];
    let geometry = Geometry {
        kernel,
        stride: golden.triple("stride").unwrap_or([1; 3]),
        padding: golden.triple("padding").unwrap_or(kernel.map(|k| k / 2)),
        transposed,
    };
    let out_channels = if transposed { w_shape[1] } else { w_shape[0] };
    let x_shape = shape5(&x_shape)?;
    let out = geometry.output([x_shape[2], x_shape[3], x_shape[4]]);
    let input = |name: &str, count: u32| -> Result<Vec<f32>, String> {
        if let Some(array) = golden.tensors.get(name) {
            return Ok(array.f32s.clone());
        }
        let seed = golden.params["hash_seed"][name].as_u64().ok_or("no hash_seed")? as u32;
        let scale = golden.params["hash_log2scale"][name].as_i64().ok_or("no scale")? as i32;
        let values = generated(seed, scale, count as usize);
        let head = &golden.get(&format!("{name}_head"))?.f32s;
        close(&format!("{name}_head"), &values[..head.len().min(values.len())], head, 0.0)?;
        Ok(values)
    };
    let has_bias = golden.tensors.contains_key("b") || !stored;
    let case = Case {
        geometry,
        x_shape,
        segments: vec![x_shape[1]],
        out_channels,
        x: input("x", x_shape.iter().product())?,
        w: input("w", w_shape.iter().product())?,
        b: if has_bias { Some(input("b", out_channels)?) } else { None },
        dy: input("gy", x_shape[0] * out_channels * out.iter().product::<u32>())?,
    };
    let got = run(gpu, gpu.caps(), variant, &case, Storage::Buffer)?;
    for (name, values) in [("y", &got.y), ("gx", &got.dx), ("gw", &got.dw)] {
        let tol = golden.tolerance(name)?;
        match golden.tensors.get(name) {
            Some(array) => close(name, values, &array.f32s, tol)?,
            None => close_sampled(golden, name, tol, values)?,
        }
    }
    if let Some(gb) = golden.tensors.get("gb") {
        close("gb", &got.db, &gb.f32s, golden.tolerance("gb")?)?;
    }
    Ok(())
}
