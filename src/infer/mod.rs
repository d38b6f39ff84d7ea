//! Evaluation of predictions against references; prediction will stand beside it.

pub mod evaluate;
