//! Separable Gaussian smoothing of the displacement noise.

use super::Lowering;
use crate::error::{Error, Result};
use crate::gpu::{Binding, Dispatch, Kernel, SlotId, linear_groups};

/// Taps of one axis in the table: 0 to the radius, then zeros; the last is always 0.
pub const TAPS: usize = 256;

/// Largest whole sigma, in voxels, whose taps fit the table.
pub const MAX_SIGMA: f64 = ((TAPS - 2) / 4) as f64;

/// The radius of a Gaussian: floor(4 sigma + 0.5); 0 for sigma below 1e-3.
///
/// # Errors
/// [`Error::Usage`] when it exceeds the tap table.
pub fn radius(sigma: f64) -> Result<u32> {
    if sigma < 1e-3 {
        return Ok(0);
    }
    let radius = (4.0 * sigma + 0.5).floor();
    if radius < (TAPS - 1) as f64 {
        Ok(radius as u32)
    } else {
        Err(Error::Usage(format!(
            "an elastic sigma of {sigma} is too large; use at most {MAX_SIGMA}"
        )))
    }
}

/// The taps 0..=radius of a normalised Gaussian, padded with zeros to [`TAPS`].
///
/// # Errors
/// As [`radius`].
pub fn taps(sigma: f64) -> Result<[f32; TAPS]> {
    let radius = radius(sigma)? as usize;
    let mut table = [0f32; TAPS];
    let weight = |k: usize| {
        if k == 0 { 1.0 } else { (-((k * k) as f64) / (2.0 * sigma * sigma)).exp() }
    };
    let sum: f64 = weight(0) + 2.0 * (1..=radius).map(weight).sum::<f64>();
    for (k, slot) in table.iter_mut().enumerate().take(radius + 1) {
        *slot = (weight(k) / sum) as f32;
    }
    Ok(table)
}

/// Smooths a vec4 field along D, H and W with the sample's taps, zeros outside; see
/// `smooth/gaussian.wgsl`. Does nothing where the draw is not elastic.
#[derive(Clone, Debug)]
pub struct GaussianSmooth {
    /// Records, \[N\] [`super::warp::WarpRecord`] (flags and radius are read).
    pub draws: SlotId,
    /// Taps, f32 \[N\]\[3\]\[[`TAPS`]\].
    pub taps: SlotId,
    /// Which record.
    pub sample: u32,
    /// Edges D, H, W.
    pub shape: [u32; 3],
    /// Input, vec4 \[D*H*W\]; overwritten.
    pub from: SlotId,
    /// Output, vec4 \[D*H*W\].
    pub to: SlotId,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    sample: u32,
    axis: u32,
    length: u32,
    stride: u32,
    lines: u32,
    total: u32,
    pad: [u32; 2],
}

impl GaussianSmooth {
    /// Appends three dispatches, one an axis.
    ///
    /// # Errors
    /// None at present.
    pub fn lower(&self, l: &mut Lowering) -> Result<()> {
        let [d, h, w] = self.shape;
        let voxels = d * h * w;
        let passes =
            [(h * w, self.from, self.to), (w, self.to, self.from), (1, self.from, self.to)];
        for (axis, (stride, from, to)) in passes.into_iter().enumerate() {
            let length = self.shape[axis];
            let lines = voxels / length.max(1);
            let total = lines * length.div_ceil(8);
            let params = Params {
                sample: self.sample,
                axis: axis as u32,
                length,
                stride,
                lines,
                total,
                pad: [0; 2],
            };
            let bindings = vec![
                Binding::read(self.draws),
                Binding::read(self.taps),
                Binding::read(from),
                Binding::write(to),
            ];
            let kernel = Kernel::with("smooth/gaussian", &[("TAPS", TAPS as i64)]);
            let flops = u64::from(voxels) * 6 * u64::from(length);
            l.recording.dispatch(
                Dispatch::new(
                    kernel,
                    &params,
                    bindings,
                    linear_groups(u64::from(total).div_ceil(64)),
                )
                .work(flops, u64::from(voxels) * 32),
            );
        }
        Ok(())
    }
}
