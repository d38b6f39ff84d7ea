//! Headers that can be read in more than one way, and which way is taken.

use super::compare::ROUND_OFF_VOXELS;
use super::geometry::{Form, column_length, is_usable};
use super::header::Header;
use std::path::Path;

/// Cosines between axes below this count as right angles.
const RIGHT_ANGLE: f64 = 1e-3;
/// Relative difference of voxel sizes that is noticed.
const SIZE: f64 = 1e-3;

/// Something odd in a header's geometry. The file is read all the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GeometryWarning {
    /// sform and qform place a corner of the volume this far apart, in mm.
    FormsDisagree {
        /// The largest distance between the two places of a corner.
        apart_mm: f64,
    },
    /// The axes do not stand at right angles: the largest cosine between two.
    Sheared {
        /// 0 for right angles.
        cosine: f64,
    },
    /// The affine's columns are not as long as pixdim says.
    SizesDisagree,
    /// Neither sform nor qform.
    NoForm,
    /// A form whose code is set maps the volume to a plane or to no numbers.
    BrokenForm,
    /// The unit of length is metres or micrometres.
    Unit,
}

impl GeometryWarning {
    /// A number for each kind, for counting.
    fn kind(self) -> usize {
        match self {
            Self::FormsDisagree { .. } => 0,
            Self::Sheared { .. } => 1,
            Self::SizesDisagree => 2,
            Self::NoForm => 3,
            Self::BrokenForm => 4,
            Self::Unit => 5,
        }
    }

    /// What is wrong and what is done, as the end of a sentence about a file.
    fn phrase(self) -> String {
        match self {
            Self::FormsDisagree { apart_mm } => format!(
                "has an sform and a qform that lie up to {apart_mm:.2} mm apart; the sform is used, as nibabel does (SimpleITK may take the qform): make both equal"
            ),
            Self::Sheared { cosine } => format!(
                "has axes that do not stand at right angles (cosine {cosine:.3}); the volume is used as a right-angled grid of its voxel sizes: resample it if the shear matters"
            ),
            Self::SizesDisagree => {
                "has an affine whose voxel sizes differ from its pixdim; pixdim is used for distances: write the file anew".into()
            }
            Self::NoForm => {
                "has neither sform nor qform; its axes are taken as right, anterior, superior: check its orientation".into()
            }
            Self::BrokenForm => {
                "has a form that maps the volume to a plane or to no numbers; it counts as absent: write the file anew".into()
            }
            Self::Unit => {
                "gives its lengths in metres or micrometres; they are taken as millimetres: write the file anew".into()
            }
        }
    }
}

impl Header {
    /// What is odd in the geometry; nothing for most files.
    pub fn warnings(&self) -> Vec<GeometryWarning> {
        let mut found = Vec::new();
        let qform = self.qform();
        let broken = |code: i16, rows| code > 0 && !is_usable(rows);
        if broken(self.sform_code, &self.srow) || broken(self.qform_code, &qform) {
            found.push(GeometryWarning::BrokenForm);
        }
        if matches!(self.xyzt_units & 7, 1 | 3) {
            found.push(GeometryWarning::Unit);
        }
        if self.form() == Form::Neither {
            found.push(GeometryWarning::NoForm);
            return found;
        }
        let affine = self.affine();
        let sizes = [0, 1, 2].map(|axis| column_length(&affine, axis));
        if self.form() == Form::Sform && self.qform_code > 0 && is_usable(&qform) {
            let apart_mm = self.farthest(&affine, &qform);
            if apart_mm > ROUND_OFF_VOXELS * sizes.into_iter().fold(f64::INFINITY, f64::min) {
                found.push(GeometryWarning::FormsDisagree { apart_mm });
            }
        }
        let dot = |a: usize, b: usize| affine.iter().map(|r| r[a] * r[b]).sum::<f64>();
        let cosine = [(0, 1), (0, 2), (1, 2)]
            .map(|(a, b)| (dot(a, b) / (sizes[a] * sizes[b])).abs())
            .into_iter()
            .fold(0.0, f64::max);
        if cosine > RIGHT_ANGLE {
            found.push(GeometryWarning::Sheared { cosine });
        }
        let [z, y, x] = self.spacing_mm();
        if sizes.iter().zip([x, y, z]).any(|(a, b)| (a - b).abs() > SIZE * b) {
            found.push(GeometryWarning::SizesDisagree);
        }
        found
    }

