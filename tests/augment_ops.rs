//! The augmentation kernels against their CPU twins.

mod common;

use asng_wgpu::augment::batch::{AugmenterSpec, reach};
use asng_wgpu::gpu::{Gpu, Kernel, shader};
use asng_wgpu::ops::tensor::host;
use asng_wgpu::ops::warp::{
    ImageInterpolation, Interpolation, LabelInterpolation, Placement, WarpRecord,
};
use asng_wgpu::reference;
use common::gamma::gamma;
use common::property::property;
use common::spatial::{CUBIC, LINEAR, batch, matrix, noise, smooth, warp};
use common::{close_shaped, generated, gpu};

/// Numbers of a small generator, in \[0, 1).
fn values(n: usize, seed: u32) -> Vec<f32> {
    (0..n as u32).map(|i| reference::noise::uniform(u64::from(seed), 0, i) * 0.5 + 0.5).collect()
}

fn source(case: [u32; 3], channels: usize, classes: u32) -> (Vec<f32>, Vec<u32>) {
    let n = case.iter().product::<u32>() as usize;
    let coarse = |v: usize| {
        let [_, h, w] = case.map(|e| e as usize);
        (v / (h * w) / 3 + v / w % h / 2 * 7 + v % w / 3 * 5) as u32 % classes
    };
    let image = values(n * channels, 7).iter().map(|v| v * 4.0 - 1.5).collect();
    // The last label is the ignore label, which must stay what it is.
    let label = |v| if coarse(v) == classes - 1 { 255 } else { coarse(v) };
    (image, (0..n).map(label).collect())
}

fn record_struct_size(text: &str, name: &str) -> u32 {
    let module = naga::front::wgsl::parse_str(text).unwrap();
    let (_, ty) =
        module.types.iter().find(|(_, t)| t.name.as_deref() == Some("Record")).expect(name);
    let naga::TypeInner::Struct { span, .. } = ty.inner else { unreachable!() };
    span
}

#[test]
fn shaders_and_host_agree_on_the_record() {
    let both = [("BLOCKS", 2), ("CHANNELS", 5), ("CUBIC", 1), ("NEAREST", 0), ("RUN", 8)];
    let kernels = [
        Kernel::plain("noise/uniform"),
        Kernel::with("smooth/gaussian", &[("TAPS", 256)]),
        Kernel::with("warp/sample", &both),
        Kernel::with("spline/prefilter", &[("AXIS", 1)]),
        Kernel::with("gamma/apply", &both),
        Kernel::with("gamma/reduce", &[("PARTS", 1024), ("STAGE", 1)]),
    ];
    for kernel in kernels {
        let text = shader::expand(&kernel).unwrap();
        assert_eq!(record_struct_size(&text, kernel.shader) as usize, size_of::<WarpRecord>());
    }
}

#[test]
fn noise_is_its_twin_bit_for_bit() {
    let gpu = gpu();
    let shape = [5, 7, 9];
    for (key, planar) in [(0u64, false), (0x0123_4567_89AB_CDEF, false), (u64::MAX, true)] {
        let record = WarpRecord::copy(&Placement::whole(shape, [0; 3], shape))
            .elastic(1.0, 2.0, key, planar)
            .unwrap();
        let twin = reference::noise::field(key, shape.map(|e| e as usize), planar);
        assert_eq!(noise(gpu, record, shape).unwrap(), twin);
    }
    let x = reference::noise::field(3, [40, 40, 40], false);
    let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / x.len() as f64;
    let square = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / x.len() as f64;
    assert!(mean.abs() < 0.005 && (square - 1.0 / 3.0).abs() < 0.005, "{mean} {square}");
}

