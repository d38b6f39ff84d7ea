//! Spatial resampling of a sample by its draw: affine, elastic, mirroring, cropping in one pass.

use super::Lowering;
use super::labels::LabelRange;
use super::tensor::{Place, Tensors, View, blocks_of};
use crate::error::{Error, Result};
use crate::gpu::{Binding, Dispatch, Kernel, SlotId, linear_groups};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Largest number of channels of an augmented image.
pub const MAX_CHANNELS: usize = 8;

/// Bits of [`WarpRecord::flags`].
pub mod flags {
    /// Resample; without it voxels are copied bit for bit.
    pub const SPATIAL: u32 = 1;
    /// Add the displacement.
    pub const ELASTIC: u32 = 2;
    /// Apply gamma.
    pub const GAMMA: u32 = 4;
    /// After gamma, set voxels that were 0 in all channels back to 0.
    pub const MASK: u32 = 8;
    /// Mirror axis D; H and W are the next two bits.
    pub const MIRROR: u32 = 16;
    /// Displace within the H, W planes only, all slices alike.
    pub const PLANAR: u32 = 128;
}

/// How an image is read between voxels (`--interpolation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ImageInterpolation {
    /// Trilinear.
    #[default]
    Linear,
    /// Cubic B-spline, as nnU-Net v1 does.
    Cubic,
}

/// How labels are read between voxels (`--label-interpolation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LabelInterpolation {
    /// The label with the most weight among the eight neighbours.
    #[default]
    Linear,
    /// That of the nearest voxel.
    Nearest,
}

/// How a source is read between voxels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpolation {
    /// Of images.
    pub image: ImageInterpolation,
    /// Of labels.
    pub labels: LabelInterpolation,
}

/// One sample's draw as the shaders read it: plain numbers, `Record` in WGSL.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct WarpRecord {
    /// Edges D, H, W of the uploaded box of the case.
    pub box_shape: [u32; 3],
    /// Bits of [`flags`].
    pub flags: u32,
    /// First voxel of the box in the case.
    pub box_start: [i32; 3],
    /// Factor of the smoothed noise, in voxels.
    pub alpha: f32,
    /// Edges of the whole case.
    pub case_shape: [i32; 3],
    /// Standard deviation of the smoothing, in voxels (for the record; the taps decide).
    pub sigma: f32,
    /// The patch's centre in the case: its start + (P - 1)/2.
    pub centre: [f32; 3],
    /// Low half of the noise key.
    pub key_low: u32,
    /// First row of the 3x3 matrix (row vector times matrix; scale folded in).
    pub row0: [f32; 3],
    /// High half of the noise key.
    pub key_high: u32,
    /// Second row.
    pub row1: [f32; 3],
    /// Zero.
    pub pad1: u32,
    /// Third row.
    pub row2: [f32; 3],
    /// Zero.
    pub pad2: u32,
    /// Radius of the smoothing along D, H, W.
    pub radius: [u32; 3],
    /// Zero.
    pub pad3: u32,
    /// Gamma exponent of each channel.
    pub gamma: [f32; MAX_CHANNELS],
}

/// Where a patch and its uploaded box lie in a case. All D, H, W.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Edges of the whole case.
    pub case_shape: [u32; 3],
    /// First voxel of the box that is uploaded.
    pub box_start: [i32; 3],
    /// Edges of that box.
    pub box_shape: [u32; 3],
    /// First voxel of the patch; may be negative.
    pub patch_start: [i32; 3],
    /// Edges of the patch.
    pub patch: [u32; 3],
}

impl Placement {
    /// The whole case as the box.
    pub fn whole(case_shape: [u32; 3], patch_start: [i32; 3], patch: [u32; 3]) -> Self {
        Placement { case_shape, box_start: [0; 3], box_shape: case_shape, patch_start, patch }
    }
}

impl WarpRecord {
    /// A record that copies the patch unchanged.
    pub fn copy(at: &Placement) -> Self {
        let centre =
            |i: usize| at.patch_start[i] as f32 + (at.patch[i].saturating_sub(1)) as f32 * 0.5;
        WarpRecord {
            box_shape: at.box_shape,
            box_start: at.box_start,
            case_shape: at.case_shape.map(|e| e as i32),
            centre: [centre(0), centre(1), centre(2)],
            row0: [1.0, 0.0, 0.0],
            row1: [0.0, 1.0, 0.0],
            row2: [0.0, 0.0, 1.0],
            gamma: [1.0; MAX_CHANNELS],
            ..bytemuck::Zeroable::zeroed()
        }
    }

    /// Turns and scales by a matrix (row vector times matrix).
    pub fn affine(mut self, matrix: [[f64; 3]; 3]) -> Self {
        [self.row0, self.row1, self.row2] = matrix.map(|row| row.map(|v| v as f32));
        self.flags |= flags::SPATIAL;
        self
    }

    /// Displaces elastically; `planar` keeps it within the slices along D, all alike.
    ///
    /// # Errors
    /// [`Error::Usage`] when sigma is too large for the tap table.
    pub fn elastic(mut self, alpha: f64, sigma: f64, key: u64, planar: bool) -> Result<Self> {
        let radius = super::smooth::radius(sigma)?;
        self.alpha = alpha as f32;
        self.sigma = sigma as f32;
        self.radius = [if planar { 0 } else { radius }, radius, radius];
        [self.key_low, self.key_high] = [key as u32, (key >> 32) as u32];
        self.flags |= flags::SPATIAL | flags::ELASTIC;
        self.flags |= if planar { flags::PLANAR } else { 0 };
        Ok(self)
    }

