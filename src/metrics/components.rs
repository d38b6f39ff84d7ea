//! Connected components of label maps, with 26 neighbours.
//!
//! Objects are kept as runs along the rows, joined by union-find, so that the memory grows with
//! the number of runs and not with that of the voxels.

/// A stretch of object voxels within one row.
struct Run {
    /// Flat index of its first voxel.
    start: usize,
    /// Number of voxels.
    length: u32,
    /// Number of a run of the same component, never a later one; a root is its own.
    parent: u32,
}

/// Keeps the largest component of `label` (26 neighbours) in a D, H, W map of `shape`; the
/// voxels of its other components become 0. Of components of the same size the one whose first
/// voxel in row-major order comes first is kept. Returns how many voxels became 0.
///
/// # Panics
/// The map does not have the voxels of `shape`.
pub fn keep_largest<L: Copy + PartialEq + Default>(
    labels: &mut [L],
    shape: [usize; 3],
    label: L,
) -> usize {
    keep(labels, shape, |voxel| voxel == label)
}

/// As [`keep_largest`], of everything that is not 0 taken as one object, whatever its labels.
///
/// # Panics
/// The map does not have the voxels of `shape`.
pub fn keep_largest_foreground<L: Copy + PartialEq + Default>(
    labels: &mut [L],
    shape: [usize; 3],
) -> usize {
    keep(labels, shape, |voxel| voxel != L::default())
}

fn keep<L: Copy + Default>(
    labels: &mut [L],
    shape: [usize; 3],
    object: impl Fn(L) -> bool,
) -> usize {
    assert_eq!(labels.len(), shape.iter().product::<usize>(), "a map of another shape");
    let mut runs = join(labels, shape, object);
    let mut sizes = vec![0usize; runs.len()];
    // Parents come before their children, so this leaves every run pointing at its root.
    for i in 0..runs.len() {
        let root = runs[runs[i].parent as usize].parent;
        runs[i].parent = root;
        sizes[root as usize] += runs[i].length as usize;
    }
    // The first of the largest: roots are the first runs of their components.
    let largest = (0..sizes.len()).rev().max_by_key(|&i| sizes[i]);
    let mut removed = 0;
    for run in runs.iter().filter(|run| Some(run.parent as usize) != largest) {
        labels[run.start..run.start + run.length as usize].fill(L::default());
        removed += run.length as usize;
    }
    removed
}

/// The runs of the object, in order, joined where they touch by a face, an edge or a corner.
fn join<L: Copy>(labels: &[L], shape: [usize; 3], object: impl Fn(L) -> bool) -> Vec<Run> {
    let [depth, height, width] = shape;
    let mut runs: Vec<Run> = Vec::new();
    // Where the runs of each row of the previous and of this slice lie in `runs`.
    let mut before = vec![0..0; height];
    let mut here = vec![0..0; height];
    for z in 0..depth {
        for y in 0..height {
            let row = (z * height + y) * width;
            let first = runs.len();
            let mut x = 0;
            for stretch in labels[row..row + width].chunk_by(|a, b| object(*a) == object(*b)) {
                if object(stretch[0]) {
                    let parent = runs.len() as u32;
                    runs.push(Run { start: row + x, length: stretch.len() as u32, parent });
                }
                x += stretch.len();
            }
            here[y] = first..runs.len();
            let rows = y.saturating_sub(1)..(y + 2).min(height);
            for (other_row, other) in rows.clone().zip(&before[rows]) {
                let other_start = (z.wrapping_sub(1)).wrapping_mul(height).wrapping_add(other_row);
                let offset = other_start.wrapping_mul(width);
                connect(&mut runs, here[y].clone(), row, other.clone(), offset);
            }
            if y > 0 {
                connect(&mut runs, here[y].clone(), row, here[y - 1].clone(), row - width);
            }
        }
        std::mem::swap(&mut before, &mut here);
    }
    runs
}

