//! Voxels of a prepared case that patches may be centred on.

use crate::data::labels::{IGNORED, Labels};
use crate::data::rng::{self, Purpose};

/// Voxels kept per list.
pub const FOREGROUND_SAMPLES: usize = 10_000;
/// Seed of the choice, which belongs to the data, not to a run.
const SEED: u64 = 1234;
/// Random stream of the labelled voxels; that of list i of the foreground is i + 1.
const LABELLED_STREAM: u64 = 0;

/// Flat indices of up to [`FOREGROUND_SAMPLES`] voxels per list, sorted: all, or a fixed random
/// choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Places {
    /// Voxels of each foreground label, or of each region.
    pub foreground: Vec<Vec<u32>>,
    /// Voxels whose label is known; none where the data set has no ignore label, as all are then.
    pub labelled: Option<Vec<u32>>,
}

impl Places {
    /// Of a map of label indices.
    pub fn of(indices: &[u8], labels: &Labels) -> Self {
        let targets = labels.target_indices();
        // The lists that the voxels of a label index go to.
        let mut lists_of = vec![Vec::new(); 256];
        for (list, target) in targets.iter().enumerate() {
            target.iter().for_each(|&index| lists_of[usize::from(index)].push(list));
        }
        let mut foreground = vec![Vec::new(); targets.len()];
        let mut labelled = labels.ignore().map(|_| Vec::new());
        for (place, &index) in (0u32..).zip(indices) {
            for &list in &lists_of[usize::from(index)] {
                foreground[list].push(place);
            }
            if let Some(labelled) = labelled.as_mut().filter(|_| index != IGNORED) {
                labelled.push(place);
            }
        }
        for (stream, list) in (1..).zip(&mut foreground) {
            thin(list, stream);
        }
        if let Some(list) = &mut labelled {
            thin(list, LABELLED_STREAM);
        }
        Self { foreground, labelled }
    }
}

/// Keeps a random choice of a list that is too long.
fn thin(list: &mut Vec<u32>, stream: u64) {
    if list.len() <= FOREGROUND_SAMPLES {
        return;
    }
    let mut rng = rng::stream(SEED, Purpose::Foreground, &[stream]);
    for i in 0..FOREGROUND_SAMPLES {
        let j = i + rng::below(&mut rng, (list.len() - i) as u64) as usize;
        list.swap(i, j);
    }
    list.truncate(FOREGROUND_SAMPLES);
    list.sort_unstable();
    list.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::labels::parse;

    #[test]
    fn a_long_list_is_thinned_and_others_are_whole() {
        let mut map = vec![1u8; 50_000];
        map[7] = 2;
        let places = Places::of(&map, &Labels::numbered(4));
        assert_eq!(places.foreground[0].len(), FOREGROUND_SAMPLES);
        assert!(places.foreground[0].is_sorted_by(|a, b| a < b));
        assert_eq!(places.foreground[1..], [vec![7], vec![]]);
        assert_eq!(places.labelled, None);
    }

    #[test]
    fn unlabelled_voxels_are_in_no_list() {
        let labels = parse(r#"{"labels":{"background":0,"a":3,"ignore":4}}"#).labels;
        let places = Places::of(&[0, IGNORED, 1, IGNORED], &labels);
        assert_eq!(places.foreground, [[2]]);
        assert_eq!(places.labelled, Some(vec![0, 2]));
    }

    #[test]
    fn a_voxel_belongs_to_all_its_regions() {
        let labels = parse(
            r#"{"labels":{"background":0,"whole":[1,2],"core":2},"regions_class_order":[1,2]}"#,
        );
        let places = Places::of(&[0, 1, 2], &labels.labels);
        assert_eq!(places.foreground, [vec![1, 2], vec![2]]);
    }
}