/// Uniform noise smoothed by a Gaussian of `sigma` has the deviation `sqrt(1/3) / (2 sqrt(pi)
/// sigma)^(3/2)` and the autocorrelation `exp(-lag^2 / (4 sigma^2))` along each axis, as the
/// displacement of batchgenerators has.
#[test]
fn displacement_has_the_deviation_and_autocorrelation_of_theory() {
    const EDGE: usize = 64;
    /// With its lags beyond the taps' reach of the border.
    const INNER: std::ops::Range<usize> = 8..EDGE - 12;
    let gpu = gpu();
    let sigma = 2.0;
    let strides = [EDGE * EDGE, EDGE, 1];
    let lags = [1, 2, 4];
    let (mut square, mut count) = (0.0f64, 0u32);
    let mut products = [[0.0f64; 3]; 3];
    for key in 0..4 {
        let field = reference::noise::field(key, [EDGE; 3], false);
        let out = smooth(gpu, &field, [EDGE as u32; 3], [sigma; 3]).unwrap();
        for component in out.chunks(EDGE.pow(3)) {
            let value = |v: usize| f64::from(component[v]);
            for at in INNER.flat_map(|d| INNER.map(move |h| (d * EDGE + h) * EDGE)) {
                for v in INNER.map(|w| at + w) {
                    square += value(v).powi(2);
                    count += 1;
                    for (axis, stride) in strides.into_iter().enumerate() {
                        for (sum, lag) in products[axis].iter_mut().zip(lags) {
                            *sum += value(v) * value(v + lag * stride);
                        }
                    }
                }
            }
        }
    }
    let deviation = (square / f64::from(count)).sqrt();
    let theory = (1.0 / 3f64).sqrt() / (2.0 * std::f64::consts::PI.sqrt() * sigma).powf(1.5);
    // Some 2000 independent patches of the field: 1.6% of the deviation, 0.02 of a correlation.
    assert!((deviation / theory - 1.0).abs() < 0.05, "{deviation} {theory}");
    for of_axis in products {
        for (sum, lag) in of_axis.into_iter().zip(lags) {
            let expected = (-((lag * lag) as f64) / (4.0 * sigma * sigma)).exp();
            assert!((sum / square - expected).abs() < 0.06, "{lag}: {} {expected}", sum / square);
        }
    }
}

#[test]
fn smoothing_and_gamma_of_random_shapes() {
    let gpu = gpu();
    let wide = |x: &[f32]| x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let narrow = |x: &[f64]| x.iter().map(|&v| v as f32).collect::<Vec<_>>();
    let input = (
        proptest::array::uniform3(1u32..24),
        proptest::array::uniform3(0.0f64..9.0),
        proptest::collection::vec(0.4f64..2.5, 1..9),
        0u32..1000,
    );
    property(24, input, |(shape, sigmas, exponents, seed)| {
        let edges = shape.map(|e| e as usize);
        let voxels = edges.iter().product::<usize>();
        let field = generated(seed, 0, 3 * voxels);
        let out = smooth(gpu, &field, shape, sigmas)?;
        for (got, x) in out.chunks(voxels).zip(field.chunks(voxels)) {
            let twin = narrow(&reference::smooth::gaussian(&wide(x), edges, sigmas));
            close_shaped("smooth", got, &twin, 2e-5, &edges)?;
        }
        let image = generated(seed + 1, 2, exponents.len() * voxels);
        let record = WarpRecord::copy(&Placement::whole(shape, [0; 3], shape));
        let record = record.gamma(&exponents, false).map_err(|e| e.to_string())?;
        let out = gamma(gpu, record, &image, exponents.len() as u32, shape)?;
        for (c, (got, x)) in out.chunks(voxels).zip(image.chunks(voxels)).enumerate() {
            let twin = narrow(&reference::gamma::gamma(&wide(x), exponents[c]));
            close_shaped("gamma", got, &twin, 1e-4, &edges)?;
        }
        Ok(())
    });
}

