//! Whether two files lie on one grid. The rule of all commands: how far apart the two headers place
//! a voxel, in voxels.

use super::geometry::{Form, column_length};
use super::header::Header;
use crate::numbers::{place, plain};

/// Up to this many voxels, a displacement is round-off. Headers hold `f32`; some tools write
/// origins with two decimals (0.005 mm), and a stored quaternion turns the far end of 500 voxels by
/// up to a tenth of one. A tenth of a voxel moves no voxel onto another, and a surface by less than
/// its sampling.
pub const ROUND_OFF_VOXELS: f64 = 0.1;

/// From more than this many voxels on, the voxels of one file belong to others of the second: the
/// nearest voxel is another one.
pub const MOST_VOXELS: f64 = 0.5;

/// A file's cosines are another's rounded if they are so to this.
const ROUNDED: f64 = 1e-5;

/// A respect in which two grids can differ, gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Numbers of voxels.
    Shape,
    /// Voxel sizes.
    Spacing,
    /// Directions of the axes.
    Direction,
    /// Place of the first voxel.
    Origin,
}

/// One difference between two grids.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// In what respect.
    pub aspect: Aspect,
    /// Whether the files cannot be used together; else the difference is worth a warning.
    pub is_error: bool,
    /// A phrase such as "spacing [3, 1, 1] mm against [2, 1, 1] mm (z, y, x)".
    pub phrase: String,
}

/// What a displacement in voxels is.
struct Displacement {
    spacing: f64,
    direction: f64,
    origin: f64,
    /// The largest of a corner, by all of it together.
    corner: f64,
}