    /// Mirrors the axes that are true.
    pub fn mirror(mut self, axes: [bool; 3]) -> Self {
        for (i, on) in axes.into_iter().enumerate() {
            self.flags |= if on { flags::MIRROR << i } else { 0 };
        }
        self
    }

    /// Gamma exponents per channel; `mask` sets what was 0 in all channels back to 0.
    ///
    /// # Errors
    /// [`Error::Usage`] for more than [`MAX_CHANNELS`] channels.
    pub fn gamma(mut self, exponents: &[f64], mask: bool) -> Result<Self> {
        if exponents.len() > MAX_CHANNELS {
            return Err(too_many(exponents.len()));
        }
        for (slot, &exponent) in self.gamma.iter_mut().zip(exponents) {
            *slot = exponent as f32;
        }
        self.flags |= flags::GAMMA | if mask { flags::MASK } else { 0 };
        Ok(self)
    }

    /// True where a flag is set.
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

fn too_many(channels: usize) -> Error {
    Error::Usage(format!(
        "augmentation handles up to {MAX_CHANNELS} channels, not {channels}; use fewer modalities"
    ))
}

/// One place of a sample that holds all its channel blocks, for ops that need them together.
pub(super) fn sample_place(tensors: &Tensors, image: View, sample: u32) -> Result<Place> {
    let channels = tensors.channels(image);
    if channels as usize > MAX_CHANNELS || channels == 0 {
        return Err(too_many(channels as usize));
    }
    let blocks = blocks_of(channels);
    let whole = tensors
        .regions(&[image])
        .into_iter()
        .find(|r| r.samples.contains(&sample) && r.blocks == (0..blocks));
    match whole {
        Some(region) => {
            let mut place = region.places[0];
            place.base += (sample - region.samples.start) * place.stride;
            Ok(place)
        }
        None => Err(Error::Device(
            "an augmented sample exceeds what this device can bind at once".into(),
        )),
    }
}

/// `image, labels = warp(source)` of one sample.
#[derive(Clone, Debug)]
pub struct Warp {
    /// Records of all samples, \[N\] [`WarpRecord`].
    pub draws: SlotId,
    /// Which record and which sample of the outputs.
    pub sample: u32,
    /// Source image, f32 \[C\]\[box\].
    pub source: SlotId,
    /// Source labels, u32 \[box\].
    pub source_labels: SlotId,
    /// Cubic B-spline coefficients of the source, f32 \[C\]\[box\]; `None`: linear.
    pub coefficients: Option<SlotId>,
    /// How labels are read.
    pub label_interpolation: LabelInterpolation,
    /// Smoothed noise, vec4 \[D*H*W\]; `None`: no draw is ever elastic.
    pub displacement: Option<SlotId>,
    /// Output image, N,C,D,H,W in buffers.
    pub image: View,
    /// Output labels, u32 \[N\]\[D\]\[H\]\[W\].
    pub labels: SlotId,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    shape: [u32; 3],
    sample: u32,
    runs: u32,
    total: u32,
    displaced: u32,
    image_base: u32,
    label_base: u32,
    pad: [u32; 3],
}

/// Voxels along H that one invocation makes.
const RUN: u32 = 8;

impl Warp {
    /// Appends one dispatch.
    ///
    /// # Errors
    /// [`Error::Usage`] for too many channels, [`Error::Device`] for a sample that exceeds a
    /// binding.
    pub fn lower(&self, l: &mut Lowering) -> Result<()> {
        let place = sample_place(l.tensors, self.image, self.sample)?;
        let shape = l.tensors.of(self.image).spatial;
        let voxels = l.tensors.voxels(self.image);
        let channels = l.tensors.channels(self.image);
        let blocks = blocks_of(channels);
        let labels =
            LabelRange::of(l.tensors.caps(), self.labels, voxels, self.sample..self.sample + 1);
        let runs = shape[1].div_ceil(RUN);
        let total = shape[0] * runs * shape[2];
        let params = Params {
            shape,
            sample: self.sample,
            runs,
            total,
            displaced: u32::from(self.displacement.is_some()),
            image_base: place.base * voxels,
            label_base: labels.first,
            pad: [0; 3],
        };
        let kernel = Kernel::with(
            "warp/sample",
            &[
                ("BLOCKS", i64::from(blocks)),
                ("CHANNELS", i64::from(channels)),
                ("CUBIC", i64::from(self.coefficients.is_some())),
                ("NEAREST", i64::from(self.label_interpolation == LabelInterpolation::Nearest)),
                ("RUN", i64::from(RUN)),
            ],
        );
        let mut bindings = vec![
            Binding::read(self.draws),
            Binding::read(self.source),
            Binding::read(self.source_labels),
            // Without a displacement nothing reads this binding: params.displaced is 0.
            Binding::read(self.displacement.unwrap_or(self.draws)),
            Binding::write(place.slot),
            labels.write(),
        ];
        bindings.extend(self.coefficients.map(Binding::read));
        let taps = if self.coefficients.is_some() { 64 } else { 8 };
        let groups = linear_groups(u64::from(total).div_ceil(64));
        let (v, c) = (u64::from(voxels), u64::from(channels));
        l.recording.dispatch(
            Dispatch::new(kernel, &params, bindings, groups)
                .work(v * (190 + 2 * taps * c), v * (4 * c + 8 + 16 * (1 + u64::from(blocks)))),
        );
        Ok(())
    }
}
