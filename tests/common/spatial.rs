//! Runs noise, smoothing and warps through the kernels, and golden files of them.

use super::bench::{Bench, KEEP};
use super::fence::Fenced;
use super::{Golden, Outcome, close, except, nothing, text};
use asng_wgpu::augment::batch::{Augmenter, AugmenterSpec};
use asng_wgpu::gpu::{Gpu, Memory, Program, SlotId};
use asng_wgpu::ops::noise::Noise;
use asng_wgpu::ops::smooth::{GaussianSmooth, TAPS, radius, taps};
use asng_wgpu::ops::spline::Prefilter;
use asng_wgpu::ops::tensor::{Storage, View};
use asng_wgpu::ops::warp::{
    ImageInterpolation, Interpolation, LabelInterpolation, MAX_CHANNELS, Placement, Warp,
    WarpRecord,
};
use asng_wgpu::reference;

fn interleave(field: &[f32]) -> Vec<[f32; 4]> {
    let n = field.len() / 3;
    (0..n).map(|v| [field[v], field[n + v], field[2 * n + v], 0.0]).collect()
}

fn separate(field: &[[f32; 4]]) -> Vec<f32> {
    (0..3).flat_map(|a| field.iter().map(move |v| v[a])).collect()
}

/// Smooths \[3\]\[D*H*W\] with given sigmas an axis.
pub fn smooth(
    gpu: &Gpu,
    field: &[f32],
    shape: [u32; 3],
    sigmas: [f64; 3],
) -> Result<Vec<f32>, String> {
    let mut bench = Bench::new(gpu);
    let voxels = field.len() / 3;
    let (from, to) = (bench.slot(voxels * 16), bench.slot(voxels * 16));
    let (draws, table) = (bench.slot(size_of::<WarpRecord>()), bench.slot(3 * TAPS * 4));
    GaussianSmooth { draws, taps: table, sample: 0, shape, from, to }
        .lower(&mut bench.lowering())
        .map_err(text)?;
    let (memory, program) = bench.ready(gpu)?;
    let mut record = WarpRecord::copy(&Placement::whole(shape, [0; 3], shape))
        .elastic(1.0, 1.0, 0, false)
        .map_err(text)?;
    let mut tables = Vec::new();
    for (i, &sigma) in sigmas.iter().enumerate() {
        record.radius[i] = radius(sigma).map_err(text)?;
        tables.extend(taps(sigma).map_err(text)?);
    }
    gpu.write(&memory, draws, 0, &[record]).map_err(text)?;
    gpu.write(&memory, table, 0, &tables).map_err(text)?;
    gpu.write(&memory, from, 0, &interleave(field)).map_err(text)?;
    gpu.write(&memory, to, 0, &vec![f32::NAN; voxels * 4]).map_err(text)?;
    program.submit(gpu).map_err(text)?;
    let out: Vec<[f32; 4]> = gpu.read(&memory, to, 0, voxels).map_err(text)?;
    Ok(separate(&out))
}

/// The noise of a record, \[3\]\[D*H*W\].
pub fn noise(gpu: &Gpu, record: WarpRecord, shape: [u32; 3]) -> Result<Vec<f32>, String> {
    let mut bench = Bench::new(gpu);
    let voxels = shape.iter().product::<u32>() as usize;
    let (draws, out) = (bench.slot(size_of::<WarpRecord>()), bench.slot(voxels * 16));
    Noise { draws, sample: 0, shape, out }.lower(&mut bench.lowering()).map_err(text)?;
    let (memory, program) = bench.ready(gpu)?;
    gpu.write(&memory, draws, 0, &[record]).map_err(text)?;
    program.submit(gpu).map_err(text)?;
    Ok(separate(&gpu.read::<[f32; 4]>(&memory, out, 0, voxels).map_err(text)?))
}