impl Header {
    /// All that differs between the grids of two files: nothing up to [`ROUND_OFF_VOXELS`], a
    /// warning up to [`MOST_VOXELS`], an error beyond and wherever the shapes differ. The measure is
    /// the largest displacement of a corner voxel along an axis, in voxels of `self`.
    ///
    /// Two allowances: cosines that are the other file's, rounded to two or three digits, are
    /// round-off up to [`MOST_VOXELS`] and never an error, since a large volume turns small
    /// errors into voxels. And where exactly one file says where it lies, the voxels still belong
    /// together by their indices: then place and direction give a warning.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        if self.dims != other.dims {
            let (a, b) = (self.shape(), other.shape());
            let phrase = format!("shape {a:?} against {b:?} (z, y, x)");
            found.push(Difference { aspect: Aspect::Shape, is_error: true, phrase });
        }
        let apart = self.displacement(other);
        let rounded = self.rounded_cosines(other) || other.rounded_cosines(self);
        let unplaced = (self.form() == Form::Neither) != (other.form() == Form::Neither);
        let silent = if rounded { MOST_VOXELS } else { ROUND_OFF_VOXELS };
        let parts = [
            (Aspect::Spacing, apart.spacing, silent),
            (Aspect::Direction, apart.direction, silent),
            (Aspect::Origin, apart.origin, ROUND_OFF_VOXELS),
        ];
        let mut chosen: Vec<_> = parts.iter().filter(|(_, by, silent)| by > silent).collect();
        if chosen.is_empty() && apart.corner > silent {
            // Each part by itself is round-off, all of them together are not.
            chosen.extend(parts.iter().max_by(|a, b| a.1.total_cmp(&b.1)));
        }
        let far = match rounded {
            true => apart.origin > MOST_VOXELS,
            false => apart.corner.max(apart.spacing) > MOST_VOXELS,
        };
        let voxels = apart.corner.max(apart.spacing);
        let add = |&(aspect, ..): &(Aspect, f64, f64)| {
            let is_error = match aspect {
                Aspect::Spacing if unplaced => apart.spacing > MOST_VOXELS,
                _ => far && !unplaced,
            };
            let phrase = self.phrase(other, aspect);
            let phrase = match is_error {
                true => phrase,
                false => format!("{phrase}, up to {voxels:.2} voxels apart"),
            };
            Difference { aspect, is_error, phrase }
        };
        found.extend(chosen.into_iter().map(add));
        found
    }

    /// The gravest of [`differences`](Self::differences) that is an error, as a phrase.
    pub fn error_of_grid(&self, other: &Self) -> Option<String> {
        self.differences(other).into_iter().find(|d| d.is_error).map(|d| d.phrase)
    }

    /// The first of [`differences`](Self::differences) that is no error, as a phrase.
    pub fn warning_of_grid(&self, other: &Self) -> Option<String> {
        self.differences(other).into_iter().find(|d| !d.is_error).map(|d| d.phrase)
    }

    /// What two grids differ by in one respect.
    fn phrase(&self, other: &Self, aspect: Aspect) -> String {
        match aspect {
            Aspect::Shape => format!("shape {:?} against {:?}", self.shape(), other.shape()),
            Aspect::Spacing => {
                let (a, b) = (place(self.spacing_mm()), place(other.spacing_mm()));
                format!("spacing {a} mm against {b} mm (z, y, x)")
            }
            Aspect::Direction => {
                let (left, right) = (self.orientation(), other.orientation());
                let remark = self.unplaced(other);
                if left != right {
                    return format!("direction {left} against {right}{remark}");
                }
                let (a, b) = (self.cosines(), other.cosines());
                let gap = (0..9).map(|i| (a[i / 3][i % 3] - b[i / 3][i % 3]).abs());
                let gap = gap.fold(0.0, f64::max);
                format!("direction, by up to {} in a cosine{remark}", plain(gap))
            }
            Aspect::Origin => {
                let [a, b] = [self, other].map(|h| place(h.affine().map(|row| row[3])));
                format!("origin {a} mm against {b} mm (x, y, z){}", self.unplaced(other))
            }
        }
    }

    /// Directions of the axes: the affine's columns, each of length 1.
    pub fn cosines(&self) -> [[f64; 3]; 3] {
        let rows = self.affine();
        let lengths = [0, 1, 2].map(|c| column_length(&rows, c));
        rows.map(|row| [0, 1, 2].map(|c| row[c] / lengths[c]))
    }

    fn displacement(&self, other: &Self) -> Displacement {
        let (a, b) = (self.affine(), other.affine());
        let lengths = [0, 1, 2].map(|c| column_length(&a, c));
        let (from, to) = (self.cosines(), other.cosines());
        let inverse = inverse(a.map(|row| [row[0], row[1], row[2]]));
        // The largest step along an axis of this grid that makes up a vector in mm.
        let in_voxels = |mm: [f64; 3]| {
            let along = |row: [f64; 3]| (0..3).map(|i| row[i] * mm[i]).sum::<f64>().abs();
            inverse.map(along).into_iter().fold(0.0, f64::max)
        };
        let mut apart = Displacement {
            spacing: 0.0,
            direction: 0.0,
            origin: in_voxels([0, 1, 2].map(|r| b[r][3] - a[r][3])),
            corner: 0.0,
        };
        // A grid of one slice has an edge all the same.
        let far = self.dims.map(|n| n.max(2) as f64 - 1.0);
        let [z, y, x] = self.spacing_mm();
        let [oz, oy, ox] = other.spacing_mm();
        for (size, (here, there)) in far.iter().zip([(x, ox), (y, oy), (z, oz)]) {
            apart.spacing = apart.spacing.max(size * (here - there).abs() / here);
        }
        for corner in 0..8 {
            let at = [0, 1, 2].map(|axis| if corner >> axis & 1 == 1 { far[axis] } else { 0.0 });
            let gap = |r: usize| (0..3).map(|c| (b[r][c] - a[r][c]) * at[c]).sum::<f64>();
            let whole = in_voxels([0, 1, 2].map(|r| gap(r) + b[r][3] - a[r][3]));
            let turn =
                |r: usize| (0..3).map(|c| (to[r][c] - from[r][c]) * lengths[c] * at[c]).sum();
            apart.corner = apart.corner.max(whole);
            apart.direction = apart.direction.max(in_voxels([0, 1, 2].map(turn)));
        }
        apart
    }

    /// Whether the cosines of `other` are those of `self`, rounded to two or three digits. Not where
    /// rounding leaves only 0 and 1: a volume along the axes says nothing of a lost turn.
    fn rounded_cosines(&self, other: &Self) -> bool {
        let (a, b) = (self.affine(), other.affine());
        let lengths = [0, 1, 2].map(|c| column_length(&a, c));
        [100.0, 1000.0].into_iter().any(|scale: f64| {
            let rounded = |(r, c): (usize, usize)| (a[r][c] / lengths[c] * scale).round() / scale;
            let mut entries = (0..9).map(|i| (i / 3, i % 3));
            let oblique = entries.clone().any(|at| ![0.0, 1.0].contains(&rounded(at).abs()));
            oblique
                && entries.all(|(r, c)| (b[r][c] / lengths[c] - rounded((r, c))).abs() <= ROUNDED)
        })
    }

    /// A remark for when exactly one of two files says where it lies.
    fn unplaced(&self, other: &Self) -> &'static str {
        match (self.form(), other.form()) {
            (Form::Neither, Form::Neither) => "",
            (Form::Neither, _) => " (the first has neither sform nor qform)",
            (_, Form::Neither) => " (the second has neither sform nor qform)",
            _ => "",
        }
    }
}

