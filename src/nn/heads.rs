//! What the output channels of a network are, and so which loss trains them.

use crate::error::{Error, Result};
use crate::ops::loss::Channels;

/// Label index of a voxel that takes no part in the loss. Label maps on the device hold indices (0 is
/// the background), not label values.
pub use crate::ops::loss::IGNORE;

/// Most labels of a data set, background included: indices 0 to 254.
pub const MOST_LABELS: u32 = 255;
/// Most regions of a network: a target is one bit of a `u32`.
pub const MOST_REGIONS: usize = 32;

/// Meaning of the output channels.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Heads {
    /// One channel per label, background first; probabilities by softmax. Loss: cross entropy plus
    /// soft Dice over the labels 1, 2, ...
    #[default]
    Softmax,
    /// One channel per region, probabilities by sigmoid; regions may overlap, and no channel is
    /// the background. Loss: binary cross entropy plus soft Dice over all regions.
    ///
    /// The data side fills `regions` with label *indices*, in the order of the output channels,
    /// and sets [`super::plan::NetworkPlan::classes`] to their number. Label maps are uploaded as
    /// for softmax (u32 per voxel, [`IGNORE`] for voxels without a label); the loss looks the
    /// targets up in the table of [`Heads::channels`]. In prediction region r is where logit r is above 0, that is
    /// where its probability is above 0.5.
    Sigmoid {
        /// Label indices of each region.
        regions: Vec<Vec<u8>>,
    },
}

impl Heads {
    /// True for [`Heads::Softmax`].
    pub fn is_softmax(&self) -> bool {
        *self == Heads::Softmax
    }

    /// What the loss needs: for regions a table of the label indices.
    pub fn channels(&self) -> Channels {
        let Heads::Sigmoid { regions } = self else { return Channels::Labels };
        let mut masks = [0; 256];
        for (r, region) in (0..32).zip(regions) {
            region.iter().for_each(|&label| masks[usize::from(label)] |= 1 << r);
        }
        Channels::Regions(Box::new(masks))
    }

    /// Checks the heads against the number of output channels.
    ///
    /// # Errors
    /// [`Error::Usage`] with what is wrong.
    pub(super) fn validate(&self, classes: u32) -> Result<()> {
        let usage = |text: String| Err(Error::Usage(text));
        let Heads::Sigmoid { regions } = self else {
            if !(2..=MOST_LABELS).contains(&classes) {
                return usage(format!(
                    "{classes} labels with the background; 2 to {MOST_LABELS} are supported"
                ));
            }
            return Ok(());
        };
        if !(1..=MOST_REGIONS).contains(&regions.len()) {
            return usage(format!("{} regions; 1 to {MOST_REGIONS} are supported", regions.len()));
        }
        if regions.len() != classes as usize {
            return usage(format!(
                "{} regions for {classes} output channels; each region needs one channel",
                regions.len()
            ));
        }
        if let Some(r) = regions.iter().position(Vec::is_empty) {
            return usage(format!("region {r} contains no label; name at least one"));
        }
        let ignored = |region: &Vec<u8>| region.iter().any(|&l| u32::from(l) == IGNORE);
        if let Some(r) = regions.iter().position(ignored) {
            return usage(format!("region {r} contains the ignore label; leave it out"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_hold_one_bit_per_region() {
        let regions = vec![vec![1, 2, 3], vec![2, 254], vec![3]];
        let Channels::Regions(masks) = (Heads::Sigmoid { regions }).channels() else { panic!() };
        assert_eq!(masks[..5], [0, 0b001, 0b011, 0b101, 0]);
        assert_eq!((masks[254], masks[255]), (0b010, 0));
        assert_eq!(Heads::Softmax.channels(), Channels::Labels);
    }

    #[test]
    fn impossible_heads_are_refused() {
        let sigmoid = |regions: &[&[u8]]| Heads::Sigmoid {
            regions: regions.iter().map(|r| r.to_vec()).collect(),
        };
        Heads::Softmax.validate(105).unwrap();
        Heads::Softmax.validate(255).unwrap();
        sigmoid(&[&[1, 2]]).validate(1).unwrap();
        sigmoid(&[[1].as_slice(); 32]).validate(32).unwrap();
        for (heads, classes) in [
            (Heads::Softmax, 1),
            (Heads::Softmax, 256),
            (sigmoid(&[]), 0),
            (sigmoid(&[[1].as_slice(); 33]), 33),
            (sigmoid(&[&[1], &[2]]), 3),
            (sigmoid(&[&[1], &[]]), 2),
            (sigmoid(&[&[255]]), 1),
        ] {
            assert_eq!(heads.validate(classes).unwrap_err().exit_code(), 2, "{heads:?}");
        }
    }
}
