//! Predicts a fold's validation cases and holds them against their references.

use super::decision::Decision;
use super::evaluate::evaluate_voxels;
use super::output::{Member, Source, predict_on_file_grid, write_prediction};
use super::predictor::{Predictor, WindowOptions};
use crate::data::PreparedCase;
use crate::data::labels::Labels;
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
    /// What is segmented.
    pub labels: &'a Labels,
    /// Reference label file of each case.
    pub references: &'a [PathBuf],
    /// The file's axis that each axis of the prepared cases is.
    pub axes: [usize; 3],
    /// The sliding window.
    pub window: WindowOptions,
    /// Whether the search looked at these cases; noted in the summary.
    pub used_in_search: bool,
}

/// Predicts each case with a network, writes `<case>.nii.gz` into `folder`, and evaluates all of
/// them by foreground labels or regions into `folder/summary.json`. `progress` is given the number
/// of a case and its name before it is predicted; its error ends the work.
///
/// # Errors
/// [`crate::Error::Device`], [`crate::Error::Io`] and what [`evaluate_voxels`] refuses.
pub fn validate(
    gpu: &Gpu,
    variant: ConvVariant,
    network: UNet,
    weights: &[f32],
    validation: &Validation,
    folder: &Path,
    progress: &mut dyn FnMut(usize, &str) -> Result<()>,
) -> Result<Summary> {
    files::create_folder(folder)?;
    let predictor = Predictor::new(gpu, network, weights, variant)?;
    let (axes, window) = (validation.axes, validation.window);
    let decision = &Decision::new(validation.labels);
    let member = Member { predictor: &predictor, decision, weights: &[], axes, window };
    let mut pairs = Vec::new();
    for (number, (case, reference)) in
        validation.cases.iter().zip(validation.references).enumerate()
    {
        progress(number, &case.name)?;
        let path = folder.join(format!("{}.nii.gz", case.name));
        let voxels = case.voxels()?;
        let source = Source::of_case(case, &voxels);
        let prediction = predict_on_file_grid(gpu, &member, source, false)?;
        write_prediction(&path, &prediction.labels, &case.origin)?;
        pairs.push((path, reference.clone()));
    }
    let mut summary = evaluate_voxels(&pairs, validation.labels)?;
    summary.validation_used_in_search = validation.used_in_search;
    files::replace(&folder.join("summary.json"), summary.to_json().as_bytes())?;
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::data::demo::{DemoKind, DemoSize, write_demo};
    use crate::data::nifti::{read_header, read_labels, write_labels};
    use crate::data::preprocess::prepare_all;
    use crate::gpu::AdapterChoice;
    use crate::metrics::Summary;
    use crate::nn::plan::NetworkPlan;

    #[test]
    fn cases_are_predicted_in_place_and_summarised() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        write_demo(&data, DemoKind::Brain, DemoSize::Small, 2, 0).unwrap();
        // A label file that places its voxels a little elsewhere is still the reference.
        let label = data.join("labelsTr/brain_001.nii.gz");
        let mut moved = read_labels(&label).unwrap();
        moved.header.srow[0][3] += 0.4 * moved.spacing_mm[2];
        write_labels(&label, &moved.labels, moved.shape, &moved.header).unwrap();
        let dataset = Dataset::open(&data).unwrap();
        let prepared = prepare_all(&dataset, &dataset.cases, 1).unwrap();
        let plan = NetworkPlan::from_spacing(4, 4, 4, [16; 3], 1, [3.6; 3], 2);
        let network = UNet::new(plan);
        let weights = network.parameters.initial(1);
        let gpu = Gpu::open(&AdapterChoice::default(), true).unwrap();
        let references: Vec<PathBuf> =
            dataset.cases.iter().filter_map(|c| c.label.clone()).collect();
        let cases: Vec<Arc<PreparedCase>> = prepared.cases.into_iter().map(Arc::new).collect();
        let validation = Validation {
            cases: &cases,
            labels: &dataset.labels,
            references: &references,
            axes: [0, 1, 2],
            window: WindowOptions { step: 1.0, mirror: crate::data::Axes::NONE },
            used_in_search: true,
        };
        let out = folder.path().join("fold_0/validation");
        let mut names = Vec::new();
        let mut hear = |_: usize, name: &str| {
            names.push(name.to_owned());
            Ok(())
        };
        let variant = ConvVariant::available(gpu.caps())[0];
        let summary =
            validate(&gpu, variant, network, &weights, &validation, &out, &mut hear).unwrap();
        assert_eq!(names, ["brain_001", "brain_002"]);
        assert_eq!(summary.mean.keys().collect::<Vec<_>>(), ["1", "2", "3"]);
        let text = std::fs::read_to_string(out.join("summary.json")).unwrap();
        assert_eq!(text, summary.to_json());
        assert!(Summary::from_json(&text).is_ok());
        assert!(text.contains("\"validation_used_in_search\": true"));
        let header = read_header(&out.join("brain_002.nii.gz")).unwrap();
        assert_eq!(header.shape(), cases[1].origin.shape);
    }
}