fn against_twin(
    gpu: &Gpu,
    record: WarpRecord,
    box_: (&[f32], &[u32]),
    patch: [u32; 3],
    how: Interpolation,
) {
    let voxels = patch.iter().product::<u32>() as usize;
    let field: Vec<f32> = values(3 * voxels, 5).iter().map(|v| 2.0 * v - 1.0).collect();
    let (image, labels) = warp(gpu, record, box_.0, box_.1, Some(&field), patch, how).unwrap();
    let wide: Vec<f64> = field.iter().map(|&v| f64::from(v)).collect();
    let edges = patch.map(|e| e as usize);
    let twin = reference::warp::warp(&record, box_.0, box_.1, &wide, edges, how);
    let mut wrong = 0;
    for v in 0..voxels {
        if twin.ambiguous[v] {
            continue;
        }
        assert_eq!(labels[v], twin.labels[v], "voxel {v}");
        for c in 0..image.len() / voxels {
            let (a, b) = (f64::from(image[c * voxels + v]), twin.image[c * voxels + v]);
            wrong += usize::from((a - b).abs() > 2e-4);
        }
    }
    assert_eq!(wrong, 0);
    let sure = twin.ambiguous.iter().filter(|a| !**a).count();
    assert!(sure * 10 > voxels * 9, "{sure} of {voxels}");
}

#[test]
fn warp_matches_its_twin() {
    let gpu = gpu();
    let (case, patch) = ([20, 17, 23], [9, 12, 10]);
    let whole = Placement::whole(case, [4, 2, 6], patch);
    let turned = matrix([0.3, -0.2, 0.4], 1.1);
    let nearest = Interpolation { labels: LabelInterpolation::Nearest, ..LINEAR };
    for (channels, how) in
        [(1, LINEAR), (2, LINEAR), (5, LINEAR), (1, CUBIC), (5, CUBIC), (2, nearest)]
    {
        let (image, labels) = source(case, channels, 3);
        let record = WarpRecord::copy(&whole)
            .affine(turned)
            .elastic(1.5, 0.0, 1, false)
            .unwrap()
            .mirror([true, false, true]);
        against_twin(gpu, record, (&image, &labels), patch, how);
    }
    // A box smaller than the case, and a draw that reaches beyond both.
    let (image, labels) = source([9, 10, 12], 2, 3);
    let inner = Placement { box_start: [3, 2, 5], box_shape: [9, 10, 12], ..whole };
    let far = Placement { patch_start: [400, -900, 0], ..inner };
    for how in [LINEAR, CUBIC] {
        let record = WarpRecord::copy(&inner).affine(turned);
        against_twin(gpu, record, (&image, &labels), patch, how);
        let record = WarpRecord::copy(&far).affine(turned);
        let (out, seg) = warp(gpu, record, &image, &labels, None, patch, how).unwrap();
        assert!(out.iter().all(|&v| v == 0.0) && seg.iter().all(|&l| l == 0));
    }
}

#[test]
fn splines_of_every_small_edge_match_their_twin() {
    let gpu = gpu();
    let input = (proptest::array::uniform3(1u32..9), 0u32..1000, 0u32..3);
    property(24, input, |(mut case, seed, long)| {
        // One axis longer than the terms of the recursion's start.
        case[long as usize] += 29;
        let n = case.iter().product::<u32>() as usize;
        let image = generated(seed, 0, n);
        let labels = vec![0; n];
        let record = WarpRecord::copy(&Placement::whole(case, [0; 3], case)).affine([
            [0.9, 0.05, 0.0],
            [-0.05, 0.9, 0.0],
            [0.0, 0.1, 0.8],
        ]);
        let (out, _) = warp(gpu, record, &image, &labels, None, case, CUBIC)?;
        let edges = case.map(|e| e as usize);
        let twin = reference::warp::warp(&record, &image, &labels, &vec![0.0; 3 * n], edges, CUBIC);
        for v in (0..n).filter(|&v| !twin.ambiguous[v]) {
            let (a, b) = (f64::from(out[v]), twin.image[v]);
            if (a - b).abs() > 1e-4 {
                return Err(format!("{case:?}, voxel {v}: {a} is not {b}"));
            }
        }
        Ok(())
    });
}

#[test]
fn a_spline_passes_through_the_voxels() {
    let gpu = gpu();
    let case = [7, 12, 31];
    let (image, labels) = source(case, 3, 3);
    let still =
        WarpRecord::copy(&Placement::whole(case, [0; 3], case)).affine(matrix([0.0; 3], 1.0));
    let (out, seg) = warp(gpu, still, &image, &labels, None, case, CUBIC).unwrap();
    let worst = out.iter().zip(&image).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5 && seg == labels, "{worst}");
}

