//! NIfTI files, dataset layouts, preprocessing, sampling. No GPU.
//!
//! Arrays are D, H, W (z, y, x of the file), row-major, channels first.

pub mod axes;
pub mod blank;
pub mod channels;
pub mod check;
pub mod dataset;
pub mod demo;
pub mod folder;
pub mod inputs;
mod keys;
pub mod labels;
mod layout;
pub mod names;
pub mod nifti;
pub mod orientation;
pub mod patients;
pub mod prefetch;
pub mod preprocess;
pub mod resample;
pub mod rng;
pub mod sampler;
pub mod split;

pub use axes::Axes;
pub use channels::Normalisation;
pub use dataset::{Case, Dataset};
pub use nifti::{Header, LabelVolume, Volume};
pub use prefetch::{Batch, Prefetcher, Sample, SourceBox};
pub use preprocess::{Prepared, PreparedCase, Preprocessing};
pub use sampler::{PatchLocation, PatchSampler};
