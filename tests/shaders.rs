//! Every shader in every variant that the library can generate, through naga to SPIR-V, MSL and
//! HLSL. Kernels are taken from what ops record, never from constants written down here.

mod common;

use asng_wgpu::augment::batch::{Augmenter, AugmenterSpec};
use asng_wgpu::gpu::{Caps, Kernel, Lifetime, Tiles, shader};
use asng_wgpu::nn::plan::NetworkPlan;
use asng_wgpu::nn::step::{Batch, LossPlan, Optimizer, TrainingState, record_loss, record_step};
use asng_wgpu::nn::unet::UNet;
use asng_wgpu::ops::conv3d::{
    Conv3dBackwardInput, Conv3dBackwardWeight, Conv3dForward, Geometry, GradientSums, InputGradient,
};
use asng_wgpu::ops::loss::{Channels, DiceCrossEntropy, DownsampleLabels, out_elements};
use asng_wgpu::ops::norm::{
    NormActivation, NormActivationBackward, NormOnLoad, NormStatistics, NormSums, SegmentNorm,
    statistics_slot,
};
use asng_wgpu::ops::optimizer::{Average, GradientNorm, OptimizerStep, Rule};
use asng_wgpu::ops::stage::Stage;
use asng_wgpu::ops::tensor::{Storage, Tensors};
use asng_wgpu::ops::warp::{ImageInterpolation, Interpolation, LabelInterpolation, MAX_CHANNELS};
use asng_wgpu::ops::{ConvVariant, Lowering};
use common::bench::{Bench, KEEP};
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use rayon::prelude::*;
use std::collections::BTreeSet;

type Kernels = BTreeSet<Kernel>;

fn recorded(b: &Bench) -> Kernels {
    b.recording.dispatches().map(|d| d.kernel.clone()).collect()
}

/// Devices that differ in what decides about kernels.
fn devices() -> Vec<Caps> {
    let mut all = Vec::new();
    for workgroup_bytes in [16 << 10, 32 << 10, 64 << 10] {
        all.push(Caps { workgroup_bytes, ..Caps::portable() });
    }
    for lanes in [4, 8, 16, 32] {
        for cpu in [false, true] {
            all.push(Caps { subgroup_lanes: Some(lanes), cpu, ..Caps::portable() });
        }
    }
    // Every tile that kernels offer.
    let tiled = all
        .iter()
        .flat_map(|caps| (1..MOST_TILES).map(|n| Caps { tiles: Tiles::Trial(n), ..caps.clone() }));
    let tiled: Vec<Caps> = tiled.collect();
    all.extend(tiled);
    all
}

/// At least as many as a kernel has tiles.
const MOST_TILES: usize = 6;

const STORAGES: [Storage; 2] = [Storage::Buffer, Storage::Texture];

