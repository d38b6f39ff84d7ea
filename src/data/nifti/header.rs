//! The NIfTI header: parsing (NIfTI-1 and -2, both byte orders), and the NIfTI-1
//! bytes of an output file.

use super::datatype::DataType;
use crate::{Error, Result};
use std::path::Path;

/// The most values (voxels times channels) that a file may hold: 2^31, which is
/// 8 GiB as `f32` and ten volumes of 512 x 512 x 800.
pub const MAX_VALUES: u64 = 1 << 31;

/// What a NIfTI header says: voxel grid, storage and geometry. Axes here are in
/// the file's order x, y, z.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Voxels along x, y, z.
    pub dims: [usize; 3],
    /// Values a voxel (product of the dimensions from the fourth on).
    pub channels: usize,
    /// Voxel type.
    pub datatype: DataType,
    /// Whether the file's numbers are big endian.
    pub big_endian: bool,
    /// Byte offset of the voxels.
    pub vox_offset: u64,
    /// Slope and intercept; (1, 0) where the file has none.
    pub scaling: (f64, f64),
    /// pixdim[0..=3] as stored: qfac, then the voxel size along x, y, z.
    pub pixdim: [f64; 4],
    /// Units byte (2: mm).
    pub xyzt_units: u8,
    /// qform and sform codes; 0: absent.
    pub qform_code: i16,
    pub sform_code: i16,
    /// Quaternion b, c, d.
    pub quatern: [f64; 3],
    /// Offset of the qform.
    pub qoffset: [f64; 3],
    /// Rows of the sform.
    pub srow: [[f64; 4]; 3],
}

/// Reads numbers of either byte order at byte offsets.
struct Fields<'a> {
    bytes: &'a [u8],
    big: bool,
}

macro_rules! field {
    ($name:ident, $t:ty, $n:literal) => {
        fn $name(&self, at: usize) -> $t {
            let mut b = [0u8; $n];
            if let Some(s) = self.bytes.get(at..at + $n) {
                b.copy_from_slice(s);
            }
            if self.big { <$t>::from_be_bytes(b) } else { <$t>::from_le_bytes(b) }
        }
    };
}

impl Fields<'_> {
    field!(i16, i16, 2);
    field!(i32, i32, 4);
    field!(i64, i64, 8);
    field!(f32, f32, 4);
    field!(f64, f64, 8);
}

fn bad(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::Input(format!("'{}' {what}", path.display()))
}

impl Header {
    /// The header's length by its first four bytes: 348, 540, or `None` if this
    /// is no NIfTI header in either byte order.
    pub(super) fn length(first: [u8; 4]) -> Option<usize> {
        match (u32::from_le_bytes(first), u32::from_be_bytes(first)) {
            (348, _) | (_, 348) => Some(348),
            (540, _) | (_, 540) => Some(540),
            _ => None,
        }
    }

