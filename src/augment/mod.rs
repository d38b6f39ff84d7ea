//! Policies as transforms: draws, warps, intensity.

pub mod batch;
mod canvas;
pub mod draw;
pub mod record;
pub mod sheet;
