//! `draws.json`: all that a preview drew, and all that repeating it needs.

use super::MOST_EDGE;
use super::source::Source;
use crate::augment::draw::Draw;
use crate::data::Preprocessing;
use crate::error::{Error, Result};
use crate::files;
use crate::ops::smooth::radius;
use crate::ops::warp::{Interpolation, Placement};
use crate::search::policy::Policy;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Version of the file's layout that is written and read.
pub(super) const VERSION: u32 = 2;

/// Farthest first voxel of a patch.
const FARTHEST: i64 = 1 << 20;

/// Content of `draws.json`. Numbers are written so that reading gives the same bits.
#[derive(Serialize, Deserialize)]
pub(super) struct Listing {
    /// Layout, [`VERSION`].
    pub version: u32,
    pub case: String,
    pub seed: u64,
    pub policy: PolicyNote,
    pub input: Input,
    /// How the image was prepared.
    pub preprocessing: Preprocessing,
    /// Whether slices stayed slices.
    pub dummy_2d: bool,
    /// How the case was read between voxels.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// First voxel of the patch in the prepared image, D, H, W, and its edges.
    pub patch_start: [i64; 3],
    pub patch: [u32; 3],
    pub draws: Vec<Listed>,
}

/// Where the policies were from.
#[derive(Serialize, Deserialize)]
pub(super) struct PolicyNote {
    pub source: String,
    /// True: each draw's policy was sampled from the file's distribution.
    pub sampled: bool,
    /// Whether flags replaced some of its numbers.
    pub changed_by_flags: bool,
    /// The policy of all draws, unless sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
}

/// The volume that was augmented.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Input {
    pub channels: usize,
    /// D, H, W of the file.
    pub shape: [usize; 3],
}

/// One draw and its files.
#[derive(Serialize, Deserialize)]
pub(super) struct Listed {
    pub image: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    pub draw: Draw,
}

impl Listing {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::Input`] naming the path and the wrong entry.
    pub fn read(path: &Path) -> Result<Self> {
        let text = crate::files::read_text(path).map_err(|e| Error::io("read", path, e))?;
        let refuse = |why: String| {
            Error::Input(format!(
                "'{}' cannot be replayed: {why}; give the draws.json that `augment` wrote",
                path.display()
            ))
        };
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head = serde_json::from_str(&text).map_err(|e| refuse(e.to_string()))?;
        if head.version != VERSION {
            return Err(refuse(format!(
                "it has version {}, this program reads {VERSION}",
                head.version
            )));
        }
        let mut de = serde_json::Deserializer::from_str(&text);
        let listing: Listing =
            serde_path_to_error::deserialize(&mut de).map_err(|e| refuse(e.to_string()))?;
        listing.check().map_err(refuse)?;
        Ok(listing)
    }

    fn check(&self) -> std::result::Result<(), String> {
        if self.draws.is_empty() {
            return Err("it holds no draws".into());
        }
        self.preprocessing.validate().map_err(|e| e.to_string())?;
        if self.patch.iter().any(|&e| e == 0 || e > MOST_EDGE) {
            return Err(format!("its patch has edges {:?}", self.patch));
        }
        if self.patch_start.iter().any(|s| !(-FARTHEST..=FARTHEST).contains(s)) {
            return Err(format!("its patch begins at voxel {:?}", self.patch_start));
        }
        for (number, listed) in self.draws.iter().enumerate() {
            let draw = &listed.draw;
            let exponents = draw.gamma.as_ref().map_or(self.input.channels, Vec::len);
            if exponents != self.input.channels {
                return Err(format!(
                    "draw {number} has {exponents} exponents for {} channels",
                    self.input.channels
                ));
            }
            // As a policy's own numbers.
            let mut factors = draw.scale.iter().chain(draw.gamma.iter().flatten());
            let wild = draw.rotation.iter().flatten().any(|degrees| degrees.abs() > 180.0)
                || factors.any(|&factor| factor <= 0.0)
                || draw.elastic.is_some_and(|e| e.alpha < 0.0);
            if wild {
                return Err(format!("draw {number} has a number that no policy can have"));
            }
            if draw.elastic.is_some_and(|e| radius(e.sigma).is_err()) {
                return Err(format!("draw {number} has too large a sigma"));
            }
        }
        Ok(())
    }

    /// Makes a listing that was read one of the input at hand.
    ///
    /// # Errors
    /// [`Error::Input`] when the input differs in shape or channels.
    pub fn fit(&mut self, path: &Path, source: &Source) -> Result<()> {
        let image = &source.image;
        let given = Input { channels: image.channels, shape: image.origin.header.shape() };
        if given != self.input {
            return Err(Error::Input(format!(
                "the draws of '{}' belong to {} channels of {:?} voxels (z, y, x), but '{}' has \
                 {} of {:?}; give the volume that they were made for",
                path.display(),
                self.input.channels,
                self.input.shape,
                source.name,
                given.channels,
                given.shape
            )));
        }
        self.name_files(source);
        Ok(())
    }

    /// Names the case and the files after the input.
    pub fn name_files(&mut self, source: &Source) {
        self.case = source.name.clone();
        let labelled = source.labels.iter().any(|&l| l > 0);
        let digits = self.draws.len().saturating_sub(1).to_string().len().max(2);
        for (number, listed) in self.draws.iter_mut().enumerate() {
            let stem = format!("{}_{number:0digits$}", source.name);
            listed.image = format!("{stem}.nii.gz");
            listed.label = labelled.then(|| format!("{stem}_label.nii.gz"));
        }
    }

    /// Where the patch lies in the prepared image.
    pub fn placement(&self, source: &Source) -> Placement {
        let case = source.image.shape.map(|e| e as u32);
        Placement::whole(case, self.patch_start.map(|start| start as i32), self.patch)
    }

    /// Writes the file atomically.
    ///
    /// # Errors
    /// [`Error::Io`] naming the path.
    pub fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)
            .map_err(|e| Error::io("encode", path, std::io::Error::other(e)))?;
        files::replace(path, format!("{json}\n").as_bytes())
    }
}
