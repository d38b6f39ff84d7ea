//! NIfTI files: reading (`.nii`, `.nii.gz`, `.hdr`/`.img`; NIfTI-1 and -2) and
//! writing.
//!
//! The format is read and written by hand, because the file may be damaged or
//! merely odd, and each such case wants its own sentence: headers that claim
//! more voxels than the file can hold are refused before memory is taken, zero
//! or negative voxel sizes are tolerated as other tools do, NIfTI-2 is read, and
//! output keeps the input's geometry bit for bit.
//! Source: NIfTI-1 and NIfTI-2 standards (nifti1.h, nifti2.h).

mod header;
mod write;

pub use header::{DataType, Header, MAX_VALUES};
pub use write::{write_image, write_image_f16, write_image_i16, write_labels};

use crate::{Error, Result};
use flate2::read::MultiGzDecoder;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

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

/// Values decoded at a time.
const CHUNK: usize = 1 << 16;
/// Deflate cannot expand a byte into more than this (1032, rounded up).
const MAX_EXPANSION: u64 = 1040;

/// The header and image files of `path`: the same but for `.hdr`/`.img`.
fn file_pair(path: &Path) -> (PathBuf, PathBuf) {
    let name = path.to_string_lossy();
    for (hdr, img) in [(".hdr", ".img"), (".hdr.gz", ".img.gz")] {
        if let Some(stem) = name.strip_suffix(hdr).or_else(|| name.strip_suffix(img)) {
            return (format!("{stem}{hdr}").into(), format!("{stem}{img}").into());
        }
    }
    (path.to_path_buf(), path.to_path_buf())
}

/// All files of the volume at `path`: itself, or its `.hdr` and `.img`.
pub fn files_of(path: &Path) -> Vec<PathBuf> {
    let (header, image) = file_pair(path);
    if header == image { vec![header] } else { vec![header, image] }
}

/// Opens a file, decompressing it if its first bytes say gzip. Returns the
/// stream and the most bytes that it can deliver.
fn open(path: &Path) -> Result<(Box<dyn Read>, u64)> {
    let io = |e| Error::io("read", path, e);
    let mut file = std::fs::File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if meta.is_dir() {
        return Err(Error::Input(format!("'{}' is a folder, not a NIfTI file", path.display())));
    }
    let mut first = Vec::with_capacity(2);
    file.by_ref().take(2).read_to_end(&mut first).map_err(io)?;
    let gzip = first == [0x1f, 0x8b];
    let named = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
    if named && !gzip {
        return Err(Error::Input(format!(
            "'{}' is named .gz but is not gzip data; fetch it again or drop '.gz' from its name",
            path.display()
        )));
    }
    let all = BufReader::with_capacity(1 << 17, std::io::Cursor::new(first).chain(file));
    Ok(if gzip {
        (Box::new(MultiGzDecoder::new(all)), meta.len().saturating_mul(MAX_EXPANSION))
    } else {
        (Box::new(all), meta.len())
    })
}

/// Turns a failed read into a sentence; `e` is the system's or gzip's reason.
fn read_error(path: &Path, e: std::io::Error) -> Error {
    match e.kind() {
        ErrorKind::UnexpectedEof => truncated(path),
        ErrorKind::InvalidInput | ErrorKind::InvalidData => {
            Error::Input(format!("'{}' is damaged ({e}); fetch or write it again", path.display()))
        }
        _ => Error::io("read", path, e),
    }
}

fn truncated(path: &Path) -> Error {
    Error::Input(format!(
        "'{}' is truncated: it ends before its last voxel; fetch or write it again",
        path.display()
    ))
}

