//! Prediction by sliding window, and evaluation of predictions against references.

pub mod evaluate;
pub mod predictor;
pub mod window;
