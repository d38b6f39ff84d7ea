//! Preprocessing as nnU-Net v1 does it: crop to the non-zero box, resample to the data set's
//! spacing, normalise, and sample foreground voxels.
//!
//! Arrays are D, H, W. Files are read in their own axes, or turned to RAS (`--reorient ras`); a
//! prepared case's axes are those that [`Preprocessing::axes`] names, so that the coarsest one
//! comes first.

mod cache;
mod fingerprint;
mod headers;
mod hold;
mod load;
mod normalise;
mod places;
mod prepare;
mod workers;

pub use cache::{CaseDigest, Content};
pub use fingerprint::{CaseFacts, Fingerprint, coarse_axis_first, is_anisotropic, target_spacing};
pub use headers::survey_headers;
pub use hold::Voxels;
pub use load::{LoadedImage, crop, load_image, nonzero_box};
pub use normalise::{Intensities, normalise, rgb_fault};
pub use places::{FOREGROUND_SAMPLES, Places};
pub use prepare::{
    PrepareOptions, contents, prepare, prepare_all, prepare_image, prepare_labelled, survey,
};
pub use workers::Progress;

use super::channels::Normalisation;
use super::labels::Labels;
use super::nifti::Header;
use super::orientation::Turn;
use crate::numbers::edges;
use crate::{Error, Result};
use hold::Held;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What preprocessing a data set decided; prediction repeats it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Voxel size in mm of prepared cases, along their own axes.
    pub spacing_mm: [f64; 3],
    /// Whether volumes are turned to RAS before all else; axes of files are those after it.
    #[serde(default)]
    pub reorient: bool,
    /// The file's axis (0, 1, 2: D, H, W) that each prepared axis is.
    #[serde(default = "file_axes")]
    pub axes: [usize; 3],
    /// Whether statistics are taken over non-zero voxels, with 0 outside.
    pub nonzero_mask: bool,
    /// For a CT channel the intensities of the data set's foreground; `None` for others. Empty:
    /// no channel is CT.
    pub ct: Vec<Option<Intensities>>,
    /// How each channel is normalised. Empty, as in files of earlier versions: CT channels by `ct`,
    /// all others by z-score.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub normalisation: Vec<Normalisation>,
}

fn file_axes() -> [usize; 3] {
    [0, 1, 2]
}

impl Preprocessing {
    /// Refuses what no data set decides: a file may have been edited.
    ///
    /// # Errors
    /// [`Error::Input`] naming the value; whoever read it adds the file and the way out.
    pub fn validate(&self) -> Result<()> {
        let mut axes = self.axes;
        axes.sort_unstable();
        let spacing_mm = self.spacing_mm;
        if axes != [0, 1, 2] {
            return Err(Error::Input(format!(
                "the preprocessing names the axes {:?}, but they must be 0, 1 and 2 in any order",
                self.axes
            )));
        }
        if !spacing_mm.iter().all(|&mm| mm.is_finite() && mm > 0.0) {
            return Err(Error::Input(format!(
                "the preprocessing has voxels of {} mm, but they must be larger than 0",
                edges(spacing_mm)
            )));
        }
        let lacks =
            |c: usize| self.normalisation(c) == Normalisation::Ct && self.intensities(c).is_none();
        if let Some(c) = (0..self.normalisation.len()).find(|&c| lacks(c)) {
            return Err(Error::Input(format!(
                "the preprocessing has no intensities for channel {c}, which is CT"
            )));
        }
        Ok(())
    }

    /// How a channel is normalised.
    pub fn normalisation(&self, channel: usize) -> Normalisation {
        match (self.normalisation.get(channel), self.intensities(channel)) {
            (Some(by), _) => *by,
            (None, Some(_)) => Normalisation::Ct,
            (None, None) => Normalisation::Zscore,
        }
    }

    /// The data set's intensities of a CT channel.
    pub fn intensities(&self, channel: usize) -> Option<Intensities> {
        self.ct.get(channel).copied().flatten()
    }

