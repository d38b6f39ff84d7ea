//! Segmentation metrics. No GPU, no files.
