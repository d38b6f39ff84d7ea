//! Prediction by sliding window, evaluation of predictions against references, and what runs
//! and folds have together.

pub mod compare;
pub mod cross_validate;
mod decision;
pub mod evaluate;
mod export;
mod output;
pub mod pairs;
pub mod predict;
pub mod predictor;
mod tiling;
pub mod validate;
pub mod window;