/// Warps one source (C,box and box) with a given displacement (\[3\]\[D*H*W\], before alpha).
pub fn warp(
    gpu: &Gpu,
    record: WarpRecord,
    image: &[f32],
    labels: &[u32],
    displacement: Option<&[f32]>,
    patch: [u32; 3],
    interpolation: Interpolation,
) -> Result<(Vec<f32>, Vec<u32>), String> {
    let mut bench = Bench::new(gpu);
    let channels = (image.len() / labels.len()) as u32;
    let voxels = patch.iter().product::<u32>() as usize;
    let draws = bench.slot(size_of::<WarpRecord>());
    let (source, source_labels) = (bench.slot(image.len() * 4), bench.slot(labels.len() * 4));
    let field = bench.slot(voxels * 16);
    let out_labels = bench.slot(voxels * 4);
    let out = Fenced::add(&mut bench, 1, channels, patch, Storage::Buffer)?;
    let cubic = interpolation.image == ImageInterpolation::Cubic;
    let coefficients = cubic.then(|| bench.slot(image.len() * 4));
    if let Some(coefficients) = coefficients {
        let capacity = labels.len() as u64;
        Prefilter { draws, sample: 0, channels, capacity, source, coefficients }
            .lower(&mut bench.lowering());
    }
    Warp {
        draws,
        sample: 0,
        source,
        source_labels,
        coefficients,
        label_interpolation: interpolation.labels,
        displacement: displacement.map(|_| field),
        image: out.view(),
        labels: out_labels,
    }
    .lower(&mut bench.lowering())
    .map_err(text)?;
    let (memory, program) = bench.ready(gpu)?;
    gpu.write(&memory, draws, 0, &[record]).map_err(text)?;
    gpu.write(&memory, source, 0, image).map_err(text)?;
    gpu.write(&memory, source_labels, 0, labels).map_err(text)?;
    gpu.write(&memory, out_labels, 0, &vec![u32::MAX; voxels]).map_err(text)?;
    if let Some(d) = displacement {
        gpu.write(&memory, field, 0, &interleave(d)).map_err(text)?;
    }
    out.poison(gpu, &memory, &bench)?;
    program.submit(gpu).map_err(text)?;
    let image = out.take(gpu, &memory, &bench)?;
    Ok((image, gpu.read(&memory, out_labels, 0, voxels).map_err(text)?))
}

/// The coefficients of a volume D,H,W.
fn spline(gpu: &Gpu, volume: &[f32], shape: [u32; 3]) -> Result<Vec<f32>, String> {
    let mut bench = Bench::new(gpu);
    let draws = bench.slot(size_of::<WarpRecord>());
    let (source, coefficients) = (bench.slot(volume.len() * 4), bench.slot(volume.len() * 4));
    let capacity = volume.len() as u64;
    Prefilter { draws, sample: 0, channels: 1, capacity, source, coefficients }
        .lower(&mut bench.lowering());
    let (memory, program) = bench.ready(gpu)?;
    let record = WarpRecord::copy(&Placement::whole(shape, [0; 3], shape));
    gpu.write(&memory, draws, 0, &[record.affine(matrix([0.0; 3], 1.0))]).map_err(text)?;
    gpu.write(&memory, source, 0, volume).map_err(text)?;
    gpu.write(&memory, coefficients, 0, &vec![f32::NAN; volume.len()]).map_err(text)?;
    program.submit(gpu).map_err(text)?;
    gpu.read(&memory, coefficients, 0, volume.len()).map_err(text)
}

/// Trilinear, labels by the most weight.
pub const LINEAR: Interpolation =
    Interpolation { image: ImageInterpolation::Linear, labels: LabelInterpolation::Linear };

/// Cubic, labels of the nearest voxel.
pub const CUBIC: Interpolation =
    Interpolation { image: ImageInterpolation::Cubic, labels: LabelInterpolation::Nearest };