/// Joins the runs `a` of the row that begins at `a_row` with those of `b` that they touch.
fn connect(
    runs: &mut [Run],
    a: std::ops::Range<usize>,
    a_row: usize,
    b: std::ops::Range<usize>,
    b_row: usize,
) {
    let (mut i, mut j) = (a.start, b.start);
    while i < a.end && j < b.end {
        let (from, other) = (runs[i].start - a_row, runs[j].start - b_row);
        let (to, other_to) = (from + runs[i].length as usize, other + runs[j].length as usize);
        // A step to the side counts as touching, hence <=.
        if from <= other_to && other <= to {
            unite(runs, i, j);
        }
        if to < other_to { i += 1 } else { j += 1 }
    }
}

fn root(runs: &mut [Run], mut i: usize) -> usize {
    while runs[i].parent as usize != i {
        runs[i].parent = runs[runs[i].parent as usize].parent;
        i = runs[i].parent as usize;
    }
    i
}

/// The earlier root becomes the root of both.
fn unite(runs: &mut [Run], a: usize, b: usize) {
    let (a, b) = (root(runs, a), root(runs, b));
    runs[a.max(b)].parent = a.min(b) as u32;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Flood fill, voxel by voxel.
    fn naive(labels: &mut [u16], shape: [usize; 3], object: impl Fn(u16) -> bool) -> usize {
        let [depth, height, width] = shape;
        let mut seen = vec![false; labels.len()];
        let mut components: Vec<Vec<usize>> = Vec::new();
        for start in 0..labels.len() {
            if seen[start] || !object(labels[start]) {
                continue;
            }
            seen[start] = true;
            let (mut members, mut next) = (vec![start], 0);
            while next < members.len() {
                let i = members[next];
                next += 1;
                let (z, y, x) = (i / (height * width), i / width % height, i % width);
                for nz in z.saturating_sub(1)..(z + 2).min(depth) {
                    for ny in y.saturating_sub(1)..(y + 2).min(height) {
                        for nx in x.saturating_sub(1)..(x + 2).min(width) {
                            let n = (nz * height + ny) * width + nx;
                            if !seen[n] && object(labels[n]) {
                                seen[n] = true;
                                members.push(n);
                            }
                        }
                    }
                }
            }
            components.push(members);
        }
        let largest = components.iter().map(Vec::len).max().unwrap_or(0);
        let kept = components.iter().position(|c| c.len() == largest);
        let mut removed = 0;
        for (_, members) in components.iter().enumerate().filter(|(i, _)| Some(*i) != kept) {
            members.iter().for_each(|&i| labels[i] = 0);
            removed += members.len();
        }
        removed
    }

    proptest! {
        #[test]
        fn agrees_with_flood_fill(
            shape in [1usize..7, 1usize..7, 1usize..9],
            values in prop::collection::vec(0u16..100, 6 * 6 * 8),
            fill in 0u16..60,
        ) {
            let count: usize = shape.iter().product();
            let map: Vec<u16> =
                values[..count].iter().map(|&v| if v < fill { 1 + v % 2 } else { 0 }).collect();
            let (mut found, mut wanted) = (map.clone(), map.clone());
            let removed = keep_largest(&mut found, shape, 1);
            prop_assert_eq!(removed, naive(&mut wanted, shape, |v| v == 1));
            prop_assert_eq!(found, wanted);
            let (mut found, mut wanted) = (map.clone(), map);
            let removed = keep_largest_foreground(&mut found, shape);
            prop_assert_eq!(removed, naive(&mut wanted, shape, |v| v != 0));
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn the_first_of_equals_stays_and_other_labels_are_left_alone() {
        let mut map = vec![0, 1, 0, 1, 2, 0, 2, 0, 2];
        assert_eq!(keep_largest(&mut map, [1, 1, 9], 1), 1);
        assert_eq!(map, [0, 1, 0, 0, 2, 0, 2, 0, 2]);
        assert_eq!(keep_largest(&mut map, [1, 1, 9], 5), 0);
        assert_eq!(keep_largest(&mut [0u8; 0], [0, 4, 4], 1), 0);
    }
}