/// The inverse of a matrix of a usable affine.
fn inverse(m: [[f64; 3]; 3]) -> [[f64; 3]; 3] {
    // Entry (r, c) of the adjugate.
    let adjugate = |r: usize, c: usize| {
        let [a, b] = [(c + 1) % 3, (c + 2) % 3];
        let [d, e] = [(r + 1) % 3, (r + 2) % 3];
        m[a][d] * m[b][e] - m[a][e] * m[b][d]
    };
    let determinant: f64 = (0..3).map(|i| m[0][i] * adjugate(i, 0)).sum();
    [0, 1, 2].map(|r| [0, 1, 2].map(|c| adjugate(r, c) / determinant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Aspect::{Direction, Origin, Shape, Spacing};

    fn found(a: &Header, b: &Header) -> Vec<(Aspect, bool)> {
        a.differences(b).into_iter().map(|d| (d.aspect, d.is_error)).collect()
    }

    #[test]
    fn every_difference_is_found() {
        let a = Header::plain([4, 5, 6], [3.0, 1.0, 1.0]);
        assert_eq!(a.differences(&a), []);
        let mut b = a.clone();
        b.srow[0] = [0.0, 1.0, 0.0, 2.0];
        b.srow[1] = [1.0, 0.0, 0.0, 0.0];
        b.pixdim[3] = 2.5;
        b.dims[0] = 7;
        let all = a.differences(&b);
        let aspects: Vec<Aspect> = all.iter().map(|d| d.aspect).collect();
        assert_eq!(aspects, [Shape, Spacing, Direction, Origin]);
        assert!(all.iter().all(|d| d.is_error));
        assert_eq!(all[1].phrase, "spacing [3, 1, 1] mm against [2.5, 1, 1] mm (z, y, x)");
        assert_eq!(all[2].phrase, "direction RAS against ARS");
        // One slice of another thickness.
        let slice = Header::plain([1, 5, 6], [3.0, 1.0, 1.0]);
        let thin = Header::plain([1, 5, 6], [1.0, 1.0, 1.0]);
        assert_eq!(found(&slice, &thin), [(Spacing, true)]);
    }

    /// A shift is measured in voxels of its axis: both sides of both thresholds, on 1, 0.5 and 4 mm.
    #[test]
    fn a_shift_is_round_off_then_a_warning_then_an_error() {
        let a = Header::plain([10, 10, 10], [4.0, 0.5, 1.0]);
        let by = |row: usize, mm: f64| {
            let mut b = a.clone();
            b.srow[row][3] += mm;
            found(&a, &b)
        };
        for (row, voxel) in [(0, 1.0), (1, 0.5), (2, 4.0)] {
            assert_eq!(by(row, 0.01 * voxel), []);
            assert_eq!(by(row, -0.099 * voxel), []);
            assert_eq!(by(row, 0.101 * voxel), [(Origin, false)]);
            assert_eq!(by(row, 0.499 * voxel), [(Origin, false)]);
            assert_eq!(by(row, -0.501 * voxel), [(Origin, true)]);
        }
    }

    #[test]
    fn spacing_and_direction_count_by_the_far_corner() {
        let a = Header::plain([10, 10, 101], [1.0; 3]);
        let scaled = |factor: f64| {
            let mut b = a.clone();
            b.pixdim[1] *= factor;
            b.srow[0][0] *= factor;
            found(&a, &b)
        };
        assert_eq!(scaled(1.00099), []);
        assert_eq!(scaled(1.00101), [(Spacing, false)]);
        assert_eq!(scaled(1.00499), [(Spacing, false)]);
        assert_eq!(scaled(1.00501), [(Spacing, true)]);
        // The far end of 100 voxels goes sideways.
        let turned = |angle: f64| {
            let (mut b, (s, c)) = (a.clone(), angle.sin_cos());
            (b.srow[0], b.srow[1]) = ([c, -s, 0.0, 0.0], [s, c, 0.0, 0.0]);
            found(&a, &b)
        };
        assert_eq!(turned(0.00099), []);
        assert_eq!(turned(0.00101), [(Direction, false)]);
        assert_eq!(turned(0.00498), [(Direction, false)]);
        assert_eq!(turned(0.00502), [(Direction, true)]);
        // Round-off each by itself, but not together.
        let mut b = a.clone();
        (b.srow[0][0], b.pixdim[1]) = (1.0008, 1.0008);
        b.srow[0][3] = 0.08;
        assert_eq!(found(&a, &b).len(), 1);
        b.srow[0][3] = -0.08;
        assert_eq!(found(&a, &b), []);
    }

    #[test]
    fn rounded_cosines_are_round_off() {
        let (s, c) = 0.3f64.sin_cos();
        for (edge, silent) in [(40, true), (512, false)] {
            let mut a = Header::plain([edge; 3], [2.0; 3]);
            a.srow[0] = [2.0 * c, -2.0 * s, 0.0, 5.0];
            a.srow[1] = [2.0 * s, 2.0 * c, 0.0, 6.0];
            for scale in [100.0, 1000.0] {
                let mut b = a.clone();
                for row in &mut b.srow {
                    row[..3].iter_mut().for_each(|v| *v = 2.0 * (*v / 2.0 * scale).round() / scale);
                }
                let all = a.differences(&b);
                assert!(all.iter().all(|d| !d.is_error), "{all:?}");
                assert!(all.is_empty() || !(silent || scale == 1000.0), "{all:?}");
                assert_eq!(b.differences(&a).is_empty(), all.is_empty());
                // The same turn by another angle is none of rounding.
                b.srow[0][1] -= 0.05;
                assert!(a.error_of_grid(&b).is_some());
            }
        }
    }

    #[test]
    fn a_file_without_a_place_is_a_warning() {
        let mut a = Header::plain([4, 5, 6], [3.0, 1.0, 1.0]);
        (a.srow[0][3], a.srow[1][1]) = (-80.0, -1.0);
        let mut b = a.clone();
        (b.sform_code, b.qform_code) = (0, 0);
        assert_eq!(found(&a, &b), [(Direction, false), (Origin, false)]);
        b.pixdim[1] = 2.0;
        assert_eq!(
            a.error_of_grid(&b).unwrap(),
            "spacing [3, 1, 1] mm against [3, 1, 2] mm (z, y, x)"
        );
        assert!(a.warning_of_grid(&b).unwrap().contains("neither sform nor qform"));
    }
}
