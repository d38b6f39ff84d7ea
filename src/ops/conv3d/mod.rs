//! 3-D convolution and transposed convolution: forward, input gradient, weight gradient.

mod gather;
mod tile;
mod weight;

use super::tensor::View;
use super::{Lowering, ParamRef};
use crate::error::Result;
use gather::{Gather, WeightLayout};

/// Most FLOPs of a dispatch: about 50 ms at 0.2 TFLOP/s, below which a device counts as slow (some
/// systems reset a GPU that is silent for 2 s).
const FLOPS_A_DISPATCH: u64 = 10_000_000_000;

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
    /// Weight, \[Co, Ci, kd, kh, kw\] (transposed: \[Ci, Co, kd, kh, kw\]).
    pub w: ParamRef,
    /// Bias, \[Co\].
    pub bias: Option<ParamRef>,
    /// Output, N,Co,D',H',W'.
    pub y: View,
    /// Shape of the kernel.
    pub geometry: Geometry,
}

/// Gradient on the input of [`Conv3dForward`]. dy in operand storage, dx in either.
#[derive(Clone, Debug)]
pub struct Conv3dBackwardInput {
    /// Gradient on the output.
    pub dy: View,
    /// Weight as in the forward pass.
    pub w: ParamRef,
    /// Gradient on each segment of the input, `None` where nobody needs it.
    pub dx: Vec<Option<View>>,
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
        let layout = if self.geometry.transposed {
            WeightLayout { co_stride: taps, ci_stride: co * taps, co_first: 0 }
        } else {
            WeightLayout { co_stride: ci * taps, ci_stride: taps, co_first: 0 }
        };
        let axes = std::array::from_fn(|i| self.geometry.forward_axis(i, input[i], output[i]));
        let kernel = self.geometry.kernel;
        Gather { x: self.x, y: self.y, w: self.w, bias: self.bias, layout, kernel, axes }.lower(l)
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
            if let Some(dx) = *dx {
                let (input, output) = (l.tensors.of(dx).spatial, l.tensors.of(self.dy).spatial);
                let layout = if self.geometry.transposed {
                    WeightLayout { co_stride: co * taps, ci_stride: taps, co_first }
                } else {
                    WeightLayout { co_stride: taps, ci_stride: ci * taps, co_first }
                };
                let axes =
                    std::array::from_fn(|i| self.geometry.backward_axis(i, input[i], output[i]));
                let kernel = self.geometry.kernel;
                Gather { x: self.dy, y: dx, w: self.w, bias: None, layout, kernel, axes }
                    .lower(l)?;
            }
            co_first += segment;
        }
        Ok(())
    }
}
