//! Overlap of a predicted and a reference label map: voxel counts, Dice, IoU.

use crate::{Error, Result};

/// Voxel counts of one label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overlap {
    /// In both.
    pub tp: u64,
    /// Predicted only.
    pub fp: u64,
    /// In the reference only.
    pub fn_: u64,
    /// In neither.
    pub tn: u64,
}

impl Overlap {
    /// Voxels predicted.
    pub fn n_pred(&self) -> u64 {
        self.tp + self.fp
    }

    /// Voxels of the reference.
    pub fn n_ref(&self) -> u64 {
        self.tp + self.fn_
    }

    /// 2 TP / (2 TP + FP + FN); NaN where neither has the label.
    pub fn dice(&self) -> f64 {
        ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn_)
    }

    /// TP / (TP + FP + FN); NaN where neither has the label.
    pub fn iou(&self) -> f64 {
        ratio(self.tp, self.tp + self.fp + self.fn_)
    }
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { f64::NAN } else { a as f64 / b as f64 }
}

/// The overlap of each of `labels` between two label maps of the same grid.
///
/// # Errors
/// The maps differ in length.
pub fn overlaps(prediction: &[u16], reference: &[u16], labels: &[u16]) -> Result<Vec<Overlap>> {
    if prediction.len() != reference.len() {
        return Err(Error::Input(format!(
            "the prediction has {} voxels but the reference {}; compare label maps of the same grid",
            prediction.len(),
            reference.len()
        )));
    }
    let top = labels.iter().copied().max().unwrap_or(0) as usize;
    let (mut both, mut pred, mut refs) =
        (vec![0u64; top + 1], vec![0u64; top + 1], vec![0u64; top + 1]);
    for (&p, &r) in prediction.iter().zip(reference) {
        let (p, r) = (p as usize, r as usize);
        if p <= top {
            pred[p] += 1;
            both[p] += u64::from(p == r);
        }
        if r <= top {
            refs[r] += 1;
        }
    }
    let total = prediction.len() as u64;
    Ok(labels
        .iter()
        .map(|&l| {
            let (tp, n_pred, n_ref) = (both[l as usize], pred[l as usize], refs[l as usize]);
            Overlap { tp, fp: n_pred - tp, fn_: n_ref - tp, tn: total + tp - n_pred - n_ref }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_brute_force(pairs in prop::collection::vec((0u16..6, 0u16..6), 0..200)) {
            let (p, r): (Vec<u16>, Vec<u16>) = pairs.iter().copied().unzip();
            let labels = [1, 2, 4];
            for (o, l) in overlaps(&p, &r, &labels).unwrap().iter().zip(labels) {
                let count = |a: bool, b: bool| {
                    pairs.iter().filter(|(p, r)| (*p == l) == a && (*r == l) == b).count() as u64
                };
                prop_assert_eq!(
                    *o,
                    Overlap { tp: count(true, true), fp: count(true, false), fn_: count(false, true), tn: count(false, false) }
                );
            }
        }
    }

    #[test]
    fn empty_is_nan_and_lengths_are_checked() {
        let o = overlaps(&[0, 0], &[0, 0], &[1]).unwrap()[0];
        assert!(o.dice().is_nan() && o.iou().is_nan());
        assert!(overlaps(&[0], &[0, 0], &[1]).is_err());
    }
}
