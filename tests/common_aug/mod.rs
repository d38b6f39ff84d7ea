//! Golden files and small harnesses for the augmentation ops.
#![allow(dead_code)]

use asng_wgpu::augment::batch::{Augmenter, AugmenterSpec};
use asng_wgpu::gpu::{Gpu, Lifetime, Memory, MemoryPlan, Program, Recording, SlotId};
use asng_wgpu::ops::gamma::Gamma;
use asng_wgpu::ops::noise::Noise;
use asng_wgpu::ops::smooth::{GaussianSmooth, TAPS, radius, taps};
use asng_wgpu::ops::tensor::{Storage, Tensors, host};
use asng_wgpu::ops::warp::{Placement, Warp, WarpRecord};
use asng_wgpu::ops::{ConvVariant, Lowering};
use asng_wgpu::reference;
use std::collections::HashMap;

type Outcome<T> = Result<T, String>;

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

/// One golden file.
pub struct Golden {
    pub op: String,
    pub params: serde_json::Value,
    pub tol: serde_json::Value,
    pub f32: HashMap<String, Vec<f32>>,
    pub i32: HashMap<String, Vec<i32>>,
    pub shape: HashMap<String, Vec<usize>>,
}

impl Golden {
    pub fn load(name: &str) -> Outcome<Golden> {
        let path = format!("{}/tests/golden/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(&path).map_err(text)?;
        let (_, meta) = safetensors::SafeTensors::read_metadata(&bytes).map_err(text)?;
        let strings = meta.metadata().clone().unwrap_or_default();
        let get = |k: &str| strings.get(k).cloned().unwrap_or_default();
        let file = safetensors::SafeTensors::deserialize(&bytes).map_err(text)?;
        let mut golden = Golden {
            op: get("op"),
            params: serde_json::from_str(&get("params")).map_err(text)?,
            tol: serde_json::from_str(&get("tol")).map_err(text)?,
            f32: HashMap::new(),
            i32: HashMap::new(),
            shape: HashMap::new(),
        };
        for (key, tensor) in file.tensors() {
            golden.shape.insert(key.clone(), tensor.shape().to_vec());
            let data = tensor.data();
            if tensor.dtype() == safetensors::Dtype::F32 {
                golden.f32.insert(key, bytemuck::pod_collect_to_vec(data));
            } else {
                golden.i32.insert(key, bytemuck::pod_collect_to_vec(data));
            }
        }
        Ok(golden)
    }

    pub fn f(&self, key: &str) -> Outcome<&[f32]> {
        self.f32.get(key).map(Vec::as_slice).ok_or_else(|| format!("no tensor {key}"))
    }

    pub fn i(&self, key: &str) -> Outcome<&[i32]> {
        self.i32.get(key).map(Vec::as_slice).ok_or_else(|| format!("no tensor {key}"))
    }

    pub fn num(&self, key: &str) -> f64 {
        self.params[key].as_f64().unwrap_or(0.0)
    }

    pub fn on(&self, key: &str) -> bool {
        self.params[key].as_bool().unwrap_or(false)
    }

    pub fn last3(&self, key: &str) -> [u32; 3] {
        let s = &self.shape[key];
        [0, 1, 2].map(|i| s[s.len() - 3 + i] as u32)
    }
}

/// max|a - ref| / max|ref|.
pub fn nmax(a: &[f32], reference: &[f32]) -> f64 {
    assert_eq!(a.len(), reference.len());
    let top = reference.iter().fold(0f32, |m, v| m.max(v.abs()));
    let worst = a.iter().zip(reference).fold(0f32, |m, (x, y)| m.max((x - y).abs()));
    let finite = a.iter().all(|v| v.is_finite());
    if finite { f64::from(worst) / f64::from(top).max(1e-12) } else { f64::INFINITY }
}

pub fn within(name: &str, a: &[f32], reference: &[f32], bound: f64) -> Outcome<()> {
    let error = nmax(a, reference);
    if error <= bound { Ok(()) } else { Err(format!("{name}: nmax {error:.3e} > {bound:.1e}")) }
}

/// Lowers with `build`, writes `inputs`, runs once.
pub struct Bench {
    pub tensors: Tensors,
    pub recording: Recording,
}

impl Bench {
    pub fn new(gpu: &Gpu) -> Bench {
        Bench { tensors: Tensors::new(gpu.caps()), recording: Recording::new() }
    }

