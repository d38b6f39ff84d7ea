//! Register tiles of the subgroup gather: how many neighbours along h and channel blocks a lane holds.

use super::axis::Axis;

/// Most products of a 4 x 4 matrix in the body of the loop; more of them spill over
/// llvmpipe's instruction cache.
const MOST_PRODUCTS: u32 = 128;
/// Rows that are tried, and the most for direct taps.
const ROWS: [u32; 4] = [4, 8, 12, 16];
const MOST_ROWS_DIRECT: u32 = 8;
/// Work of fewer FLOPs, under 0.3 ms, has the fewest rows: tall tiles take seconds to compile, which they
/// must win back within a training.
pub(super) const SMALL: u64 = 1 << 24;
/// Work of fewer FLOPs, under 2 ms, has not the most blocks, for the same reason.
pub(super) const LARGE: u64 = 1 << 27;
/// How many of the best are worth a trial: the count of instructions is right within a tenth.
const CANDIDATES: usize = 4;
/// Channel blocks that are tried, the first of them for much work only.
const BLOCKS: [u32; 5] = [8, 4, 3, 2, 1];

/// A lane's tile. The order of each output's sum does not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// Neighbours along h.
    pub rows: u32,
    /// Blocks of output channels.
    pub blocks: u32,
    /// Three taps along h by F(2,3).
    pub winograd: bool,
}

impl Tile {
    /// The tiles that need the fewest instructions for `points` outputs a lane along h and so many
    /// channel blocks, on subgroups of `lanes`, in a dispatch of so many FLOPs; the best first.
    pub fn candidates(h: &Axis, points: u32, blocks: u32, lanes: u32, flops: u64) -> Vec<Tile> {
        let winograd = is_winograd(h.count, h.in_step as u32);
        let most_rows = match winograd {
            _ if flops < SMALL => ROWS[0],
            true => u32::MAX,
            false => MOST_ROWS_DIRECT,
        };
        let rows = ROWS.into_iter().filter(|&rows| rows <= most_rows);
        let offered = if flops < LARGE { &BLOCKS[1..] } else { &BLOCKS[..] };
        let tiles = rows
            .flat_map(|rows| offered.iter().map(move |&blocks| Tile { rows, blocks, winograd }));
        let fits = |tile: &Tile| tile.products(h) <= MOST_PRODUCTS;
        let whole = |tile: &Tile| {
            points.div_ceil(tile.rows) * blocks.div_ceil(tile.blocks) * tile.instructions(h, lanes)
        };
        let mut best: Vec<Tile> = tiles.filter(fits).collect();
        best.sort_by_key(whole);
        best.truncate(CANDIDATES);
        if best.is_empty() {
            best.push(Tile { rows: ROWS[0], blocks: 1, winograd });
        }
        best
    }

    /// The tile as plain numbers.
    pub fn code(self) -> Vec<u32> {
        vec![self.rows, self.blocks]
    }

    /// Factors along h that a weight becomes.
    pub fn factors(&self, h: &Axis) -> u32 {
        if self.winograd { 4 } else { h.count }
    }

    /// Rows of x from one output's first to the next one's; the number of taps and more all mean
    /// that no row is shared.
    pub fn step(h: &Axis) -> u32 {
        (h.in_step as u32).min(h.count)
    }

    /// Matrix products a turn of the loop.
    fn products(&self, h: &Axis) -> u32 {
        let products_a_row = if self.winograd { 2 } else { h.count };
        products_a_row * self.rows * self.blocks
    }

    /// Instructions a turn of the loop, as counted in llvmpipe's code: 60 a load of a texel
    /// by 8 lanes, 16 to spread a matrix, 40 for a product and its sum, 4 for a sum of texels.
    fn instructions(&self, h: &Axis, lanes: u32) -> u32 {
        let rows_of_x = match self.winograd {
            true => self.rows + 2,
            false => (self.rows - 1) * Tile::step(h) + h.count,
        };
        let matrices = self.factors(h) * self.blocks;
        let loads = rows_of_x + (4 * matrices).div_ceil(lanes);
        let sums = if self.winograd { 2 * self.rows } else { 0 };
        60 * loads + 16 * matrices + 40 * self.products(h) + 4 * sums
    }
}

/// Whether two neighbours along an axis have the form of F(2,3) and its transpose F(3,2): three taps
/// at stride 1.
pub(super) fn is_winograd(taps: u32, stride: u32) -> bool {
    taps == 3 && stride == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(count: u32, in_step: i32, points: u32) -> Axis {
        let (tap0, tap_step, in_offset, out_step, out_offset, scatter) = (0, 1, 0, 1, 0, 1);
        Axis { tap0, tap_step, count, in_step, in_offset, out_step, out_offset, scatter, points }
    }

    #[test]
    fn tiles_fit_the_points_and_the_instruction_cache() {
        let chosen = |count, step, points, blocks| {
            let h = axis(count, step, points);
            let tiles = Tile::candidates(&h, points, blocks, 8, LARGE);
            let tile = tiles[0];
            assert!(tiles.iter().all(|t| t.winograd == tile.winograd));
            assert!(tile.products(&h) <= MOST_PRODUCTS);
            assert!(tile.blocks < 2 * blocks && tile.rows.is_multiple_of(2));
            assert_eq!(Tile::candidates(&h, points, blocks, 8, SMALL - 1)[0].rows, 4);
            assert!(Tile::candidates(&h, points, blocks, 8, LARGE - 1)[0].blocks <= 4);
            (tile.rows, tile.blocks, tile.winograd)
        };
        assert_eq!(chosen(3, 1, 64, 8), (16, 4, true));
        assert_eq!(chosen(3, 1, 28, 6), (16, 3, true));
        assert_eq!(chosen(3, 1, 5, 1), (8, 1, true));
        assert_eq!(chosen(3, 2, 32, 16), (8, 4, false));
        assert_eq!(chosen(1, 1, 32, 8), (8, 8, false));
        for points in 1..70 {
            for blocks in 1..12 {
                chosen(3, 1, points, blocks);
                chosen(2, 1, points, blocks);
                chosen(7, 1, points, blocks);
            }
        }
    }
}
