//! The loss against its twin: by softmax and by sigmoid, with ignored voxels, in all storages and
//! parts. Outputs are filled with NaN and fenced beforehand.

mod common;

use asng_wgpu::gpu::Caps;
use asng_wgpu::ops::tensor::Storage;
use asng_wgpu::reference::loss;
use common::dense::LossCase;
use common::property::property;
use common::shapes::SHAPES;
use common::twin::{close_wide, differences, narrow, report, wide};
use common::{close_shaped, generated, gpu};
use proptest::prelude::*;

/// What a case of the loss varies.
#[derive(Clone, Copy, Debug)]
struct LossOf {
    shape: [u32; 5],
    /// Regions instead of labels.
    sigmoid: bool,
    /// One voxel in so many is ignored; 1: all of them, 0: none.
    ignored: usize,
    batch_dice: bool,
    storage: Storage,
    seed: u32,
}

fn loss_of(case: LossOf, caps: &Caps) -> Result<(), String> {
    let LossOf { sigmoid, ignored, batch_dice, storage, seed, .. } = case;
    let shape = case.shape.map(|e| e as usize);
    let [n, classes, d, h, w] = shape;
    // Sharp and flat logits; the last class never occurs as a label.
    let logits = generated(seed, 3, shape.iter().product());
    let present = (classes as u32).saturating_sub(1).max(1) as f32;
    let mut labels: Vec<i32> = generated(seed + 1, 0, n * d * h * w)
        .iter()
        .map(|v| ((v * 0.5 + 0.5) * present) as i32)
        .collect();
    if ignored > 0 {
        labels.iter_mut().skip(seed as usize % ignored).step_by(ignored).for_each(|l| *l = 255);
    }
    // Regions overlap: of every label itself, the next one and the background in each third.
    let region = |r: usize| match r % 3 {
        0 => vec![r as u8, 0],
        _ => vec![r as u8, r as u8 + 1],
    };
    let regions: Vec<Vec<u8>> = if sigmoid { (0..classes).map(region).collect() } else { vec![] };
    let (labels, regions) = (&labels, &regions);
    let case = LossCase { shape, logits: &logits, labels, regions, weight: 0.75, batch_dice };
    let (values, gradient) = common::dense::loss(gpu(), caps, &case, storage)?;
    let twin = case.twin();
    let expected = narrow(&[twin.ce, twin.dice, twin.ce + twin.dice]);
    for (i, name) in ["ce", "dice", "total"].iter().enumerate() {
        // Absolute: the sum may cancel, each term is of the order of 1 or more.
        let bound = 1e-5 * f64::from(expected[0].abs() + expected[1].abs()).max(1.0);
        let near = f64::from((values[i] - expected[i]).abs()) < bound;
        if !near {
            return Err(format!("{name} is {} instead of {}", values[i], expected[i]));
        }
    }
    if values[3] != 0.0 {
        return Err("a finite loss is flagged".into());
    }
    let weighted: Vec<f64> = twin.gradient.iter().map(|g| g * 0.75).collect();
    close_shaped("gradient", &gradient, &narrow(&weighted), 5e-5, &shape)?;
    common::close("counts", &values[4..], &common::dense::hard_counts(&case), 0.0)
}

