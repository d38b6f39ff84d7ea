//! The training job: cases in, weights and logs out.

mod checkpoint;
mod job;
mod patch;

pub use checkpoint::{read_weights, write_checkpoint};
pub use job::{Epoch, TrainOptions, Trained, train};
