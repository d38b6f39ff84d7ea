//! Every kernel, in every variant of this device, against its CPU twin: on one list of awkward
//! shapes, and on random ones. Outputs are filled with NaN and fenced beforehand.

mod common;

use asng_wgpu::gpu::{Caps, Tiles, WorkLimits};
use asng_wgpu::ops::ConvVariant;
use asng_wgpu::ops::optimizer::{Average, Ranges};
use asng_wgpu::ops::tensor::Storage;
use asng_wgpu::reference::conv3d::Conv3d;
use asng_wgpu::reference::norm::Norm;
use asng_wgpu::reference::optimizer;
use common::bench::Bench;
use common::conv::{Case, LastNorm};
use common::dense::{NormCase, OptimizerCase};
use common::fence;
use common::fused::{self, Front};
use common::property::property;
use common::shapes::{PLAIN, SHAPES, TRANSPOSED, conv_case, conv_cases};
use common::twin::{close_wide, differences, narrow, report, wide};
use common::{close_shaped, generated, gpu};
use proptest::prelude::*;

/// f32 sums of up to some thousand products of numbers around 1, relative to the largest result:
/// the golden files' own bound for such sums.
const SUMS: f64 = 2e-5;
/// Normalisation divides by a deviation that is itself a sum.
const NORMALISED: f64 = 5e-5;

fn twin_of(case: &Case) -> Conv3d {
    let [n, ci, d, h, w] = case.x_shape;
    Conv3d {
        samples: n as usize,
        in_channels: ci as usize,
        out_channels: case.out_channels as usize,
        input: [d, h, w],
        geometry: case.geometry,
    }
}

fn conv(case: &Case, caps: &Caps, variant: ConvVariant, storage: Storage) -> Result<(), String> {
    let twin = twin_of(case);
    let got = common::conv::run(gpu(), caps, variant, case, storage)?;
    let x_shape = case.x_shape.map(|e| e as usize);
    let x = case.loaded();
    // What is normalised on its way carries that error into the sums.
    let bound = if case.on_load.is_some() { NORMALISED } else { SUMS };
    let bias = [case.out_channels as usize];
    let pairs = [
        ("y", got.y, twin.forward(&x, &case.w, case.b.as_deref()), &case.y_shape()[..]),
        ("dx", got.dx, twin.backward_input(&case.dy, &case.w), &x_shape),
        ("dw", got.dw, twin.backward_weight(&x, &case.dy), &case.w_shape()),
        ("db", got.db, twin.backward_bias(&case.dy), &bias),
    ];
    for (name, got, reference, shape) in pairs {
        close_shaped(name, &got, &narrow(&reference), bound, shape)?;
    }
    Ok(())
}

fn named(case: &Case, variant: ConvVariant, e: String) -> String {
    let (x, s, co, g) = (case.x_shape, &case.segments, case.out_channels, case.geometry);
    format!("{variant:?}: {x:?} of {s:?} to {co}, {g:?}: {e}")
}

#[test]
fn conv3d() {
    let caps = gpu().caps();
    let mut failures = Vec::new();
    for variant in ConvVariant::available(caps) {
        for (i, case) in conv_cases().iter().enumerate() {
            let storage = if i % 2 == 0 { Storage::Buffer } else { variant.operand() };
            let outcome = conv(case, caps, variant, storage);
            failures.extend(outcome.err().map(|e| named(case, variant, e)));
        }
    }
    report(failures);
}