    pub fn slot(&mut self, bytes: usize) -> SlotId {
        self.tensors.slots.buffer("test", bytes as u64, Lifetime::Persistent)
    }

    pub fn lowering(&mut self) -> Lowering<'_> {
        Lowering {
            tensors: &mut self.tensors,
            recording: &mut self.recording,
            variant: ConvVariant::Simt,
        }
    }

    pub fn ready(&self, gpu: &Gpu) -> Outcome<(Memory, Program)> {
        let plan = MemoryPlan::new(&self.tensors.slots, &[&self.recording]);
        let memory = Memory::new(gpu, &self.tensors.slots, &plan).map_err(text)?;
        let program = Program::new(gpu, &memory, &self.recording).map_err(text)?;
        Ok((memory, program))
    }
}

fn interleave(field: &[f32]) -> Vec<[f32; 4]> {
    let n = field.len() / 3;
    (0..n).map(|v| [field[v], field[n + v], field[2 * n + v], 0.0]).collect()
}

fn separate(field: &[[f32; 4]]) -> Vec<f32> {
    (0..3).flat_map(|a| field.iter().map(move |v| v[a])).collect()
}

/// Smooths \[3\]\[D*H*W\] with given sigmas an axis.
pub fn smooth(gpu: &Gpu, field: &[f32], shape: [u32; 3], sigmas: [f64; 3]) -> Outcome<Vec<f32>> {
    let mut bench = Bench::new(gpu);
    let bytes = field.len() / 3 * 16;
    let (from, to) = (bench.slot(bytes), bench.slot(bytes));
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
    program.submit(gpu).map_err(text)?;
    let out: Vec<[f32; 4]> = gpu.read(&memory, to, 0, field.len() / 3).map_err(text)?;
    Ok(separate(&out))
}

/// The noise of a record, \[3\]\[D*H*W\].
pub fn noise(gpu: &Gpu, record: WarpRecord, shape: [u32; 3]) -> Outcome<Vec<f32>> {
    let mut bench = Bench::new(gpu);
    let voxels = shape.iter().product::<u32>() as usize;
    let (draws, out) = (bench.slot(size_of::<WarpRecord>()), bench.slot(voxels * 16));
    Noise { draws, sample: 0, shape, out }.lower(&mut bench.lowering()).map_err(text)?;
    let (memory, program) = bench.ready(gpu)?;
    gpu.write(&memory, draws, 0, &[record]).map_err(text)?;
    program.submit(gpu).map_err(text)?;
    Ok(separate(&gpu.read::<[f32; 4]>(&memory, out, 0, voxels).map_err(text)?))
}

/// Warps one source with a given displacement (\[3\]\[D*H*W\], before alpha).
pub fn warp(
    gpu: &Gpu,
    record: WarpRecord,
    image: &[f32],
    labels: &[u32],
    displacement: Option<&[f32]>,
    patch: [u32; 3],
) -> Outcome<(Vec<f32>, Vec<u32>)> {
    let mut bench = Bench::new(gpu);
    let channels = (image.len() / labels.len()) as u32;
    let voxels = patch.iter().product::<u32>() as usize;
    let draws = bench.slot(size_of::<WarpRecord>());
    let (source, source_labels) = (bench.slot(image.len() * 4), bench.slot(labels.len() * 4));
    let field = bench.slot(voxels * 16);
    let out_labels = bench.slot(voxels * 4);
    let keep = Lifetime::Persistent;
    let id =
        bench.tensors.add("image", 1, &[channels], patch, Storage::Buffer, keep).map_err(text)?;
    Warp {
        draws,
        sample: 0,
        source,
        source_labels,
        displacement: displacement.map(|_| field),
        image: id.view(),
        labels: out_labels,
    }
    .lower(&mut bench.lowering())
    .map_err(text)?;
    let (memory, program) = bench.ready(gpu)?;
    gpu.write(&memory, draws, 0, &[record]).map_err(text)?;
    gpu.write(&memory, source, 0, image).map_err(text)?;
    gpu.write(&memory, source_labels, 0, labels).map_err(text)?;
    if let Some(d) = displacement {
        gpu.write(&memory, field, 0, &interleave(d)).map_err(text)?;
    }
    program.submit(gpu).map_err(text)?;
    let out = host::download(gpu, &memory, &bench.tensors, id.view()).map_err(text)?;
    Ok((out, gpu.read(&memory, out_labels, 0, voxels).map_err(text)?))
}

