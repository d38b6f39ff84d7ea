//! Flags of how sources are read between voxels; what augments shares them.

use crate::ops::warp::{ImageInterpolation, Interpolation, LabelInterpolation};

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Augmentation")]
pub(super) struct InterpolationFlags {
    /// How augmentation reads an image between voxels: trilinear, or by a cubic B-spline as nnU-Net
    /// v1 does [default: linear, or as the run].
    #[arg(long, value_enum)]
    pub interpolation: Option<ImageInterpolation>,
    /// How it reads labels: the one with the most weight among the neighbours, or that of the
    /// nearest voxel [default: linear, or as the run].
    #[arg(long, value_enum)]
    pub label_interpolation: Option<LabelInterpolation>,
}

impl InterpolationFlags {
    /// What was asked for, or linear.
    pub fn resolved(&self) -> Interpolation {
        self.or(Interpolation::default())
    }

    /// What was asked for, else as a run has it.
    pub fn or(&self, run: Interpolation) -> Interpolation {
        Interpolation {
            image: self.interpolation.unwrap_or(run.image),
            labels: self.label_interpolation.unwrap_or(run.labels),
        }
    }
}