/// R = Rx Ry Rz, times scale.
pub fn matrix([x, y, z]: [f64; 3], scale: f64) -> [[f64; 3]; 3] {
    let mul = |a: [[f64; 3]; 3], b: [[f64; 3]; 3]| {
        [0, 1, 2].map(|i| [0, 1, 2].map(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum::<f64>()))
    };
    let rx = [[1., 0., 0.], [0., x.cos(), -x.sin()], [0., x.sin(), x.cos()]];
    let ry = [[y.cos(), 0., y.sin()], [0., 1., 0.], [-y.sin(), 0., y.cos()]];
    let rz = [[z.cos(), -z.sin(), 0.], [z.sin(), z.cos(), 0.], [0., 0., 1.]];
    mul(mul(rx, ry), rz).map(|row| row.map(|v| v * scale))
}

/// The tensors among `names` that the engine has no op for, each with the reason.
fn left_out(names: &[String], reason: impl Fn(&str) -> Option<&'static str>) -> Vec<String> {
    names.iter().filter_map(|n| reason(n).map(|r| format!("{n} ({r})"))).collect()
}

fn mode(name: &str) -> Option<&'static str> {
    name.ends_with("_nearest").then_some("mode nearest: the engine pads with 0")
}

/// SpatialTransform: displacement, coordinates, image and labels.
pub fn run_spatial(g: &Golden, gpu: &Gpu) -> Outcome {
    let case = g.edges("data")?;
    let patch = g.edges("coords")?;
    let image = &g.get("data")?.f32s;
    let labels: Vec<u32> = g.get("seg")?.i32s.iter().map(|&v| v as u32).collect();
    let channels = image.len() / labels.len();
    if channels > MAX_CHANNELS {
        return nothing(format!("{channels} channels (the engine augments up to {MAX_CHANNELS})"));
    }
    let on = |key: &str| g.params[key].as_bool().unwrap_or(false);
    let number = |key: &str| g.params[key].as_f64().unwrap_or(0.0);
    let mut record = WarpRecord::copy(&Placement::whole(case, [0; 3], patch));
    if let Ok(centre) = serde_json::from_value::<[f32; 3]>(g.params["center"].clone()) {
        record.centre = centre;
    } else {
        record.centre = case.map(|e| e as f32 / 2.0 - 0.5);
    }
    let angles = if on("do_rotation") {
        [number("angle_x"), number("angle_y"), number("angle_z")]
    } else {
        [0.0; 3]
    };
    record = record.affine(matrix(angles, if on("do_scale") { g.number("scale")? } else { 1.0 }));
    let mut field = None;
    if on("do_elastic") {
        let (alpha, sigma) = (g.number("alpha")?, g.number("sigma")?);
        record = record.elastic(alpha, sigma, 1, false).map_err(text)?;
        let smoothed = smooth(gpu, &g.get("noise")?.f32s, patch, [sigma; 3])?;
        let disp: Vec<f32> = smoothed.iter().map(|v| v * alpha as f32).collect();
        g.check("disp", &disp)?;
        field = Some(smoothed);
    }
    let run = |how| warp(gpu, record, image, &labels, field.as_deref(), patch, how);
    let (out, seg) = run(LINEAR)?;
    g.check("data_o1_constant", &out)?;
    let (out, nearest) = run(CUBIC)?;
    g.check("data_o3_constant", &out)?;
    labels_agree(g, "seg_o0_constant", &nearest, "seg_ambiguous_o0")?;
    run_coordinates(g, gpu, &record, field.as_deref(), patch)?;
    for name in g.names("seg_o1_constant_argmax") {
        labels_agree(g, &name, &seg, "seg_ambiguous_o1")?;
    }
    let outputs = [g.names("data_o"), g.names("seg_o")].concat();
    except(left_out(&outputs, |name| {
        let old = name.ends_with("_ge05").then_some("the label rule of batchgenerators 0.21");
        mode(name).or(old)
    }))
}