/// Devices that bind little: every operand lies in several parts, cut by sample and by block.
#[test]
fn conv3d_in_parts() {
    let mut failures = Vec::new();
    for (bytes, layers) in [(16 * 105 * 2, 14), (16 * 105 * 3, 30), (16 * 105 * 12, 64)] {
        let caps =
            Caps { max_binding_bytes: bytes, max_texture_3d: layers, ..gpu().caps().clone() };
        for variant in ConvVariant::available(&caps) {
            for (kernel, stride, transposed) in [
                ([3, 3, 3], [1, 1, 1], false),
                ([3, 3, 3], [2, 2, 2], false),
                ([1, 1, 1], [1, 1, 1], false),
                ([1, 1, 1], [1, 1, 1], true),
            ] {
                let lists = [&[13][..], &[6, 7]];
                for segments in &lists[..if transposed { 1 } else { 2 }] {
                    let shape = [2, 13, 7, 3, 5];
                    let case = conv_case(shape, segments, 17, (kernel, stride, transposed), true);
                    let texture = variant.operand() == Storage::Texture;
                    let storages = [Storage::Buffer, Storage::Texture];
                    for &storage in &storages[..if texture { 2 } else { 1 }] {
                        let outcome = conv(&case, &caps, variant, storage);
                        failures.extend(outcome.err().map(|e| {
                            named(&case, variant, format!("{bytes} bytes, {storage:?}: {e}"))
                        }));
                    }
                }
            }
        }
    }
    report(failures);
}

/// Convolutions that normalise and activate while they load: a segment, or the last of two, on whole
/// devices and on those where operands lie in parts.
#[test]
fn conv3d_of_what_is_normalised_on_load() {
    let whole = gpu().caps();
    let parts = |blocks: u64| Caps { max_binding_bytes: 16 * 105 * blocks, ..whole.clone() };
    let mut failures = Vec::new();
    for variant in ConvVariant::available(whole).into_iter().filter(|v| v.fuses_norms()) {
        let geometries = PLAIN.map(|(kernel, stride)| (kernel, stride, false));
        let transposed = TRANSPOSED.map(|stride| (stride, stride, true));
        for geometry in geometries.into_iter().chain(transposed) {
            for segments in [&[13][..], &[1], &[6, 7]] {
                if geometry.2 && segments.len() > 1 {
                    continue;
                }
                let channels = segments.iter().sum();
                let mut case = conv_case([2, channels, 7, 3, 5], segments, 17, geometry, true);
                let last = segments[segments.len() - 1] as usize;
                case.on_load = Some(LastNorm {
                    gamma: generated(5, 0, last).iter().map(|v| v + 1.5).collect(),
                    beta: generated(6, 0, last),
                    slope: 0.1,
                });
                // A transposed convolution has up to eight times as many outputs.
                for caps in [whole, &parts(if geometry.2 { 12 } else { 3 })] {
                    let outcome = conv(&case, caps, variant, Storage::Buffer);
                    failures.extend(outcome.err().map(|e| named(&case, variant, e)));
                }
            }
        }
    }
    report(failures);
}

/// Kernel, stride, and whether transposed, of the convolutions that are held between norms: taps do not change
/// what is summed, and each compiles for seconds on a software device.
const BETWEEN_NORMS: [([u32; 3], [u32; 3], bool); 4] = [
    ([1, 1, 1], [1, 1, 1], false),
    ([3, 3, 3], [1, 1, 1], false),
    ([1, 3, 3], [1, 2, 2], false),
    ([1, 2, 2], [1, 2, 2], true),
];

/// A case of one input segment and a norm in front of it; every second kind with a gradient that comes before,
/// where the variant can add to it.
fn between_norms(
    shape: [u32; 5],
    out_channels: u32,
    kind: usize,
    variant: ConvVariant,
) -> (Case, Front) {
    let case = conv_case(shape, &[shape[1]], out_channels, BETWEEN_NORMS[kind], true);
    let add = kind.is_multiple_of(2) && variant.fuses_norms();
    let (count, channels) = (case.x.len(), shape[1] as usize);
    let norm = LastNorm {
        gamma: generated(5, 0, channels).iter().map(|v| v + 1.5).collect(),
        beta: generated(6, 0, channels),
        slope: 0.1,
    };
    let z = generated(7, 0, count).iter().map(|v| 2.0 * v + 0.7).collect();
    (case, Front { norm, z, before: add.then(|| generated(8, 0, count)) })
}

