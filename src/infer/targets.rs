//! The files that a prediction writes.

use crate::data::Case;
use crate::data::names::{ending_of, file_name};
use crate::error::{Error, Result};
use crate::files;
use std::path::{Path, PathBuf};

/// Folders that were made for the output, the outermost first; those that are still empty are removed
/// when this goes out of scope.
pub(super) struct MadeFolders(Vec<PathBuf>);

impl MadeFolders {
    /// Makes a folder and those above it.
    fn make(folder: &Path) -> Result<Self> {
        let missing = folder.ancestors().take_while(|f| !f.as_os_str().is_empty() && !f.exists());
        let mut missing: Vec<PathBuf> = missing.map(Path::to_path_buf).collect();
        missing.reverse();
        files::create_folder(folder)?;
        Ok(MadeFolders(missing))
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        // What holds something stays, and an empty folder does no harm.
        self.0.iter().rev().for_each(|folder| drop(std::fs::remove_dir(folder)));
    }
}

/// The files to write, one per case; makes the folder.
pub(super) fn targets(output: &Path, cases: &[Case]) -> Result<(Vec<PathBuf>, MadeFolders)> {
    let is_file = ending_of(&file_name(output)).starts_with(".nii") && !output.is_dir();
    if is_file && cases.len() > 1 {
        return Err(Error::Usage(format!(
            "-o '{}' is one file, but -i holds {} cases; give a folder",
            output.display(),
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
        vec![output.to_owned()]
    } else {
        cases.iter().map(|c| output.join(format!("{}.nii.gz", c.name))).collect()
    };
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
    let folder = if is_file { output.parent() } else { Some(output) };
    let made = match folder.filter(|f| !f.as_os_str().is_empty()) {
        Some(folder) => MadeFolders::make(folder)?,
        None => MadeFolders(Vec::new()),
    };
    Ok((targets, made))
}
