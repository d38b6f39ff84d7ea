//! What a scanner makes of the tissues: contrast, partial volume, texture, bias
//! field, gamma, Rician noise.

use super::DemoKind;
use super::anatomy::{Waves, positions};
use crate::data::rng::{self, Purpose, normal, uniform};

/// Mean intensity of each tissue in each channel.
fn contrast(kind: DemoKind) -> &'static [[f64; 8]] {
    match kind {
        DemoKind::Heart => &[[0.02, 0.4, 0.1, 0.38, 0.78, 0.76, 0.28, 0.2]],
        DemoKind::Prostate => &[
            [0.02, 0.2, 0.62, 0.95, 0.12, 0.74, 0.46, 0.3],
            [0.02, 0.4, 0.15, 0.95, 0.1, 0.7, 0.5, 0.12],
        ],
        DemoKind::Brain => &[
            [0.0, 0.55, 0.45, 0.12, 0.86, 0.5, 0.72, 0.0],
            [0.0, 0.5, 0.68, 0.2, 0.42, 0.32, 0.45, 0.0],
            [0.0, 0.5, 0.68, 0.22, 0.42, 0.34, 0.95, 0.0],
            [0.0, 0.55, 0.4, 0.92, 0.8, 0.84, 0.66, 0.0],
        ],
    }
}

/// The image of a tissue map (D, H, W): C, D, H, W.
pub(super) fn scan(
    kind: DemoKind,
    tissue: &[u8],
    shape: [usize; 3],
    spacing_mm: [f64; 3],
    seed: u64,
    number: u64,
) -> Vec<i16> {
    let mut out = Vec::with_capacity(tissue.len() * contrast(kind).len());
    for (c, means) in contrast(kind).iter().enumerate() {
        let rng = &mut rng::stream(seed, Purpose::Demo, &[number, 1 + c as u64, kind as u64]);
        let means = means.map(|m| (m + 0.05 * normal(rng) * f64::from(m > 0.05)).max(0.0));
        let bias = Waves::new(rng, 4, 0.25, 0.2);
        let texture = Waves::new(rng, 8, 2.0, 0.03);
        let gamma = uniform(rng, -0.35, 0.35).exp();
        let scale = uniform(rng, 300.0, 1500.0);
        let noise = uniform(rng, 0.02, 0.06);
        let mut plane: Vec<f64> = tissue.iter().map(|&t| means[usize::from(t) & 7]).collect();
        soften(&mut plane, shape);
        for ((v, p), &t) in plane.iter_mut().zip(positions(shape, spacing_mm)).zip(tissue) {
            let clean = ((*v + texture.at(p)).max(0.0) * bias.at(p).exp()).powf(gamma);
            let (re, im) = (clean + noise * normal(rng), noise * normal(rng));
            let seen = (re * re + im * im).sqrt() * scale;
            // The brain is cut out: exactly 0 outside, never 0 inside.
            let cut = kind == DemoKind::Brain;
            *v = if cut && t == 0 { 0.0 } else { seen.max(f64::from(cut)) };
        }
        out.extend(plane.iter().map(|v| v.round().min(32767.0) as i16));
    }
    out
}

/// Partial volume: the kernel (1, 4, 1)/6 along each axis, edges repeated.
fn soften(v: &mut [f64], shape: [usize; 3]) {
    for (axis, step) in [shape[1] * shape[2], shape[2], 1].into_iter().enumerate() {
        let before = v.to_vec();
        for (i, out) in v.iter_mut().enumerate() {
            let at = i / step % shape[axis];
            let low = if at == 0 { i } else { i - step };
            let high = if at + 1 == shape[axis] { i } else { i + step };
            *out = (before[low] + 4.0 * before[i] + before[high]) / 6.0;
        }
    }
}
