//! Twin of `warp/sample.wgsl`, in f64.

use super::spline;
use crate::ops::warp::{ImageInterpolation, Interpolation, LabelInterpolation, WarpRecord, flags};

/// A warped patch: image C,D,H,W and labels D,H,W.
#[derive(Clone, Debug, PartialEq)]
pub struct Warped {
    /// C,D,H,W.
    pub image: Vec<f64>,
    /// D,H,W.
    pub labels: Vec<u32>,
    /// Voxels whose result a rounding error of a coordinate could change: label nearly tied, or
    /// a coordinate next to the border.
    pub ambiguous: Vec<bool>,
}

/// Source image \[C\]\[box\], labels \[box\], displacement \[3\]\[D*H*W\] before alpha.
pub fn warp(
    record: &WarpRecord,
    image: &[f32],
    labels: &[u32],
    displacement: &[f64],
    patch: [usize; 3],
    interpolation: Interpolation,
) -> Warped {
    let extent = record.box_shape.map(|e| e as i64);
    let volume = labels.len();
    let voxels: usize = patch.iter().product();
    let channels = image.len() / volume;
    let mut out = Warped {
        image: vec![0.0; channels * voxels],
        labels: vec![0; voxels],
        ambiguous: vec![false; voxels],
    };
    let rows = [record.row0, record.row1, record.row2];
    let spatial = record.has(flags::SPATIAL);
    let cubic = spatial && interpolation.image == ImageInterpolation::Cubic;
    let nearest = interpolation.labels == LabelInterpolation::Nearest;
    let box_shape = record.box_shape.map(|e| e as usize);
    let coefficients: Vec<Vec<f64>> = image
        .chunks(volume)
        .filter(|_| cubic)
        .map(|channel| {
            let wide: Vec<f64> = channel.iter().map(|&v| f64::from(v)).collect();
            spline::coefficients(&wide, box_shape)
        })
        .collect();
    for v in 0..voxels {
        let o = [v / (patch[1] * patch[2]), v / patch[2] % patch[1], v % patch[2]];
        let mut m = o;
        for i in 0..3 {
            m[i] = if record.has(flags::MIRROR << i) { patch[i] - 1 - o[i] } else { o[i] };
        }
        let mv = (m[0] * patch[1] + m[1]) * patch[2] + m[2];
        let mut c = [0.0f64; 3];
        for i in 0..3 {
            c[i] = m[i] as f64 - (patch[i] - 1) as f64 / 2.0;
            if record.has(flags::ELASTIC) {
                c[i] += f64::from(record.alpha) * displacement[i * voxels + mv];
            }
        }
        if record.has(flags::SPATIAL) {
            c = [0, 1, 2].map(|j| (0..3).map(|i| c[i] * f64::from(rows[i][j])).sum());
        }
        let (mut inside, mut low, mut step, mut f) = (true, [0i64; 3], [0i64; 3], [0f64; 3]);
        for i in 0..3 {
            c[i] += f64::from(record.centre[i]);
            let last = f64::from(record.case_shape[i] - 1);
            f[i] = c[i] - c[i].floor();
            low[i] = c[i].floor() as i64 - i64::from(record.box_start[i]);
            step[i] = i64::from(f[i] > 0.0);
            let edge = c[i] < 0.0 || c[i] > last || low[i] < 0 || low[i] + step[i] >= extent[i];
            inside &= !edge;
            let to_border = [c[i], c[i] - last, low[i] as f64 + f[i]];
            let to_end = low[i] as f64 + f[i] - (extent[i] - 1) as f64;
            let near = to_border.iter().chain([&to_end]).any(|d| d.abs() < 1e-4);
            out.ambiguous[v] |= record.has(flags::SPATIAL) && near;
        }
        if !inside {
            continue;
        }
        let mut scores: Vec<(u32, f64)> = Vec::new();
        for corner in 0..8i64 {
            let (mut at, mut weight) = (0, 1.0);
            for i in 0..3 {
                let high = corner >> (2 - i) & 1;
                at = at * extent[i] + low[i] + high * step[i];
                weight *= if high == 1 { f[i] } else { 1.0 - f[i] };
            }
            for channel in (0..channels).filter(|_| !cubic) {
                let value = f64::from(image[channel * volume + at as usize]);
                out.image[channel * voxels + v] += weight * value;
            }
            let label = labels[at as usize];
            match scores.iter_mut().find(|s| s.0 == label) {
                Some(s) => s.1 += weight,
                None => scores.push((label, weight)),
            }
        }
        for (channel, coefficients) in coefficients.iter().enumerate() {
            out.image[channel * voxels + v] = cubic_at(coefficients, extent, low, f);
        }
        if nearest && spatial {
            let up = |i: usize| if f[i] >= 0.5 { step[i] } else { 0 };
            let at = (0..3).fold(0, |at, i| at * extent[i] + low[i] + up(i));
            out.labels[v] = labels[at as usize];
            out.ambiguous[v] |= f.iter().any(|f| (f - 0.5).abs() < 1e-4);
            continue;
        }
        scores.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        out.labels[v] = scores[0].0;
        out.ambiguous[v] |= scores.len() > 1 && scores[0].1 - scores[1].1 < 1e-4;
    }
    out
}

/// The spline's value a fraction `f` behind voxel `low`; taps beyond the box are mirrored.
fn cubic_at(coefficients: &[f64], extent: [i64; 3], low: [i64; 3], f: [f64; 3]) -> f64 {
    let tap = |axis: usize, k: i64| {
        let (i, last) = (low[axis] + k - 1, extent[axis] - 1);
        let i = if i < 0 { -i } else { i };
        if i > last { (2 * last - i).max(0) } else { i }
    };
    let weights = f.map(spline::weights);
    let mut sum = 0.0;
    for index in 0..64i64 {
        let k = [index / 16, index / 4 % 4, index % 4];
        let at = (0..3).fold(0, |at, i| at * extent[i] + tap(i, k[i]));
        let weight: f64 = (0..3).map(|i| weights[i][k[i] as usize]).product();
        sum += weight * coefficients[at as usize];
    }
    sum
}