fn sums_of(case: &Case, front: &Front, caps: &Caps, variant: ConvVariant) -> Result<(), String> {
    let got = fused::run(gpu(), caps, variant, case, front)?;
    let twin = twin_of(case);
    let [_, ci, d, h, w] = case.x_shape;
    let y = twin.forward(&case.x, &case.w, case.b.as_deref());
    let voxels = case.y_shape()[2..].iter().product::<usize>();
    for (row, (y, &[mean, rstd])) in y.chunks_exact(voxels).zip(&got.stats).enumerate() {
        let expected = y.iter().sum::<f64>() / voxels as f64;
        let variance = y.iter().map(|v| (v - expected).powi(2)).sum::<f64>() / voxels as f64;
        let top = y.iter().fold(0f64, |m, v| m.max(v.abs()));
        if (f64::from(mean) - expected).abs() > SUMS * top {
            return Err(format!("mean {mean} of row {row} instead of {expected}"));
        }
        // Of one voxel the variance is 0 but for the rounding of the mean.
        let wrong = 1.0 / f64::from(rstd).powi(2) - 1e-5 - variance;
        if wrong.abs() > NORMALISED * (variance + 1e-5).max(SUMS * top * top) {
            return Err(format!("1 / deviation {rstd} of row {row}, variance {variance}"));
        }
    }
    let mut da = twin.backward_input(&case.dy, &case.w);
    if let Some(before) = &front.before {
        da.iter_mut().zip(before).for_each(|(to, &from)| *to += f64::from(from));
    }
    let LastNorm { gamma, beta, slope } = &front.norm;
    let voxels = (d * h * w) as usize;
    let norm = Norm { channels: ci as usize, voxels, slope: f64::from(*slope) };
    let expected = norm.backward(&wide(&front.z), &wide(gamma), &wide(beta), &da);
    let shape = case.x_shape.map(|e| e as usize);
    let row = [ci as usize];
    for (name, got, reference, shape) in [
        ("dz", got.dz, expected.dz, &shape[..]),
        ("dgamma", got.dgamma, expected.dgamma, &row),
        ("dbeta", got.dbeta, expected.dbeta, &row),
    ] {
        close_shaped(name, &got, &narrow(&reference), NORMALISED, shape)?;
    }
    Ok(())
}

/// The sums that norms need of what convolutions store: on whole devices, and where outputs lie in parts.
#[test]
fn sums_of_what_conv3d_stores() {
    let whole = gpu().caps();
    let parts = |blocks: u64| Caps { max_binding_bytes: 16 * 495 * blocks, ..whole.clone() };
    let mut failures = Vec::new();
    for variant in ConvVariant::available(whole) {
        for (kind, (_, _, transposed)) in BETWEEN_NORMS.into_iter().enumerate() {
            for (shape, co) in [([2, 13, 5, 9, 11], 17), ([1, 3, 7, 6, 18], 5)] {
                let (case, front) = between_norms(shape, co, kind, variant);
                for caps in [whole, &parts(if transposed { 12 } else { 3 })] {
                    let outcome = sums_of(&case, &front, caps, variant);
                    failures.extend(outcome.err().map(|e| named(&case, variant, e)));
                }
            }
        }
    }
    report(failures);
}

#[test]
fn sums_of_random_shapes() {
    let edges = prop::array::uniform3(2u32..12);
    let kinds = 0..BETWEEN_NORMS.len();
    property(30, (1u32..4, (1u32..10, 1u32..20), edges, kinds), |input| {
        let (n, (ci, co), [d, h, w], kind) = input;
        for variant in ConvVariant::available(gpu().caps()) {
            let (case, front) = between_norms([n, ci, d, h, w], co, kind, variant);
            let outcome = sums_of(&case, &front, gpu().caps(), variant);
            outcome.map_err(|e| named(&case, variant, e))?;
        }
        Ok(())
    });
}