/// Gamma on one sample, C,D,H,W.
pub fn gamma(
    gpu: &Gpu,
    record: WarpRecord,
    image: &[f32],
    channels: u32,
    shape: [u32; 3],
) -> Outcome<Vec<f32>> {
    let mut bench = Bench::new(gpu);
    let draws = bench.slot(size_of::<WarpRecord>());
    let keep = Lifetime::Persistent;
    let id =
        bench.tensors.add("image", 1, &[channels], shape, Storage::Buffer, keep).map_err(text)?;
    Gamma { draws, sample: 0, image: id.view() }.lower(&mut bench.lowering()).map_err(text)?;
    let (memory, program) = bench.ready(gpu)?;
    gpu.write(&memory, draws, 0, &[record]).map_err(text)?;
    host::upload(gpu, &memory, &bench.tensors, id.view(), image).map_err(text)?;
    program.submit(gpu).map_err(text)?;
    host::download(gpu, &memory, &bench.tensors, id.view()).map_err(text)
}

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

/// SpatialTransform files: displacement, coordinates, image and labels.
pub fn run_spatial(g: &Golden, gpu: &Gpu) -> Outcome<()> {
    let case = g.last3("data");
    let patch = g.last3("data_o1_constant");
    let labels: Vec<u32> = g.i("seg")?.iter().map(|&v| v as u32).collect();
    let image = g.f("data")?;
    let (alpha, sigma) = (g.num("alpha"), g.num("sigma"));
    let mut record = WarpRecord::copy(&Placement::whole(case, [0; 3], patch));
    record.centre = [0, 1, 2].map(|i| g.params["center"][i].as_f64().unwrap_or(0.0) as f32);
    let angles = if g.on("do_rotation") {
        [g.num("angle_x"), g.num("angle_y"), g.num("angle_z")]
    } else {
        [0.0; 3]
    };
    let scale = if g.on("do_scale") { g.num("scale") } else { 1.0 };
    record = record.affine(matrix(angles, scale));
    let mut field = None;
    if g.on("do_elastic") {
        record = record.elastic(alpha, sigma, 1, false).map_err(text)?;
        let smoothed = smooth(gpu, g.f("noise")?, patch, [sigma; 3])?;
        let disp: Vec<f32> = smoothed.iter().map(|v| v * alpha as f32).collect();
        within("disp", &disp, g.f("disp")?, 2e-5)?;
        field = Some(smoothed);
    }
    let (out, seg) = warp(gpu, record, image, &labels, field.as_deref(), patch)?;
    within("data_o1_constant", &out, g.f("data_o1_constant")?, 2e-4)?;
    // Coordinates: ramps that never leave a far larger case, by the same kernel.
    run_coordinates(g, gpu, &record, field.as_deref(), patch)?;
    let (mut wrong, mut off) = (0, 0);
    let ambiguous = g.i("seg_ambiguous_o1")?;
    for (v, &expected) in g.i("seg_o1_constant_argmax")?.iter().enumerate() {
        let same = seg[v] as i32 == expected;
        wrong += usize::from(!same && ambiguous[v] == 0);
        off += usize::from(!same);
    }
    if wrong > 0 || off * 100 > seg.len() {
        return Err(format!("labels: {wrong} unambiguous wrong, {off} of {} differ", seg.len()));
    }
    Ok(())
}

