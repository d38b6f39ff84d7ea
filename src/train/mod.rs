//! The training job.
