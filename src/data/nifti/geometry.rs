//! Where voxels lie: voxel sizes, affines, axes.

use super::header::Header;

/// The part of a header that says where the voxels lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Its sform.
    Sform,
    /// Its qform.
    Qform,
    /// None; the voxel sizes alone, with the origin at the first voxel.
    Neither,
}

/// Length of column `axis` of affine `rows`.
pub(super) fn column_length(rows: &[[f64; 4]; 3], axis: usize) -> f64 {
    rows.iter().map(|r| r[axis] * r[axis]).sum::<f64>().sqrt()
}

/// Whether `rows` are finite and map a voxel to a body, not to a plane: the
/// determinant of the columns, each made as long as 1, is not 0.
pub(super) fn is_usable(rows: &[[f64; 4]; 3]) -> bool {
    let lengths = [0, 1, 2].map(|axis| column_length(rows, axis));
    if !rows.iter().flatten().chain(&lengths).all(|v| v.is_finite()) || lengths.contains(&0.0) {
        return false;
    }
    let at = |r: usize, c: usize| rows[r][c] / lengths[c];
    let minor = |a: usize, b: usize| at(1, a) * at(2, b) - at(1, b) * at(2, a);
    (at(0, 0) * minor(1, 2) - at(0, 1) * minor(0, 2) + at(0, 2) * minor(0, 1)).abs() > 1e-6
}

impl Header {
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
    /// 0, else the qform, else the voxel sizes alone (nibabel's order). A form
    /// that maps the volume to a plane or to no numbers counts as absent.
    pub fn affine(&self) -> [[f64; 4]; 3] {
        match self.form() {
            Form::Sform => self.srow,
            Form::Qform => self.qform(),
            Form::Neither => self.sizes_alone(),
        }
    }

    /// Where [`affine`](Self::affine) comes from.
    pub fn form(&self) -> Form {
        if self.sform_code > 0 && is_usable(&self.srow) {
            Form::Sform
        } else if self.qform_code > 0 && is_usable(&self.qform()) {
            Form::Qform
        } else {
            Form::Neither
        }
    }

    fn sizes_alone(&self) -> [[f64; 4]; 3] {
        let mut rows = [[0.0; 4]; 3];
        for (i, row) in rows.iter_mut().enumerate() {
            row[i] = self.voxel_size(i);
        }
        rows
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

    /// Sets quaternion, qfac and offset such that [`qform`](Self::qform) gives
    /// `rows`, whose columns must stand at right angles and be as long as the
    /// voxel sizes. Source: nifti1_io's `nifti_mat44_to_quatern`.
    pub(in crate::data) fn set_qform(&mut self, rows: [[f64; 4]; 3]) {
        let mut m = [[0.0; 3]; 3];
        for (r, row) in m.iter_mut().enumerate() {
            for (c, v) in row.iter_mut().enumerate() {
                *v = rows[r][c] / column_length(&rows, c);
            }
        }
        let minor = |a: usize, b: usize| m[1][a] * m[2][b] - m[1][b] * m[2][a];
        let mirrored = m[0][0] * minor(1, 2) - m[0][1] * minor(0, 2) + m[0][2] * minor(0, 1) < 0.0;
        self.pixdim[0] = if mirrored { -1.0 } else { 1.0 };
        if mirrored {
            m.iter_mut().for_each(|row| row[2] = -row[2]);
        }
        let trace = m[0][0] + m[1][1] + m[2][2];
        // The largest of a, b, c, d is found from the diagonal, the others by division.
        let squares = [trace, 2.0 * m[0][0] - trace, 2.0 * m[1][1] - trace, 2.0 * m[2][2] - trace];
        let largest = (1..4).fold(0, |best, i| if squares[i] > squares[best] { i } else { best });
        let four = 2.0 * (squares[largest] + 1.0).max(0.0).sqrt();
        let (sum, gap) = (
            |r: usize, c: usize| (m[r][c] + m[c][r]) / four,
            |r: usize, c: usize| (m[r][c] - m[c][r]) / four,
        );
        let [a, b, c, d] = match largest {
            0 => [four / 4.0, gap(2, 1), gap(0, 2), gap(1, 0)],
            1 => [gap(2, 1), four / 4.0, sum(0, 1), sum(0, 2)],
            2 => [gap(0, 2), sum(0, 1), four / 4.0, sum(1, 2)],
            _ => [gap(1, 0), sum(0, 2), sum(1, 2), four / 4.0],
        };
        let sign = if a < 0.0 { -1.0 } else { 1.0 };
        self.quatern = [b, c, d].map(|v| sign * v);
        self.qoffset = rows.map(|r| r[3]);
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
        }
        if self.form() == Form::Neither {
            // Without any form there is no origin to move: one is made.
            (cut.sform_code, cut.srow) = (2, self.affine());
        }
        let offsets = moved(cut.srow);
        for (row, offset) in cut.srow.iter_mut().zip(offsets) {
            row[3] = offset;
        }
        cut
    }

    /// The header of this volume on a grid of `shape` (D, H, W) with the same outer borders: voxel
    /// sizes change, and the first voxel's centre moves.
    pub fn resampled(&self, shape: [usize; 3]) -> Self {
        let dims = [shape[2], shape[1], shape[0]];
        let ratio: [f64; 3] = std::array::from_fn(|i| self.dims[i] as f64 / dims[i].max(1) as f64);
        let moved = |rows: [[f64; 4]; 3]| {
            rows.map(|row| {
                let steps = [0, 1, 2].map(|i| row[i] * ratio[i]);
                let shift: f64 = (0..3).map(|i| row[i] * (ratio[i] - 1.0) / 2.0).sum();
                [steps[0], steps[1], steps[2], row[3] + shift]
            })
        };
        let mut header = Self { dims, ..self.clone() };
        if self.form() == Form::Neither {
            (header.sform_code, header.srow) = (2, self.affine());
        }
        header.srow = moved(header.srow);
        if self.qform_code > 0 {
            header.qoffset = moved(self.qform()).map(|row| row[3]);
        }
        for (size, ratio) in header.pixdim[1..].iter_mut().zip(ratio) {
            *size *= ratio;
        }
        header
    }

    /// For the directions right, anterior, superior: the array axis (0, 1, 2 = D, H, W) that runs
    /// nearest along it, and whether its index grows towards it.
    pub fn anatomical_axes(&self) -> [(usize, bool); 3] {
        let rows = self.affine();
        let share = |direction: usize, axis: usize| {
            let length = column_length(&rows, axis);
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