    /// Values of one entry a file axis, put in the order of the prepared axes.
    pub fn permuted<T: Copy>(&self, of_file: [T; 3]) -> [T; 3] {
        self.axes.map(|axis| of_file[axis])
    }

    /// The voxel size in mm along D, H, W of the files.
    pub fn file_spacing_mm(&self) -> [f64; 3] {
        let mut of_file = self.spacing_mm;
        for (mm, &axis) in self.spacing_mm.iter().zip(&self.axes) {
            if let Some(slot) = of_file.get_mut(axis) {
                *slot = *mm;
            }
        }
        of_file
    }
}

/// The grid that a prepared image came from; D, H, W of the file, after the turn.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Header of the (first) image file, before the turn.
    pub header: Header,
    /// How the file's volume was turned.
    pub turn: Turn,
    /// Edges of the whole volume.
    pub shape: [usize; 3],
    /// First voxel of the crop.
    pub crop_start: [usize; 3],
    /// Edges of the crop.
    pub crop_shape: [usize; 3],
    /// Voxel size in mm.
    pub spacing_mm: [f64; 3],
}

impl Origin {
    /// The header of the prepared image of edges `shape`, whose axis i is the file's `axes[i]`:
    /// each voxel has its place in the world.
    pub fn prepared_header(&self, axes: [usize; 3], shape: [usize; 3]) -> Header {
        let crop = self.turn.header(&self.header);
        let crop = crop.cut(self.crop_start.map(|v| v as i64), self.crop_shape);
        Turn::permutation(self.crop_shape, axes).header(&crop).resampled(shape)
    }
}

/// An image that is cropped, resampled and normalised.
#[derive(Clone, Debug)]
pub struct PreparedImage {
    /// Number of channels C.
    pub channels: usize,
    /// Edges along the prepared axes.
    pub shape: [usize; 3],
    /// C, D, H, W values.
    pub image: Vec<f32>,
    /// Where it came from.
    pub origin: Origin,
    /// A sentence about channels that are the same everywhere, if there are such.
    pub constant: Option<String>,
    /// Sentences about channels whose grids differ by less than half a voxel.
    pub grids: Vec<String>,
}

/// A labelled case, ready for sampling. Its voxels may lie in a cache file.
#[derive(Clone, Debug)]
pub struct PreparedCase {
    /// The case's name.
    pub name: String,
    /// Number of channels C.
    pub channels: usize,
    /// Edges along the prepared axes.
    pub shape: [usize; 3],
    /// Voxel size in mm along them.
    pub spacing_mm: [f64; 3],
    /// Where patches may be centred.
    pub places: Places,
    /// Where it came from.
    pub origin: Origin,
    /// A sentence about channels that are the same everywhere, if there are such.
    pub constant: Option<String>,
    held: Held,
}

impl PreparedCase {
    /// A case whose voxels stay in memory. `indices`: label indices by `labels`.
    pub fn in_memory(
        name: String,
        image: PreparedImage,
        indices: Vec<u8>,
        labels: &Labels,
        spacing_mm: [f64; 3],
    ) -> Self {
        PreparedCase {
            name,
            channels: image.channels,
            shape: image.shape,
            spacing_mm,
            places: Places::of(&indices, labels),
            origin: image.origin,
            constant: image.constant,
            held: Held::Always(Arc::new(Voxels { image: image.image, labels: indices })),
        }
    }

    /// Its voxels: from memory, or read from the cache.
    ///
    /// # Errors
    /// The cache file cannot be read any more.
    pub fn voxels(&self) -> Result<Arc<Voxels>> {
        self.held.get()
    }
}

/// All cases and what they were prepared by.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// In the order asked for.
    pub cases: Vec<PreparedCase>,
    /// Parameters.
    pub preprocessing: Preprocessing,
    /// What was found in the data set.
    pub fingerprint: Fingerprint,
    /// What was made again because its file in the cache was damaged.
    pub remade: Vec<String>,
}