/// All directions of convolutions of networks' kernels and strides, with one to many blocks of
/// output channels.
fn of_convolutions(caps: &Caps, variant: ConvVariant) -> Kernels {
    let mut all = Kernels::new();
    let strides = [1, 2].map(|d| [1, 2].map(|h| [1, 2].map(|w| [d, h, w]))).concat().concat();
    let mut geometries = Vec::new();
    for kernel in [[1, 1, 1], [1, 3, 3], [3, 3, 3]] {
        for &stride in &strides {
            let padding = kernel.map(|k: u32| k / 2);
            geometries.push(Geometry { kernel, stride, padding, transposed: false });
        }
    }
    for &stride in &strides {
        geometries.push(Geometry { kernel: stride, stride, padding: [0; 3], transposed: true });
    }
    for geometry in geometries {
        // Tiles are smaller where there is little work.
        let narrow = [1, 5, 12, 13, 30, 40, 320].map(|channels| (channels, [8, 8, 8]));
        let wide = [1, 5, 12, 13, 30].map(|channels| (channels, [16, 32, 40]));
        for (channels, edges) in narrow.into_iter().chain(wide) {
            let mut b = Bench::of(caps, variant);
            let mut add = |edges, storage| {
                b.tensors.add("t", 1, &[channels], edges, storage, KEEP).unwrap().view()
            };
            let (operand, output) = (variant.operand(), geometry.output(edges));
            let (x, dy) = (add(edges, operand), add(output, operand));
            let outputs = STORAGES.map(|s| (add(output, s), add(edges, s)));
            let count = channels * channels * geometry.kernel.iter().product::<u32>();
            let (w, dw) = (b.flat(count as usize), b.flat(count as usize));
            let (bias, db) = (b.flat(channels as usize), b.flat(channels as usize));
            let mut l = b.lowering();
            let mut tables = vec![None];
            let mut all_sums = vec![None];
            if variant.fuses_norms() {
                let stats = statistics_slot(&mut l, x, KEEP);
                NormStatistics { z: x, stats }.lower(&mut l);
                let norm = SegmentNorm { stats, gamma: bias, beta: bias, slope: 0.01 };
                for segment in [None, Some(norm)] {
                    let table = NormOnLoad { z: x, segments: vec![segment] }.lower(&mut l);
                    tables.push(Some(table));
                    let of = NormSums { z: x, norm, sums: stats, dgamma: db, dbeta: db };
                    all_sums.push(segment.map(|_| GradientSums { of, table }));
                }
            }
            for (y, dx) in outputs {
                for &on_load in &tables {
                    for wanted in [false, true] {
                        let statistics = wanted.then(|| statistics_slot(&mut l, y, KEEP));
                        Conv3dForward { x, on_load, w, bias: Some(bias), y, statistics, geometry }
                            .lower(&mut l)
                            .unwrap();
                    }
                }
                for &sums in &all_sums {
                    let dx = vec![Some(InputGradient { to: dx, add: false, sums })];
                    let segments = vec![channels];
                    Conv3dBackwardInput { dy, w, dx, segments, geometry }.lower(&mut l).unwrap();
                }
            }
            for on_load in tables {
                Conv3dBackwardWeight { x, on_load, dy, dw, db: Some(db), geometry }
                    .lower(&mut l)
                    .unwrap();
            }
            all.extend(recorded(&b));
        }
    }
    all
}

/// Norm, activation, staging, losses of every number of classes, optimizers.
fn of_the_rest(caps: &Caps) -> Kernels {
    let mut b = Bench::of(caps, ConvVariant::Simt);
    let shape = [2, 5, 4, 4, 4];
    let (z, da, da2) = (b.view(&shape).unwrap(), b.view(&shape).unwrap(), b.view(&shape).unwrap());
    let (gamma, beta, dgamma, dbeta) = (b.flat(5), b.flat(5), b.flat(5), b.flat(5));
    let mut l = b.lowering();
    let stats = statistics_slot(&mut l, z, KEEP);
    NormStatistics { z, stats }.lower(&mut l);
    let norm = SegmentNorm { stats, gamma, beta, slope: 0.01 };
    let sums = statistics_slot(&mut l, z, KEEP);
    let of = NormSums { z, norm, sums, dgamma, dbeta };
    for storage in STORAGES {
        let mut add = || l.tensors.add("t", 2, &[5], [4; 3], storage, KEEP).unwrap().view();
        let (a, dz) = (add(), add());
        NormActivation { z, norm, a }.lower(&mut l).unwrap();
        for (frozen, da2) in [(false, None), (true, Some(da2))] {
            NormActivationBackward { of, summed: false, frozen, da, da2, dz }
                .lower(&mut l)
                .unwrap();
        }
        for other in STORAGES {
            let to = l.tensors.add("t", 2, &[5], [4; 3], other, KEEP).unwrap().view();
            Stage { from: a, to }.lower(&mut l);
        }
    }
    let mut all = recorded(&b);
    all.extend(of_losses(caps));
    all.extend(of_optimizers(caps));
    all
}

