//! Which register or brick tile a kernel takes, where several would do. A tile is a matter of speed: it
//! must not change a bit of a result.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A tile as the numbers that define it; what they mean is the kernel's matter.
pub type Tile = Vec<u32>;

/// The choice of tiles, by class of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tiles {
    /// What was found fastest on a device. A class that is not there takes its first candidate.
    Known(Arc<BTreeMap<String, Tile>>),
    /// The n-th candidate of every class, or its last: for trials.
    Trial(usize),
}

impl Default for Tiles {
    fn default() -> Self {
        Tiles::Known(Arc::default())
    }
}

impl Tiles {
    /// The place of the tile that a class takes among its candidates, of which there is one at least.
    pub fn choose(&self, class: &str, candidates: &[Tile]) -> usize {
        match self {
            Tiles::Known(known) => known
                .get(class)
                .and_then(|tile| candidates.iter().position(|candidate| candidate == tile))
                .unwrap_or(0),
            Tiles::Trial(number) => (*number).min(candidates.len().saturating_sub(1)),
        }
    }

    /// Whether a class was timed.
    pub fn knows(&self, class: &str) -> bool {
        matches!(self, Tiles::Known(known) if known.contains_key(class))
    }
}

/// The choice behind a dispatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiled {
    /// Class of work.
    pub class: String,
    /// The tile that was taken.
    pub tile: Tile,
    /// Number of candidates.
    pub candidates: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_takes_what_is_known_of_it_or_its_first_candidate() {
        let candidates = [vec![1, 2], vec![3, 4], vec![5]];
        let table = [("a", vec![3, 4]), ("b", vec![9])].map(|(k, v)| (k.to_owned(), v));
        let known = Tiles::Known(Arc::new(table.into()));
        assert_eq!(["a", "b", "c"].map(|class| known.choose(class, &candidates)), [1, 0, 0]);
        assert_eq!(["a", "b", "c"].map(|class| known.knows(class)), [true, true, false]);
        assert_eq!([0, 2, 9].map(|n| Tiles::Trial(n).choose("a", &candidates)), [0, 2, 2]);
        assert!(!Tiles::Trial(0).knows("a") && !Tiles::default().knows("a"));
    }
}
