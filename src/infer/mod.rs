//! Prediction by sliding window, and evaluation of predictions against references.

pub mod evaluate;
mod export;
mod output;
pub mod predict;
pub mod predictor;
mod tiling;
pub mod validate;
pub mod window;
