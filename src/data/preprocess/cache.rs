//! Prepared cases on disk, in files named by the content they were made from.
//!
//! A file's name ends in a hash of the image and label files and of all parameters, so a case is
//! read from the cache only if it would be prepared to the same voxels again. Files of another
//! version have other names. What cannot be read, or does not match its checksum, is prepared anew
//! and replaced.

use super::hold::Voxels;
use super::{Fingerprint, Preprocessing};
use crate::data::channels::Normalisation;
use crate::data::dataset::Case;
use crate::data::labels::Labels;
use crate::data::nifti;
use crate::{Error, Result, files, host};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Changes with the layout of the files and with the algorithms behind them.
const VERSION: u32 = 3;
/// Digits of the hash in a file's name.
const DIGITS: usize = 24;

/// Hashes (BLAKE3) of the content of a case's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Of all files.
    all: blake3::Hash,
    /// Of the image files alone.
    images: blake3::Hash,
    /// Of the files of the label map alone.
    label: blake3::Hash,
}

/// [`Content`] for a file: the first hexadecimal digits of each hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseDigest {
    /// Of the image files.
    pub image: String,
    /// Of the files of the label map.
    pub label: String,
}

impl Content {
    /// Reads all files of a case.
    pub(super) fn of(case: &Case) -> Result<Self> {
        let [mut all, mut images, mut label] = [(); 3].map(|()| blake3::Hasher::new());
        let parts = [(&case.images[..], &mut images), (case.label.as_slice(), &mut label)];
        for (paths, part) in parts {
            for path in paths.iter().flat_map(|p| nifti::files_of(p)) {
                let mut file =
                    std::fs::File::open(&path).map_err(|e| Error::io("read", &path, e))?;
                let mut one = blake3::Hasher::new();
                std::io::copy(&mut file, &mut one).map_err(|e| Error::io("read", &path, e))?;
                let one = one.finalize();
                all.update(one.as_bytes());
                part.update(one.as_bytes());
            }
        }
        let [all, images, label] = [all, images, label].map(|hasher| hasher.finalize());
        Ok(Content { all, images, label })
    }

    /// What a run records of it.
    pub fn digest(&self) -> CaseDigest {
        let digits = |hash: &blake3::Hash| hash.to_hex()[..DIGITS].to_owned();
        CaseDigest { image: digits(&self.images), label: digits(&self.label) }
    }
}

/// A name that holds a hash of what a file is made from.
fn named(dir: &Path, stem: &str, ending: &str, sources: &[&[u8]]) -> PathBuf {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&VERSION.to_le_bytes());
    for source in sources {
        hasher.update(&(source.len() as u64).to_le_bytes());
        hasher.update(source);
    }
    let safe = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let stem: String = stem.chars().take(100).map(safe).collect();
    dir.join(format!("{stem}-{}.{ending}", &hasher.finalize().to_hex()[..DIGITS]))
}

/// The file of a case.
pub(super) fn case_file(
    dir: &Path,
    name: &str,
    content: &Content,
    by: &Preprocessing,
    labels: &Labels,
) -> PathBuf {
    // Plain numbers and lists always have a JSON text.
    let by = serde_json::to_vec(by).unwrap_or_default();
    named(dir, name, "safetensors", &[content.all.as_bytes(), &by, &numbering(labels)])
}

/// What decides the label index of each voxel: names and regions have no say in it.
fn numbering(labels: &Labels) -> Vec<u8> {
    serde_json::to_vec(&(labels.values(), labels.ignore())).unwrap_or_default()
}

/// The file of a data set's fingerprint. `normalisation` and `reorient`: as in [`Fingerprint`].
pub(super) fn fingerprint_file(
    dir: &Path,
    cases: &[Case],
    contents: &[Content],
    normalisation: &[Normalisation],
    labels: &Labels,
    reorient: bool,
) -> PathBuf {
    let contents: Vec<u8> = contents.iter().flat_map(|content| *content.all.as_bytes()).collect();
    let names = cases.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join("\n");
    let kinds: Vec<u8> = normalisation.iter().map(|&by| by as u8).collect();
    let sources = [names.as_bytes(), &contents, &kinds, &numbering(labels), &[u8::from(reorient)]];
    named(dir, "fingerprint", "json", &sources)
}

/// Content of the file of a fingerprint.
#[derive(Serialize, Deserialize)]
struct StoredFingerprint {
    /// [`checksum`] of its JSON.
    checksum: String,
    fingerprint: Fingerprint,
}

fn fingerprint_checksum(fingerprint: &Fingerprint) -> serde_json::Result<String> {
    Ok(checksum(&serde_json::to_string(fingerprint)?, &[], &[]))
}

/// Reads a fingerprint, if there is a whole one.
pub(super) fn read_fingerprint(path: &Path) -> Option<Fingerprint> {
    let found: StoredFingerprint = serde_json::from_str(&files::read_text(path).ok()?).ok()?;
    let known = fingerprint_checksum(&found.fingerprint).ok()?;
    (known == found.checksum).then_some(found.fingerprint)
}

