//! Prediction by sliding window.
