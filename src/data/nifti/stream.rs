//! Streams of decoded values from files that may be compressed, split in two or
//! damaged.

use super::header::Header;
use crate::data::names::{ending_of, file_name, split_ending};
use crate::{Error, Result};
use flate2::bufread::GzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, Chain, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Values decoded at a time.
const CHUNK: usize = 1 << 16;
/// Deflate cannot expand a byte into more than this (1032, rounded up).
const MAX_EXPANSION: u64 = 1040;

/// All files of the volume at `path`: itself, or its `.hdr` and `.img`.
pub fn files_of(path: &Path) -> Vec<PathBuf> {
    let (header, image) = file_pair(path);
    if header == image { vec![header] } else { vec![header, image] }
}

/// The header and image files of `path`: the same but for `.hdr`/`.img`, of
/// which one may be compressed and the other not.
fn file_pair(path: &Path) -> (PathBuf, PathBuf) {
    let name = file_name(path);
    let (stem, ending) = split_ending(&name);
    if !ending_of(&name).starts_with(".hdr") {
        return (path.to_path_buf(), path.to_path_buf());
    }
    let packed = ending.len() > ".hdr".len();
    let capitals = ending.bytes().all(|b| !b.is_ascii_lowercase());
    // The file that was named, then such as are spelt and packed as it is, then others.
    let part = |kind: &str| {
        let mut endings = [kind.to_owned(), format!("{kind}.gz")];
        let mut spellings = [str::to_ascii_lowercase, str::to_ascii_uppercase];
        if packed {
            endings.reverse();
        }
        if capitals {
            spellings.reverse();
        }
        let named = ending.to_ascii_lowercase().starts_with(kind).then(|| path.to_path_buf());
        let like = spellings.iter().flat_map(|spelt| endings.iter().map(move |e| spelt(e)));
        let like = like.map(|ending| path.with_file_name(format!("{stem}{ending}")));
        let all: Vec<PathBuf> = named.into_iter().chain(like).collect();
        all.iter().find(|path| path.exists()).or(all.first()).cloned().unwrap_or_default()
    };
    (part(".hdr"), part(".img"))
}

/// The bytes of a file, its first two as already read.
type Raw = BufReader<Chain<Cursor<Vec<u8>>, File>>;

/// Decompresses gzip data of one or several members. Bytes after the last
/// member are ignored, as gzip itself ignores padding.
struct Members(Option<GzDecoder<Raw>>);

impl Read for Members {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while let Some(decoder) = &mut self.0 {
            let n = decoder.read(out)?;
            if n > 0 || out.is_empty() {
                return Ok(n);
            }
            let Some(mut rest) = self.0.take().map(GzDecoder::into_inner) else { break };
            if rest.fill_buf()?.first() == Some(&0x1f) {
                self.0 = Some(GzDecoder::new(rest));
            }
        }
        Ok(0)
    }
}

/// Opens a file, decompressing it if its first bytes say gzip. Returns the
/// stream and the most bytes that it can deliver.
fn open(path: &Path) -> Result<(Box<dyn Read>, u64)> {
    let io = |e| Error::io("read", path, e);
    let bad = |what: &str| Error::Input(format!("'{}' {what}", path.display()));
    let mut file = File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if meta.is_dir() {
        return Err(bad("is a folder, not a NIfTI file; name a file in it"));
    }
    let mut first = Vec::with_capacity(2);
    file.by_ref().take(2).read_to_end(&mut first).map_err(io)?;
    if first.is_empty() {
        return Err(bad("is truncated: it is empty; fetch or write it again"));
    }
    let gzip = first == [0x1f, 0x8b];
    let named = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
    if named && !gzip {
        return Err(bad(
            "is named .gz but is not gzip data; fetch it again or drop '.gz' from its name",
        ));
    }
    let all = BufReader::with_capacity(1 << 17, Cursor::new(first).chain(file));
    Ok(if gzip {
        let members = Members(Some(GzDecoder::new(all)));
        (Box::new(members), meta.len().saturating_mul(MAX_EXPANSION))
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

/// The start of a file.
struct Start {
    header: Header,
    /// Bytes of the header.
    length: u64,
    /// Whether the magic bytes say that the voxels follow in the same file.
    single: bool,
}

/// Reads the header from the start of `r`.
fn take_header(r: &mut dyn Read, path: &Path) -> Result<Start> {
    let not_nifti = || {
        Error::Input(format!(
            "'{}' is not a NIfTI file: it does not begin with a NIfTI-1 or NIfTI-2 header; convert it to .nii.gz",
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
    let header = Header::parse(&bytes, path)?;
    let magic = if length == 540 { 4 } else { 344 };
    Ok(Start { header, length: length as u64, single: bytes[magic + 1] == b'+' })
}

/// Reads only the header of a NIfTI file.
///
/// # Errors
/// Unreadable, not NIfTI, or a header that [`Header::parse`] refuses.
pub fn read_header(path: &Path) -> Result<Header> {
    let (hdr, _) = file_pair(path);
    let (mut r, _) = open(&hdr)?;
    Ok(take_header(&mut r, &hdr)?.header)
}

/// Reads all values and hands them over in chunks of scaled `f64`, in the
/// file's order, which is C, D, H, W, so that memory stays small. `before` gets
/// the header first and may refuse it; `each` gets the header, the index of the
/// chunk's first value, and the chunk.
///
/// # Errors
/// Unreadable, truncated or damaged files, headers that [`Header::parse`]
/// refuses, and what `before` and `each` give.
pub fn for_each_chunk(
    path: &Path,
    before: impl FnOnce(&Header) -> Result<()>,
    mut each: impl FnMut(&Header, usize, &[f64]) -> Result<()>,
) -> Result<Header> {
    let (hdr, mut img) = file_pair(path);
    let (mut r, mut limit) = open(&hdr)?;
    let Start { header, length: mut position, single } = take_header(&mut r, &hdr)?;
    before(&header)?;
    if single {
        // Its name may say otherwise.
        img = hdr;
    } else if img != hdr {
        (r, limit) = open(&img)?;
        position = 0;
    } else if header.vox_offset < position {
        return Err(Error::Input(format!(
            "'{}' is the header of a pair of files; name it .hdr and lay the .img with its voxels beside it",
            path.display()
        )));
    }
    let count = header.values();
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
    // One byte more makes gzip compare its checksum; more bytes there are
    // tolerated, as padded files exist.
    r.read(&mut [0u8; 1]).map_err(|e| read_error(&img, e))?;
    Ok(header)
}
