//! Prediction by sliding window, evaluation of predictions against references, and what runs
//! and folds have together.

pub mod compare;
pub mod cross_validate;
mod decision;
pub mod evaluate;
pub mod exchanged;
mod export;
mod forward;
mod output;
pub mod pairs;
pub mod predict;
pub mod predictor;
pub mod probabilities;
mod targets;
mod tiling;
pub mod unpaired;
pub mod validate;
mod warnings;
pub mod window;
