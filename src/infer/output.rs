//! From a prepared image to labels on the grid of the file it came from.

use super::decision::Decision;
use super::export::{Export, paste};
use super::predictor::{Predictor, WindowOptions};
use crate::data::nifti::write_labels;
use crate::data::preprocess::{Origin, PreparedCase, PreparedImage, Voxels};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::host;
use half::f16;
use std::path::Path;
use std::time::Instant;

/// A prepared image with its place in the file it came from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub image: &'a [f32],
    pub shape: [usize; 3],
    pub origin: &'a Origin,
}

impl<'a> Source<'a> {
    pub fn of_image(p: &'a PreparedImage) -> Self {
        Source { image: &p.image, shape: p.shape, origin: &p.origin }
    }

    pub fn of_case(case: &'a PreparedCase, voxels: &'a Voxels) -> Self {
        Source { image: &voxels.image, shape: case.shape, origin: &case.origin }
    }
}

/// A prediction on the grid of a file.
pub(super) struct Prediction {
    /// Label values, D, H, W of the file.
    pub labels: Vec<u16>,
    /// Output channels, D, H, W of the file, where wanted.
    pub probabilities: Option<Vec<f16>>,
    /// Seconds that bringing the probabilities back to the file's grid took.
    pub export_seconds: f64,
}

/// A predictor and what it predicts with.
pub(super) struct Member<'a> {
    pub predictor: &'a Predictor,
    /// What becomes of its output channels.
    pub decision: &'a Decision,
    /// Networks whose probabilities are averaged; those that are loaded, if there is at most one.
    pub weights: &'a [Vec<f32>],
    /// The file's axis that each axis of the prepared image is.
    pub axes: [usize; 3],
    pub window: WindowOptions,
}

/// Predicts an image and brings it back to the grid of its file.
///
/// # Errors
/// [`crate::Error::Device`] when the device was lost.
pub(super) fn predict_on_file_grid(
    gpu: &Gpu,
    member: &Member,
    source: Source,
    keep_probabilities: bool,
) -> Result<Prediction> {
    let classes = member.decision.channels();
    let to = member.axes.map(|axis| source.origin.crop_shape[axis]);
    // Labels, and probabilities of half precision; both of the crop and of the whole.
    let voxels = source.origin.shape.iter().product::<usize>() as u64;
    let bytes = 4 * voxels * (1 + if keep_probabilities { classes as u64 } else { 0 });
    host::check(bytes, || "the prediction of an image".into())?;
    let mut export = Export::new(member.decision.clone(), source.shape, to, keep_probabilities);
    let mut export_seconds = 0.0;
    member.predictor.stream(
        gpu,
        member.weights,
        source.image,
        source.shape,
        member.window,
        &mut |planes| {
            let begin = Instant::now();
            export.take(planes);
            export_seconds += begin.elapsed().as_secs_f64();
            Ok(())
        },
    )?;
    let begin = Instant::now();
    let (labels, probabilities) = export.finish();
    let voxels: usize = to.iter().product();
    let probabilities = probabilities.map(|crop| {
        let whole = |(class, values): (usize, &[f16])| {
            let outside = f16::from_f32(member.decision.outside(class));
            paste(values, member.axes, source.origin, outside)
        };
        crop.chunks_exact(voxels).enumerate().flat_map(whole).collect()
    });
    let labels = paste(&labels, member.axes, source.origin, 0);
    export_seconds += begin.elapsed().as_secs_f64();
    Ok(Prediction { labels, probabilities, export_seconds })
}

/// Writes the labels of a prediction.
pub(super) fn write_prediction(path: &Path, labels: &[u16], origin: &Origin) -> Result<()> {
    write_labels(path, labels, origin.header.shape(), &origin.header)
}
