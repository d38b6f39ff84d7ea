//! Writing NIfTI-1 files, whole or not at all.

use super::datatype::DataType;
use super::header::Header;
use crate::data::names::{ending_of, file_name};
use crate::{Error, Result, files};
use flate2::{Compression, write::GzEncoder};
use half::f16;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes a label map (`labels` is D, H, W) on the grid of `reference`: `uint8`,
/// or `uint16` where a label exceeds 255. Everything geometric of the reference
/// header is kept, scaling is neutral.
///
/// # Errors
/// `shape` differs from the reference's, the name does not end in `.nii` or
/// `.nii.gz`, or writing fails; an existing file stays intact then.
pub fn write_labels<L: Copy + Into<u16>>(
    path: &Path,
    labels: &[L],
    shape: [usize; 3],
    reference: &Header,
) -> Result<()> {
    check(path, labels.len(), 1, shape, reference)?;
    if labels.iter().all(|&l| l.into() <= 255) {
        save(path, 1, DataType::U8, reference, labels, |l, b| b.push(l.into() as u8))
    } else {
        save(path, 1, DataType::U16, reference, labels, |l, b| b.extend(l.into().to_le_bytes()))
    }
}

/// Writes an image (`data` is C, D, H, W) as `f32` on the grid of `reference`;
/// more than one channel gives a 4-D file with channels last.
///
/// # Errors
/// As [`write_labels`].
pub fn write_image(
    path: &Path,
    data: &[f32],
    channels: usize,
    shape: [usize; 3],
    reference: &Header,
) -> Result<()> {
    check(path, data.len(), channels, shape, reference)?;
    save(path, channels, DataType::F32, reference, data, |v, b| b.extend(v.to_le_bytes()))
}

/// As [`write_image`], from values of half precision; the file has `f32`, which every reader knows.
///
/// # Errors
/// As [`write_labels`].
pub fn write_image_f16(
    path: &Path,
    data: &[f16],
    channels: usize,
    shape: [usize; 3],
    reference: &Header,
) -> Result<()> {
    check(path, data.len(), channels, shape, reference)?;
    let encode = |v: f16, b: &mut Vec<u8>| b.extend(v.to_f32().to_le_bytes());
    save(path, channels, DataType::F32, reference, data, encode)
}

/// As [`write_image`], with 16-bit integers.
///
/// # Errors
/// As [`write_labels`].
pub fn write_image_i16(
    path: &Path,
    data: &[i16],
    channels: usize,
    shape: [usize; 3],
    reference: &Header,
) -> Result<()> {
    check(path, data.len(), channels, shape, reference)?;
    save(path, channels, DataType::I16, reference, data, |v, b| b.extend(v.to_le_bytes()))
}

fn check(
    path: &Path,
    len: usize,
    channels: usize,
    shape: [usize; 3],
    reference: &Header,
) -> Result<()> {
    if shape != reference.shape() || len != channels * shape.iter().product::<usize>() {
        return Err(Error::Input(format!(
            "'{}' cannot be written: {len} values in {channels} channels of {shape:?} do not fit the reference's grid {:?} (z, y, x)",
            path.display(),
            reference.shape()
        )));
    }
    Ok(())
}

/// Writes to a temporary name in the same folder, then renames.
fn save<T: Copy>(
    path: &Path,
    channels: usize,
    datatype: DataType,
    reference: &Header,
    values: &[T],
    encode: impl Fn(T, &mut Vec<u8>),
) -> Result<()> {
    let ending = ending_of(&file_name(path));
    let gzip = ending == ".nii.gz";
    if !gzip && ending != ".nii" {
        return Err(Error::Usage(format!(
            "cannot write '{}': the name must end in .nii.gz or .nii",
            path.display()
        )));
    }
    let io = |e| files::unwritten(path, e);
    let header = reference.to_bytes(channels, datatype, path)?;
    // The name must keep its ending.
    let temporary = files::temporary(path, if gzip { ".nii.gz" } else { ".nii" }).map_err(io)?;
    let file = BufWriter::with_capacity(1 << 17, temporary.as_file());
    let put = |w: &mut dyn Write| -> std::io::Result<()> {
        w.write_all(&header)?;
        let mut bytes = Vec::with_capacity(1 << 18);
        for part in values.chunks(1 << 15) {
            bytes.clear();
            part.iter().for_each(|&v| encode(v, &mut bytes));
            w.write_all(&bytes)?;
        }
        w.flush()
    };
    if gzip {
        // Floating-point voxels hardly shrink further, whatever time is spent on them.
        let level = match datatype {
            DataType::F32 => Compression::fast(),
            _ => Compression::default(),
        };
        let mut encoder = GzEncoder::new(file, level);
        put(&mut encoder).and_then(|()| encoder.finish()?.flush()).map_err(io)?;
    } else {
        let mut file = file;
        put(&mut file).map_err(io)?;
    }
    temporary.as_file().sync_all().map_err(io)?;
    temporary.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}
