//! Data and metrics from outside: files in, arrays and files out.

#[path = "data/common.rs"]
mod common;
#[path = "data/dataset.rs"]
mod dataset;
#[path = "data/nifti.rs"]
mod nifti;
#[path = "data/orientation.rs"]
mod orientation;
#[path = "data/prepare.rs"]
mod prepare;
#[path = "data/real.rs"]
mod real;
#[path = "support/real.rs"]
mod real_data;
#[path = "support/require.rs"]
mod require;
#[path = "data/sampling.rs"]
mod sampling;
#[path = "data/varieties.rs"]
mod varieties;
