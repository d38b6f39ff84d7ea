//! 3-D convolution and transposed convolution: forward, input gradient, weight gradient.

use super::ParamRef;
use super::tensor::View;

/// Kernel, stride and padding along D, H, W.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Kernel edges.
    pub kernel: [u32; 3],
    /// Strides.
    pub stride: [u32; 3],
    /// Zero padding on both sides.
    pub padding: [u32; 3],
    /// True for a transposed convolution (kernel = stride, no padding; weight in, out, k, k, k).
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
