//! Class probabilities on disk: 4-D NIfTI, or `.npz` with a `.pkl` as nnU-Net v2 writes them.
//!
//! They lie in a folder of their own below that of the label maps, so that nothing takes them for
//! predictions.

use crate::data::nifti::{Header, write_image_f16};
use crate::data::preprocess::Origin;
use crate::error::Result;
use crate::files;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use half::f16;
use std::fmt::Write as _;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The folder beside the label maps.
pub const FOLDER: &str = "probabilities";

/// How probabilities are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbabilityFormat {
    /// 4-D NIfTI, `f32`, the classes last in the file.
    Nifti,
    /// `CASE.npz` with the array `probabilities` (`float32`, classes, D, H, W) and `CASE.pkl` with
    /// the geometry, as `nnUNetv2_predict --save_probabilities` has them and `nnUNetv2_ensemble`
    /// reads them.
    Npz,
}

impl ProbabilityFormat {
    /// The file of the case whose label map is `target`.
    pub fn path(self, target: &Path) -> PathBuf {
        let ending = match self {
            Self::Nifti => "nii.gz",
            Self::Npz => "npz",
        };
        let name = crate::data::names::case_name(target);
        let folder = target.parent().unwrap_or(Path::new("")).join(FOLDER);
        folder.join(format!("{name}.{ending}"))
    }

    /// Writes probabilities (classes, D, H, W of the file) of the case of the label map `target`.
    ///
    /// # Errors
    /// [`crate::Error::Io`] naming the path.
    pub(super) fn write(self, target: &Path, values: &[f16], origin: &Origin) -> Result<()> {
        let path = self.path(target);
        if let Some(folder) = path.parent() {
            files::create_folder(folder)?;
        }
        let shape = origin.header.shape();
        let classes = values.len() / shape.iter().product::<usize>().max(1);
        match self {
            Self::Nifti => write_image_f16(&path, values, classes, shape, &origin.header),
            Self::Npz => {
                write_npz(&path, values, [classes, shape[0], shape[1], shape[2]])?;
                files::replace(&path.with_extension("pkl"), properties(&origin.header).as_bytes())
            }
        }
    }
}

/// The header of an array file of `float32` in C order. Source: NumPy's format description,
/// version 1.0.
fn npy_header(shape: [usize; 4]) -> Vec<u8> {
    let [c, d, h, w] = shape;
    let mut text =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({c}, {d}, {h}, {w}), }}");
    // Magic, version and length take 10 bytes; the whole is a multiple of 64 and ends in a newline.
    while (10 + text.len() + 1) % 64 != 0 {
        text.push(' ');
    }
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

/// Name of the array in an archive.
const ENTRY: &[u8] = b"probabilities.npy";
/// Version of the ZIP format with 64-bit sizes.
const ZIP64: u16 = 45;

/// Writes an archive with one deflated array. Source: PKWARE's APPNOTE.TXT 6.3, 4.3; sizes are of
/// 64 bits, since the probabilities of a large scan exceed 4 GiB.
fn write_npz(path: &Path, values: &[f16], shape: [usize; 4]) -> Result<()> {
    let io = |e| files::unwritten(path, e);
    let temporary = files::temporary(path, ".npz").map_err(io)?;
    archive(temporary.as_file(), values, shape).map_err(io)?;
    temporary.as_file().sync_all().map_err(io)?;
    temporary.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}

fn archive(file: &std::fs::File, values: &[f16], shape: [usize; 4]) -> std::io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 17, file);
    out.write_all(&local_header(0, [0, 0]))?;
    let mut encoder = DeflateEncoder::new(&mut out, Compression::fast());
    let (mut crc, mut raw) = (Crc::new(), 0u64);
    let mut put = |bytes: &[u8]| -> std::io::Result<()> {
        crc.update(bytes);
        raw += bytes.len() as u64;
        encoder.write_all(bytes)
    };
    put(&npy_header(shape))?;
    let mut bytes = Vec::with_capacity(1 << 18);
    for part in values.chunks(1 << 16) {
        bytes.clear();
        part.iter().for_each(|v| bytes.extend(v.to_f32().to_le_bytes()));
        put(&bytes)?;
    }
    encoder.finish()?;
    let end = out.stream_position()?;
    let local = local_header(crc.sum(), [raw, 0]);
    let sizes = [raw, end - local.len() as u64];
    out.write_all(&directory(crc.sum(), sizes, end))?;
    // What was not known at the beginning: checksum and sizes.
    out.seek(SeekFrom::Start(0))?;
    out.write_all(&local_header(crc.sum(), sizes))?;
    out.flush()
}

/// Version, flags, method (deflate), time, date (1 January 1980), checksum, and sizes that refer to
/// the extra field: what the local header and the directory share.
fn entry(crc: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in [ZIP64, 0, 8, 0, 0x21] {
        bytes.extend(field.to_le_bytes());
    }
    for field in [crc, u32::MAX, u32::MAX] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend((ENTRY.len() as u16).to_le_bytes());
    bytes
}

/// An extra field of 64-bit numbers.
fn extra(numbers: &[u64]) -> Vec<u8> {
    let mut bytes = 1u16.to_le_bytes().to_vec();
    bytes.extend((8 * numbers.len() as u16).to_le_bytes());
    numbers.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
    bytes
}

