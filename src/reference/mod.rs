//! Plain CPU twins of the ops.

pub mod gamma;
pub mod noise;
pub mod smooth;
pub mod warp;