/// Labels as expected, but where the file says that they may differ.
fn labels_agree(g: &Golden, name: &str, got: &[u32], ambiguous: &str) -> Result<(), String> {
    // Outside the case the engine gives 0, batchgenerators -1 where it is told so.
    let expected = g.get(name)?.i32s.iter().map(|&l| l.max(0));
    let ambiguous = &g.get(ambiguous)?.i32s;
    let unlike: Vec<usize> =
        expected.enumerate().filter(|&(v, l)| got[v] as i32 != l).map(|(v, _)| v).collect();
    let sure: Vec<usize> = unlike.iter().copied().filter(|&v| ambiguous[v] == 0).collect();
    if sure.is_empty() && unlike.len() * 100 <= got.len() {
        return Ok(());
    }
    Err(format!(
        "{name}: {} unambiguous voxels differ (first {:?}), {} of {} in all",
        sure.len(),
        sure.first(),
        unlike.len(),
        got.len()
    ))
}

/// Coordinates: ramps that are larger than all of them, by the same kernel.
fn run_coordinates(
    g: &Golden,
    gpu: &Gpu,
    record: &WarpRecord,
    field: Option<&[f32]>,
    patch: [u32; 3],
) -> Result<(), String> {
    let reference = &g.get("coords")?.f32s;
    let voxels = reference.len() / 3;
    let (mut edges, mut shift) = ([0usize; 3], [0f32; 3]);
    for (axis, values) in reference.chunks_exact(voxels).enumerate() {
        let low = values.iter().copied().fold(0f32, f32::min);
        let high = values.iter().copied().fold(0f32, f32::max);
        shift[axis] = (-low).ceil() + 1.0;
        edges[axis] = (high + shift[axis]).ceil() as usize + 2;
    }
    let [d, h, w] = edges;
    let at = |v: usize| [v / (h * w), v / w % h, v % w];
    let ramp = |axis: usize| (0..d * h * w).map(move |v| at(v)[axis] as f32 - shift[axis]);
    let ramps: Vec<f32> = (0..3).flat_map(ramp).collect();
    let mut wide = *record;
    wide.box_shape = edges.map(|e| e as u32);
    wide.case_shape = edges.map(|e| e as i32);
    wide.box_start = [0; 3];
    wide.centre = std::array::from_fn(|i| record.centre[i] + shift[i]);
    let (coords, _) = warp(gpu, wide, &ramps, &vec![0; d * h * w], field, patch, LINEAR)?;
    g.check("coords", &coords)
}

/// map_coordinates, mode constant, orders 1 and 3, and 0 of labels: the coordinates are given to the warp as displacements
/// of a patch, so that its own index arithmetic is part of what is tested.
pub fn run_map_coordinates(g: &Golden, gpu: &Gpu) -> Outcome {
    let case = g.edges("vol")?;
    let coords = g.get("coords")?;
    let patch = g.edges("coords")?;
    let voxels = patch.iter().product::<u32>() as usize;
    let index = |v: usize| {
        let [_, h, w] = patch.map(|e| e as usize);
        [v / (h * w), v / w % h, v % w]
    };
    let mut field = vec![0f32; 3 * voxels];
    let mut rounded = vec![false; voxels];
    for axis in 0..3 {
        let half = (patch[axis] - 1) as f32 * 0.5;
        let last = (case[axis] - 1) as f32;
        for v in 0..voxels {
            let wanted = coords.f32s[axis * voxels + v];
            let from = index(v)[axis] as f32 - half;
            field[axis * voxels + v] = wanted - from;
            // A coordinate at the border may be rounded across it.
            let got = from + field[axis * voxels + v];
            rounded[v] |= (got < 0.0) != (wanted < 0.0) || (got > last) != (wanted > last);
        }
    }
    let mut record = WarpRecord::copy(&Placement::whole(case, [0; 3], patch))
        .affine(matrix([0.0; 3], 1.0))
        .elastic(1.0, 1.0, 1, false)
        .map_err(text)?;
    record.centre = [0.0; 3];
    let volume = &g.get("vol")?.f32s;
    let labels: Vec<u32> = g.get("label")?.i32s.iter().map(|&l| l as u32).collect();
    let crossed = rounded.iter().filter(|r| **r).count();
    if crossed * 100 > voxels {
        return Err(format!("{crossed} of {voxels} coordinates are rounded across the border"));
    }
    for (how, name) in [(LINEAR, "y_o1_constant"), (CUBIC, "y_o3_constant")] {
        let (mut out, nearest) = warp(gpu, record, volume, &labels, Some(&field), patch, how)?;
        let reference = &g.get(name)?.f32s;
        (0..voxels).filter(|&v| rounded[v]).for_each(|v| out[v] = reference[v]);
        g.check(name, &out)?;
        if how == CUBIC {
            let expected = &g.get("label_o0_constant")?.i32s;
            let unlike = (0..voxels).filter(|&v| !rounded[v] && nearest[v] as i32 != expected[v]);
            let unlike = unlike.count();
            if unlike * 1000 > voxels {
                return Err(format!("label_o0_constant: {unlike} of {voxels} voxels differ"));
            }
        }
    }
    g.check("coef3_mirror", &spline(gpu, volume, case)?)?;
    let outputs = [g.names("y_o"), g.names("label_o")].concat();
    except(left_out(&outputs, |name| {
        let value = name.contains("_cval").then_some("a value other than 0 outside");
        let image = name.starts_with("y_o0").then_some("order 0: of labels only");
        mode(name).or(value).or(image)
    }))
}