#[test]
fn loss_and_its_gradient() {
    let caps = gpu().caps();
    let mut failures = Vec::new();
    let mut check = |case: LossOf, caps: &Caps| {
        let outcome = loss_of(case, caps);
        failures.extend(outcome.err().map(|e| format!("{case:?}: {e}")));
    };
    for (i, [n, _, d, h, w]) in SHAPES.into_iter().enumerate() {
        let classes = [2, 3, 4, 5, 8, 9, 13, 32][i];
        for sigmoid in [false, true] {
            for (batch_dice, storage, ignored) in
                [(true, Storage::Buffer, 0), (false, Storage::Texture, 3)]
            {
                let shape = [n, classes, d, h, w];
                let seed = 50 + i as u32;
                check(LossOf { shape, sigmoid, ignored, batch_dice, storage, seed }, caps);
            }
        }
    }
    let (batch_dice, storage, seed) = (true, Storage::Buffer, 80);
    let part = LossOf { shape: [2; 5], sigmoid: false, ignored: 0, batch_dice, storage, seed };
    // As many labels as there may be, and a single region.
    check(LossOf { shape: [1, 105, 5, 6, 7], ignored: 4, ..part }, caps);
    check(LossOf { shape: [2, 255, 3, 4, 5], batch_dice: false, ..part }, caps);
    check(LossOf { shape: [2, 1, 5, 6, 7], sigmoid: true, ignored: 5, ..part }, caps);
    // More than a chunk, and more than one group of chunks.
    check(LossOf { shape: [2, 3, 9, 17, 31], ignored: 7, ..part }, caps);
    check(LossOf { shape: [2, 9, 9, 17, 31], ignored: 7, ..part }, caps);
    // Nothing counts: no loss, no gradient, no NaN.
    for (classes, sigmoid) in [(3, false), (13, false), (4, true)] {
        for batch_dice in [false, true] {
            let shape = [2, classes, 4, 5, 6];
            check(LossOf { shape, sigmoid, ignored: 1, batch_dice, ..part }, caps);
        }
    }
    // Logits in parts of a sample, or of some blocks of one; and a gradient in smaller parts.
    // Software adapters fill textures, others store into them.
    let [d, h, w] = [7, 3, 5];
    for (blocks, texture) in [(4, 4), (1, 4), (2, 1)] {
        for (storage, cpu) in
            [(Storage::Buffer, true), (Storage::Texture, true), (Storage::Texture, false)]
        {
            let max_binding_bytes = 16 * u64::from(d * h * w * blocks);
            // Staging rows are longer than the texture's.
            let max_binding_bytes = if cpu { max_binding_bytes * 4 } else { max_binding_bytes };
            let caps = Caps { max_binding_bytes, max_texture_3d: d * texture, cpu, ..caps.clone() };
            for (classes, sigmoid) in [(5, false), (14, false), (14, true)] {
                let shape = [3, classes, d, h, w];
                check(LossOf { shape, sigmoid, ignored: 5, storage, ..part }, &caps);
            }
        }
    }
    report(failures);
}

#[test]
fn loss_of_random_shapes() {
    let shape = (1u32..4, 1u32..33, prop::array::uniform3(1u32..9));
    let input = (shape, any::<bool>(), any::<bool>(), 0usize..5, 0u32..1000);
    property(32, input, |((n, classes, [d, h, w]), sigmoid, batch_dice, ignored, seed)| {
        let classes = if sigmoid { classes } else { classes + 1 };
        let (shape, storage) = ([n, classes, d, h, w], Storage::Buffer);
        loss_of(LossOf { shape, sigmoid, ignored, batch_dice, storage, seed }, gpu().caps())
    });
}

#[test]
fn labels_of_lower_heads() {
    let sizes = (prop::array::uniform3(1u32..14), prop::array::uniform3(1u32..6), 1u32..4);
    property(32, sizes, |(to, factor, samples)| {
        // Whole factors as in a network, and one voxel more, as in an odd volume.
        for extra in [0, 1] {
            let from: [u32; 3] = std::array::from_fn(|i| to[i] * factor[i] + extra);
            let count = samples * from.iter().product::<u32>();
            let labels: Vec<i32> = (0..count as i32).map(|i| i * 7919 % 1013).collect();
            // All samples at once, and as few as there may be.
            for max_binding_bytes in [1 << 27, 600] {
                let caps = Caps { max_binding_bytes, ..gpu().caps().clone() };
                let got = common::dense::downsample(gpu(), &caps, &labels, samples, from, to)?;
                if got != loss::downsample(&labels, from, to) {
                    return Err(format!("{from:?} to {to:?} by {max_binding_bytes} bytes"));
                }
            }
        }
        Ok(())
    });
}

/// The twins' gradients are those of their own forward passes.
#[test]
fn loss_twins_agree_with_finite_differences() {
    let logits = wide(&generated(3, 0, 2 * 3 * 4));
    let regions = [vec![1, 2], vec![2], vec![0, 1]];
    for labels in [[0, 1, 2, 1, 0, 0, 1, 1], [0, 255, 2, 1, 255, 0, 1, 255]] {
        for batch_dice in [false, true] {
            let heads = |x: &[f64]| {
                let head = (x, &labels[..], 4);
                loss::deep_supervision(&[head], &[0.7], 3, batch_dice)
            };
            let (_, gradients) = heads(&logits);
            close_wide("softmax", &gradients[0], &differences(&logits, |x| heads(x).0));
            let sigmoid = |x: &[f64]| loss::dice_bce(x, &labels, &regions, 4, batch_dice);
            let total = |x: &[f64]| sigmoid(x).ce + sigmoid(x).dice;
            close_wide("sigmoid", &sigmoid(&logits).gradient, &differences(&logits, total));
        }
    }
}
