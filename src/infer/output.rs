//! From a prepared image to labels on the grid of the file it came from.

use super::predictor::{Predictor, WindowOptions, argmax};
use crate::data::Header;
use crate::data::nifti::write_labels;
use crate::data::preprocess::{PreparedCase, PreparedImage};
use crate::error::Result;
use crate::gpu::Gpu;
use std::path::Path;

/// A cropped and normalised image with its place in the file it came from.
pub(super) struct Source<'a> {
    pub image: &'a [f32],
    pub shape: [usize; 3],
    pub crop_start: [usize; 3],
    pub original_shape: [usize; 3],
    pub header: &'a Header,
}

impl<'a> From<&'a PreparedImage> for Source<'a> {
    fn from(p: &'a PreparedImage) -> Self {
        Source {
            image: &p.image,
            shape: p.shape,
            crop_start: p.crop_start,
            original_shape: p.original_shape,
            header: &p.header,
        }
    }
}

impl<'a> From<&'a PreparedCase> for Source<'a> {
    fn from(p: &'a PreparedCase) -> Self {
        Source {
            image: &p.image,
            shape: p.shape,
            crop_start: p.crop_start,
            original_shape: p.original_shape,
            header: &p.header,
        }
    }
}

/// Predicts with each of the weights in turn (with those that are loaded, if there is at most
/// one), averages the probabilities, and writes the most probable class on the grid of the
/// original file.
pub(super) fn predict_to(
    gpu: &Gpu,
    predictor: &Predictor,
    weights: &[Vec<f32>],
    source: &Source,
    options: WindowOptions,
    path: &Path,
) -> Result<()> {
    let mut sum: Option<Vec<f32>> = None;
    for i in 0..weights.len().max(1) {
        if weights.len() > 1 {
            predictor.set_weights(gpu, &weights[i])?;
        }
        let one = predictor.probabilities(gpu, source.image, source.shape, options)?;
        match &mut sum {
            None => sum = Some(one),
            Some(sum) => sum.iter_mut().zip(one).for_each(|(s, p)| *s += p),
        }
    }
    let probabilities = sum.unwrap_or_default();
    let labels = argmax(&probabilities, predictor.plan().classes as usize);
    drop(probabilities);
    let full = paste(labels, source.shape, source.crop_start, source.original_shape);
    write_labels(path, &full, source.original_shape, source.header)
}

/// Puts the labels of a crop into the whole volume; 0 outside.
fn paste(labels: Vec<u16>, shape: [usize; 3], start: [usize; 3], whole: [usize; 3]) -> Vec<u16> {
    if shape == whole {
        return labels;
    }
    let mut full = vec![0; whole.iter().product()];
    for (i, row) in labels.chunks_exact(shape[2]).enumerate() {
        let (z, y) = (i / shape[1] + start[0], i % shape[1] + start[1]);
        let at = (z * whole[1] + y) * whole[2] + start[2];
        full[at..at + shape[2]].copy_from_slice(row);
    }
    full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crop_returns_to_its_place() {
        let labels: Vec<u16> = (1..9).collect();
        let full = paste(labels.clone(), [2, 2, 2], [1, 0, 2], [4, 3, 5]);
        let at = |z: usize, y: usize, x: usize| full[(z * 3 + y) * 5 + x];
        assert_eq!((at(1, 0, 2), at(1, 0, 3), at(1, 1, 2), at(2, 1, 3)), (1, 2, 3, 8));
        assert_eq!(full.iter().filter(|&&v| v > 0).count(), 8);
        assert_eq!(paste(labels.clone(), [2; 3], [0; 3], [2; 3]), labels);
    }
}