/// Reads the header from the start of `r`; returns it with its length.
fn take_header(r: &mut dyn Read, path: &Path) -> Result<(Header, u64)> {
    let not_nifti = || {
        Error::Input(format!(
            "'{}' is not a NIfTI file: it does not begin with a NIfTI-1 or NIfTI-2 header",
            path.display()
        ))
    };
    let mut bytes = vec![0u8; 4];
    let fail = |e: std::io::Error| match e.kind() {
        ErrorKind::UnexpectedEof => Error::Input(format!(
            "'{}' is truncated: it ends within its header; fetch or write it again",
            path.display()
        )),
        _ => read_error(path, e),
    };
    r.read_exact(&mut bytes).map_err(fail)?;
    let length = Header::length([bytes[0], bytes[1], bytes[2], bytes[3]]).ok_or_else(not_nifti)?;
    bytes.resize(length, 0);
    r.read_exact(&mut bytes[4..]).map_err(fail)?;
    Ok((Header::parse(&bytes, path)?, length as u64))
}

/// Reads only the header of a NIfTI file.
///
/// # Errors
/// Unreadable, not NIfTI, or a header that [`Header::parse`] refuses.
pub fn read_header(path: &Path) -> Result<Header> {
    let (hdr, _) = file_pair(path);
    let (mut r, _) = open(&hdr)?;
    Ok(take_header(&mut r, &hdr)?.0)
}

/// Reads all values and hands them over in chunks of scaled `f64`, in the
/// file's order, which is C, D, H, W. `each` gets
/// the header and the index of the first value.
fn read_values(
    path: &Path,
    header_check: impl FnOnce(&Header) -> Result<()>,
    mut each: impl FnMut(&Header, usize, &[f64]) -> Result<()>,
) -> Result<Header> {
    let (hdr, img) = file_pair(path);
    let (mut r, mut limit) = open(&hdr)?;
    let (header, mut position) = take_header(&mut r, &hdr)?;
    header_check(&header)?;
    if img != hdr {
        (r, limit) = open(&img)?;
        position = 0;
    }
    let count = header.dims.iter().product::<usize>() * header.channels;
    let size = header.datatype.size();
    if header.vox_offset + (count * size) as u64 > limit {
        return Err(truncated(&img));
    }
    let skip = header.vox_offset.saturating_sub(position);
    let skipped = std::io::copy(&mut r.by_ref().take(skip), &mut std::io::sink());
    if skipped.map_err(|e| read_error(&img, e))? != skip {
        return Err(truncated(&img));
    }
    let mut bytes = vec![0u8; CHUNK.min(count) * size];
    let mut values = Vec::with_capacity(CHUNK.min(count));
    let (slope, inter) = header.scaling;
    let mut done = 0;
    while done < count {
        let n = CHUNK.min(count - done);
        let part = &mut bytes[..n * size];
        r.read_exact(part).map_err(|e| read_error(&img, e))?;
        values.clear();
        header.datatype.decode(header.big_endian, part, &mut values);
        if (slope, inter) != (1.0, 0.0) {
            values.iter_mut().for_each(|v| *v = *v * slope + inter);
        }
        each(&header, done, &values)?;
        done += n;
    }
    // One byte more makes gzip compare its checksum; other bytes there are
    // tolerated, as padded files exist.
    if let Err(e) = r.read(&mut [0u8; 1])
        && e.to_string().contains("checksum")
    {
        return Err(read_error(&img, e));
    }
    Ok(header)
}

/// Reads an image: 3-D, or 4-D with channels last in the file.
///
/// # Errors
/// Unreadable, truncated or damaged files and headers that
/// [`Header::parse`] refuses; each in one sentence with the path. Voxels may
/// still be NaN or infinite.
pub fn read_image(path: &Path) -> Result<Volume> {
    let mut data = Vec::new();
    let header = read_values(
        path,
        |_| Ok(()),
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
    let header = read_values(
        path,
        |h| {
            if h.channels == 1 {
                return Ok(());
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
                        "'{}' has the value {v} at voxel {}, but labels are whole numbers from 0; correct the label map",
                        path.display(),
                        voxel_name(first + i, h.shape())
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

/// A voxel's position for messages: "(x, y, z)" as viewers show it, from its
/// flat index into D, H, W.
pub fn voxel_name(index: usize, shape: [usize; 3]) -> String {
    let [_, h, w] = shape.map(|s| s.max(1));
    format!("(x {}, y {}, z {})", index % w, index / w % h, index / (w * h))
}
