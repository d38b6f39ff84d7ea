//! Segmentation metrics and the statistics of their comparison. No GPU, no files.

pub mod comparison;
pub mod components;
pub mod distance;
pub mod overlap;
pub mod statistics;
pub mod summary;
pub mod surface;

pub use components::{keep_largest, keep_largest_foreground};
pub use overlap::{Overlap, overlaps};
pub use summary::{CaseMetrics, Metrics, Number, Summary};
pub use surface::{SurfaceMetrics, surface_metrics};
