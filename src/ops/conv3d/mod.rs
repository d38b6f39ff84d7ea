//! 3-D convolution and transposed convolution: forward, input gradient, weight gradient.

mod axis;
mod brick;
mod gather;
mod launch;
mod pack;
mod sums;
mod tile;
mod tiling;
mod weight;

use super::stage::unroll;
use super::tensor::View;
use super::{Lowering, ParamRef};
use crate::error::Result;
use crate::gpu::SlotId;
use gather::{Gather, WeightLayout};
pub use sums::GradientSums;
use sums::OnStore;

/// Kernel, stride and padding along D, H, W.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Kernel edges.
    pub kernel: [u32; 3],
    /// Strides.
    pub stride: [u32; 3],
    /// Zero padding on both sides.
    pub padding: [u32; 3],
    /// True for a transposed convolution (kernel = stride, no padding; weight in, out, k, k, k;
    /// an input of one segment).
    pub transposed: bool,
}

/// `y = conv(x, w) + b`. x must lie in the variant's operand storage; y in either storage.
#[derive(Clone, Debug)]
pub struct Conv3dForward {
    /// Input, N,Ci,D,H,W (all segments concatenated).
    pub x: View,
    /// What is done to x while it is loaded, as [`super::norm::NormOnLoad`] tabulates it, by a variant
    /// that [`super::ConvVariant::fuses_norms`].
    pub on_load: Option<SlotId>,
    /// Weight, \[Co, Ci, kd, kh, kw\] (transposed: \[Ci, Co, kd, kh, kw\]).
    pub w: ParamRef,
    /// Bias, \[Co\].
    pub bias: Option<ParamRef>,
    /// Output, N,Co,D',H',W'.
    pub y: View,
    /// Where the statistics of y go ([`super::norm::statistics_slot`]), if they are wanted: made while y is
    /// stored by a variant that [`super::ConvVariant::fuses_norms`].
    pub statistics: Option<SlotId>,
    /// Shape of the kernel.
    pub geometry: Geometry,
}

/// Where the gradient on a segment of a convolution's input goes.
#[derive(Clone, Copy, Debug)]
pub struct InputGradient {
    /// The segment's gradient.
    pub to: View,
    /// Whether it is added to what lies there: in buffers only.
    pub add: bool,
    /// Sums of the norm behind which the segment lies, if they are wanted: with this the gradient must be
    /// whole. Made while it is stored by a variant that [`super::ConvVariant::fuses_norms`].
    pub sums: Option<GradientSums>,
}

impl From<View> for InputGradient {
    fn from(to: View) -> Self {
        InputGradient { to, add: false, sums: None }
    }
}

/// Gradient on the input of [`Conv3dForward`]. dy in operand storage, dx in either.
#[derive(Clone, Debug)]
pub struct Conv3dBackwardInput {
    /// Gradient on the output.
    pub dy: View,
    /// Weight as in the forward pass.
    pub w: ParamRef,
    /// Gradient on each segment of the input, `None` where nobody needs it.
    pub dx: Vec<Option<InputGradient>>,
    /// Channels of each input segment.
    pub segments: Vec<u32>,
    /// Shape of the kernel.
    pub geometry: Geometry,
}

/// Gradients on weight and bias of [`Conv3dForward`]. x and dy in operand storage.
#[derive(Clone, Debug)]
pub struct Conv3dBackwardWeight {
    /// Input of the forward pass.
    pub x: View,
    /// As in the forward pass.
    pub on_load: Option<SlotId>,
    /// Gradient on the output.
    pub dy: View,
    /// Gradient on the weight, same shape.
    pub dw: ParamRef,
    /// Gradient on the bias.
    pub db: Option<ParamRef>,
    /// Shape of the kernel.
    pub geometry: Geometry,
}

