//! What an evaluation of two folders leaves out: files that are no label maps, references without
//! prediction, predictions without reference.

use super::pairs::pairs;
use crate::data::names::{case_name, file_name};
use crate::data::nifti::read_header;
use crate::error::{Error, Result};
use crate::numbers::{MOST_NAMED, counted, named};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Pairs of two folders or files, and what has no partner.
#[derive(Clone, Debug, Default)]
pub struct Paired {
    /// Prediction and reference; the reference may not exist ([`Paired::without_reference`]).
    pub pairs: Vec<(PathBuf, PathBuf)>,
    /// Cases of the references that no prediction is of.
    pub without_prediction: Vec<String>,
    /// Sentences about what lies in the folder of the predictions and is no label map.
    pub passed_over: Vec<String>,
}

impl Paired {
    /// Pairs a prediction, or a folder of them, with its reference.
    ///
    /// # Errors
    /// As [`pairs`]; [`Error::Input`] when all volumes have several channels.
    pub fn of(prediction: &Path, reference: &Path) -> Result<Self> {
        let all = pairs(prediction, reference)?;
        if !prediction.is_dir() {
            return Ok(Paired { pairs: all, ..Paired::default() });
        }
        // What cannot be read stays: it is a prediction that is broken.
        let channels = |path: &Path| read_header(path).map_or(1, |header| header.channels);
        let (several, pairs): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(path, _)| channels(path) > 1);
        let several: Vec<String> = several.iter().map(|(path, _)| file_name(path)).collect();
        if pairs.is_empty() {
            return Err(Error::Input(format!(
                "'{}' holds no label map: {} with several channels (class probabilities?): {}; \
                 give the folder of the label maps",
                prediction.display(),
                counted(several.len(), "file"),
                named(&several)
            )));
        }
        let mut passed_over = Vec::new();
        if !several.is_empty() {
            passed_over.push(format!(
                "{} with several channels in '{}': {}",
                counted(several.len(), "file"),
                prediction.display(),
                named(&several)
            ));
        }
        let folders = folders(prediction)?;
        if !folders.is_empty() {
            passed_over.push(format!(
                "{} in '{}': {}",
                counted(folders.len(), "folder"),
                prediction.display(),
                named(&folders)
            ));
        }
        let without_prediction = unpredicted(&pairs, prediction, reference)?;
        Ok(Paired { pairs, without_prediction, passed_over })
    }

    /// Cases of the predictions that have no reference.
    pub fn without_reference(&self) -> Vec<String> {
        let lacking = self.pairs.iter().filter(|(_, reference)| !reference.is_file());
        lacking.map(|(prediction, _)| case_name(prediction)).collect()
    }

    /// Takes out the pairs without reference; gives the cases that have no partner, sorted.
    ///
    /// # Errors
    /// [`Error::Input`] when nothing is left.
    pub fn keep_complete(&mut self) -> Result<Vec<String>> {
        let mut left_out = self.without_reference();
        left_out.extend(self.without_prediction.iter().cloned());
        left_out.sort();
        self.pairs.retain(|(_, reference)| reference.is_file());
        match self.pairs.is_empty() {
            false => Ok(left_out),
            true => Err(Error::Input(format!(
                "no case has both a prediction and a reference: {}; references must have the \
                 same file names",
                named(&left_out)
            ))),
        }
    }
}

/// The cases of a folder of references that no pair is of.
fn unpredicted(
    of: &[(PathBuf, PathBuf)],
    prediction: &Path,
    reference: &Path,
) -> Result<Vec<String>> {
    let known: BTreeSet<String> = of.iter().map(|(path, _)| case_name(path)).collect();
    // The other way round, every reference is paired.
    let all = pairs(reference, prediction)?;
    let names = all.iter().map(|(path, _)| case_name(path));
    Ok(names.filter(|name| !known.contains(name)).collect())
}

/// Names of the folders in a folder, sorted; hidden ones left out.
fn folders(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("read folder", folder, e))?;
    let paths = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    let mut names: Vec<String> = paths.map(|path| file_name(&path)).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    Ok(names)
}

/// The error of an evaluation in which references have no prediction.
pub fn incomplete(without_prediction: &[String], pairs: usize) -> Error {
    let of = pairs + without_prediction.len();
    let names = match without_prediction.len() > MOST_NAMED {
        true => format!("the first are {}", named(without_prediction)),
        false => named(without_prediction),
    };
    let (count, have) = match without_prediction.len() {
        1 => ("1 reference".to_string(), "has"),
        n => (format!("{n} references"), "have"),
    };
    Error::Input(format!(
        "{count} of {of} {have} no prediction: {names}; the table is over {pairs} of {of} cases \
         and no summary is written: predict the others, or say --partial"
    ))
}