#[test]
fn without_a_spatial_part_voxels_are_copied_bit_for_bit() {
    let gpu = gpu();
    let (case, patch) = ([8, 9, 11], [6, 5, 13]);
    let (mut image, labels) = source(case, 2, 3);
    image[0] = -0.0;
    for (mirror, how) in
        [([false; 3], CUBIC), ([true, false, false], LINEAR), ([false, true, true], CUBIC)]
    {
        let start = [1, 2, -1];
        let record = WarpRecord::copy(&Placement::whole(case, start, patch)).mirror(mirror);
        let (out, seg) = warp(gpu, record, &image, &labels, None, patch, how).unwrap();
        let voxels = patch.iter().product::<u32>() as usize;
        for v in 0..voxels as i32 {
            let p = patch.map(|e| e as i32);
            let o = [v / (p[1] * p[2]), v / p[2] % p[1], v % p[2]];
            let at = [0, 1, 2].map(|i| if mirror[i] { p[i] - 1 - o[i] } else { o[i] } + start[i]);
            let inside = at.iter().zip(case).all(|(&c, n)| c >= 0 && c < n as i32);
            let index = ((at[0] * case[1] as i32 + at[1]) * case[2] as i32 + at[2]) as usize;
            for c in 0..2 {
                let expected = if inside { image[c * labels.len() + index] } else { 0.0 };
                assert_eq!(out[c * voxels + v as usize].to_bits(), expected.to_bits());
            }
            assert_eq!(seg[v as usize], if inside { labels[index] } else { 0 });
        }
    }
}

#[test]
fn gamma_keeps_the_mask_and_works_over_two_blocks() {
    let gpu = gpu();
    let shape = [6, 40, 50];
    let n = shape.iter().product::<u32>() as usize;
    let mut image: Vec<f32> = values(5 * n, 3).iter().map(|v| v * 3.0 - 1.0).collect();
    for v in (0..n).step_by(3) {
        (0..5).for_each(|c| image[c * n + v] = 0.0);
    }
    let exponents = [0.7, 1.0, 1.5, 2.0, 0.9];
    let record = WarpRecord::copy(&Placement::whole(shape, [0; 3], shape));
    assert_eq!(gamma(gpu, record, &image, 5, shape).unwrap(), image);
    let out = gamma(gpu, record.gamma(&exponents, true).unwrap(), &image, 5, shape).unwrap();
    for c in 0..5 {
        let x: Vec<f64> = image[c * n..][..n].iter().map(|&v| f64::from(v)).collect();
        for (v, y) in reference::gamma::gamma(&x, exponents[c]).into_iter().enumerate() {
            let expected = if v % 3 == 0 { 0.0 } else { y };
            assert!((f64::from(out[c * n + v]) - expected).abs() < 1e-4, "{c} {v}");
        }
    }
}

fn all_on(at: &Placement, key: u64) -> WarpRecord {
    WarpRecord::copy(at)
        .affine(matrix([0.2, -0.15, 0.1], 0.9))
        .elastic(600.0, 9.0, key, false)
        .unwrap()
        .mirror([true, false, false])
        .gamma(&[0.8, 1.2], false)
        .unwrap()
}

