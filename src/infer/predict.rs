//! Segments the images of a file or folder with the networks of a run.

use super::output::{Source, predict_to};
use super::predictor::{Predictor, WindowOptions};
use crate::data::Case;
use crate::data::inputs::find_images;
use crate::data::preprocess::prepare_image;
use crate::error::{Error, Result};
use crate::files;
use crate::gpu::{AdapterChoice, Gpu};
use crate::ops::ConvVariant;
use crate::run::{
    CheckpointKind, RunConfig, checkpoint_path, fold_folder, read_weights, trained_folds,
};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What to predict, and with what.
#[derive(Clone, Debug)]
pub struct PredictOptions {
    /// Folder of the run.
    pub run: PathBuf,
    /// A file, or a folder in either layout.
    pub input: PathBuf,
    /// A folder; or a file, where the input is one case.
    pub output: PathBuf,
    /// The folds whose networks are averaged; empty: all that are there.
    pub folds: Vec<usize>,
    /// Which weights.
    pub checkpoint: CheckpointKind,
    /// Tile step as a share of the patch.
    pub step: f64,
    /// Average over mirrored images, if the run was trained with mirroring.
    pub mirror: bool,
    /// Which adapter.
    pub adapter: AdapterChoice,
    /// Keep bounds checks in the shaders.
    pub checked_shaders: bool,
}

/// One case's line.
#[derive(Clone, Debug)]
pub struct Predicted {
    /// Number, from 1.
    pub number: usize,
    /// Number of cases.
    pub cases: usize,
    /// The case's name.
    pub name: String,
    /// Tiles of the sliding window, 0 if it was not reached.
    pub tiles: usize,
    /// Wall time.
    pub seconds: f64,
    /// The file that was written, or why there is none.
    pub outcome: std::result::Result<PathBuf, String>,
}

/// Predicts all cases. A case that cannot be read is passed over; `progress` hears of every case,
/// `log` of what was decided.
///
/// # Errors
/// What concerns all cases, before any work; a lost device; at the end, the names of those cases
/// that failed.
pub fn predict(
    options: &PredictOptions,
    log: &mut dyn FnMut(&str),
    progress: &mut dyn FnMut(&Predicted),
) -> Result<()> {
    if !(options.step > 0.0 && options.step <= 1.0) {
        return Err(Error::Usage(format!(
            "--step {} is out of range; give a share of the patch above 0 and up to 1",
            options.step
        )));
    }
    let config = RunConfig::read(&options.run)?;
    let folds = chosen_folds(options)?;
    let mut weights = Vec::new();
    let mut network = None;
    for &fold in &folds {
        let path = checkpoint_path(&options.run, fold, options.checkpoint);
        let (net, values) = read_weights(&path)?;
        match &network {
            None => network = Some(net),
            Some(first) if first.plan == net.plan => {}
            Some(_) => {
                return Err(Error::Input(format!(
                    "'{}' holds another network than fold {}; predict one at a time with --fold",
                    path.display(),
                    folds[0]
                )));
            }
        }
        weights.push(values);
    }
    let Some(network) = network else {
        return Err(Error::Usage("--fold names no fold; give one, or leave it out".into()));
    };
    let channels = network.plan.in_channels as usize;
    let cases = find_images(&options.input, channels)?;
    let targets = targets(options, &cases)?;
    let gpu = Gpu::open(&options.adapter, options.checked_shaders)?;
    let variant = ConvVariant::available(gpu.caps())[0];
    let predictor = Predictor::new(&gpu, network, &weights[0], variant)?;
    let window = WindowOptions { step: options.step, mirror: options.mirror && config.mirror };
    log(&format!(
        "fold{} {} on '{}', {}",
        if folds.len() == 1 { "" } else { "s" },
        folds.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
        gpu.name(),
        match (options.mirror, config.mirror) {
            (true, true) => "averaged over 8 flips",
            (true, false) => "without flips, as the run was trained without mirroring",
            (false, _) => "without flips",
        }
    ));
    let mut failed = Vec::new();
    for (i, (case, target)) in cases.iter().zip(targets).enumerate() {
        let begin = Instant::now();
        let mut tiles = 0;
        let outcome = prepare_image(&case.images, channels, &config.preprocessing).and_then(|p| {
            tiles = predictor.tiles(p.shape, options.step);
            predict_to(&gpu, &predictor, &weights, &Source::from(&p), window, &target)
        });
        // A lost device fails every case that follows.
        if let Err(error @ Error::Device(_)) = outcome {
            return Err(error);
        }
        if outcome.is_err() {
            failed.push(case.name.clone());
        }
        progress(&Predicted {
            number: i + 1,
            cases: cases.len(),
            name: case.name.clone(),
            tiles,
            seconds: begin.elapsed().as_secs_f64(),
            outcome: outcome.map(|()| target).map_err(|e| sentence(&e)),
        });
    }
    match failed.len() {
        0 => Ok(()),
        n => Err(Error::Input(format!(
            "{n} of {} cases failed, for the reasons above: {}; the others are written",
            cases.len(),
            failed.join(", ")
        ))),
    }
}

/// An error with its causes, in one line.
fn sentence(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

fn chosen_folds(options: &PredictOptions) -> Result<Vec<usize>> {
    let there = trained_folds(&options.run, options.checkpoint)?;
    if options.folds.is_empty() {
        return Ok(there);
    }
    let mut folds = options.folds.clone();
    folds.sort_unstable();
    folds.dedup();
    match folds.iter().find(|fold| !there.contains(fold)) {
        None => Ok(folds),
        Some(&fold) => {
            let path = checkpoint_path(&options.run, fold, options.checkpoint);
            Err(Error::Input(format!(
                "'{}' has no '{}'; give --fold {}, or leave it out",
                fold_folder(&options.run, fold).display(),
                path.file_name().unwrap_or_default().to_string_lossy(),
                there.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ")
            )))
        }
    }
}

/// The files to write, one a case; makes the folder.
fn targets(options: &PredictOptions, cases: &[Case]) -> Result<Vec<PathBuf>> {
    let output = &options.output;
    let name = output.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let is_file = (name.ends_with(".nii.gz") || name.ends_with(".nii")) && !output.is_dir();
    if is_file && cases.len() > 1 {
        return Err(Error::Usage(format!(
            "-o '{}' is one file, but '{}' holds {} cases; give a folder",
            output.display(),
            options.input.display(),
            cases.len()
        )));
    }
    if !is_file && output.is_file() {
        return Err(Error::Usage(format!(
            "-o '{}' is a file; give a folder, or a name that ends in .nii.gz",
            output.display()
        )));
    }
    let targets: Vec<PathBuf> = if is_file {
        vec![output.clone()]
    } else {
        cases.iter().map(|c| output.join(format!("{}.nii.gz", c.name))).collect()
    };
    let folder = if is_file { output.parent() } else { Some(output.as_path()) };
    if let Some(folder) = folder.filter(|f| !f.as_os_str().is_empty()) {
        files::create_folder(folder)?;
    }
    let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    for target in &targets {
        if cases.iter().flat_map(|c| &c.images).any(|image| same(image, target)) {
            return Err(Error::Usage(format!(
                "-o '{}' would overwrite the image '{}'; give another folder",
                output.display(),
                target.display()
            )));
        }
    }
    Ok(targets)
}