/// The header in front of the data; `sizes`: raw, deflated.
fn local_header(crc: u32, sizes: [u64; 2]) -> Vec<u8> {
    let extra = extra(&sizes);
    let mut bytes = b"PK\x03\x04".to_vec();
    bytes.extend(entry(crc));
    bytes.extend((extra.len() as u16).to_le_bytes());
    bytes.extend(ENTRY);
    bytes.extend(extra);
    bytes
}

/// The directory at the end of the archive, which begins at byte `start`.
fn directory(crc: u32, sizes: [u64; 2], start: u64) -> Vec<u8> {
    let extra = extra(&[sizes[0], sizes[1], 0]);
    let mut bytes = b"PK\x01\x02".to_vec();
    bytes.extend(ZIP64.to_le_bytes());
    bytes.extend(entry(crc));
    bytes.extend((extra.len() as u16).to_le_bytes());
    // Comment, disk, attributes inside and outside; the offset refers to the extra field.
    bytes.extend([0; 10]);
    bytes.extend(u32::MAX.to_le_bytes());
    bytes.extend(ENTRY);
    bytes.extend(extra);
    let length = bytes.len() as u64;
    bytes.extend(b"PK\x06\x06");
    bytes.extend(44u64.to_le_bytes());
    bytes.extend([ZIP64, ZIP64].map(u16::to_le_bytes).concat());
    bytes.extend([0; 8]);
    for number in [1, 1, length, start] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(b"PK\x06\x07");
    bytes.extend(0u32.to_le_bytes());
    bytes.extend((start + length).to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(b"PK\x05\x06");
    bytes.extend([0; 4]);
    bytes.extend([1u16, 1].map(u16::to_le_bytes).concat());
    bytes.extend([u32::MAX; 2].map(u32::to_le_bytes).concat());
    bytes.extend([0; 2]);
    bytes
}

/// Python's pickle (protocol 0) of what nnU-Net needs to write a label map on this grid:
/// `{'sitk_stuff': {'spacing': (x, y, z), 'origin': ..., 'direction': ...}, 'spacing': [z, y, x]}`,
/// in ITK's frame, whose x grows to the left and y to the back.
fn properties(header: &Header) -> String {
    let sign = [-1.0, -1.0, 1.0];
    let [z, y, x] = header.spacing_mm();
    let (affine, cosines) = (header.affine(), header.cosines());
    let origin: Vec<f64> = (0..3).map(|r| sign[r] * affine[r][3]).collect();
    let direction: Vec<f64> = (0..9).map(|i| sign[i / 3] * cosines[i / 3][i % 3]).collect();
    let list = |values: &[f64]| {
        values.iter().fold(String::new(), |mut text, v| {
            // No negative zeros.
            let _ = writeln!(text, "F{:?}", v + 0.0);
            text
        })
    };
    let tuple = |name: &str, values: &[f64]| format!("V{name}\n({}ts", list(values));
    format!(
        "(dVsitk_stuff\n(d{}{}{}sVspacing\n({}ls.",
        tuple("spacing", &[x, y, z]),
        tuple("origin", &origin),
        tuple("direction", &direction),
        list(&[z, y, x])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_the_array() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let values: Vec<f16> = (0..48).map(|v| f16::from_f32(v as f32 / 64.0)).collect();
        write_npz(&path, &values, [2, 2, 3, 4]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        // Behind the name and the head of the extra field.
        let at = 30 + ENTRY.len() + 4;
        let (raw, deflated) = (number(at), number(at + 8));
        let data = &bytes[at + 16..at + 16 + deflated];
        let mut array = Vec::new();
        let mut decoder = flate2::read::DeflateDecoder::new(data);
        std::io::Read::read_to_end(&mut decoder, &mut array).unwrap();
        assert_eq!(array.len(), raw);
        assert_eq!(raw % 64, 48 * 4 % 64);
        let head = String::from_utf8_lossy(&array[10..128]).into_owned();
        assert!(head.contains("'descr': '<f4'") && head.contains("(2, 2, 3, 4)"), "{head}");
        let numbers: Vec<f32> = array[128..]
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        assert!(numbers.iter().zip(&values).all(|(a, b)| *a == b.to_f32()) && numbers.len() == 48);
        let mut crc = Crc::new();
        crc.update(&array);
        assert_eq!(bytes[14..18], crc.sum().to_le_bytes());
        // The directory follows, and its end says where it begins.
        let start = at + 16 + deflated;
        assert_eq!(&bytes[start..start + 4], b"PK\x01\x02");
        let end = bytes.len() - 22 - 20 - 56;
        assert_eq!((&bytes[end..end + 4], number(end + 48)), (&b"PK\x06\x06"[..], start));
        assert_eq!(number(bytes.len() - 22 - 12), end);
    }

    #[test]
    fn the_geometry_is_itks() {
        let mut header = Header::plain([2, 3, 4], [3.0, 0.5, 0.25]);
        header.srow[0][3] = 7.0;
        let text = properties(&header);
        let spacing =
            "(dVsitk_stuff\n(dVspacing\n(F0.25\nF0.5\nF3.0\ntsVorigin\n(F-7.0\nF0.0\nF0.0\nts";
        assert!(text.starts_with(spacing), "{text}");
        assert!(text.ends_with("ssVspacing\n(F3.0\nF0.5\nF0.25\nls."), "{text}");
    }
}
