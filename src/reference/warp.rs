//! Twin of `warp/linear.wgsl`, in f64.

use crate::ops::warp::{WarpRecord, flags};

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
            for channel in 0..channels {
                let value = f64::from(image[channel * volume + at as usize]);
                out.image[channel * voxels + v] += weight * value;
            }
            let label = labels[at as usize];
            match scores.iter_mut().find(|s| s.0 == label) {
                Some(s) => s.1 += weight,
                None => scores.push((label, weight)),
            }
        }
        scores.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        out.labels[v] = scores[0].0;
        out.ambiguous[v] |= scores.len() > 1 && scores[0].1 - scores[1].1 < 1e-4;
    }
    out
}