fn run_coordinates(
    g: &Golden,
    gpu: &Gpu,
    record: &WarpRecord,
    field: Option<&[f32]>,
    patch: [u32; 3],
) -> Outcome<()> {
    let edge = 64usize;
    let at = |v: usize| [v / (edge * edge), v / edge % edge, v % edge];
    let ramps: Vec<f32> =
        (0..3).flat_map(|a| (0..edge.pow(3)).map(move |v| at(v)[a] as f32 - 20.0)).collect();
    let mut wide = *record;
    wide.box_shape = [edge as u32; 3];
    wide.box_start = [-20; 3];
    // The case's own border is not what is looked at here: everything is moved by 20 voxels.
    wide.case_shape = [edge as i32; 3];
    wide.box_start = [0; 3];
    wide.centre = record.centre.map(|c| c + 20.0);
    let labels = vec![0; edge.pow(3)];
    let (coords, _) = warp(gpu, wide, &ramps, &labels, field, patch)?;
    within("coords", &coords, g.f("coords")?, 2e-6)
}

/// gaussian_blur: mode constant.
pub fn run_gaussian(g: &Golden, gpu: &Gpu) -> Outcome<()> {
    let shape = g.last3("x");
    let x = g.f("x")?;
    let field = [x, x, x].concat();
    for i in 0..6 {
        let sigma = &g.params["sigmas"][i];
        let sigmas = match sigma.as_f64() {
            Some(s) => [s; 3],
            None => [0, 1, 2].map(|a| sigma[a].as_f64().unwrap_or(0.0)),
        };
        let out = smooth(gpu, &field, shape, sigmas)?;
        let key = format!("y{i}_constant");
        for component in out.chunks(x.len()) {
            within(&key, component, g.f(&key)?, 2e-5)?;
        }
        let twin = reference::smooth::gaussian(
            &x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>(),
            shape.map(|e| e as usize),
            sigmas,
        );
        let twin: Vec<f32> = twin.iter().map(|&v| v as f32).collect();
        within(&key, &twin, g.f(&key)?, 1e-6)?;
    }
    Ok(())
}

/// gamma: per channel with retained statistics, not inverted.
pub fn run_gamma(g: &Golden, gpu: &Gpu) -> Outcome<()> {
    let shape = g.last3("x");
    let x = g.f("x")?;
    for i in 0..2 {
        let exponent = g.params["gammas"][i].as_f64().unwrap_or(1.0);
        let record = WarpRecord::copy(&Placement::whole(shape, [0; 3], shape))
            .gamma(&[exponent; 2], false)
            .map_err(text)?;
        let out = gamma(gpu, record, x, 2, shape)?;
        let key = format!("g{i}_inv0_pc1_rs1");
        within(&key, &out, g.f(&key)?, 5e-5)?;
        let half: Vec<f64> = x[..x.len() / 2].iter().map(|&v| f64::from(v)).collect();
        let twin: Vec<f32> =
            reference::gamma::gamma(&half, exponent).iter().map(|&v| v as f32).collect();
        within(&key, &twin, &g.f(&key)?[..half.len()], 1e-6)?;
    }
    Ok(())
}

/// An augmenter with its batch, ready to run.
pub struct Batch {
    pub bench: Bench,
    pub augmenter: Augmenter,
    pub image: asng_wgpu::ops::tensor::View,
    pub labels: SlotId,
    pub memory: Memory,
    pub program: Program,
}

pub fn batch(gpu: &Gpu, spec: AugmenterSpec, plain: bool) -> Outcome<Batch> {
    let mut bench = Bench::new(gpu);
    let augmenter = Augmenter::new(&mut bench.tensors, spec).map_err(text)?;
    let keep = Lifetime::Persistent;
    let image = bench
        .tensors
        .add("image", spec.batch, &[spec.channels], spec.patch, Storage::Buffer, keep)
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
