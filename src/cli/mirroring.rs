//! Flags of mirroring; what augments shares them.

use crate::data::Axes;

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Augmentation")]
pub(super) struct MirrorFlags {
    /// Do not mirror.
    #[arg(long)]
    no_mirror: bool,
    /// Mirror these axes alone, of d, h and w joined by commas: the files' z, y and x, but the axis
    /// of the coarsest voxels comes first [default: all, or those of the run].
    #[arg(long, value_name = "AXES", conflicts_with = "no_mirror")]
    mirror_axes: Option<Axes>,
}

impl MirrorFlags {
    /// The axes that are mirrored, where something was asked for.
    pub fn axes(&self) -> Option<Axes> {
        if self.no_mirror { Some(Axes::NONE) } else { self.mirror_axes }
    }
}
