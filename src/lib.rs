//! Trains 3D U-Nets for medical image segmentation on any GPU that wgpu drives,
//! and searches the data augmentation while it trains (Xu, Li, Zhu, MICCAI 2020).
//!
//! Layers, each using only those below it: `cli`; `train`; `report`; `infer`, `preview`;
//! `search`, `run`; `nn`, `augment`; `ops`; `gpu`. Beside them `data`, `metrics`, `picture` and
//! `reference` work on the CPU alone; `crash`, `error`, `files`, `host`, `numbers` and `phase` serve
//! all. See
//! ARCHITECTURE.md.

#![deny(unsafe_code)]

pub mod augment;
pub mod cli;
pub mod crash;
pub mod data;
pub mod error;
pub mod files;
pub mod gpu;
pub mod host;
pub mod infer;
pub mod metrics;
pub mod nn;
pub mod numbers;
pub mod ops;
pub mod phase;
mod picture;
pub mod preview;
pub mod reference;
pub mod report;
pub mod run;
pub mod search;
pub mod train;

pub use error::{Error, Result};

/// Version of the program with the commit it was built from, as in `0.1.0 (0123456789)`; without a
/// commit where it was built outside its repository.
pub const VERSION: &str = env!("ASNG_WGPU_VERSION");
