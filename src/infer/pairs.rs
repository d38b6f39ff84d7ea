//! Which prediction belongs to which reference.

use crate::data::names::{Listing, case_name, is_volume};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Pairs of prediction and reference: two files, or all volumes of a folder (`.nii.gz`, `.nii`,
/// `.hdr` with `.img`), in order, with the reference of the same name, whose ending may differ.
/// Where there is none, the pair names the file that should be there.
///
/// # Errors
/// [`Error::Input`] when there is nothing to pair, or two predictions have one reference.
pub fn pairs(prediction: &Path, reference: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    if prediction.is_file() {
        let reference = match reference.is_dir() {
            true => partner(prediction, reference, &references(reference)?),
            false => reference.to_owned(),
        };
        return Ok(vec![(prediction.to_owned(), reference)]);
    }
    let found = Listing::of(prediction).map_err(|e| Error::io("read folder", prediction, e))?;
    if !reference.is_dir() {
        return Err(Error::Input(format!(
            "'{}' is a folder but '{}' is not; give the folder of the references",
            prediction.display(),
            reference.display()
        )));
    }
    let references = references(reference)?;
    let mut list: Vec<(PathBuf, PathBuf)> = Vec::new();
    for path in found.volumes {
        let partner = partner(&path, reference, &references);
        list.push((path, partner));
    }
    if list.is_empty() {
        return Err(Error::Input(format!(
            "'{}' holds no .nii, .nii.gz or .hdr file to evaluate",
            prediction.display()
        )));
    }
    let mut by_reference: Vec<&(PathBuf, PathBuf)> = list.iter().collect();
    by_reference.sort_by_key(|(_, reference)| reference);
    if let Some(w) = by_reference.windows(2).find(|w| w[0].1 == w[1].1) {
        return Err(Error::Input(format!(
            "'{}' and '{}' are of the same case; remove one",
            w[0].0.display(),
            w[1].0.display()
        )));
    }
    Ok(list)
}

/// The volumes of a folder by their case.
fn references(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let found = Listing::of(folder).map_err(|e| Error::io("read folder", folder, e))?;
    Ok(found.volumes.into_iter().rev().map(|path| (case_name(&path), path)).collect())
}

/// The reference of a prediction in a folder: of the same name, or of another ending.
fn partner(prediction: &Path, folder: &Path, references: &BTreeMap<String, PathBuf>) -> PathBuf {
    let same = folder.join(prediction.file_name().unwrap_or_default());
    match is_volume(&same) {
        true => same,
        false => references.get(&case_name(prediction)).cloned().unwrap_or(same),
    }
}

/// The error of a pair whose reference is not there.
pub(super) fn missing_reference(prediction: &Path, reference: &Path) -> Error {
    Error::Input(format!(
        "'{}' has no reference '{}'; references must have the same file names",
        prediction.display(),
        reference.display()
    ))
}
