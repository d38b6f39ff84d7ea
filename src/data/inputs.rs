//! Images to predict: a file, or a folder of files in either layout.

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

fn is_image(path: &Path) -> bool {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let image = [".nii.gz", ".nii", ".hdr"].iter().any(|e| name.ends_with(e));
    image && !name.starts_with('.') && path.is_file()
}

/// The cases, without labels and sorted by name, that `input` stands for: one
/// file; or all NIfTI files of a folder (hidden ones left out), one a case, or
/// one a channel where every name ends in `_0000`, `_0001`...
///
/// # Errors
/// Nothing there, no NIfTI file in it, a case without all `channels`, or two
/// files of one name.
pub fn find_images(input: &Path, channels: usize) -> Result<Vec<Case>> {
    if input.is_file() {
        let stem = case_name(input);
        if let (Some((name, 0)), true) = (channel_of(&stem), channels > 1) {
            let file =
                input.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let ending = &file[stem.len()..];
            let folder = input.parent().unwrap_or(Path::new(""));
            let images: Vec<PathBuf> =
                (0..channels).map(|c| folder.join(format!("{name}_{c:04}{ending}"))).collect();
            if images.iter().all(|p| p.is_file()) {
                return Ok(vec![Case { name: name.to_string(), images, label: None }]);
            }
        }
        let name = match channel_of(&stem) {
            Some((name, 0)) => name.to_string(),
            _ => stem,
        };
        return Ok(vec![Case { name, images: vec![input.to_path_buf()], label: None }]);
    }
    let entries = std::fs::read_dir(input).map_err(|e| Error::io("read the input", input, e))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io("list", input, e))?.path();
        if is_image(&path) {
            files.push((case_name(&path), path));
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Error::Input(format!(
            "'{}' holds no .nii or .nii.gz file; name the folder of the images",
            input.display()
        )));
    }
    let twice = |name: &str| {
        Error::Input(format!(
            "'{}' holds two files of the case '{name}'; remove one",
            input.display()
        ))
    };
    if !files.iter().all(|(stem, _)| channel_of(stem).is_some()) {
        if let Some(w) = files.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(twice(&w[0].0));
        }
        let case = |(name, path)| Case { name, images: vec![path], label: None };
        return Ok(files.into_iter().map(case).collect());
    }
    let mut grouped: BTreeMap<&str, BTreeMap<usize, &PathBuf>> = BTreeMap::new();
    for (stem, path) in &files {
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
                    "the case '{name}' in '{}' has {} of the {channels} channel files _0000, _0001...; add the others",
                    input.display(),
                    by_channel.len()
                )));
            }
            let images = by_channel.into_values().cloned().collect();
            Ok(Case { name: name.to_string(), images, label: None })
        })
        .collect()
}
