//! Predicts a fold's validation cases and holds them against their references.

use super::evaluate::evaluate;
use super::output::{Source, predict_to};
use super::predictor::{Predictor, WindowOptions};
use crate::data::PreparedCase;
use crate::error::Result;
use crate::files;
use crate::gpu::Gpu;
use crate::metrics::Summary;
use crate::nn::unet::UNet;
use crate::ops::ConvVariant;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is validated, and how.
pub struct Validation<'a> {
    /// Prepared cases.
    pub cases: &'a [Arc<PreparedCase>],
    /// Reference label file of each case.
    pub references: &'a [PathBuf],
    /// The sliding window.
    pub window: WindowOptions,
    /// Whether the search looked at these cases; noted in the summary.
    pub used_in_search: bool,
}

/// Predicts each case with a network, writes `<case>.nii.gz` into `folder`, and evaluates all of
/// them by the labels 1 to classes - 1 into `folder/summary.json`. `progress` is given the number
/// of a case and its name before it is predicted; its error ends the work.
///
/// # Errors
/// [`crate::Error::Device`], [`crate::Error::Io`] and what [`evaluate`] refuses.
pub fn validate(
    gpu: &Gpu,
    network: UNet,
    weights: &[f32],
    validation: &Validation,
    folder: &Path,
    progress: &mut dyn FnMut(usize, &str) -> Result<()>,
) -> Result<Summary> {
    files::create_folder(folder)?;
    let classes = network.plan.classes as u16;
    let variant = ConvVariant::available(gpu.caps())[0];
    let predictor = Predictor::new(gpu, network, weights, variant)?;
    let mut pairs = Vec::new();
    for (number, (case, reference)) in
        validation.cases.iter().zip(validation.references).enumerate()
    {
        progress(number, &case.name)?;
        let path = folder.join(format!("{}.nii.gz", case.name));
        predict_to(gpu, &predictor, &[], &Source::from(case.as_ref()), validation.window, &path)?;
        pairs.push((path, reference.clone()));
    }
    let labels: Vec<u16> = (1..classes).collect();
    let mut summary = evaluate(&pairs, &labels)?;
    summary.validation_used_in_search = validation.used_in_search;
    files::replace(&folder.join("summary.json"), summary.to_json().as_bytes())?;
    Ok(summary)
}
