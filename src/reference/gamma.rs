//! Twin of `gamma/apply.wgsl`, in f64.

fn moments(x: &[f64]) -> (f64, f64) {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64;
    (mean, variance.sqrt())
}

/// One channel: batchgenerators' `augment_gamma` with retained statistics.
pub fn gamma(x: &[f64], exponent: f64) -> Vec<f64> {
    let low = x.iter().copied().fold(f64::INFINITY, f64::min);
    let range = x.iter().copied().fold(f64::NEG_INFINITY, f64::max) - low + 1e-7;
    let y: Vec<f64> = x.iter().map(|v| ((v - low) / range).powf(exponent) * range + low).collect();
    let ((mean, std), (from, spread)) = (moments(x), moments(&y));
    y.iter().map(|v| (v - from) / (spread + 1e-8) * std + mean).collect()
}
