//! Images to predict: files, folders of files in either layout, and lists of these.

use super::dataset::{Case, case_name};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The stem and channel of nnU-Net's `CASE_0000`, if the name is such.
fn channel_of(stem: &str) -> Option<(&str, usize)> {
    let (name, number) = stem.rsplit_once('_')?;
    let digits = number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit());
    (digits && !name.is_empty()).then(|| number.parse().ok().map(|n| (name, n)))?
}

/// Whether a path is a file named as a NIfTI image, and not hidden.
pub(super) fn is_image(path: &Path) -> bool {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let image = [".nii.gz", ".nii", ".hdr", ".hdr.gz"].iter().any(|e| name.ends_with(e));
    image && !name.starts_with('.') && path.is_file()
}

/// The cases, without labels and sorted by name, that `input` stands for: one
/// file; or all NIfTI files of a folder (hidden ones left out), one a case, or
/// one a channel where the names end in `_0000`, `_0001`...; or what the lines
/// of a `.txt` file name, each a file or a folder, relative to the list's folder
/// (empty lines and lines that begin with `#` are passed over).
///
/// # Errors
/// Nothing there, no NIfTI file in it, a case without all `channels`, or two
/// files of one name.
pub fn find_images(input: &Path, channels: usize) -> Result<Vec<Case>> {
    find_all_images(std::slice::from_ref(&input.to_path_buf()), channels)
}

/// As [`find_images`], for several inputs together.
///
/// # Errors
/// As [`find_images`], over all inputs.
pub fn find_all_images(inputs: &[PathBuf], channels: usize) -> Result<Vec<Case>> {
    let mut files = Vec::new();
    for input in inputs {
        if input.extension().is_some_and(|e| e == "txt") {
            for path in listed(input)? {
                gather(&path, channels, &mut files)?;
            }
        } else {
            gather(input, channels, &mut files)?;
        }
    }
    files.sort();
    files.dedup();
    let whole = match inputs {
        [one] => format!("'{}'", one.display()),
        [first, rest @ ..] => format!("'{}' and {} more inputs", first.display(), rest.len()),
        [] => return Err(Error::Usage("no input is given; name images or their folder".into())),
    };
    group(&files, channels, &whole)
}

/// The paths that a list names.
fn listed(list: &Path) -> Result<Vec<PathBuf>> {
    let text = crate::files::read_text(list).map_err(|e| Error::io("read the list", list, e))?;
    let folder = list.parent().unwrap_or(Path::new(""));
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let paths: Vec<PathBuf> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| folder.join(line))
        .collect();
    if paths.is_empty() {
        return Err(Error::Input(format!(
            "the list '{}' names no file; write one path a line",
            list.display()
        )));
    }
    if let Some(path) = paths.iter().find(|p| !p.exists()) {
        return Err(Error::Input(format!(
            "the list '{}' names '{}', which does not exist; paths are taken from the list's folder",
            list.display(),
            path.display()
        )));
    }
    Ok(paths)
}

/// Adds the stems and paths of the image files that a file or folder stands for.
fn gather(input: &Path, channels: usize, files: &mut Vec<(String, PathBuf)>) -> Result<()> {
    if input.is_file() {
        let paths = with_other_channels(input, channels);
        files.extend(paths.into_iter().map(|p| (case_name(&p), p)));
        return Ok(());
    }
    let entries = std::fs::read_dir(input).map_err(|e| Error::io("read the input", input, e))?;
    let before = files.len();
    for entry in entries {
        let path = entry.map_err(|e| Error::io("list", input, e))?.path();
        if is_image(&path) {
            files.push((case_name(&path), path));
        }
    }
    if files.len() == before {
        return Err(Error::Input(format!(
            "'{}' holds no .nii or .nii.gz file; name the folder of the images",
            input.display()
        )));
    }
    Ok(())
}

/// A file, and if it is the first channel of several, the others beside it if
/// all are there.
fn with_other_channels(input: &Path, channels: usize) -> Vec<PathBuf> {
    let stem = case_name(input);
    if let (Some((name, 0)), true) = (channel_of(&stem), channels > 1) {
        let file = input.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let ending = file.strip_prefix(&stem).unwrap_or_default();
        let folder = input.parent().unwrap_or(Path::new(""));
        let images: Vec<PathBuf> =
            (0..channels).map(|c| folder.join(format!("{name}_{c:04}{ending}"))).collect();
        if images.iter().all(|p| p.is_file()) {
            return images;
        }
    }
    vec![input.to_path_buf()]
}

/// Makes cases of sorted files; `whole` names the input in messages.
fn group(files: &[(String, PathBuf)], channels: usize, whole: &str) -> Result<Vec<Case>> {
    let twice = |name: &str| {
        Error::Input(format!("{whole} holds two files of the case '{name}'; remove one"))
    };
    let channel = |stem: &str| channel_of(stem).map(|(_, channel)| channel);
    // Names may end in a year.
    let one_a_channel = files.iter().all(|(stem, _)| channel(stem).is_some())
        && files.iter().any(|(stem, _)| channel(stem) == Some(0));
    if !one_a_channel {
        if let Some(w) = files.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(twice(&w[0].0));
        }
        let case = |(name, path): &(String, PathBuf)| Case {
            name: name.clone(),
            images: vec![path.clone()],
            label: None,
        };
        return Ok(files.iter().map(case).collect());
    }
    let mut grouped: BTreeMap<&str, BTreeMap<usize, &PathBuf>> = BTreeMap::new();
    for (stem, path) in files {
        if let Some((name, channel)) = channel_of(stem)
            && grouped.entry(name).or_default().insert(channel, path).is_some()
        {
            return Err(twice(name));
        }
    }
    grouped
        .into_iter()
        .map(|(name, by_channel)| {
            // A single file may hold all channels in its fourth dimension.
            let complete = by_channel.len() == channels || by_channel.len() == 1;
            if !complete || !by_channel.keys().copied().eq(0..by_channel.len()) {
                return Err(Error::Input(format!(
                    "the case '{name}' in {whole} has {} of the {channels} channel files _0000, _0001...; add the others",
                    by_channel.len()
                )));
            }
            let images = by_channel.into_values().cloned().collect();
            Ok(Case { name: name.to_string(), images, label: None })
        })
        .collect()
}