/// What a timing may choose has no say in the result. Software adapters take seconds to compile a tall
/// tile, so one of them does.
#[test]
fn every_tile_gives_the_same_bits() {
    let whole = gpu().caps();
    for variant in ConvVariant::available(whole) {
        for (shape, kernel, stride, transposed, tiles) in [
            ([2, 5, 3, 6, 18], [3; 3], [1; 3], false, 5),
            ([1, 5, 4, 6, 9], [3; 3], [2; 3], false, 5),
            ([1, 9, 4, 3, 5], [1, 2, 2], [1, 2, 2], true, 5),
            ([1, 12, 3, 37, 41], [3; 3], [1; 3], false, 1),
        ] {
            let case = conv_case(shape, &[shape[1]], 14, (kernel, stride, transposed), true);
            let run =
                |caps: &Caps| common::conv::run(gpu(), caps, variant, &case, variant.operand());
            let first = run(whole).unwrap();
            for number in 1..=tiles {
                let caps = Caps { tiles: Tiles::Trial(number), ..whole.clone() };
                let other = run(&caps).unwrap();
                let same = first.y == other.y && first.dx == other.dx && first.dw == other.dw;
                assert!(same, "{variant:?} {kernel:?}, tile {number}");
            }
        }
        // Sums do not depend on the taps, of which one compiles fastest.
        let (case, front) = between_norms([1, 6, 5, 9, 27], 37, 0, variant);
        let sums = |caps: &Caps| fused::run(gpu(), caps, variant, &case, &front).unwrap();
        let first = sums(whole);
        for number in 1..=5 {
            let caps = Caps { tiles: Tiles::Trial(number), ..whole.clone() };
            assert!(first == sums(&caps), "sums, {variant:?}, tile {number}");
        }
    }
}

/// Work that is cut into as many dispatches as its kernels allow: to the bit what one makes.
#[test]
fn work_cut_into_many_dispatches_gives_the_same_bits() {
    let whole = gpu().caps();
    let cut = Caps { work: WorkLimits { flops: 1, bytes: 1 }, max_groups: 1, ..whole.clone() };
    for variant in ConvVariant::available(whole) {
        for (kernel, stride, transposed) in
            [([3; 3], [1; 3], false), ([3; 3], [2; 3], false), ([2; 3], [2; 3], true)]
        {
            let shape = [2, 13, 9, 6, 5];
            let case = conv_case(shape, &[13], 17, (kernel, stride, transposed), true);
            let run = |caps| common::conv::run(gpu(), caps, variant, &case, variant.operand());
            let (one, many) = (run(whole).unwrap(), run(&cut).unwrap());
            assert_eq!(one.y, many.y, "{variant:?} {kernel:?}");
            assert_eq!(one.dx, many.dx, "{variant:?} {kernel:?}");
            assert_eq!(one.dw, many.dw, "{variant:?} {kernel:?}");
        }
        for kind in [0, 2] {
            let (case, front) = between_norms([2, 13, 9, 6, 5], 17, kind, variant);
            let sums = |caps| fused::run(gpu(), caps, variant, &case, &front).unwrap();
            assert!(sums(whole) == sums(&cut), "sums, {variant:?}, {:?}", BETWEEN_NORMS[kind]);
        }
    }
    for storage in [Storage::Buffer, Storage::Texture] {
        // Planes of three workgroups.
        let case = norm_case([2, 13, 7, 9, 17], 0.01, true, 4);
        let run = |caps| common::dense::norm(gpu(), caps, &case, storage).unwrap();
        let (one, many) = (run(whole), run(&cut));
        assert_eq!((one.a, one.dz), (many.a, many.dz));
        assert_eq!((one.dgamma, one.dbeta), (many.dgamma, many.dbeta));
        norm(&case, &cut, storage).unwrap();
    }
}

#[test]
fn conv3d_of_random_shapes() {
    let edges = prop::array::uniform3(1u32..8);
    let channels = (prop::collection::vec(1u32..10, 1..3), 1u32..20);
    let kinds = PLAIN.len() + TRANSPOSED.len();
    property(40, (1u32..4, channels, edges, 0..kinds, any::<bool>()), |input| {
        let (n, (segments, co), [d, h, w], kind, bias) = input;
        let geometry = match PLAIN.get(kind) {
            Some(&(kernel, stride)) => (kernel, stride, false),
            None => (TRANSPOSED[kind - PLAIN.len()], TRANSPOSED[kind - PLAIN.len()], true),
        };
        // The input of a transposed convolution is one segment.
        let segments = if geometry.2 { &segments[..1] } else { &segments[..] };
        let shape = [n, segments.iter().sum(), d, h, w];
        let case = conv_case(shape, segments, co, geometry, bias);
        for variant in ConvVariant::available(gpu().caps()) {
            let outcome = conv(&case, gpu().caps(), variant, variant.operand());
            outcome.map_err(|e| named(&case, variant, e))?;
        }
        Ok(())
    });
}

