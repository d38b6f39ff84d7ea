//! Plain CPU twins of the ops: the shortest f64 loops that say the mathematics, for tests and for
//! finding the wrong kernel. `stage` copies and has none.

pub mod conv3d;
pub mod gamma;
pub mod loss;
pub mod noise;
pub mod norm;
pub mod optimizer;
pub mod smooth;
pub mod spline;
pub mod warp;
