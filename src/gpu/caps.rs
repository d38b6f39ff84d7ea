//! What the device at hand can do, as plain data: a dry run needs no device.

use super::tiles::Tiles;

/// Most bytes that a binding may have, whatever a device grants: kernels count elements of four bytes and
/// more in u32, and do not check their indices.
pub const MOST_BINDING_BYTES: u64 = 4 << 30;

/// Limits, optional features and choices that decide how ops are lowered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Largest range of a buffer that one binding may cover, in bytes; at most [`MOST_BINDING_BYTES`].
    pub max_binding_bytes: u64,
    /// Largest buffer, in bytes.
    pub max_buffer_bytes: u64,
    /// Most workgroups of a dispatch along one axis.
    pub max_groups: u32,
    /// Largest edge of a 3-D texture, in texels.
    pub max_texture_3d: u32,
    /// Largest edge of a 2-D texture, in texels.
    pub max_texture_2d: u32,
    /// Workgroup memory, in bytes.
    pub workgroup_bytes: u32,
    /// Alignment of the offset of a storage or uniform binding, in bytes.
    pub offset_alignment: u64,
    /// The subgroup size, where the adapter has subgroups and only this one size.
    pub subgroup_lanes: Option<u32>,
    /// True for software adapters (llvmpipe, WARP).
    pub cpu: bool,
    /// True where timestamps can be written at pass boundaries.
    pub timestamps: bool,
    /// True where shaders may use f16.
    pub f16: bool,
    /// Most work of a dispatch.
    pub work: WorkLimits,
    /// Which tiles kernels take that come in several.
    pub tiles: Tiles,
}

/// Most work of a dispatch, about 50 ms: some systems reset a GPU that is silent for 2 s, and nothing
/// can interrupt a software device. Where work is cut has no say in the bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkLimits {
    /// FLOPs of a convolution.
    pub flops: u64,
    /// Bytes that a kernel moves which is bound by the memory.
    pub bytes: u64,
}

impl WorkLimits {
    /// At 0.2 TFLOP/s and 20 GB/s, below which a GPU counts as slow; at the 26 GFLOP/s and 1.4 GB/s that
    /// the slowest kernels of a software device reach on two slow cores.
    pub fn of(cpu: bool) -> Self {
        match cpu {
            true => WorkLimits { flops: 1_300_000_000, bytes: 70_000_000 },
            false => WorkLimits { flops: 10_000_000_000, bytes: 1_000_000_000 },
        }
    }
}

impl Caps {
    /// The limits every WebGPU device grants, without optional features: for dry runs and tests.
    pub fn portable() -> Self {
        Caps {
            max_binding_bytes: 128 << 20,
            max_buffer_bytes: 256 << 20,
            max_groups: 65535,
            max_texture_3d: 2048,
            max_texture_2d: 8192,
            workgroup_bytes: 16 << 10,
            offset_alignment: 256,
            subgroup_lanes: None,
            cpu: false,
            timestamps: false,
            f16: false,
            work: WorkLimits::of(false),
            tiles: Tiles::default(),
        }
    }
}
