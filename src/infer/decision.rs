//! From the probabilities of a network's output channels to label values.

use crate::data::labels::Labels;

/// What the output channels are, and the label values that they become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// One channel per label, background first: the value of the most probable one, the first of
    /// several.
    MostProbable(Vec<u16>),
    /// One channel per region: those with a probability above 0.5 write their value, later ones over
    /// earlier ones (nnU-Net v2); 0 where there is none.
    Regions(Vec<u16>),
}

/// What is known of a voxel after some of its channels.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Voxel {
    pub value: u16,
    best: f32,
}

impl Decision {
    pub fn new(labels: &Labels) -> Self {
        match labels.regions() {
            [] => Decision::MostProbable(labels.values().to_vec()),
            regions => Decision::Regions(regions.iter().map(|r| r.written).collect()),
        }
    }

    /// Number of output channels.
    pub fn channels(&self) -> usize {
        match self {
            Decision::MostProbable(values) | Decision::Regions(values) => values.len(),
        }
    }

    /// Takes the probability of a channel; channels come in order.
    #[inline]
    pub fn take(&self, voxel: &mut Voxel, channel: usize, probability: f32) {
        match self {
            Decision::MostProbable(values) => {
                if channel == 0 || probability > voxel.best {
                    *voxel = Voxel { value: values[channel], best: probability };
                }
            }
            Decision::Regions(written) => {
                if channel == 0 {
                    voxel.value = 0;
                }
                if probability > 0.5 {
                    voxel.value = written[channel];
                }
            }
        }
    }

    /// Probability of a channel outside of the box that is not empty, where all is background.
    pub fn outside(&self, channel: usize) -> f32 {
        match self {
            Decision::MostProbable(_) if channel == 0 => 1.0,
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::labels::parse;

    fn decided(text: &str, probabilities: &[f32]) -> u16 {
        let decision = Decision::new(&parse(text).labels);
        assert_eq!(decision.channels(), probabilities.len());
        // What another voxel left does not matter.
        let mut voxel = Voxel { value: 77, best: 9.0 };
        for (channel, &p) in probabilities.iter().enumerate() {
            decision.take(&mut voxel, channel, p);
        }
        voxel.value
    }

    #[test]
    fn the_most_probable_label_has_its_own_value() {
        let text = r#"{"labels":{"background":0,"a":10,"b":1000,"ignore":2000}}"#;
        assert_eq!(decided(text, &[0.2, 0.3, 0.5]), 1000);
        assert_eq!(decided(text, &[0.2, 0.4, 0.4]), 10);
        assert_eq!(decided(text, &[0.4, 0.3, 0.3]), 0);
    }

    #[test]
    fn later_regions_overwrite_earlier_ones() {
        let text = r#"{"labels":{"background":0,"whole":[1,2,3],"core":[2,3],"rim":2},
            "regions_class_order":[1,3,2]}"#;
        assert_eq!(decided(text, &[0.9, 0.2, 0.5]), 1);
        assert_eq!(decided(text, &[0.9, 0.8, 0.5]), 3);
        assert_eq!(decided(text, &[0.9, 0.8, 0.6]), 2);
        assert_eq!(decided(text, &[0.5, 0.1, 0.51]), 2);
        assert_eq!(decided(text, &[0.5, 0.1, 0.1]), 0);
    }
}
