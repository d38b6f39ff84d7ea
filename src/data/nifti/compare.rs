//! Whether two files lie on one grid.

use super::geometry::{Form, column_length};
use super::header::Header;

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
    /// A phrase such as "spacing [3.0, 1.0, 1.0] mm against [2.0, 1.0, 1.0] mm (z, y, x)".
    pub phrase: String,
}

/// Up to four decimals, no trailing zeros.
fn short(values: [f64; 3]) -> String {
    let one = |v: f64| {
        let text = format!("{v:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    };
    format!("[{}]", values.map(one).join(", "))
}

impl Header {
    /// All that differs between the grids of two files by more than
    /// `tolerance`: mm for spacing and origin, cosines for direction.
    pub fn differences(&self, other: &Self, tolerance: f64) -> Vec<Difference> {
        let far = |a: f64, b: f64| {
            let gap = (a - b).abs();
            gap.is_nan() || gap > tolerance
        };
        let mut found = Vec::new();
        let mut add = |aspect, phrase| found.push(Difference { aspect, phrase });
        if self.dims != other.dims {
            let (a, b) = (self.shape(), other.shape());
            add(Aspect::Shape, format!("shape {a:?} against {b:?} (z, y, x)"));
        }
        let (a, b) = (self.spacing_mm(), other.spacing_mm());
        if a.iter().zip(&b).any(|(&a, &b)| far(a, b)) {
            let phrase = format!("spacing {} mm against {} mm (z, y, x)", short(a), short(b));
            add(Aspect::Spacing, phrase);
        }
        let (a, b) = (self.affine(), other.affine());
        let cosine = |m: &[[f64; 4]; 3], r: usize, c: usize| m[r][c] / column_length(m, c);
        let gap = (0..9)
            .map(|i| (cosine(&a, i / 3, i % 3) - cosine(&b, i / 3, i % 3)).abs())
            .fold(0.0, f64::max);
        if far(gap, 0.0) {
            let (left, right) = (self.orientation(), other.orientation());
            let phrase = if left == right {
                format!("direction, by up to {gap:.4} in a cosine")
            } else {
                format!("direction {left} against {right}")
            };
            add(Aspect::Direction, phrase + self.unplaced(other));
        }
        let (a, b) = (a.map(|r| r[3]), b.map(|r| r[3]));
        if a.iter().zip(&b).any(|(&a, &b)| far(a, b)) {
            let phrase = format!("origin {} mm against {} mm (x, y, z)", short(a), short(b));
            add(Aspect::Origin, phrase + self.unplaced(other));
        }
        found
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

    /// The gravest of [`differences`](Self::differences) as a phrase, or `None`.
    pub fn geometry_difference(&self, other: &Self, tolerance: f64) -> Option<String> {
        self.differences(other, tolerance).into_iter().next().map(|d| d.phrase)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_found() {
        let a = Header::plain([4, 5, 6], [3.0, 1.0, 1.0]);
        assert_eq!(a.differences(&a, 0.0), []);
        let mut b = a.clone();
        b.srow[0] = [0.0, 1.0, 0.0, 2.0];
        b.srow[1] = [1.0, 0.0, 0.0, 0.0];
        b.pixdim[3] = 2.5;
        b.dims[0] = 7;
        let found = a.differences(&b, 1e-3);
        let aspects: Vec<Aspect> = found.iter().map(|d| d.aspect).collect();
        use Aspect::{Direction, Origin, Shape, Spacing};
        assert_eq!(aspects, [Shape, Spacing, Direction, Origin]);
        assert_eq!(found[1].phrase, "spacing [3, 1, 1] mm against [2.5, 1, 1] mm (z, y, x)");
        assert_eq!(found[2].phrase, "direction RAS against ARS");
        let mut close = a.clone();
        close.srow[0][3] = 2e-8;
        assert_eq!(a.geometry_difference(&close, 1e-3), None);
    }
}
