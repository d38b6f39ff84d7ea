//! Cubic B-spline coefficients of a source that is resampled.

use super::Lowering;
use crate::gpu::{Binding, Dispatch, Kernel, SlotId, linear_groups};

/// Voxels beyond which a border changes a coefficient by less than 1e-6 of the intensities: the
/// filter's answer falls by 0.268 a voxel.
pub const SPLINE_MARGIN: u32 = 11;

/// `coefficients = spline(source)` of one sample; see `spline/prefilter.wgsl`.
#[derive(Clone, Debug)]
pub struct Prefilter {
    /// Records of all samples, \[N\] [`super::warp::WarpRecord`] (flags and box are read).
    pub draws: SlotId,
    /// Which record.
    pub sample: u32,
    /// Channels of the source.
    pub channels: u32,
    /// Voxels of the largest box.
    pub capacity: u64,
    /// Source image, f32 \[C\]\[box\].
    pub source: SlotId,
    /// Coefficients, f32 \[C\]\[box\].
    pub coefficients: SlotId,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    sample: u32,
    channels: u32,
    pad: [u32; 2],
}

impl Prefilter {
    /// Appends three dispatches, one an axis.
    pub fn lower(&self, l: &mut Lowering) {
        let Prefilter { draws, sample, channels, capacity, source, coefficients } = *self;
        // A box is known when it is drawn: in the worst case, one voxel wide, each is a line.
        let lines = capacity * u64::from(channels);
        for axis in 0..3 {
            let kernel = Kernel::with("spline/prefilter", &[("AXIS", axis)]);
            let bindings =
                vec![Binding::read(draws), Binding::read(source), Binding::write(coefficients)];
            let params = Params { sample, channels, pad: [0; 2] };
            l.recording.dispatch(
                Dispatch::new(kernel, &params, bindings, linear_groups(lines.div_ceil(64)))
                    .work(lines * 6, lines * 16),
            );
        }
    }
}
