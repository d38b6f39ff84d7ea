//! What the input of a preview stands for: an image with or without labels.

use crate::data::dataset::{Case, Dataset, folder_of};
use crate::data::labels::Labels;
use crate::data::names::case_name;
use crate::data::nifti::read_header;
use crate::data::preprocess::{PreparedImage, prepare_labelled};
use crate::data::{Header, Normalisation, Preprocessing};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// A prepared case of a preview.
pub(super) struct Source {
    pub name: String,
    pub image: PreparedImage,
    /// Header of its grid.
    pub header: Header,
    /// Label values, D,H,W of the prepared image; 0 without labels.
    pub labels: Vec<u32>,
    /// Names of the channels and labels where the data set is known.
    pub channel_names: Vec<String>,
    pub known: Labels,
    /// How the image was prepared.
    pub preprocessing: Preprocessing,
}

/// Opens `input`: a volume, an image of a data set, or a data set's folder. `by`: how to
/// prepare it; by the case itself if there is nothing else.
pub(super) fn open(
    input: &Path,
    case: Option<&str>,
    label: Option<&Path>,
    by: Option<&Preprocessing>,
) -> Result<Source> {
    if let Some((dataset, found)) = in_dataset(input, case)? {
        let label = label.map_or(found.label.clone(), |l| Some(l.to_owned()));
        let known = dataset.labels.clone();
        let how = (dataset.normalisation(), dataset.reorient);
        let source = load(found.name, &found.images, how, label, known, by)?;
        return Ok(Source { channel_names: dataset.modalities, ..source });
    }
    if let Some(case) = case {
        return Err(Error::Usage(format!(
            "--case {case} goes with a data set, but '{}' is one volume; leave it out",
            input.display()
        )));
    }
    let channels = read_header(input)?.channels;
    let images = [input.to_owned()];
    let label = label.map(Path::to_owned);
    let how = (vec![Normalisation::Zscore; channels], false);
    load(case_name(input), &images, how, label, Labels::default(), by)
}

/// The case of a data set, if `input` is one or lies in one.
fn in_dataset(input: &Path, case: Option<&str>) -> Result<Option<(Dataset, Case)>> {
    if folder_of(input).is_dir() {
        let dataset = Dataset::open(input)?;
        let found = match case {
            None => dataset.cases[0].clone(),
            Some(name) => match dataset.cases.iter().find(|c| c.name == name) {
                Some(found) => found.clone(),
                None => {
                    return Err(Error::Usage(format!(
                        "--case {name} is no case of '{}'; its first is '{}'",
                        input.display(),
                        dataset.cases[0].name
                    )));
                }
            },
        };
        return Ok(Some((dataset, found)));
    }
    if !input.is_file() {
        return Err(Error::Input(format!(
            "'{}' does not exist; give a volume or the folder of a data set",
            input.display()
        )));
    }
    let Ok(path) = input.canonicalize() else { return Ok(None) };
    let Some(folder) = path.parent().and_then(Path::parent) else { return Ok(None) };
    if case.is_some() || !folder.join("dataset.json").is_file() {
        return Ok(None);
    }
    let dataset = Dataset::open(folder)?;
    let holds = |image: &PathBuf| image.canonicalize().is_ok_and(|image| image == path);
    let found = dataset.cases.iter().find(|c| c.images.iter().any(holds)).cloned();
    Ok(found.map(|case| (dataset, case)))
}

fn load(
    name: String,
    images: &[PathBuf],
    (normalisation, reorient): (Vec<Normalisation>, bool),
    label: Option<PathBuf>,
    known: Labels,
    by: Option<&Preprocessing>,
) -> Result<Source> {
    let channels = normalisation.len();
    let count = |by: &Preprocessing| by.ct.len().max(by.normalisation.len());
    if let Some(count) = by.map(count).filter(|&count| count > 0 && count != channels) {
        return Err(Error::Input(format!(
            "the normalisation to repeat is for {count} channels, but '{name}' has {channels}; give \
             a case of the same data set"
        )));
    }
    let (image, labels, preprocessing) =
        prepare_labelled(images, label.as_deref(), &normalisation, reorient, known.ignore(), by)?;
    let header = image.origin.prepared_header(preprocessing.axes, image.shape);
    let labels = labels.into_iter().map(u32::from).collect();
    Ok(Source { name, image, header, labels, channel_names: Vec::new(), known, preprocessing })
}
