//! Twin of `spline/prefilter.wgsl`, in f64: the coefficients as the solution of a linear system.

/// Coefficients of a volume D,H,W along all axes, mirrored at the ends: the `c` for which
/// `(c[i-1] + 4 c[i] + c[i+1]) / 6` is the volume along each axis, by elimination (Thomas) instead
/// of recursive filters.
pub fn coefficients(volume: &[f64], shape: [usize; 3]) -> Vec<f64> {
    let mut out = volume.to_vec();
    let [_, h, w] = shape;
    for (axis, stride) in [h * w, w, 1].into_iter().enumerate() {
        let n = shape[axis];
        for first in (0..out.len()).filter(|v| v / stride % n == 0) {
            let line: Vec<f64> = (0..n).map(|i| out[first + i * stride]).collect();
            for (i, value) in solve(&line).into_iter().enumerate() {
                out[first + i * stride] = value;
            }
        }
    }
    out
}

/// Solves the system of one line: off-diagonals 1/6, doubled next to the ends (mirroring).
fn solve(line: &[f64]) -> Vec<f64> {
    let n = line.len();
    if n == 1 {
        return line.to_vec();
    }
    let upper = |i: usize| if i == 0 { 2.0 / 6.0 } else { 1.0 / 6.0 };
    let lower = |i: usize| if i + 1 == n { 2.0 / 6.0 } else { 1.0 / 6.0 };
    let (mut diagonal, mut right) = (vec![4.0 / 6.0; n], line.to_vec());
    for i in 1..n {
        let factor = lower(i) / diagonal[i - 1];
        diagonal[i] -= factor * upper(i - 1);
        right[i] -= factor * right[i - 1];
    }
    let mut out = vec![0.0; n];
    for i in (0..n).rev() {
        let after = if i + 1 < n { upper(i) * out[i + 1] } else { 0.0 };
        out[i] = (right[i] - after) / diagonal[i];
    }
    out
}

/// Weights of the coefficients at -1, 0, 1, 2 for a point `f` of a voxel after 0.
pub fn weights(f: f64) -> [f64; 4] {
    let basis = |x: f64| match x.abs() {
        x if x < 1.0 => 2.0 / 3.0 - x * x + x * x * x / 2.0,
        x if x < 2.0 => (2.0 - x).powi(3) / 6.0,
        _ => 0.0,
    };
    [-1.0, 0.0, 1.0, 2.0].map(|at| basis(f - at))
}
