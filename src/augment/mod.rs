//! Policies as transforms: draws, warps, intensity.

pub mod batch;
pub mod draw;
pub mod record;
pub mod sheet;
