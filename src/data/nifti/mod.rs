//! NIfTI files: reading (`.nii`, `.nii.gz`, `.hdr`/`.img`; NIfTI-1 and -2) and
//! writing.
//!
//! The format is read and written by hand, because the file may be damaged or
//! merely odd, and each such case wants its own sentence: headers that claim
//! more voxels than the file can hold are refused before memory is taken, zero
//! or negative voxel sizes are tolerated as other tools do, NIfTI-2 is read, and
//! output keeps the input's geometry bit for bit.
//! Source: NIfTI-1 and NIfTI-2 standards (nifti1.h, nifti2.h).

mod compare;
mod datatype;
mod geometry;
mod header;
mod stream;
mod warnings;
mod write;

pub use compare::{Aspect, Difference, ROUND_OFF_VOXELS};
pub use datatype::DataType;
pub use geometry::Form;
pub use header::{Header, MAX_VALUES};
pub use stream::{files_of, for_each_chunk, read_header};
pub use warnings::{GeometryWarning, geometry_notes};
pub use write::{write_image, write_image_f16, write_image_i16, write_labels};

use crate::{Error, Result, host};
use std::path::Path;

/// An image as read: `data` is C, D, H, W with slope and intercept applied.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Number of channels C.
    pub channels: usize,
    /// D, H, W.
    pub shape: [usize; 3],
    /// C, D, H, W values.
    pub data: Vec<f32>,
    /// Voxel size along D, H, W in mm, always positive.
    pub spacing_mm: [f64; 3],
    /// The file's header.
    pub header: Header,
}

/// A label map as read: `labels` is D, H, W.
#[derive(Clone, Debug)]
pub struct LabelVolume {
    /// D, H, W.
    pub shape: [usize; 3],
    /// D, H, W label values.
    pub labels: Vec<u16>,
    /// Voxel size along D, H, W in mm, always positive.
    pub spacing_mm: [f64; 3],
    /// The file's header.
    pub header: Header,
}

/// Reads an image: 3-D, or 4-D with channels last in the file.
///
/// # Errors
/// Unreadable, truncated or damaged files and headers that
/// [`Header::parse`] refuses; each in one sentence with the path. Voxels may
/// still be NaN or infinite.
pub fn read_image(path: &Path) -> Result<Volume> {
    let mut data = Vec::new();
    let header = for_each_chunk(
        path,
        |h| check_memory(path, h, size_of::<f32>()),
        |_, _, values| {
            data.extend(values.iter().map(|&v| v as f32));
            Ok(())
        },
    )?;
    let (shape, spacing_mm) = (header.shape(), header.spacing_mm());
    Ok(Volume { channels: header.channels, shape, data, spacing_mm, header })
}

/// Reads a label map. Values of float files (or of scaled integers) may be off
/// a whole number by 1e-3 and are rounded.
///
/// # Errors
/// As [`read_image`]; besides more than one channel, and a value that is no
/// whole number from 0 to 65535, with the value and its voxel.
pub fn read_labels(path: &Path) -> Result<LabelVolume> {
    let mut labels = Vec::new();
    let header = for_each_chunk(
        path,
        |h| {
            if h.channels == 1 {
                return check_memory(path, h, size_of::<u16>());
            }
            Err(Error::Input(format!(
                "'{}' has {} channels, but a label map has one; use a 3-D file",
                path.display(),
                h.channels
            )))
        },
        |h, first, values| {
            for (i, &v) in values.iter().enumerate() {
                let whole = v.round();
                if !((v - whole).abs() <= 1e-3 && (0.0..=65535.0).contains(&whole)) {
                    return Err(Error::Input(format!(
                        "'{}' has the value {v} at voxel {}, but labels are whole numbers from 0 to 65535; {}",
                        path.display(),
                        voxel_name(first + i, h.shape()),
                        label_advice(v)
                    )));
                }
                labels.push(whole as u16);
            }
            Ok(())
        },
    )?;
    let (shape, spacing_mm) = (header.shape(), header.spacing_mm());
    Ok(LabelVolume { shape, labels, spacing_mm, header })
}

/// What a value that is no label usually comes from, and what to do.
pub fn label_advice(value: f64) -> &'static str {
    if value == -1.0 {
        "-1 usually marks voxels that nobody labelled: declare an ignore label in dataset.json, as \
         in \"ignore\": 3 after the labels 0, 1 and 2, and give these voxels its number"
    } else if value < 0.0 && value.fract() == 0.0 {
        "negative numbers usually come from a signed voxel type (200 in 8 bits reads as -56) or \
         from an image in place of a label map: store the labels as uint8 or uint16"
    } else if value.fract() == 0.0 {
        "renumber the labels"
    } else {
        "make the label map again, without interpolation"
    }
}

/// Refuses a volume that does not fit the memory that is free, at so many bytes a value.
fn check_memory(path: &Path, header: &Header, value_bytes: usize) -> Result<()> {
    // While the list of values grows, it is there once more.
    let bytes = (header.values() * value_bytes) as u64 * 2;
    host::check(bytes, || format!("'{}'", path.display()))
}

/// A voxel's position for messages: "(x, y, z)" as viewers show it, from its
/// flat index into D, H, W.
pub fn voxel_name(index: usize, shape: [usize; 3]) -> String {
    let [_, h, w] = shape.map(|s| s.max(1));
    format!("(x {}, y {}, z {})", index % w, index / w % h, index / (w * h))
}
