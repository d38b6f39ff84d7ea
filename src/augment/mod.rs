//! Policies as transforms: draws, warps, intensity.

pub mod draw;
