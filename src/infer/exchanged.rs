//! Notices that predictions and references were given in the wrong order. nnU-Net's commands take
//! the references first.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// Names of folders that hold references by convention.
const REFERENCE_FOLDERS: [&str; 3] = ["labelsTr", "labelsTs", "gt_segmentations"];
/// Files that a prediction leaves beside its label maps: this program's and nnU-Net's.
const LEFT_BY_PREDICTION: [&str; 4] =
    ["summary.json", "predict.json", "predict_from_raw_data_args.json", "plans.json"];

/// What a folder, or that of a file, tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signs {
    /// A folder of references by its name.
    named_reference: bool,
    /// The label maps of the `dataset.json` above, or a folder for some.
    in_data_set: bool,
    /// A `dataset.json` lies beside or above, whatever the folder is for.
    below_data_set: bool,
    /// A run, its validation, or what `predict` and `evaluate` leave.
    prediction: bool,
}

impl Signs {
    fn of(path: &Path) -> Self {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let folder: PathBuf = match path.is_dir() {
            true => path,
            false => path.parent().map(Path::to_path_buf).unwrap_or_default(),
        };
        let name = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned());
        let own = name(&folder).unwrap_or_default();
        let above = folder.parent();
        let left = LEFT_BY_PREDICTION.iter().any(|file| folder.join(file).is_file());
        // A prediction of nnU-Net has a copy of it.
        let beside = (!left).then_some(folder.as_path());
        let mut listing = beside.into_iter().chain(above).map(|f| f.join("dataset.json"));
        let listing = listing.find(|file| file.is_file());
        let text = listing.as_ref().and_then(|f| crate::files::read_text(f).ok());
        let lists = text.is_some_and(|t| t.contains(&format!("{own}/")));
        let low = own.to_lowercase();
        let named_reference = REFERENCE_FOLDERS.iter().any(|n| n.eq_ignore_ascii_case(&own));
        // A run's folder, up to RUN/fold_0/validation.
        let of_run = folder.ancestors().take(3).any(|f| f.join("config.json").is_file());
        let probabilities = folder.join("probabilities").is_dir();
        let below_data_set = listing.is_some();
        Signs {
            named_reference,
            in_data_set: below_data_set && (lists || low.starts_with("label")),
            below_data_set,
            prediction: of_run || left || probabilities || low.contains("pred"),
        }
    }

    fn reference(self) -> bool {
        self.named_reference || self.in_data_set
    }
}

/// Refuses two arguments of `evaluate` that are certainly exchanged; gives a warning where they
/// only look so, or are the same.
///
/// # Errors
/// [`Error::Usage`] that shows the right order.
pub fn check_order(prediction: &Path, reference: &Path) -> Result<Option<String>> {
    let images =
        |p: &Path| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("images"));
    if !prediction.exists() || !reference.exists() || images(reference) {
        // Reading them tells what is wrong.
        return Ok(None);
    }
    let (first, second) = (Signs::of(prediction), Signs::of(reference));
    let (one, two) = (prediction.display(), reference.display());
    let right = format!("asng-wgpu evaluate '{two}' '{one}'");
    // A folder of predictions may lie in the data set, as `labelsTs_predicted` does.
    let references = first.named_reference || (first.in_data_set && !first.prediction);
    let certain = references && !second.reference();
    if certain {
        let why = match (first.in_data_set, second.prediction) {
            (_, true) => "is a folder of references, and the second one of predictions",
            (true, _) => "holds the label maps of a data set",
            _ => "is a folder of references by its name",
        };
        return Err(Error::Usage(format!(
            "the first argument, '{one}', {why}: `evaluate` takes the predictions first, nnU-Net's \
             commands the references; write `{right}`"
        )));
    }
    let likely = !second.reference()
        && !first.prediction
        && (second.prediction || (first.below_data_set && !second.below_data_set));
    if likely {
        return Ok(Some(format!(
            "'{one}' is taken for the predictions and '{two}' for the references; if it is the \
             other way round, write `{right}`"
        )));
    }
    let same =
        prediction.canonicalize().is_ok_and(|a| reference.canonicalize().is_ok_and(|b| a == b));
    Ok(same.then(|| format!("'{one}' is compared with itself; give predictions and references")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_told_from_what_lies_around() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in
            ["set/labelsTr", "set/masks", "set/out", "else/labelsTs", "plain", "other", "made"]
        {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        std::fs::create_dir_all(at("run/fold_0/validation")).unwrap();
        std::fs::write(at("run/config.json"), "{}").unwrap();
        std::fs::write(at("made/predict_from_raw_data_args.json"), "{}").unwrap();
        // nnU-Net's prediction leaves a copy of it.
        std::fs::write(at("made/dataset.json"), "{}").unwrap();
        std::fs::write(at("set/dataset.json"), r#"{"training":[{"label":"./masks/a.nii"}]}"#)
            .unwrap();
        let of = |a: &str, b: &str| check_order(&at(a), &at(b)).map(|warning| warning.is_some());
        let validation = "run/fold_0/validation";
        for reference in ["set/labelsTr", "set/masks", "else/labelsTs"] {
            for prediction in [validation, "made", "plain", "set/out"] {
                assert!(!of(prediction, reference).unwrap(), "{prediction} {reference}");
                let error = of(reference, prediction).unwrap_err();
                assert_eq!(error.exit_code(), 2);
                let right = format!(
                    "evaluate '{}' '{}'",
                    at(prediction).display(),
                    at(reference).display()
                );
                assert!(error.to_string().contains(&right), "{error}");
            }
        }
        // A folder of predictions inside the data set, by its name or by what it holds.
        std::fs::create_dir_all(at("set/labelsTs_predicted")).unwrap();
        assert!(!of("set/labelsTs_predicted", "other").unwrap());
        std::fs::create_dir_all(at("set/labelsTs_a/probabilities")).unwrap();
        assert!(!of("set/labelsTs_a", "other").unwrap());
        assert!(!of("plain", "other").unwrap());
        assert!(!of(validation, "other").unwrap());
        assert!(of("plain", validation).unwrap());
        assert!(of("set/out", "plain").unwrap());
        assert!(of("plain", "plain").unwrap());
        // Two raters.
        assert!(!of("set/labelsTr", "else/labelsTs").unwrap());
    }
}