/// gaussian_filter, mode constant, by kernel and twin.
pub fn run_gaussian(g: &Golden, gpu: &Gpu) -> Outcome {
    if let Some(what) = g.differs("truncate", 4.0).or(g.differs("cval", 0.0)) {
        return nothing(what);
    }
    let shape = g.edges("x")?;
    let x = &g.get("x")?.f32s;
    let field = [&x[..], x, x].concat();
    let wide: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
    let sigmas = g.params["sigmas"].as_array().ok_or("no list 'sigmas' in params")?;
    let mut skipped = left_out(&g.names("y"), |name| {
        name.ends_with("_reflect").then_some("mode reflect: the engine pads with 0")
    });
    for (i, sigma) in sigmas.iter().enumerate() {
        let sigmas: [f64; 3] = match sigma.as_f64() {
            Some(s) => [s; 3],
            None => serde_json::from_value(sigma.clone()).map_err(text)?,
        };
        let key = format!("y{i}_constant");
        if sigmas.iter().any(|&s| radius(s).is_err()) {
            skipped.push(format!("{key} (sigma {sigma} exceeds the table of taps)"));
            continue;
        }
        for component in smooth(gpu, &field, shape, sigmas)?.chunks(x.len()) {
            g.check(&key, component)?;
        }
        let twin = reference::smooth::gaussian(&wide, shape.map(|e| e as usize), sigmas);
        let twin: Vec<f32> = twin.iter().map(|&v| v as f32).collect();
        close(&format!("{key} (twin)"), &twin, &g.get(&key)?.f32s, 1e-6)?;
    }
    except(skipped)
}

/// An augmenter with its batch, ready to run.
pub struct Batch {
    pub bench: Bench,
    pub augmenter: Augmenter,
    pub image: View,
    pub labels: SlotId,
    pub memory: Memory,
    pub program: Program,
}

pub fn batch(gpu: &Gpu, spec: AugmenterSpec, plain: bool) -> Result<Batch, String> {
    let mut bench = Bench::new(gpu);
    let augmenter = Augmenter::new(&mut bench.tensors, spec).map_err(text)?;
    let image = bench
        .tensors
        .add("image", spec.batch, &[spec.channels], spec.patch, Storage::Buffer, KEEP)
        .map_err(text)?
        .view();
    let voxels = spec.patch.iter().product::<u32>();
    let labels = bench.slot((spec.batch * voxels * 4) as usize);
    let mut l = bench.lowering();
    if plain {
        augmenter.record_plain(&mut l, 0, image, labels).map_err(text)?;
    } else {
        augmenter.record(&mut l, 0, image, labels).map_err(text)?;
    }
    let (memory, program) = bench.ready(gpu)?;
    Ok(Batch { bench, augmenter, image, labels, memory, program })
}
