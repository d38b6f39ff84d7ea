//! Network plan, U-Net, loss, optimizer as lists of ops.

pub mod heads;
pub mod parameters;
pub mod plan;
pub mod step;
pub mod tuning;
pub mod unet;