#[test]
fn a_batch_is_its_twins_and_the_same_every_time() {
    let gpu = gpu();
    let (case, patch) = ([40, 36, 44], [16, 20, 18]);
    let n = patch.iter().product::<u32>() as usize;
    let (image, labels) = source(case, 2, 3);
    let capacity = labels.len() as u64;
    let spec = AugmenterSpec {
        batch: 2,
        channels: 2,
        patch,
        capacity,
        candidates: 2,
        interpolation: LINEAR,
    };
    let b = batch(gpu, spec, false).unwrap();
    let at = Placement::whole(case, [12, 8, 13], patch);
    let records = [all_on(&at, 99), WarpRecord::copy(&at)];
    for sample in 0..2 {
        b.augmenter.upload_source(gpu, &b.memory, sample, &image, &labels).unwrap();
    }
    b.augmenter.upload_draws(gpu, &b.memory, 0, &records).unwrap();
    let run = || {
        b.program.submit(gpu).unwrap();
        let out = host::download(gpu, &b.memory, &b.bench.tensors, b.image).unwrap();
        (out, gpu.read::<u32>(&b.memory, b.labels, 0, 2 * n).unwrap())
    };
    let (out, seg) = run();
    assert_eq!((out.clone(), seg.clone()), run());
    let p = patch.map(|e| e as usize);
    let wide: Vec<f64> = reference::noise::field(99, p, false).into_iter().map(f64::from).collect();
    let field: Vec<f64> =
        wide.chunks(n).flat_map(|x| reference::smooth::gaussian(x, p, [9.0; 3])).collect();
    let twin = reference::warp::warp(&records[0], &image, &labels, &field, p, LINEAR);
    let mut off = 0;
    for c in 0..2 {
        let g = reference::gamma::gamma(&twin.image[c * n..][..n], f64::from(records[0].gamma[c]));
        off += (0..n)
            .filter(|&v| !twin.ambiguous[v] && (f64::from(out[c * n + v]) - g[v]).abs() > 1e-3)
            .count();
    }
    let unlike = (0..n).filter(|&v| !twin.ambiguous[v] && seg[v] != twin.labels[v]).count();
    assert_eq!((off, unlike), (0, 0));
    let copy = reference::warp::warp(&records[1], &image, &labels, &field, p, LINEAR);
    let same = copy.image.iter().zip(&out[2 * n..]).all(|(a, b)| *a as f32 == *b);
    assert!(same && seg[n..] == copy.labels[..]);
    for (refused, word) in [
        (b.augmenter.upload_draws(gpu, &b.memory, 0, &records[..1]), "fit 2 samples"),
        (b.augmenter.upload_draws(gpu, &b.memory, 2, &records), "there are 2"),
        (b.augmenter.upload_source(gpu, &b.memory, 0, &image[1..], &labels), "fit 2 samples"),
    ] {
        let why = refused.unwrap_err().to_string();
        assert!(why.contains(word), "{why}");
    }
}

#[test]
fn the_reached_box_gives_what_the_whole_case_gives() {
    let gpu = gpu();
    let (case, patch) = ([84, 76, 80], [12, 14, 10]);
    let (image, labels) = source(case, 1, 3);
    let at = Placement::whole(case, [36, 32, 35], patch);
    let field = reference::noise::field(4, patch.map(|e| e as usize), false);
    let smoothed = smooth(gpu, &field, patch, [4.0; 3]).unwrap();
    let whole = WarpRecord::copy(&at)
        .affine(matrix([0.2, 0.3, -0.2], 1.2))
        .elastic(150.0, 4.0, 4, false)
        .unwrap();
    for how in [LINEAR, CUBIC] {
        let (start, shape) = reach(&[whole], patch, how.image).unwrap();
        assert!(shape.iter().zip(case).all(|(&b, c)| b < c), "{shape:?}");
        let mut part = whole;
        (part.box_start, part.box_shape) = (start, shape);
        let (mut cut, mut cut_labels) = (Vec::new(), Vec::new());
        for d in 0..shape[0] {
            for h in 0..shape[1] {
                let row = ((d + start[0] as u32) * case[1] + h + start[1] as u32) * case[2];
                let from = (row + start[2] as u32) as usize;
                cut.extend(&image[from..from + shape[2] as usize]);
                cut_labels.extend(&labels[from..from + shape[2] as usize]);
            }
        }
        let a = warp(gpu, whole, &image, &labels, Some(&smoothed), patch, how).unwrap();
        let b = warp(gpu, part, &cut, &cut_labels, Some(&smoothed), patch, how).unwrap();
        let worst = a.0.iter().zip(&b.0).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        let bound = if how.image == ImageInterpolation::Cubic { 1e-5 } else { 0.0 };
        assert!(worst <= bound && a.1 == b.1, "{how:?}: {worst}");
    }
}