    /// Parses the header bytes (348 or 540) of `path`.
    ///
    /// # Errors
    /// Wrong magic, unsupported voxel type, impossible dimensions, more than
    /// [`MAX_VALUES`] values, or a voxel size that is not a number.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let v2 = bytes.len() >= 540;
        let big = bytes.first() == Some(&0);
        let f = Fields { bytes, big };
        let magic = if v2 { bytes.get(4..8) } else { bytes.get(344..348) };
        let known: [&[u8]; 2] = if v2 { [b"n+2\0", b"ni2\0"] } else { [b"n+1\0", b"ni1\0"] };
        if !magic.is_some_and(|m| known.contains(&m)) {
            return Err(bad(
                path,
                "is not a NIfTI file: its magic bytes are wrong; convert it to .nii.gz first",
            ));
        }
        let dim = |i: usize| if v2 { f.i64(16 + 8 * i) } else { f.i16(40 + 2 * i) as i64 };
        let rank = dim(0);
        if !(1..=7).contains(&rank) {
            return Err(bad(
                path,
                format!("has {rank} dimensions in its header, not 1 to 7; write the file anew"),
            ));
        }
        let mut all = [1u64; 8];
        for (i, size) in all.iter_mut().enumerate().take(rank as usize + 1).skip(1) {
            if i > 3 && dim(i) == 0 {
                // Some writers count dimensions that they do not use; ITK reads 1 there too.
                continue;
            }
            *size = u64::try_from(dim(i)).ok().filter(|&d| d > 0).ok_or_else(|| {
                let n = dim(i);
                let what = format!("has {n} voxels along dimension {i} in its header");
                bad(path, format!("{what}; write the file anew"))
            })?;
        }
        let total = all[1..].iter().try_fold(1u64, |p, &d| p.checked_mul(d));
        if total.is_none_or(|t| t > MAX_VALUES) {
            let list: Vec<String> = all[1..=rank as usize].iter().map(u64::to_string).collect();
            return Err(bad(
                path,
                format!(
                    "claims {} values, more than the {MAX_VALUES} that are read; crop or downsample it",
                    list.join(" x ")
                ),
            ));
        }
        let code = f.i16(if v2 { 12 } else { 70 });
        let datatype = DataType::from_code(code).ok_or_else(|| {
            let what = DataType::unread_name(code);
            bad(path, format!("has voxel type {code} ({what}), which is neither an integer nor a float of up to 64 bits; convert it to one"))
        })?;
        let pix = |i: usize| if v2 { f.f64(104 + 8 * i) } else { f.f32(76 + 4 * i) as f64 };
        let pixdim = [pix(0), pix(1), pix(2), pix(3)];
        if let Some(i) = (1..4).find(|&i| i as i64 <= rank && !pixdim[i].is_finite()) {
            return Err(bad(
                path,
                format!("has the voxel size {} along dimension {i}; correct its header", pixdim[i]),
            ));
        }
        let offset = if v2 { f.i64(168) as f64 } else { f.f32(108) as f64 };
        if !(0.0..=(1u64 << 30) as f64).contains(&offset) {
            return Err(bad(
                path,
                format!("has the impossible data offset {offset}; write the file anew"),
            ));
        }
        let single = magic.is_some_and(|m| m[1] == b'+');
        let least = if !single { 0 } else { bytes.len() as u64 + 4 };
        let (slope, inter) =
            if v2 { (f.f64(176), f.f64(184)) } else { (f.f32(112) as f64, f.f32(116) as f64) };
        let scaling = if slope == 0.0 || !slope.is_finite() {
            (1.0, 0.0)
        } else {
            (slope, if inter.is_finite() { inter } else { 0.0 })
        };
        let form = |i: usize| if v2 { f.i32(344 + 4 * i) as i16 } else { f.i16(252 + 2 * i) };
        let num = |i: usize| if v2 { f.f64(352 + 8 * i) } else { f.f32(256 + 4 * i) as f64 };
        let mut srow = [[0.0; 4]; 3];
        for (r, row) in srow.iter_mut().enumerate() {
            for (c, v) in row.iter_mut().enumerate() {
                *v = num(6 + 4 * r + c);
            }
        }
        Ok(Self {
            dims: [all[1] as usize, all[2] as usize, all[3] as usize],
            channels: all[4..].iter().product::<u64>() as usize,
            datatype,
            big_endian: big,
            vox_offset: (offset as u64).max(least),
            scaling,
            pixdim,
            xyzt_units: if v2 { f.i32(500) as u8 } else { bytes.get(123).copied().unwrap_or(0) },
            qform_code: form(0),
            sform_code: form(1),
            quatern: [num(0), num(1), num(2)],
            qoffset: [num(3), num(4), num(5)],
            srow,
        })
    }

    /// Voxels times channels; at most [`MAX_VALUES`] where the header was parsed.
    pub fn values(&self) -> usize {
        self.dims.iter().product::<usize>() * self.channels
    }

    /// A plain header: `shape` and `spacing_mm` as D, H, W, axes along right,
    /// anterior, superior, origin 0, millimetres.
    pub fn plain(shape: [usize; 3], spacing_mm: [f64; 3]) -> Self {
        let [sz, sy, sx] = spacing_mm;
        Self {
            dims: [shape[2], shape[1], shape[0]],
            channels: 1,
            datatype: DataType::F32,
            big_endian: false,
            vox_offset: 352,
            scaling: (1.0, 0.0),
            pixdim: [1.0, sx, sy, sz],
            xyzt_units: 2,
            qform_code: 1,
            sform_code: 1,
            quatern: [0.0; 3],
            qoffset: [0.0; 3],
            srow: [[sx, 0.0, 0.0, 0.0], [0.0, sy, 0.0, 0.0], [0.0, 0.0, sz, 0.0]],
        }
    }

    /// The 352 bytes before the voxels of a NIfTI-1 file with this geometry,
    /// `channels` values a voxel of type `datatype`, neutral scaling and no
    /// extensions. Little endian.
    ///
    /// # Errors
    /// More than 32767 voxels along an axis, which NIfTI-1 cannot say.
    pub(super) fn to_bytes(
        &self,
        channels: usize,
        datatype: DataType,
        path: &Path,
    ) -> Result<Vec<u8>> {
        let mut b = vec![0u8; 352];
        let put = |b: &mut [u8], at: usize, v: &[u8]| b[at..at + v.len()].copy_from_slice(v);
        put(&mut b, 0, &348i32.to_le_bytes());
        put(&mut b, 38, b"r");
        let rank = if channels > 1 { 4 } else { 3 };
        let dims = [rank, self.dims[0], self.dims[1], self.dims[2], channels, 1, 1, 1];
        for (i, &d) in dims.iter().enumerate() {
            let d = i16::try_from(d).map_err(|_| {
                Error::Input(format!(
                    "'{}' cannot be written: NIfTI-1 holds at most 32767 voxels an axis, not {d}; crop the input",
                    path.display()
                ))
            })?;
            put(&mut b, 40 + 2 * i, &d.to_le_bytes());
        }
        put(&mut b, 70, &datatype.code().to_le_bytes());
        put(&mut b, 72, &(8 * datatype.size() as i16).to_le_bytes());
        let float = |b: &mut [u8], at: usize, v: f64| put(b, at, &(v as f32).to_le_bytes());
        for i in 0..8 {
            let v = self.pixdim.get(i).copied().unwrap_or(if i == 4 { 1.0 } else { 0.0 });
            float(&mut b, 76 + 4 * i, v);
        }
        float(&mut b, 108, 352.0);
        float(&mut b, 112, 1.0);
        put(&mut b, 123, &[self.xyzt_units]);
        put(&mut b, 252, &self.qform_code.to_le_bytes());
        put(&mut b, 254, &self.sform_code.to_le_bytes());
        let rows = self.srow.iter().flatten();
        for (i, &v) in self.quatern.iter().chain(&self.qoffset).chain(rows).enumerate() {
            float(&mut b, 256 + 4 * i, v);
        }
        put(&mut b, 344, b"n+1\0");
        Ok(b)
    }
}
