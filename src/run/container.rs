//! A safetensors file of f32 tensors with texts beside them and a checksum over both.

use crate::error::{Error, Result};
use crate::host;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Name of the text that holds the checksum: BLAKE3, in hexadecimal digits.
const CHECKSUM: &str = "checksum";

/// A tensor to be written.
pub(super) struct Tensor<'a> {
    pub name: &'a str,
    pub shape: Vec<usize>,
    pub values: &'a [f32],
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Container {
    path: PathBuf,
    /// The texts, the checksum among them.
    texts: BTreeMap<String, String>,
    tensors: BTreeMap<String, Vec<f32>>,
}

/// The bytes of a file with these texts and tensors, named `path` in errors.
///
/// # Errors
/// [`Error::Input`] where a shape does not suit its values.
pub(super) fn encode(path: &Path, texts: &[(&str, String)], tensors: &[Tensor]) -> Result<Vec<u8>> {
    let wrong = |e: safetensors::SafeTensorError| {
        Error::Input(format!("'{}' cannot be written: {e}", path.display()))
    };
    let mut texts: BTreeMap<String, String> =
        texts.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).collect();
    let mut views = BTreeMap::new();
    for Tensor { name, shape, values } in tensors {
        let bytes = bytemuck::cast_slice(values);
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(wrong)?;
        views.insert((*name).to_owned(), view);
    }
    texts.insert(CHECKSUM.into(), checksum(&texts, &views));
    safetensors::serialize(views, Some(texts.into_iter().collect())).map_err(wrong)
}

/// BLAKE3 over the texts but the checksum, then over the tensors, both in the order of their names:
/// each text as its name and itself, each tensor as its name, its shape and its bytes, and all of
/// these preceded by their length as u64, little endian.
fn checksum(texts: &BTreeMap<String, String>, tensors: &BTreeMap<String, TensorView>) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for (name, text) in texts.iter().filter(|(name, _)| *name != CHECKSUM) {
        part(name.as_bytes());
        part(text.as_bytes());
    }
    for (name, view) in tensors {
        let shape: Vec<u8> = view.shape().iter().flat_map(|&e| (e as u64).to_le_bytes()).collect();
        part(name.as_bytes());
        part(&shape);
        part(view.data());
    }
    hasher.finalize().to_hex().to_string()
}

impl Container {
    /// Reads a file and holds it against its checksum; one without a checksum is taken as it is.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read, [`Error::Input`] where it is damaged or another kind
    /// of file, both naming it.
    pub fn read(path: &Path) -> Result<Self> {
        let io = |e| Error::io("read checkpoint", path, e);
        // The file, and its tensors.
        let size = std::fs::metadata(path).map_err(io)?.len();
        host::check(2 * size, || format!("'{}'", path.display()))?;
        let bytes = std::fs::read(path).map_err(io)?;
        let wrong = |what: String| wrong(path, &what);
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| wrong(e.to_string()))?;
        let texts: BTreeMap<String, String> =
            header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        let file = SafeTensors::deserialize(&bytes).map_err(|e| wrong(e.to_string()))?;
        let views: BTreeMap<String, TensorView> = file.tensors().into_iter().collect();
        if texts.get(CHECKSUM).is_some_and(|known| *known != checksum(&texts, &views)) {
            return Err(wrong("its content does not match its checksum".into()));
        }
        let mut tensors = BTreeMap::new();
        for (name, view) in views {
            if view.dtype() != Dtype::F32 {
                return Err(wrong(format!("'{name}' is not of 32-bit floats")));
            }
            let words = view.data().chunks_exact(4);
            let values = words.map(|w| f32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
            tensors.insert(name, values);
        }
        Ok(Container { path: path.to_owned(), texts, tensors })
    }

    /// Whether it carries a checksum.
    pub fn is_checked(&self) -> bool {
        self.texts.contains_key(CHECKSUM)
    }

    /// A text, where there is one of this name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// The values of a tensor, row-major.
    ///
    /// # Errors
    /// [`Error::Input`] where there is none of this name and length.
    pub fn tensor(&self, name: &str, len: usize) -> Result<&[f32]> {
        match self.tensors.get(name) {
            None => Err(self.wrong(&format!("it has no '{name}'"))),
            Some(values) if values.len() != len => {
                Err(self.wrong(&format!("'{name}' has another shape")))
            }
            Some(values) => Ok(values),
        }
    }

    /// Names of all tensors, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// An error that says what is wrong with the file.
    pub fn wrong(&self, what: &str) -> Error {
        wrong(&self.path, what)
    }
}

fn wrong(path: &Path, what: &str) -> Error {
    Error::Input(format!(
        "'{}' is no checkpoint of this program, or damaged ({what}); use another one",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(values: &[f32], text: &str) -> Vec<u8> {
        let half = values.len() / 2;
        let tensors = [
            Tensor { name: "b", shape: vec![half], values: &values[..half] },
            Tensor { name: "a", shape: vec![values.len() - half, 1], values: &values[half..] },
        ];
        encode(Path::new("x"), &[("text", text.into())], &tensors).unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Container> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.safetensors");
        std::fs::write(&path, bytes).unwrap();
        Container::read(&path)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            words in prop::collection::vec(any::<u32>(), 2..40),
            text in "\\PC{0,30}",
        ) {
            let values: Vec<f32> = words.iter().map(|&w| f32::from_bits(w)).collect();
            let container = read(&bytes(&values, &text)).unwrap();
            prop_assert!(container.is_checked());
            prop_assert_eq!(container.text("text"), Some(text.as_str()));
            let half = values.len() / 2;
            let mut same = container.tensor("b", half).unwrap().to_vec();
            same.extend(container.tensor("a", values.len() - half).unwrap());
            prop_assert_eq!(same.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), words);
        }

        #[test]
        fn every_flipped_bit_and_every_cut_is_noticed(
            place in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let whole = bytes(&[1.0, -2.0, 3.5, 0.0, 7.0], "some text");
            let place = place.index(whole.len());
            let error = read(&whole[..place]).unwrap_err();
            prop_assert!(error.to_string().contains("some.safetensors"), "{}", error);
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << bit;
            // A checksum under another name is none; whoever needs one asks for it.
            if let Ok(read) = read(&flipped) {
                prop_assert!(!read.is_checked(), "byte {} of {:?}", place, whole);
            }
        }
    }
}