fn of_losses(caps: &Caps) -> Kernels {
    let mut b = Bench::of(caps, ConvVariant::Simt);
    let labels = b.slot(2 * 64 * 4);
    let (samples, to_shape) = (2, [2; 3]);
    DownsampleLabels { from: labels, from_shape: [4; 3], to: labels, to_shape, samples }
        .lower(&mut b.lowering());
    let regions = Channels::Regions(Box::new([0; 256]));
    let of_labels = (2..=32).chain([105, 255]).map(|classes| (classes, Channels::Labels));
    let of_regions = (1..=32).map(|classes| (classes, regions.clone()));
    for (classes, channels) in of_labels.chain(of_regions) {
        let logits = b.view(&[2, classes, 4, 4, 4]).unwrap();
        let out = b.slot(out_elements(classes as u32) as usize * 4);
        let gradients = STORAGES.map(|s| {
            let id = b.tensors.add("t", 2, &[classes as u32], [4; 3], s, KEEP);
            Some(id.unwrap().view())
        });
        for dlogits in gradients.into_iter().chain([None]) {
            for batch_dice in [false, true] {
                let channels = channels.clone();
                let (weight, out_offset) = (1.0, 0);
                let l = &mut b.lowering();
                DiceCrossEntropy {
                    logits,
                    channels,
                    labels,
                    dlogits,
                    weight,
                    batch_dice,
                    out,
                    out_offset,
                }
                .lower(l)
                .unwrap();
            }
        }
    }
    recorded(&b)
}

fn of_optimizers(caps: &Caps) -> Kernels {
    let mut b = Bench::of(caps, ConvVariant::Simt);
    let mut flat = || b.flat(256).slot;
    let (parameters, gradient, m, v, vmax, trial) =
        (flat(), flat(), flat(), flat(), flat(), flat());
    let (hyper, norm) = (b.slot(32), b.slot(16));
    let ranges = vec![(0, 256)];
    GradientNorm { gradient, ranges: ranges.clone(), out: norm }.lower(&mut b.lowering());
    for rule in [
        Rule::Adam { m, v, vmax: None },
        Rule::Adam { m, v, vmax: Some(vmax) },
        Rule::Sgd { momentum: m },
    ] {
        for trial in [None, Some(trial)] {
            let ranges = ranges.clone();
            OptimizerStep { rule, parameters, gradient, ranges, hyper, norm, trial }
                .lower(&mut b.lowering());
        }
    }
    Average { a: m, b: v, result: vmax, scale: 0.5, len: 256 }.lower(&mut b.lowering());
    recorded(&b)
}

/// Noise, smoothing, warp and gamma of every number of channels.
fn of_augmentation(caps: &Caps) -> Kernels {
    let mut all = Kernels::new();
    let interpolations = [
        Interpolation::default(),
        Interpolation { image: ImageInterpolation::Cubic, ..Default::default() },
        Interpolation { labels: LabelInterpolation::Nearest, ..Default::default() },
        Interpolation { image: ImageInterpolation::Cubic, labels: LabelInterpolation::Nearest },
    ];
    let channels = 1..=MAX_CHANNELS as u32;
    for (channels, interpolation) in
        channels.flat_map(|channels| interpolations.map(|how| (channels, how)))
    {
        let mut b = Bench::of(caps, ConvVariant::Simt);
        let patch = [8, 8, 8];
        let spec = AugmenterSpec {
            batch: 2,
            channels,
            patch,
            capacity: 4096,
            candidates: 1,
            interpolation,
        };
        let augmenter = Augmenter::new(&mut b.tensors, spec).unwrap();
        let image = b.view(&[2, channels as usize, 8, 8, 8]).unwrap();
        let labels = b.slot(2 * 512 * 4);
        augmenter.record(&mut b.lowering(), 0, image, labels).unwrap();
        augmenter.record_plain(&mut b.lowering(), 0, image, labels).unwrap();
        all.extend(recorded(&b));
    }
    all
}

/// Training steps, and the loss alone, of an isotropic and an anisotropic network.
fn of_networks(caps: &Caps, variant: ConvVariant) -> Kernels {
    let mut all = Kernels::new();
    for (spacing, features, classes, optimizer) in
        [([1.0; 3], 12, 3, Optimizer::Adam), ([3.6, 0.6, 0.6], 30, 6, Optimizer::Sgd)]
    {
        let plan = NetworkPlan::from_spacing(2, classes, features, [16, 32, 32], 2, spacing, 4);
        let net = UNet::new(plan.clone());
        let mut tensors = Tensors::new(caps);
        let state = TrainingState::new(&mut tensors, &net, optimizer);
        let (buffer, keep) = (Storage::Buffer, Lifetime::Persistent);
        let image = tensors.add("image", 2, &[2], plan.patch, buffer, keep).unwrap().view();
        let labels = tensors.slots.buffer("labels", 1 << 20, keep);
        let loss = LossPlan { head_weights: plan.head_weights(), batch_dice: true };
        let batch = Batch { image, labels };
        let (mut recording, _) =
            record_step(&mut tensors, variant, &net, &state, batch, &loss, 0).unwrap();
        let mut l = Lowering { tensors: &mut tensors, recording: &mut recording, variant };
        record_loss(&mut l, &net, state.parameters, None, batch, &loss).unwrap();
        all.extend(recording.dispatches().map(|d| d.kernel.clone()));
    }
    all
}

