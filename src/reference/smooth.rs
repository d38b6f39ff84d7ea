//! Twin of `smooth/gaussian.wgsl`, in f64.

/// `gaussian_filter(x, sigmas)`, mode constant, of a volume D, H, W.
pub fn gaussian(x: &[f64], shape: [usize; 3], sigmas: [f64; 3]) -> Vec<f64> {
    let mut x = x.to_vec();
    for (axis, sigma) in sigmas.into_iter().enumerate() {
        if sigma < 1e-3 {
            continue;
        }
        let radius = (4.0 * sigma + 0.5).floor() as i64;
        let tap = |k: i64| (-((k * k) as f64) / (2.0 * sigma * sigma)).exp();
        let sum: f64 = (-radius..=radius).map(tap).sum();
        let stride: usize = shape[axis + 1..].iter().product();
        let length = shape[axis] as i64;
        x = (0..x.len())
            .map(|v| {
                let at = (v / stride) as i64 % length;
                (-radius..=radius)
                    .filter(|k| (0..length).contains(&(at + k)))
                    .map(|k| tap(k) / sum * x[(v as i64 + k * stride as i64) as usize])
                    .sum()
            })
            .collect();
    }
    x
}
