//! One thing that is wrong, or may be.

use crate::Error;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Training would fail or learn something wrong.
    Error,
    /// Worth a look.
    Warning,
    /// Good to know.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// What a finding is about. The names are part of the JSON's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Something in `dataset.json`.
    DatasetJson,
    /// A file that is listed but absent.
    MissingFile,
    /// A file that is there but in no case.
    UnusedFile,
    /// A file that is truncated, damaged or no NIfTI file.
    UnreadableFile,
    /// Image and label map of different numbers of voxels.
    Shape,
    /// Image and label map of different voxel sizes.
    Spacing,
    /// Image and label map of different directions.
    Direction,
    /// Image and label map at different places.
    Origin,
    /// Channels that are missing, too many, equal or on different grids.
    Channels,
    /// NaN or infinite voxels.
    NotFinite,
    /// Values that the channel's normalisation does not allow.
    Intensities,
    /// An image with one value everywhere.
    Constant,
    /// Label values that dataset.json does not list.
    LabelValue,
    /// Values of a label map that are no whole numbers from 0.
    LabelNotWhole,
    /// A label map with several channels.
    LabelChannels,
    /// A ready-made correction of the labels of the whole data set.
    LabelSuggestion,
    /// A case with nothing but background.
    NoForeground,
    /// A label that occurs in no case.
    UnusedLabel,
    /// Cases of the same content.
    Duplicate,
    /// Content that both trains and validates or tests.
    Leak,
    /// Headers that can be read in more than one way.
    Geometry,
    /// Orientations that differ between cases.
    Orientation,
    /// Labels that mean a side of the body.
    Sides,
    /// Voxel sizes far from the other cases'.
    SpacingOutlier,
    /// Something in `splits_final.json`.
    Splits,
    /// Something in `patients.json` or `patients.csv`.
    Patients,
}

/// One finding. `message` and `remedy` make a sentence with the file in front.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub kind: Kind,
    /// The case, if it is about one.
    pub case: Option<String>,
    /// The file, if it is about one.
    pub file: Option<PathBuf>,
    /// What is wrong, without the file's name.
    pub message: String,
    /// The way out.
    pub remedy: String,
}

impl Finding {
    /// A finding about nothing smaller than the data set.
    pub(super) fn new(
        severity: Severity,
        kind: Kind,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (message, remedy) = (message.into(), remedy.into());
        Self { severity, kind, case: None, file: None, message, remedy }
    }

    /// From a sentence such as those of [`crate::Error`]: perhaps a file in
    /// quotes, what is wrong, a semicolon, the way out.
    pub(super) fn from_sentence(severity: Severity, kind: Kind, sentence: &str) -> Self {
        let (mut message, remedy) = sentence.rsplit_once("; ").unwrap_or((sentence, ""));
        let quoted = message.strip_prefix('\'').and_then(|rest| rest.split_once("' "));
        let mut file = None;
        if let Some((path, rest)) = quoted {
            (file, message) = (Some(PathBuf::from(path)), rest);
        }
        Self { file, ..Self::new(severity, kind, message, remedy) }
    }

    /// From an error about `file`.
    pub(super) fn from_error(severity: Severity, kind: Kind, error: &Error, file: &Path) -> Self {
        let finding = match error {
            Error::Io { source, .. } => {
                let what = format!("cannot be read ({source})");
                Self::new(severity, kind, what, "make it a readable file")
            }
            other => Self::from_sentence(severity, kind, &other.to_string()),
        };
        let named = finding.file.clone();
        finding.of_file(named.as_deref().unwrap_or(file))
    }

    pub(super) fn of_case(self, case: &str) -> Self {
        Self { case: Some(case.to_string()), ..self }
    }

    pub(super) fn of_file(self, file: &Path) -> Self {
        Self { file: Some(file.to_path_buf()), ..self }
    }

    /// The finding as one sentence.
    pub fn sentence(&self) -> String {
        let subject = match (&self.file, &self.case) {
            (Some(file), _) => format!("'{}' ", file.display()),
            (None, Some(case)) => format!("the case '{case}' "),
            (None, None) => String::new(),
        };
        let remedy = match self.remedy.is_empty() {
            true => String::new(),
            false => format!("; {}", self.remedy),
        };
        format!("{subject}{}{remedy}", self.message)
    }

    /// Where to look: the file, else the case, else nothing.
    pub fn place(&self) -> String {
        match (&self.file, &self.case) {
            (Some(file), _) => file.display().to_string(),
            (None, Some(case)) => case.clone(),
            (None, None) => String::new(),
        }
    }
}

/// "7 cases, the first is 'a'" or "the case 'a'".
pub(super) fn how_many(what: &str, names: &[String]) -> String {
    match names {
        [] => format!("no {what}"),
        [one] => format!("the {what} '{one}'"),
        [first, ..] => format!("{} {what}s, the first is '{first}',", names.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_come_apart_and_together() {
        let sentence = "'a/b.nii' is truncated: it ends; fetch it again";
        let f = Finding::from_sentence(Severity::Error, Kind::UnreadableFile, sentence);
        assert_eq!(
            (f.message.as_str(), f.remedy.as_str()),
            ("is truncated: it ends", "fetch it again")
        );
        assert_eq!((f.sentence().as_str(), f.place().as_str()), (sentence, "a/b.nii"));
        let f = Finding::from_sentence(Severity::Warning, Kind::Splits, "fold 0 leaks; split anew");
        assert_eq!((f.sentence().as_str(), f.place().as_str()), ("fold 0 leaks; split anew", ""));
    }
}
