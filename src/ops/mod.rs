//! Kernels: one Rust file beside one WGSL family; shapes in, dispatches out.
//!
//! An op is a plain struct on [`View`]s and [`ParamRef`]s. `lower` turns it into dispatches for
//! the variant chosen on the device at hand; `reference` says the same in plain loops on the CPU.

pub mod conv3d;
pub mod gamma;
pub mod labels;
pub mod loss;
pub mod noise;
pub mod norm;
pub mod optimizer;
pub mod selftest;
pub mod smooth;
pub mod spline;
pub mod stage;
pub mod tensor;
pub mod warp;

use crate::gpu::{Binding, Caps, Recording, SlotId};
use tensor::{Storage, Tensors};

/// A run of f32 values in a flat parameter (or gradient) buffer, in canonical row-major order.
/// The offset is a multiple of 64 elements, so that the run can be bound by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParamRef {
    /// The flat buffer.
    pub slot: SlotId,
    /// First element.
    pub offset: u64,
    /// Number of elements.
    pub len: u64,
}

impl ParamRef {
    /// The range as a binding for reading.
    pub fn read(&self) -> Binding {
        Binding::read(self.slot).range(self.offset * 4, self.bound_bytes())
    }

    /// The range as a binding for writing.
    pub fn write(&self) -> Binding {
        Binding::write(self.slot).range(self.offset * 4, self.bound_bytes())
    }

    /// Whole vec4s are bound: the run is padded to 64 elements.
    fn bound_bytes(&self) -> u64 {
        (self.len * 4).next_multiple_of(16)
    }
}

/// Which convolution family runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConvVariant {
    /// Workgroup memory bricks and register tiles, operands in buffers: real GPUs.
    Simt,
    /// Textures and subgroup broadcast, operands in textures: CPU adapters.
    Subgroup,
}

impl ConvVariant {
    /// All variants that a device can run, the preferred one first.
    pub fn available(caps: &Caps) -> Vec<ConvVariant> {
        let subgroup = matches!(caps.subgroup_lanes, Some(4 | 8 | 16 | 32));
        match (subgroup, caps.cpu) {
            (true, true) => vec![ConvVariant::Subgroup, ConvVariant::Simt],
            (true, false) => vec![ConvVariant::Simt, ConvVariant::Subgroup],
            (false, _) => vec![ConvVariant::Simt],
        }
    }

    /// The name that is printed.
    pub fn name(self) -> &'static str {
        match self {
            ConvVariant::Simt => "simt",
            ConvVariant::Subgroup => "subgroup",
        }
    }

    /// Whether convolutions take over what norms do with their operands: normalise and activate while they
    /// load ([`norm::NormOnLoad`]), sum up and add to another gradient while they store
    /// ([`conv3d::InputGradient`]). Where each value is loaded once a tap from a texture, as on CPU adapters, an
    /// activation of its own costs less, by a count of instructions; and nothing can be added to a texture.
    pub fn fuses_norms(self) -> bool {
        self == ConvVariant::Simt
    }

    /// What the operands of a convolution must lie in.
    pub fn operand(self) -> Storage {
        match self {
            ConvVariant::Simt => Storage::Buffer,
            ConvVariant::Subgroup => Storage::Texture,
        }
    }
}

/// What lowering needs and appends to.
pub struct Lowering<'a> {
    /// Tensors and slots; scratch slots are added here.
    pub tensors: &'a mut Tensors,
    /// Where the dispatches go.
    pub recording: &'a mut Recording,
    /// The convolution family.
    pub variant: ConvVariant,
}