/// What the library can generate, for all devices.
fn everything() -> Kernels {
    let devices = devices();
    let mut all: Kernels = devices
        .par_iter()
        .flat_map_iter(|caps| {
            let variants = ConvVariant::available(caps).into_iter();
            variants.flat_map(|v| of_convolutions(caps, v).into_iter().chain(of_networks(caps, v)))
        })
        .collect();
    all.extend(of_the_rest(&Caps::portable()));
    all.extend(of_augmentation(&Caps::portable()));
    // The limits that benches measure are no ops.
    let limits = shader::SOURCES.iter().filter(|(path, _)| path.starts_with("limit/"));
    all.extend(limits.map(|(path, _)| Kernel::plain(path)));
    all
}

fn translate(kernel: &Kernel) -> Result<(), String> {
    let text = shader::expand(kernel).map_err(|e| e.to_string())?;
    let module = shader::parse(kernel, &text).map_err(|e| e.to_string())?;
    shader::reflect(kernel, &module).map_err(|e| e.to_string())?;
    let capabilities = Capabilities::SUBGROUP | Capabilities::SUBGROUP_BARRIER;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|e| e.emit_to_string(&text))?;
    let options = spv::Options { lang_version: (1, 3), ..Default::default() };
    spv::write_vec(&module, &info, &options, None).map_err(|e| format!("SPIR-V: {e}"))?;
    let options =
        msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
    msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
        .map_err(|e| format!("MSL: {e}"))?;
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_0,
        fake_missing_bindings: true,
        ..Default::default()
    };
    let mut out = String::new();
    hlsl::Writer::new(&mut out, &options, &hlsl::PipelineOptions::default())
        .write(&module, &info, None)
        .map_err(|e| format!("HLSL: {e}"))?;
    Ok(())
}

#[test]
fn every_kernel_translates_to_all_backends() {
    let all = everything();
    let mut failures: Vec<String> = all
        .par_iter()
        .filter_map(|kernel| translate(kernel).err().map(|e| format!("{}: {e}", kernel.name())))
        .collect();
    let used: BTreeSet<&str> = all.iter().map(|k| k.shader).collect();
    for (path, _) in shader::SOURCES {
        if !used.contains(path) && !shader::PARTS.contains(path) {
            failures.push(format!("{path}: no op records it"));
        }
    }
    println!("{} kernels of {} shaders", all.len(), used.len());
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn workgroup_memory_fits_the_least_that_devices_grant() {
    let caps = Caps::portable();
    for variant in ConvVariant::available(&caps) {
        let mut all = of_convolutions(&caps, variant);
        all.extend(of_networks(&caps, variant));
        all.extend(of_the_rest(&caps));
        all.extend(of_augmentation(&caps));
        for kernel in all {
            let text = shader::expand(&kernel).unwrap();
            let module = shader::parse(&kernel, &text).unwrap();
            let reflection = shader::reflect(&kernel, &module).unwrap();
            assert!(reflection.workgroup_bytes <= caps.workgroup_bytes, "{}", kernel.name());
            let size = reflection.workgroup_size.iter().product::<u32>();
            assert!(size <= 256, "{}: {size} invocations", kernel.name());
        }
    }
}

#[test]
fn every_file_below_shaders_is_listed() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut found = BTreeSet::new();
    for folder in std::fs::read_dir(&root).unwrap() {
        let folder = folder.unwrap().path();
        for file in std::fs::read_dir(&folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().with_extension("");
            found.insert(name.to_string_lossy().replace('\\', "/"));
        }
    }
    let listed: BTreeSet<String> =
        shader::SOURCES.iter().map(|(path, _)| (*path).to_string()).collect();
    assert_eq!(found, listed);
}
