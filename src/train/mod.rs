//! The training job: cases in, weights and logs out.

mod job;
mod patch;

pub use job::{Epoch, TrainOptions, Trained, train};
