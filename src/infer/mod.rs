//! Prediction by sliding window, and evaluation of predictions against references.

pub mod evaluate;
mod output;
pub mod predict;
pub mod predictor;
pub mod validate;
pub mod window;