/// Enough work for the tallest tiles and for the most blocks, with rows and channels that do not fill them,
/// wide and narrow.
#[test]
fn conv3d_of_tall_tiles() {
    let mut failures = Vec::new();
    for (shape, segments, co) in [
        ([1, 12, 3, 37, 41], &[5, 7][..], 13),
        ([1, 32, 9, 56, 6], &[32], 31),
        ([2, 11, 9, 29, 40], &[11], 12),
    ] {
        let case = conv_case(shape, segments, co, ([3; 3], [1; 3], false), true);
        for variant in ConvVariant::available(gpu().caps()) {
            let outcome = conv(&case, gpu().caps(), variant, variant.operand());
            failures.extend(outcome.err().map(|e| named(&case, variant, e)));
        }
    }
    report(failures);
}

/// A norm of random numbers with another offset and spread a channel.
fn norm_case([n, c, d, h, w]: [u32; 5], slope: f32, two: bool, seed: u32) -> NormCase {
    let (c, voxels) = (c as usize, (d * h * w) as usize);
    let count = n as usize * c * voxels;
    let random = |i: u32, count: usize| generated(seed * 16 + i, 0, count);
    let channel = |i: usize| (i / voxels % c) as f32;
    let z =
        random(0, count).into_iter().enumerate().map(|(i, v)| v * (1.0 + channel(i)) + channel(i));
    NormCase {
        shape: [n as usize, c, d as usize, h as usize, w as usize],
        z: z.collect(),
        gamma: random(1, c).iter().map(|v| v + 1.5).collect(),
        beta: random(2, c),
        slope,
        da: random(3, count),
        da2: two.then(|| random(4, count)),
        frozen: false,
    }
}

fn norm(case: &NormCase, caps: &Caps, storage: Storage) -> Result<(), String> {
    let [_, channels, d, h, w] = case.shape;
    let twin = Norm { channels, voxels: d * h * w, slope: f64::from(case.slope) };
    let (z, gamma, beta) = (wide(&case.z), wide(&case.gamma), wide(&case.beta));
    let mut da = wide(&case.da);
    if let Some(second) = &case.da2 {
        da.iter_mut().zip(second).for_each(|(a, &b)| *a += f64::from(b));
    }
    let got = common::dense::norm(gpu(), caps, case, storage)?;
    let expected = twin.backward(&z, &gamma, &beta, &da);
    let row = [channels];
    for (name, got, reference, shape) in [
        ("a", got.a, twin.forward(&z, &gamma, &beta), &case.shape[..]),
        ("dgamma", got.dgamma, expected.dgamma, &row),
        ("dbeta", got.dbeta, expected.dbeta, &row),
    ] {
        close_shaped(name, &got, &narrow(&reference), NORMALISED, shape)?;
    }
    // Of few voxels, dz is a small difference of the terms g, mean(g) and x mean(g x).
    let deviation = |z: &[f64]| {
        let mean = z.iter().sum::<f64>() / z.len() as f64;
        (z.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / z.len() as f64 + 1e-5).sqrt()
    };
    let least = z.chunks_exact(twin.voxels).map(deviation).fold(f64::INFINITY, f64::min);
    let top = |values: &[f64]| values.iter().fold(0f64, |m, v| m.max(v.abs()));
    let terms = top(&gamma) * top(&da) / least;
    let bound = (NORMALISED * top(&expected.dz)).max(1e-6 * terms);
    common::close::within("dz", &got.dz, &narrow(&expected.dz), bound, &case.shape)
}

