//! Segmentation metrics. No GPU, no files.

pub mod overlap;
pub mod summary;

pub use overlap::{Overlap, overlaps};
pub use summary::{CaseMetrics, Metrics, Number, Summary};
