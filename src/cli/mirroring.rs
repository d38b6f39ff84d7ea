//! Flags of mirroring; what augments shares them.

use crate::data::Axes;

#[derive(clap::Args, Debug)]
pub(super) struct MirrorFlags {
    /// Do not mirror.
    #[arg(long)]
    no_mirror: bool,
    /// Mirror these axes alone, of d, h and w joined by commas: d is the coarsest axis of the voxels
    /// or the files' last, w the files' first [default: all].
    #[arg(long, value_name = "AXES", conflicts_with = "no_mirror")]
    mirror_axes: Option<Axes>,
}

impl MirrorFlags {
    /// The axes that are mirrored, where something was asked for.
    pub fn axes(&self) -> Option<Axes> {
        if self.no_mirror { Some(Axes::NONE) } else { self.mirror_axes }
    }
}
