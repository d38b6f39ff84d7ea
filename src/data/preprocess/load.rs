//! Reading a case's image and cropping it to what is not zero.

use crate::data::blank::{Blank, REMEDY, blank, constant_value};
use crate::data::nifti::{self, Header, voxel_name};
use crate::data::orientation::Turn;
use crate::numbers::counted;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// An image as it lies in its files, or turned to RAS, and cropped; D, H, W after the turn.
#[derive(Clone, Debug)]
pub struct LoadedImage {
    /// Number of channels C.
    pub channels: usize,
    /// D, H, W after cropping.
    pub shape: [usize; 3],
    /// C, D, H, W values.
    pub image: Vec<f32>,
    /// First voxel of the crop in the original, D, H, W.
    pub crop_start: [usize; 3],
    /// D, H, W before cropping.
    pub original_shape: [usize; 3],
    /// Voxel size D, H, W in mm.
    pub spacing_mm: [f64; 3],
    /// Header of the (first) image file, before any turn.
    pub header: Header,
    /// How the volume was turned.
    pub turn: Turn,
    /// A sentence about channels that are the same everywhere, if there are such.
    pub constant: Option<String>,
    /// Sentences about channels whose grids differ by less than half a voxel.
    pub grids: Vec<String>,
}

pub(super) fn bad(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::Input(format!("'{}' {what}", path.display()))
}

/// Reads a case's image files and crops to the box of voxels where any channel
/// is not 0 (all of it where all are 0). `reorient`: turns it to RAS first. Not yet
/// normalised.
///
/// # Errors
/// Unreadable files, channels of differing grids or a count other than
/// `channels`, NaN or infinite voxels, an image that is the same everywhere.
pub fn load_image(images: &[PathBuf], channels: usize, reorient: bool) -> Result<LoadedImage> {
    let (mut whole, mut grids): (Option<nifti::Volume>, _) = (None, Vec::new());
    for path in images {
        let v = nifti::read_image(path)?;
        if let Some(i) = v.data.iter().position(|x| !x.is_finite()) {
            return Err(bad(
                path,
                format!(
                    "has the value {} at voxel {}; replace it by a finite one",
                    v.data[i],
                    voxel_name(i % v.shape.iter().product::<usize>(), v.shape)
                ),
            ));
        }
        match &mut whole {
            None => whole = Some(v),
            Some(w) => {
                let differs = "differs from the case's first channel in";
                if let Some(d) = w.header.error_of_grid(&v.header) {
                    let what = format!("{differs} {d}; bring all channels to one grid");
                    return Err(bad(path, what));
                }
                if let Some(d) = w.header.warning_of_grid(&v.header) {
                    grids.push(format!("'{}' {differs} {d}", path.display()));
                }
                w.data.extend_from_slice(&v.data);
                w.channels += v.channels;
            }
        }
    }
    let (Some(v), Some(path)) = (whole, images.first()) else {
        return Err(Error::Input("a case has no image file; add one".into()));
    };
    if v.channels != channels {
        return Err(bad(
            path,
            format!(
                "has {}, but {channels} are expected, by dataset.json or by the run; give all channels",
                counted(v.channels, "channel")
            ),
        ));
    }
    let voxels = v.shape.iter().product::<usize>().max(1);
    let values: Vec<Option<f32>> = v.data.chunks_exact(voxels).map(constant_value).collect();
    let constant = match blank(&values) {
        Some(Blank { is_error: true, phrase }) => {
            return Err(bad(path, format!("{phrase}; {REMEDY}")));
        }
        found => found.map(|b| format!("'{}' {}; {REMEDY}", path.display(), b.phrase)),
    };
    let turn = match reorient {
        true => Turn::to_ras(&v.header),
        false => Turn::permutation(v.shape, [0, 1, 2]),
    };
    let header = v.header.clone();
    let v = turn.image(v);
    let (start, shape) = nonzero_box(&v.data, v.shape);
    // A whole volume is moved, as it may be large.
    let image = match shape == v.shape {
        true => v.data,
        false => crop(&v.data, v.channels, v.shape, start, shape),
    };
    Ok(LoadedImage {
        channels,
        shape,
        image,
        crop_start: start,
        original_shape: v.shape,
        spacing_mm: v.spacing_mm,
        header,
        turn,
        constant,
        grids,
    })
}

/// First voxel and shape of the smallest box that holds every voxel where any
/// channel of `data` (C, D, H, W) is not 0; everything if there is none.
pub fn nonzero_box(data: &[f32], shape: [usize; 3]) -> ([usize; 3], [usize; 3]) {
    let [d, h, w] = shape;
    let (mut low, mut high) = ([usize::MAX; 3], [0usize; 3]);
    for (row, line) in data.chunks_exact(w.max(1)).enumerate() {
        if let Some(first) = line.iter().position(|&v| v != 0.0) {
            let last = line.iter().rposition(|&v| v != 0.0).unwrap_or(first);
            let at = [row / h % d, row % h];
            for (axis, (a, b)) in
                [(at[0], at[0]), (at[1], at[1]), (first, last)].into_iter().enumerate()
            {
                low[axis] = low[axis].min(a);
                high[axis] = high[axis].max(b);
            }
        }
    }
    if low[0] == usize::MAX {
        return ([0; 3], shape);
    }
    (low, [0, 1, 2].map(|a| high[a] - low[a] + 1))
}

/// Cuts the box at `start` of `shape` out of `data` (C, D, H, W with `from` as
/// D, H, W). The box must lie inside.
pub fn crop<T: Copy>(
    data: &[T],
    channels: usize,
    from: [usize; 3],
    start: [usize; 3],
    shape: [usize; 3],
) -> Vec<T> {
    if from == shape {
        return data.to_vec();
    }
    let mut out = Vec::with_capacity(channels * shape.iter().product::<usize>());
    for c in 0..channels {
        for z in start[0]..start[0] + shape[0] {
            for y in start[1]..start[1] + shape[1] {
                let at = ((c * from[0] + z) * from[1] + y) * from[2] + start[2];
                out.extend_from_slice(&data[at..at + shape[2]]);
            }
        }
    }
    out
}