#[test]
fn instance_norm() {
    let caps = gpu().caps();
    let mut failures = Vec::new();
    // The last is summed in several runs of planes.
    for (i, shape) in SHAPES.into_iter().chain([[2, 6, 37, 5, 3]]).enumerate() {
        for (storage, slope) in [(Storage::Buffer, 0.01), (Storage::Texture, 0.3)] {
            let case = norm_case(shape, slope, i % 2 == 0, 3);
            let outcome = norm(&case, caps, storage);
            failures.extend(outcome.err().map(|e| format!("{shape:?} {storage:?}: {e}")));
        }
    }
    for bytes in [16 * 105 * 2, 16 * 105 * 5] {
        let caps = Caps { max_binding_bytes: bytes, max_texture_3d: 28, ..caps.clone() };
        for storage in [Storage::Buffer, Storage::Texture] {
            let outcome = norm(&norm_case([2, 13, 7, 3, 5], 0.01, true, 4), &caps, storage);
            failures.extend(outcome.err().map(|e| format!("{bytes} bytes {storage:?}: {e}")));
        }
    }
    report(failures);
}

#[test]
fn instance_norm_of_random_shapes() {
    // At least two voxels: of one alone, the twin's deviation is exactly the epsilon.
    let shape = (1u32..4, 1u32..18, prop::array::uniform3(1u32..12));
    property(24, (shape, any::<bool>(), 0u32..1000), |((n, c, [d, h, w]), two, seed)| {
        let case = norm_case([n, c, d, h, w + 1], 0.01, two, seed);
        norm(&case, gpu().caps(), Storage::Buffer)
    });
}

/// Steps on elements of `ranges` only, against the twin.
fn steps(
    adam: bool,
    amsgrad: bool,
    clip: f64,
    len: usize,
    ranges: Ranges,
    caps: &Caps,
) -> Result<(), String> {
    let (lr, weight_decay, momentum) = (1e-2, 3e-5, 0.99);
    let p0 = generated(70, 0, len);
    // The third gradient is larger than the clip, the others smaller.
    let gradients: Vec<Vec<f32>> =
        (0..4).map(|t| generated(71 + t, if t == 2 { 2 } else { -6 }, len)).collect();
    let case = OptimizerCase {
        adam,
        amsgrad,
        lr,
        weight_decay,
        momentum,
        clip,
        p0: &p0,
        gradients: gradients.iter().map(Vec::as_slice).collect(),
        ranges: ranges.clone(),
    };
    let got = common::dense::optimizer(gpu(), caps, &case)?;
    let within = |i: usize| ranges.iter().any(|&(s, n)| (s..s + n).contains(&(i as u64)));
    let inside: Vec<usize> = (0..len).filter(|&i| within(i)).collect();
    let pick = |values: &[f32]| inside.iter().map(|&i| f64::from(values[i])).collect::<Vec<_>>();
    let mut p = pick(&p0);
    let mut a = optimizer::Adam::new(p.len(), lr, weight_decay, amsgrad);
    let mut s = optimizer::Sgd { lr, weight_decay, momentum, buffer: None };
    for (t, (gradient, got)) in gradients.iter().zip(&got).enumerate() {
        let g = pick(gradient);
        let clipped = optimizer::clipped(&g, clip);
        let state = if adam {
            a.step(&mut p, &clipped);
            let moments = vec![a.m.clone(), a.v.clone()];
            if amsgrad { [moments, vec![a.vmax.clone()]].concat() } else { moments }
        } else {
            s.step(&mut p, &clipped);
            vec![s.buffer.clone().unwrap_or_default()]
        };
        let check = |name: String, ours: &[f32], theirs: &[f64], tol: f64| {
            common::close(&name, &narrow(&pick(ours)), &narrow(theirs), tol)
        };
        check(format!("parameters[{t}]"), &got.parameters, &p, 1e-6)?;
        for (i, (ours, theirs)) in got.state.iter().zip(&state).enumerate() {
            check(format!("state {i}[{t}]"), ours, theirs, 1e-5)?;
        }
        common::close("norm", &[got.norm], &[optimizer::norm(&g) as f32], 1e-5)?;
        let untouched = (0..len).filter(|&i| !within(i));
        if let Some(i) = untouched.into_iter().find(|&i| got.parameters[i] != p0[i]) {
            return Err(format!("parameter {i} outside the ranges was stepped"));
        }
    }
    Ok(())
}