impl Geometry {
    /// Edges of the output for edges of the input.
    pub fn output(&self, input: [u32; 3]) -> [u32; 3] {
        std::array::from_fn(|i| {
            if self.transposed {
                input[i] * self.stride[i]
            } else {
                (input[i] + 2 * self.padding[i] - self.kernel[i]) / self.stride[i] + 1
            }
        })
    }

    fn taps(&self) -> u32 {
        self.kernel.iter().product()
    }

    /// Steps between the weights of neighbouring taps along D, H, W.
    fn tap_strides(&self) -> [u32; 3] {
        let [_, kh, kw] = self.kernel;
        [kh * kw, kw, 1]
    }

    /// The geometry for an input of so many channels whose taps along w became channels, where
    /// that spares most of a channel block: the one channel of most scans.
    fn unrolled(&self, channels: u32) -> Option<Geometry> {
        let [kd, kh, kw] = self.kernel;
        let [pd, ph, pw] = self.padding;
        let fits = channels == 1 && kw == 3 && pw == 1 && self.stride[2] == 1;
        (fits && !self.transposed).then_some(Geometry {
            kernel: [kd, kh, 1],
            padding: [pd, ph, 0],
            ..*self
        })
    }
}

impl Conv3dForward {
    /// Appends the dispatches.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the weights exceed what the device can hold in a texture.
    pub fn lower(&self, l: &mut Lowering) -> Result<()> {
        let (ci, co) = (l.tensors.channels(self.x), l.tensors.channels(self.y));
        let taps = self.geometry.taps();
        let (input, output) = (l.tensors.of(self.x).spatial, l.tensors.of(self.y).spatial);
        let mut layout = if self.geometry.transposed {
            WeightLayout { co_stride: taps, ci_stride: co * taps, co_first: 0 }
        } else {
            WeightLayout { co_stride: ci * taps, ci_stride: taps, co_first: 0 }
        };
        let (mut x, mut geometry) = (self.x, self.geometry);
        let unrolled = geometry.unrolled(ci).filter(|_| self.on_load.is_none());
        if let Some(unrolled) = unrolled {
            x = unroll(l, x, geometry.kernel[2])?;
            layout.ci_stride = 1;
            geometry = unrolled;
        }
        let axes = std::array::from_fn(|i| geometry.forward_axis(i, input[i], output[i]));
        let tap_strides = self.geometry.tap_strides();
        let Conv3dForward { y, w, bias, on_load, .. } = *self;
        let on_store = self.statistics.map(OnStore::Statistics);
        Gather { x, y, add: false, w, bias, on_load, on_store, layout, tap_strides, axes }.lower(l)
    }
}

impl Conv3dBackwardInput {
    /// Appends the dispatches.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the weights exceed what the device can hold in a texture.
    pub fn lower(&self, l: &mut Lowering) -> Result<()> {
        let ci: u32 = self.segments.iter().sum();
        let co = l.tensors.channels(self.dy);
        let taps = self.geometry.taps();
        let mut co_first = 0;
        for (segment, dx) in self.segments.iter().zip(&self.dx) {
            if let Some(InputGradient { to, add, sums }) = *dx {
                let (input, output) = (l.tensors.of(to).spatial, l.tensors.of(self.dy).spatial);
                let layout = if self.geometry.transposed {
                    WeightLayout { co_stride: co * taps, ci_stride: taps, co_first }
                } else {
                    WeightLayout { co_stride: taps, ci_stride: ci * taps, co_first }
                };
                let axes =
                    std::array::from_fn(|i| self.geometry.backward_axis(i, input[i], output[i]));
                let tap_strides = self.geometry.tap_strides();
                let (x, w, bias, on_load) = (self.dy, self.w, None, None);
                let (y, on_store) = (to, sums.map(OnStore::Gradient));
                Gather { x, y, add, w, bias, on_load, on_store, layout, tap_strides, axes }
                    .lower(l)?;
            }
            co_first += segment;
        }
        Ok(())
    }
}