/// Writes a fingerprint.
pub(super) fn write_fingerprint(path: &Path, fingerprint: &Fingerprint) -> Result<()> {
    let encode = |e| Error::io("encode", path, std::io::Error::other(e));
    let checksum = fingerprint_checksum(fingerprint).map_err(encode)?;
    let stored = StoredFingerprint { checksum, fingerprint: fingerprint.clone() };
    files::replace(path, &serde_json::to_vec_pretty(&stored).map_err(encode)?)
}

/// What a case's file says beside its voxels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stored {
    pub channels: usize,
    pub shape: [usize; 3],
    pub original_shape: [usize; 3],
    pub crop_start: [usize; 3],
    pub crop_shape: [usize; 3],
    /// As in [`super::PreparedImage`].
    pub constant: Option<String>,
}

/// Name of the text that holds the checksum and, after a space, what is known of the case: one
/// text, since several have no order in the file and the same case must give the same bytes.
const CASE: &str = "case";

/// BLAKE3 over text, image and labels, each with its length.
fn checksum(text: &str, image: &[u8], labels: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [text.as_bytes(), image, labels] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_hex().to_string()
}

/// Writes a case.
pub(super) fn write_case(path: &Path, stored: &Stored, voxels: &Voxels) -> Result<()> {
    let encode =
        |e: &dyn std::fmt::Display| Error::io("encode", path, std::io::Error::other(e.to_string()));
    let [d, h, w] = stored.shape;
    let text = serde_json::to_string(stored).map_err(|e| encode(&e))?;
    let image = bytemuck::cast_slice(&voxels.image);
    let view = |kind, shape, data| TensorView::new(kind, shape, data).map_err(|e| encode(&e));
    let tensors = [
        ("image", view(Dtype::F32, vec![stored.channels, d, h, w], image)?),
        ("labels", view(Dtype::U8, vec![d, h, w], &voxels.labels)?),
    ];
    let checksum = checksum(&text, image, &voxels.labels);
    let metadata = HashMap::from([(CASE.into(), format!("{checksum} {text}"))]);
    let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(|e| encode(&e))?;
    files::replace(path, &bytes)
}

/// Reads a case.
///
/// # Errors
/// No such file, or not a whole file of this layout.
pub(super) fn read_case(path: &Path) -> Result<(Stored, Voxels)> {
    let io = |e| Error::io("read", path, e);
    // The file, and its voxels.
    let size = std::fs::metadata(path).map_err(io)?.len();
    host::check(2 * size, || format!("'{}'", path.display()))?;
    let bytes = std::fs::read(path).map_err(io)?;
    let broken = || {
        Error::Input(format!(
            "'{}' is no whole prepared case; remove it, and it is made again",
            path.display()
        ))
    };
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|_| broken())?;
    let case = metadata.metadata().as_ref().and_then(|m| m.get(CASE)).ok_or_else(broken)?;
    let (known, text) = case.split_once(' ').ok_or_else(broken)?;
    let stored: Stored = serde_json::from_str(text).map_err(|_| broken())?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|_| broken())?;
    let part = |name: &str, kind: Dtype| {
        tensors.tensor(name).ok().filter(|t| t.dtype() == kind).ok_or_else(broken)
    };
    let (image, labels) = (part("image", Dtype::F32)?.data(), part("labels", Dtype::U8)?.data());
    if known != checksum(text, image, labels) {
        return Err(broken());
    }
    let value = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    let image: Vec<f32> = image.chunks_exact(4).map(value).collect();
    let labels = labels.to_vec();
    let voxels = stored.shape.iter().try_fold(1usize, |n, &e| n.checked_mul(e));
    let fits = voxels
        .is_some_and(|v| labels.len() == v && v.checked_mul(stored.channels) == Some(image.len()));
    if !fits {
        return Err(broken());
    }
    Ok((stored, Voxels { image, labels }))
}

/// Reads a case's voxels.
pub(super) fn read_voxels(path: &Path) -> Result<Voxels> {
    read_case(path).map(|(_, voxels)| voxels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_survives_its_file_and_a_cut_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("case.safetensors");
        let stored = Stored {
            channels: 2,
            shape: [1, 2, 3],
            original_shape: [4; 3],
            crop_start: [1; 3],
            crop_shape: [1, 2, 3],
            constant: Some("has the value 0 everywhere".into()),
        };
        let voxels = Voxels { image: (0..12).map(|v| v as f32).collect(), labels: vec![2; 6] };
        write_case(&path, &stored, &voxels).unwrap();
        assert_eq!(read_case(&path).unwrap(), (stored, voxels));
        let bytes = std::fs::read(&path).unwrap();
        for cut in [0, 7, 50, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            assert!(read_case(&path).unwrap_err().to_string().contains("case.safetensors"));
        }
        let mut flipped = bytes.clone();
        *flipped.last_mut().unwrap() ^= 1;
        std::fs::write(&path, flipped).unwrap();
        assert!(read_case(&path).unwrap_err().to_string().contains("no whole prepared case"));
    }
}