#[test]
fn optimizers() {
    let caps = gpu().caps();
    let mut failures = Vec::new();
    for (adam, amsgrad) in [(true, true), (true, false), (false, false)] {
        for clip in [0.0, 12.0] {
            for ranges in [vec![(0, 64)], vec![(0, 1001)], vec![(64, 132), (384, 72), (512, 488)]] {
                let outcome = steps(adam, amsgrad, clip, 1001, ranges.clone(), caps);
                failures.extend(
                    outcome.err().map(|e| format!("{adam} {amsgrad} {clip} {ranges:?}: {e}")),
                );
            }
        }
        // Bindings of 256 elements, and little work a dispatch: the ranges are cut.
        let bound = Caps { max_binding_bytes: 1024, ..caps.clone() };
        let cut = Caps { work: WorkLimits { flops: 1, bytes: 1 }, ..caps.clone() };
        for caps in [bound, cut] {
            let outcome = steps(adam, amsgrad, 12.0, 1001, vec![(0, 1001)], &caps);
            failures.extend(outcome.err().map(|e| format!("in pieces: {adam} {amsgrad}: {e}")));
        }
    }
    // More than one workgroup of partial sums of the norm.
    failures.extend(steps(false, false, 12.0, 20_000, vec![(0, 20_000)], caps).err());
    report(failures);
}

#[test]
fn average() {
    for len in [1usize, 64, 203, 5000] {
        let mut b = Bench::new(gpu());
        let padded = len.next_multiple_of(4);
        let (first, second) = (b.flat(padded), b.flat(padded));
        let result = b.flat(padded + 64).slot;
        let (a, with, len64) = (first.slot, second.slot, len as u64);
        Average { a, b: with, result, scale: 0.25, len: len64 }.lower(&mut b.lowering());
        let memory = b.place(gpu()).unwrap();
        let (x, y) = (generated(1, 0, len), generated(2, 3, len));
        gpu().write(&memory, a, 0, &x).unwrap();
        gpu().write(&memory, with, 0, &y).unwrap();
        gpu().write(&memory, result, 0, &vec![fence::SENTINEL; padded + 64]).unwrap();
        b.run(gpu(), &memory).unwrap();
        let got: Vec<f32> = gpu().read(&memory, result, 0, padded + 64).unwrap();
        let expected: Vec<f32> = x.iter().zip(&y).map(|(a, b)| (a + b) * 0.25).collect();
        assert_eq!(got[..len], expected);
        assert!(got[padded..].iter().all(|&v| v == fence::SENTINEL), "{len}");
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    for adam in [true, false] {
        let p0 = generated(5, 0, 200);
        let mut bad = generated(6, 0, 200);
        bad[123] = f32::NAN;
        let mut huge = generated(6, 0, 200);
        huge[7] = f32::INFINITY;
        let case = OptimizerCase {
            adam,
            amsgrad: adam,
            lr: 0.1,
            weight_decay: 0.1,
            momentum: 0.9,
            clip: 1.0,
            p0: &p0,
            gradients: vec![&bad, &huge],
            ranges: vec![(0, 200)],
        };
        for got in common::dense::optimizer(gpu(), gpu().caps(), &case).unwrap() {
            assert_eq!(got.parameters, p0);
            assert!(got.state.iter().flatten().all(|&v| v == 0.0));
        }
    }
}

/// The twin's gradients are those of its own forward pass.
#[test]
fn norm_twin_agrees_with_finite_differences() {
    let twin = Norm { channels: 2, voxels: 6, slope: 0.2 };
    let random = |seed, count| wide(&generated(seed, 0, count));
    let (z, gamma, beta, da) = (random(1, 24), vec![0.8, 1.7], vec![0.3, -0.2], random(2, 24));
    let dot = |a: Vec<f64>| a.iter().zip(&da).map(|(a, d)| a * d).sum::<f64>();
    let got = twin.backward(&z, &gamma, &beta, &da);
    close_wide("dz", &got.dz, &differences(&z, |z| dot(twin.forward(z, &gamma, &beta))));
    close_wide("dgamma", &got.dgamma, &differences(&gamma, |g| dot(twin.forward(&z, g, &beta))));
    close_wide("dbeta", &got.dbeta, &differences(&beta, |b| dot(twin.forward(&z, &gamma, b))));
}