    /// The largest distance between the places that two affines give a corner.
    fn farthest(&self, a: &[[f64; 4]; 3], b: &[[f64; 4]; 3]) -> f64 {
        let corner = |i: usize| {
            let at = |axis: usize| {
                if i >> axis & 1 == 1 { self.dims[axis].saturating_sub(1) as f64 } else { 0.0 }
            };
            let [x, y, z] = [at(0), at(1), at(2)];
            a.iter()
                .zip(b)
                .map(|(a, b)| {
                    let place = |r: &[f64; 4]| r[0] * x + r[1] * y + r[2] * z + r[3];
                    (place(a) - place(b)).powi(2)
                })
                .sum::<f64>()
                .sqrt()
        };
        (0..8).map(corner).fold(0.0, f64::max)
    }
}

/// One sentence for each kind of oddity among `headers`, with the number of
/// files and the first one's name.
pub fn geometry_notes<'a>(
    headers: impl IntoIterator<Item = (&'a Path, &'a Header)>,
) -> Vec<String> {
    let mut kinds: [Option<(usize, &Path, GeometryWarning)>; 6] = [None; 6];
    for (path, header) in headers {
        for warning in header.warnings() {
            match &mut kinds[warning.kind()] {
                Some((count, ..)) => *count += 1,
                none => *none = Some((1, path, warning)),
            }
        }
    }
    let sentence = |(count, path, warning): (usize, &Path, GeometryWarning)| {
        let more = match count - 1 {
            0 => String::new(),
            1 => ", as 1 more file does".into(),
            n => format!(", as {n} more files do"),
        };
        // The count belongs behind what is wrong, before what is done about it.
        let phrase = warning.phrase();
        let (what, rest) = phrase.split_once(';').unwrap_or((&phrase, ""));
        format!("'{}' {what}{more};{rest}", path.display())
    };
    kinds.into_iter().flatten().map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oddities_are_told_apart() {
        let plain = Header::plain([4, 5, 6], [3.0, 2.0, 1.0]);
        assert_eq!(plain.warnings(), []);
        let mut odd = plain.clone();
        odd.qoffset[0] = 7.0;
        assert_eq!(odd.warnings(), [GeometryWarning::FormsDisagree { apart_mm: 7.0 }]);
        odd.sform_code = 0;
        assert_eq!(odd.warnings(), []);
        odd.qform_code = 0;
        assert_eq!(odd.warnings(), [GeometryWarning::NoForm]);
        let mut odd = plain.clone();
        odd.qform_code = 0;
        odd.srow[0][1] = 0.5;
        let [GeometryWarning::Sheared { cosine }, GeometryWarning::SizesDisagree] =
            odd.warnings()[..]
        else {
            panic!("{:?}", odd.warnings());
        };
        assert!((cosine - 0.5 / 4.25f64.sqrt()).abs() < 1e-12);
        for broken in [[[0.0; 4]; 3], [[f64::NAN; 4]; 3], [[1.0, 2.0, 3.0, 0.0]; 3]] {
            odd.srow = broken;
            assert_eq!(odd.warnings(), [GeometryWarning::BrokenForm, GeometryWarning::NoForm]);
            assert_eq!(odd.affine()[2], [0.0, 0.0, 3.0, 0.0]);
        }
        let other = Path::new("b.nii");
        let notes = geometry_notes([(Path::new("a.nii"), &plain), (other, &odd), (other, &odd)]);
        assert_eq!(notes.len(), 2);
        assert!(notes[0].starts_with("'b.nii' has neither sform nor qform, as 1 more file does;"));
    }
}
