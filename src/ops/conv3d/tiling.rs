//! How a gather is tiled, by variant.

use super::axis::Axis;
use super::brick::{self, Brick};
use super::tile::Tile;
use crate::ops::{ConvVariant, Lowering};

/// Lanes along w as a power of two; the others follow along h. As many as w has points: lanes along
/// h share fewer rows of x.
pub(super) fn lane_shift(points_w: u32, lanes: u32) -> u32 {
    points_w.next_power_of_two().min(lanes).ilog2()
}

/// How a dispatch is tiled, by variant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tiling {
    Subgroup(Tile),
    Simt(Brick),
}

impl Tiling {
    /// Blocks of output channels that share packed weights.
    pub fn blocks(self) -> u32 {
        match self {
            Tiling::Subgroup(tile) => tile.blocks,
            Tiling::Simt(_) => brick::BLOCKS,
        }
    }

    /// Factors along h that a weight becomes.
    pub fn factors(self, h: &Axis) -> u32 {
        match self {
            Tiling::Subgroup(tile) => tile.factors(h),
            Tiling::Simt(_) => h.count,
        }
    }

    pub fn is_winograd(self) -> bool {
        matches!(self, Tiling::Subgroup(tile) if tile.winograd)
    }

    pub fn code(self) -> Vec<u32> {
        match self {
            Tiling::Subgroup(tile) => tile.code(),
            Tiling::Simt(brick) => brick.code(),
        }
    }

    /// The tilings of a dispatch, the preferred one first.
    pub fn candidates(
        l: &Lowering,
        axes: &[Axis; 3],
        blocks: u32,
        flops: u64,
        sums: bool,
    ) -> Vec<Tiling> {
        match l.variant {
            ConvVariant::Subgroup => {
                let q = axes.map(|a| a.points);
                let lanes = l.tensors.caps().subgroup_lanes.unwrap_or(8);
                let points = q[1].div_ceil(lanes >> lane_shift(q[2], lanes));
                let tiles = Tile::candidates(&axes[1], points, blocks, lanes, flops);
                tiles.into_iter().map(Tiling::Subgroup).collect()
            }
            ConvVariant::Simt => bricks(l, axes, sums).into_iter().map(Tiling::Simt).collect(),
        }
    }
}

/// The bricks of a dispatch, the preferred one first; `sums`: whether it sums what it stores.
pub(super) fn bricks(l: &Lowering, axes: &[Axis; 3], sums: bool) -> Vec<Brick> {
    let steps = axes.map(|a| a.in_step.unsigned_abs());
    let (taps, points) = (axes.map(|a| a.count), axes.map(|a| a.points));
    Brick::candidates(steps, taps, points, sums, l.tensors.caps().workgroup_bytes)
}
