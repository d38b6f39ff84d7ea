//! Tiles of the simt gather: the brick of output points of a workgroup, and the neighbours along w that
//! an invocation holds.

/// Channels of a workgroup, in vec4: [`Brick::GROUPS`] invocations a place, two each.
pub(super) const BLOCKS: u32 = 8;

/// A workgroup's tile. The order of each output's sum does not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Brick {
    /// Output points along D, H, W.
    pub edges: [u32; 3],
    /// Neighbours along w that an invocation holds; divides the last edge.
    pub width: u32,
}

/// In order of preference on a device that was not timed: as large as the workgroup memory allows.
const PREFERRED: [Brick; 5] = [
    Brick { edges: [4, 4, 8], width: 4 },
    Brick { edges: [2, 4, 8], width: 4 },
    Brick { edges: [2, 4, 4], width: 4 },
    Brick { edges: [1, 4, 4], width: 4 },
    Brick { edges: [1, 1, 4], width: 4 },
];
/// What else is tried: wider invocations, which load fewer weights a product, and other shapes.
const TRIED: [Brick; 5] = [
    Brick { edges: [4, 4, 16], width: 8 },
    Brick { edges: [2, 8, 16], width: 8 },
    Brick { edges: [4, 4, 8], width: 8 },
    Brick { edges: [4, 4, 16], width: 4 },
    Brick { edges: [2, 4, 16], width: 4 },
];
/// Points along D, H, W over which a gather sums what it stores, where the smallest brick has as many.
const CHUNK: [u32; 3] = [2, 4, 8];
/// Most invocations of a workgroup that every device grants.
const MOST_INVOCATIONS: u32 = 256;

impl Brick {
    /// Invocations that share a place, each with two of the channel blocks.
    const GROUPS: u32 = BLOCKS / 2;

    /// The bricks for taps and steps along D, H, W and so many output points that fit the workgroup
    /// memory, the preferred one first; one at least. `sums`: whether the kernel also sums what it stores.
    pub fn candidates(
        steps: [u32; 3],
        taps: [u32; 3],
        points: [u32; 3],
        sums: bool,
        workgroup_bytes: u32,
    ) -> Vec<Brick> {
        let fits = |brick: &Brick| {
            brick.bytes(steps, taps, sums) <= u64::from(workgroup_bytes)
                && brick.invocations() <= MOST_INVOCATIONS
        };
        let smallest = PREFERRED[PREFERRED.len() - 1];
        let first = PREFERRED.into_iter().find(fits).unwrap_or(smallest);
        // What computes half as many points again in vain cannot win.
        let wasteful = |brick: &Brick| brick.padded(points) * 2 > first.padded(points) * 3;
        let others = TRIED.into_iter().filter(|brick| fits(brick) && !wasteful(brick));
        std::iter::once(first).chain(others).collect()
    }

    /// Edges of the chunks over which a gather sums what it stores: they divide all of the bricks.
    pub fn chunk(bricks: &[Brick]) -> [u32; 3] {
        std::array::from_fn(|i| bricks.iter().map(|brick| brick.edges[i]).fold(CHUNK[i], u32::min))
    }

    /// The tile as plain numbers.
    pub fn code(self) -> Vec<u32> {
        let [d, h, w] = self.edges;
        vec![d, h, w, self.width]
    }

    fn invocations(self) -> u32 {
        self.edges.iter().product::<u32>() / self.width * Brick::GROUPS
    }

    /// Workgroup memory: the halo of one input block, where afterwards two sums of every four points lie, and
    /// the weights of one plane of taps.
    fn bytes(self, steps: [u32; 3], taps: [u32; 3], sums: bool) -> u64 {
        let halo: u64 =
            (0..3).map(|i| u64::from((self.edges[i] - 1) * steps[i] + taps[i])).product();
        let sums = if sums { self.edges.iter().product::<u32>() / 4 * BLOCKS * 2 } else { 0 };
        let weights = u64::from(taps[1] * taps[2] * BLOCKS * 4);
        (halo.max(u64::from(sums)).max(1) + weights.max(1)) * 16
    }

    /// Points of all bricks that it takes.
    fn padded(self, points: [u32; 3]) -> u64 {
        (0..3).map(|i| u64::from(points[i].next_multiple_of(self.edges[i]))).product()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bricks_fit_the_device() {
        for bytes in [16 << 10, 32 << 10, 64 << 10] {
            for (step, tap) in [(1, 1), (1, 3), (2, 3), (1, 2), (2, 1)] {
                for (edge, sums) in [1, 4, 7, 64].into_iter().flat_map(|e| [(e, false), (e, true)])
                {
                    let all = Brick::candidates([step; 3], [tap; 3], [edge; 3], sums, bytes);
                    let chunk = Brick::chunk(&all);
                    for brick in &all {
                        assert!(brick.bytes([step; 3], [tap; 3], sums) <= u64::from(bytes));
                        assert!(brick.invocations() <= MOST_INVOCATIONS);
                        assert!(brick.edges[2].is_multiple_of(brick.width));
                        assert!((0..3).all(|i| brick.edges[i].is_multiple_of(chunk[i])));
                    }
                    assert!(all.len() == 1 || edge > 7 || all[1..].iter().all(|b| b.width > 0));
                }
            }
        }
        let of = |edge, sums| Brick::candidates([1; 3], [3; 3], [edge; 3], sums, 16 << 10);
        assert_eq!([false, true].map(|sums| of(64, sums)[0].edges), [[4, 4, 8]; 2]);
        assert_eq!(of(4, false).len(), 2);
    }
}
