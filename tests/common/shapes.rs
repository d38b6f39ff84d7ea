//! One list of awkward shapes for all ops: edges 1, 2 and primes, channels around the blocks of
//! four, batches of 1 to 3.

use super::conv::Case;
use super::generated;
use asng_wgpu::ops::conv3d::Geometry;

/// N, C, D, H, W.
pub const SHAPES: [[u32; 5]; 8] = [
    [1, 1, 1, 1, 2],
    [2, 3, 1, 2, 1],
    [1, 5, 2, 1, 7],
    [3, 12, 3, 5, 2],
    [2, 13, 7, 3, 5],
    [1, 30, 2, 5, 3],
    [2, 1, 13, 11, 17],
    [1, 4, 2, 31, 37],
];

/// Kernel and stride of the plain convolutions of networks. A software device takes seconds to
/// compile a brick kernel, so there are no others here; golden files hold more.
pub const PLAIN: [([u32; 3], [u32; 3]); 6] = [
    ([1, 1, 1], [1, 1, 1]),
    ([1, 3, 3], [1, 1, 1]),
    ([3, 3, 3], [1, 1, 1]),
    ([3, 3, 3], [1, 2, 2]),
    ([3, 3, 3], [2, 2, 2]),
    ([1, 3, 3], [1, 2, 2]),
];

/// Strides of the transposed ones; the kernel is the same.
pub const TRANSPOSED: [[u32; 3]; 2] = [[2, 2, 2], [1, 2, 2]];

/// Output channels and segments of the input that go with a shape.
const CHANNELS: [(u32, &[u32]); 8] = [
    (1, &[1]),
    (5, &[3]),
    (12, &[5]),
    (3, &[7, 5]),
    (1, &[13]),
    (13, &[30]),
    (30, &[1]),
    (5, &[2, 2]),
];

/// A convolution of random numbers. Padding is half the kernel, as the networks have it.
pub fn conv_case(
    [n, ci, d, h, w]: [u32; 5],
    segments: &[u32],
    out_channels: u32,
    (kernel, stride, transposed): ([u32; 3], [u32; 3], bool),
    bias: bool,
) -> Case {
    let padding = if transposed { [0; 3] } else { kernel.map(|k| k / 2) };
    let geometry = Geometry { kernel, stride, padding, transposed };
    let out = geometry.output([d, h, w]).iter().product::<u32>();
    let taps = kernel.iter().product::<u32>();
    let random = |seed, count: u32| generated(seed, 0, count as usize);
    Case {
        geometry,
        x_shape: [n, ci, d, h, w],
        segments: segments.to_vec(),
        out_channels,
        x: random(1, n * ci * d * h * w),
        w: random(2, ci * out_channels * taps),
        b: bias.then(|| random(3, out_channels)),
        dy: random(4, n * out_channels * out),
        on_load: None,
    }
}

/// Every shape with some of the kernels, so that each kernel meets several shapes.
pub fn conv_cases() -> Vec<Case> {
    let plain = PLAIN.map(|(kernel, stride)| (kernel, stride, false));
    let transposed = TRANSPOSED.map(|stride| (stride, stride, true));
    let geometries: Vec<_> = plain.into_iter().chain(transposed).collect();
    let mut cases = Vec::new();
    for (i, (shape, (out_channels, segments))) in SHAPES.into_iter().zip(CHANNELS).enumerate() {
        for (j, &geometry) in geometries.iter().enumerate() {
            // The input of a transposed convolution is one segment.
            let whole = [shape[1]];
            let segments = if geometry.2 { &whole } else { segments };
            if (i + j) % 3 != 0 {
                cases.push(conv_case(shape, segments, out_channels, geometry, j % 2 == 0));
            }
        }
    }
    cases
}
