//! The NIfTI header: parsing (NIfTI-1 and -2, both byte orders), geometry, and
//! the NIfTI-1 bytes of an output file.

use crate::{Error, Result};
use std::path::Path;

/// The most values (voxels times channels) that a file may hold: 2^31, which is
/// 8 GiB as `f32` and ten volumes of 512 x 512 x 800.
pub const MAX_VALUES: u64 = 1 << 31;

/// Voxel types that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl DataType {
    /// From the header's `datatype` code, if it is an integer or float type.
    pub fn from_code(code: i16) -> Option<Self> {
        Some(match code {
            2 => Self::U8,
            4 => Self::I16,
            8 => Self::I32,
            16 => Self::F32,
            64 => Self::F64,
            256 => Self::I8,
            512 => Self::U16,
            768 => Self::U32,
            1024 => Self::I64,
            1280 => Self::U64,
            _ => return None,
        })
    }

    /// The header's `datatype` code.
    pub fn code(self) -> i16 {
        match self {
            Self::U8 => 2,
            Self::I16 => 4,
            Self::I32 => 8,
            Self::F32 => 16,
            Self::F64 => 64,
            Self::I8 => 256,
            Self::U16 => 512,
            Self::U32 => 768,
            Self::I64 => 1024,
            Self::U64 => 1280,
        }
    }

    /// Bytes a value.
    pub fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Decodes `bytes` (a whole number of values) and appends them to `out`.
    pub(super) fn decode(self, big: bool, bytes: &[u8], out: &mut Vec<f64>) {
        macro_rules! run {
            ($t:ty, $n:literal) => {
                out.extend(bytes.chunks_exact($n).map(|c| {
                    let mut b = [0u8; $n];
                    b.copy_from_slice(c);
                    (if big { <$t>::from_be_bytes(b) } else { <$t>::from_le_bytes(b) }) as f64
                }))
            };
        }
        match self {
            Self::U8 => run!(u8, 1),
            Self::I8 => run!(i8, 1),
            Self::U16 => run!(u16, 2),
            Self::I16 => run!(i16, 2),
            Self::U32 => run!(u32, 4),
            Self::I32 => run!(i32, 4),
            Self::U64 => run!(u64, 8),
            Self::I64 => run!(i64, 8),
            Self::F32 => run!(f32, 4),
            Self::F64 => run!(f64, 8),
        }
    }
}

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
            bad(path, format!("has voxel type {code}, which is neither an integer nor a float of up to 64 bits; convert it"))
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

    /// Voxels along D, H, W.
    pub fn shape(&self) -> [usize; 3] {
        [self.dims[2], self.dims[1], self.dims[0]]
    }

    /// Voxel size along D, H, W in mm: the absolute value of pixdim, 1 where it
    /// is 0 (as nibabel and ITK read it).
    pub fn spacing_mm(&self) -> [f64; 3] {
        [self.voxel_size(2), self.voxel_size(1), self.voxel_size(0)]
    }

    fn voxel_size(&self, axis: usize) -> f64 {
        let v = self.pixdim[axis + 1].abs();
        if v > 0.0 && v.is_finite() { v } else { 1.0 }
    }

    /// Rows that map voxel (x, y, z, 1) to mm: the sform where its code is not
    /// 0, else the qform, else the voxel sizes alone (nibabel's order).
    pub fn affine(&self) -> [[f64; 4]; 3] {
        if self.sform_code > 0 {
            self.srow
        } else if self.qform_code > 0 {
            self.qform()
        } else {
            let mut rows = [[0.0; 4]; 3];
            for (i, row) in rows.iter_mut().enumerate() {
                row[i] = self.voxel_size(i);
            }
            rows
        }
    }

    /// The qform's rows. A qfac that is neither 1 nor -1 counts as 1; a
    /// quaternion longer than 1 is normalised (NIfTI-1 standard, method 2).
    pub fn qform(&self) -> [[f64; 4]; 3] {
        let [mut b, mut c, mut d] = self.quatern.map(|v| if v.is_finite() { v } else { 0.0 });
        let n = b * b + c * c + d * d;
        let a = if n > 1.0 {
            let s = n.sqrt();
            (b, c, d) = (b / s, c / s, d / s);
            0.0
        } else {
            (1.0 - n).sqrt()
        };
        let rot = [
            [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
            [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
            [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ];
        let qfac = if self.pixdim[0] < 0.0 { -1.0 } else { 1.0 };
        let size = [self.voxel_size(0), self.voxel_size(1), self.voxel_size(2) * qfac];
        let mut rows = [[0.0; 4]; 3];
        for r in 0..3 {
            for c in 0..3 {
                rows[r][c] = rot[r][c] * size[c];
            }
            rows[r][3] = self.qoffset[r];
        }
        rows
    }

    /// The header of a box of this volume: the origin moves to the box's first voxel `start`,
    /// which may lie outside; `start` and `shape` are D, H, W.
    pub fn cut(&self, start: [i64; 3], shape: [usize; 3]) -> Self {
        let mut cut = Self { dims: [shape[2], shape[1], shape[0]], ..self.clone() };
        let first = [start[2], start[1], start[0]].map(|i| i as f64);
        let moved = |rows: [[f64; 4]; 3]| {
            rows.map(|r| r[3] + (0..3).map(|axis| r[axis] * first[axis]).sum::<f64>())
        };
        if self.qform_code > 0 {
            cut.qoffset = moved(self.qform());
        } else if self.sform_code == 0 {
            // Without any form there is no origin to move: one is made.
            (cut.sform_code, cut.srow) = (2, self.affine());
        }
        let offsets = moved(cut.srow);
        for (row, offset) in cut.srow.iter_mut().zip(offsets) {
            row[3] = offset;
        }
        cut
    }

    /// For the directions right, anterior, superior: the array axis (0, 1, 2 = D, H, W) that runs
    /// nearest along it, and whether its index grows towards it.
    pub fn anatomical_axes(&self) -> [(usize, bool); 3] {
        let rows = self.affine();
        let share = |direction: usize, axis: usize| {
            let length = (0..3).map(|r| rows[r][axis].powi(2)).sum::<f64>().sqrt();
            if length > 0.0 { rows[direction][axis] / length } else { 0.0 }
        };
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let fit = |order: &[usize; 3]| (0..3).map(|i| share(i, order[i]).abs()).sum::<f64>();
        let mut best = orders[0];
        for order in orders {
            if fit(&order) > fit(&best) + 1e-9 {
                best = order;
            }
        }
        [0, 1, 2].map(|i| (2 - best[i], share(i, best[i]) >= 0.0))
    }

    /// What differs between the grids of two files, as a phrase, or `None`:
    /// shape, then spacing and direction within `tolerance` (mm), then origin.
    pub fn geometry_difference(&self, other: &Self, tolerance: f64) -> Option<String> {
        if self.dims != other.dims {
            return Some(format!("shape {:?} against {:?} (z, y, x)", self.shape(), other.shape()));
        }
        let (a, b) = (self.spacing_mm(), other.spacing_mm());
        if a.iter().zip(&b).any(|(a, b)| (a - b).abs() > tolerance) {
            return Some(format!("spacing {a:?} mm against {b:?} mm (z, y, x)"));
        }
        let (a, b) = (self.affine(), other.affine());
        for (what, columns) in [("direction", 0..3), ("origin", 3..4)] {
            for (ra, rb) in a.iter().zip(&b) {
                if columns.clone().any(|c| (ra[c] - rb[c]).abs() > tolerance) {
                    return Some(format!("{what} {a:?} against {b:?}"));
                }
            }
        }
        None
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_keeps_its_place_by_every_form() {
        let mut header = Header::plain([10, 20, 30], [3.0, 2.0, 1.0]);
        header.quatern = [0.0, 0.0, (0.25f64).sin()];
        header.qoffset = [5.0, 6.0, 7.0];
        header.srow[1][3] = -4.0;
        for (qform, sform) in [(1, 1), (1, 0), (0, 1), (0, 0)] {
            (header.qform_code, header.sform_code) = (qform, sform);
            let cut = header.cut([1, 2, -3], [4, 5, 6]);
            assert_eq!(cut.shape(), [4, 5, 6]);
            let (whole, part) = (header.affine(), cut.affine());
            for r in 0..3 {
                // Voxel (0, 0, 0) of the cut is voxel (-3, 2, 1) of the whole.
                let place = whole[r][3] - 3.0 * whole[r][0] + 2.0 * whole[r][1] + 1.0 * whole[r][2];
                assert!((part[r][3] - place).abs() < 1e-9, "{qform} {sform}");
                assert_eq!(part[r][..3], whole[r][..3]);
            }
            if qform > 0 {
                let (whole, part) = (header.qform(), cut.qform());
                assert!(
                    (part[0][3] - whole[0][3] + 3.0 * whole[0][0] - 2.0 * whole[0][1]).abs() < 1e-9
                );
            }
        }
    }

    #[test]
    fn axes_are_named_by_the_affine() {
        let mut header = Header::plain([1; 3], [1.0; 3]);
        assert_eq!(header.anatomical_axes(), [(2, true), (1, true), (0, true)]);
        header.srow = [[-1.0, 0.1, 0.0, 0.0], [0.0, 0.2, -3.0, 0.0], [0.0, 1.0, 0.4, 0.0]];
        assert_eq!(header.anatomical_axes(), [(2, false), (0, false), (1, true)]);
        header.srow = [[0.0; 4]; 3];
        assert_eq!(header.anatomical_axes(), [(2, true), (1, true), (0, true)]);
    }
}
