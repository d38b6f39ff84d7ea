//! Which prediction belongs to which reference.

use crate::data::dataset::case_name;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// File endings of volumes; `.img` is named by its `.hdr`.
const ENDINGS: [&str; 3] = [".nii.gz", ".nii", ".hdr"];

/// Pairs of prediction and reference: two files, or all volumes of a folder (`.nii.gz`, `.nii`,
/// `.hdr` with `.img`), in order, with the reference of the same name, whose ending may differ.
/// Where there is none, the pair names the file that should be there.
///
/// # Errors
/// [`Error::Input`] when there is nothing to pair, or two predictions have one reference.
pub fn pairs(prediction: &Path, reference: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    if prediction.is_file() {
        let reference =
            if reference.is_dir() { partner(prediction, reference) } else { reference.to_owned() };
        return Ok(vec![(prediction.to_owned(), reference)]);
    }
    let entries =
        std::fs::read_dir(prediction).map_err(|e| Error::io("read folder", prediction, e))?;
    if !reference.is_dir() {
        return Err(Error::Input(format!(
            "'{}' is a folder but '{}' is not; give the folder of the references",
            prediction.display(),
            reference.display()
        )));
    }
    let mut list = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io("read folder", prediction, e))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let volume = ENDINGS.iter().any(|ending| name.ends_with(ending));
        if volume && !name.starts_with('.') && path.is_file() {
            let partner = partner(&path, reference);
            list.push((path, partner));
        }
    }
    list.sort();
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
            "'{}' and '{}' are predictions of the same case; remove one",
            w[0].0.display(),
            w[1].0.display()
        )));
    }
    Ok(list)
}

/// The reference of a prediction in a folder: of the same name, or of another ending.
fn partner(prediction: &Path, folder: &Path) -> PathBuf {
    let same = folder.join(prediction.file_name().unwrap_or_default());
    let name = case_name(prediction);
    let others = ENDINGS.map(|ending| folder.join(format!("{name}{ending}")));
    let found = others.into_iter().find(|path| !same.is_file() && path.is_file());
    found.unwrap_or(same)
}

/// The error of a pair whose reference is not there.
pub(super) fn missing_reference(prediction: &Path, reference: &Path) -> Error {
    Error::Input(format!(
        "'{}' has no reference '{}'; references must have the same file names",
        prediction.display(),
        reference.display()
    ))
}
