//! Resampling of volumes onto grids of another spacing (nnU-Net v1, `resample_patient`).
//!
//! Arrays are D, H, W. A grid keeps its outer borders: the edge `n` becomes
//! `round(n spacing / target)`, halves to even, and output voxel `i` lies at the input coordinate
//! `(i + 1/2) n_in / n_out - 1/2`. Beyond the border the nearest voxel counts. Images are
//! interpolated by cubic B-splines whose coefficients are those of the volume with 12 border
//! voxels added on each side (SciPy's `map_coordinates`, order 3, mode nearest), and clipped to
//! the range of the input; labels by the linear interpolation of each label's indicator and the
//! largest of them. All of it is a product over the axes, so volumes are resampled axis by axis.
//!
//! Where slices are more than three times as far apart as their pixels, the axis across them is
//! treated apart: each slice is resampled and clipped by itself, then whole slices are picked.

use rayon::prelude::*;

/// Ratio of the slice distance to the finest spacing above which slices are treated apart.
const SEPARATE_RATIO: f64 = 3.0;
/// Border voxels added on each side before the spline's coefficients are found.
const BORDER: usize = 12;
/// Pole of the cubic B-spline's prefilter, sqrt(3) - 2.
const POLE: f32 = -0.267_949_2;
/// Terms of the pole's power series that matter in `f32`.
const HORIZON: usize = 24;
/// Rows along W that are filtered together, so that the processor's vector units are used.
const ROWS: usize = 16;

/// How values between voxels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The voxel at `floor(c + 1/2)`.
    Nearest,
    /// Between the two neighbours along each axis.
    Linear,
    /// Cubic B-spline through the voxels.
    Cubic,
}

/// Edges of a volume of `shape` and `spacing` on a grid of spacing `target`, at least 1.
pub fn resampled_shape(shape: [usize; 3], spacing: [f64; 3], target: [f64; 3]) -> [usize; 3] {
    std::array::from_fn(|i| {
        let edge = shape[i] as f64 * spacing[i] / target[i];
        (edge.round_ties_even() as usize).max(1)
    })
}

/// The axis along which `spacing` is more than three times its finest, if there is just one.
pub fn coarse_axis(spacing: [f64; 3]) -> Option<usize> {
    let finest = spacing.iter().copied().fold(f64::INFINITY, f64::min);
    let coarsest = spacing.iter().copied().fold(0.0, f64::max);
    if coarsest <= SEPARATE_RATIO * finest {
        return None;
    }
    let mut coarse = (0..3).filter(|&i| spacing[i] == coarsest);
    let first = coarse.next();
    if coarse.next().is_some() { None } else { first }
}

/// The axis that is treated apart on the way from one spacing to another: the coarse one of the
/// first, else of the second.
pub fn separate_axis(from: [f64; 3], to: [f64; 3]) -> Option<usize> {
    coarse_axis(from).or_else(|| coarse_axis(to))
}

/// Where the output voxels of an axis lie among the input's.
struct Taps {
    n_out: usize,
    /// Border voxels that the input is to be given on each side.
    border: usize,
    /// For each output voxel the first input voxel that counts.
    first: Vec<usize>,
    /// Weights of it and of those that follow it; `count` of them.
    weights: Vec<[f32; 4]>,
    count: usize,
}

/// Input coordinate of output voxel `i`.
fn coordinate(i: usize, n_in: usize, n_out: usize) -> f64 {
    (i as f64 + 0.5) * n_in as f64 / n_out as f64 - 0.5
}

impl Taps {
    fn new(n_in: usize, n_out: usize, interpolation: Interpolation) -> Self {
        let place = |i: usize| {
            let c = coordinate(i, n_in, n_out);
            let inside = c.clamp(0.0, (n_in - 1) as f64);
            match interpolation {
                Interpolation::Nearest => (nearest(c, n_in), [1.0, 0.0, 0.0, 0.0]),
                Interpolation::Linear => {
                    let first = (inside.floor() as usize).min(n_in.saturating_sub(2));
                    let t = (inside - first as f64) as f32;
                    (first, [1.0 - t, t, 0.0, 0.0])
                }
                Interpolation::Cubic => {
                    let c = c + BORDER as f64;
                    let t = (c - c.floor()) as f32;
                    // The filter's gain of 6 is in these.
                    let weights = [
                        (1.0 - t).powi(3),
                        4.0 + t * t * (3.0 * t - 6.0),
                        1.0 + 3.0 * t * (1.0 + t - t * t),
                        t.powi(3),
                    ];
                    (c.floor() as usize - 1, weights)
                }
            }
        };
        let (first, weights) = (0..n_out).map(place).unzip();
        let (count, border) = match interpolation {
            Interpolation::Nearest => (1, 0),
            Interpolation::Linear => (n_in.min(2), 0),
            Interpolation::Cubic => (4, BORDER),
        };
        Taps { n_out, border, first, weights, count }
    }

    /// Resamples rows of `inner` values: `rows(k)` is input row k, `out` holds `n_out` rows.
    /// `work` is scratch space.
    fn apply<'a>(
        &self,
        n_in: usize,
        inner: usize,
        rows: impl Fn(usize) -> &'a [f32],
        work: &mut Vec<f32>,
        out: &mut [f32],
    ) {
        work.clear();
        for k in 0..n_in + 2 * self.border {
            work.extend_from_slice(rows(k.saturating_sub(self.border).min(n_in - 1)));
        }
        if self.border > 0 {
            prefilter(work, inner);
        }
        for ((out, &first), weights) in
            out.chunks_exact_mut(inner).zip(&self.first).zip(&self.weights)
        {
            let row = |t: usize| &work[(first + t) * inner..][..inner];
            match self.count {
                1 => out.copy_from_slice(row(0)),
                2 => {
                    for ((o, a), b) in out.iter_mut().zip(row(0)).zip(row(1)) {
                        *o = weights[0] * a + weights[1] * b;
                    }
                }
                _ => {
                    let (a, b, c, d) = (row(0), row(1), row(2), row(3));
                    for (i, o) in out.iter_mut().enumerate() {
                        *o = weights[0] * a[i]
                            + weights[1] * b[i]
                            + (weights[2] * c[i] + weights[3] * d[i]);
                    }
                }
            }
        }
    }
}

/// The voxel nearest to a coordinate, the upper one from halfway.
fn nearest(c: f64, n_in: usize) -> usize {
    ((c + 0.5).floor().max(0.0) as usize).min(n_in - 1)
}

/// Cubic B-spline coefficients, but for the gain of 6, in place along the first axis of rows of
/// `inner` values, the volume being mirrored about its end rows (Unser 1999). At least
/// [`HORIZON`] rows, which the added border guarantees.
fn prefilter(rows: &mut [f32], inner: usize) {
    let last = rows.len() / inner - 1;
    let mut power = 1.0;
    let (first, rest) = rows.split_at_mut(inner);
    for row in rest.chunks_exact(inner).take(HORIZON) {
        power *= POLE;
        first.iter_mut().zip(row).for_each(|(f, r)| *f += power * r);
    }
    for k in 1..=last {
        let (before, here) = rows.split_at_mut(k * inner);
        let before = &before[(k - 1) * inner..];
        here[..inner].iter_mut().zip(before).for_each(|(h, b)| *h += POLE * b);
    }
    let (before, end) = rows.split_at_mut(last * inner);
    let gain = POLE / (POLE * POLE - 1.0);
    let before = &before[(last - 1) * inner..];
    end.iter_mut().zip(before).for_each(|(e, b)| *e = gain * (*e + POLE * b));
    for k in (0..last).rev() {
        let (here, after) = rows.split_at_mut((k + 1) * inner);
        let here = &mut here[k * inner..];
        here.iter_mut().zip(&after[..inner]).for_each(|(h, a)| *h = POLE * (a - *h));
    }
}

/// Resamples one volume along one axis.
fn along(volume: &[f32], shape: [usize; 3], axis: usize, taps: &Taps) -> Vec<f32> {
    let [d, h, w] = shape;
    let n = taps.n_out;
    let mut out = vec![0f32; volume.len() / shape[axis] * n];
    match axis {
        // Rows of one H lie a plane apart; the result is gathered H by H and turned after.
        0 => {
            let mut turned = vec![0f32; out.len()];
            turned.par_chunks_exact_mut(n * w).enumerate().for_each_init(
                Vec::new,
                |work, (y, out)| {
                    taps.apply(d, w, |z| &volume[(z * h + y) * w..][..w], work, out);
                },
            );
            out.par_chunks_exact_mut(h * w).enumerate().for_each(|(z, plane)| {
                for (y, row) in plane.chunks_exact_mut(w).enumerate() {
                    row.copy_from_slice(&turned[(y * n + z) * w..][..w]);
                }
            });
        }
        1 => {
            out.par_chunks_exact_mut(n * w).enumerate().for_each_init(Vec::new, |work, (z, out)| {
                taps.apply(h, w, |y| &volume[(z * h + y) * w..][..w], work, out);
            })
        }
        _ => out.par_chunks_mut(n * ROWS).enumerate().for_each_init(
            || (Vec::new(), Vec::new(), Vec::new()),
            |(work, turned, result), (group, out)| {
                let rows = out.len() / n;
                let from = &volume[group * ROWS * w..][..rows * w];
                turned.clear();
                turned.extend((0..w).flat_map(|x| (0..rows).map(move |r| from[r * w + x])));
                result.clear();
                result.resize(n * rows, 0.0);
                taps.apply(w, rows, |x| &turned[x * rows..][..rows], work, result);
                for (r, row) in out.chunks_exact_mut(n).enumerate() {
                    row.iter_mut().enumerate().for_each(|(x, v)| *v = result[x * rows + r]);
                }
            },
        ),
    }
    out
}

/// Least and largest value.
fn range(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)))
}

/// Resamples an image, C planes of D,H,W `from`, onto a grid of edges `to`. `separate`: the axis
/// that is treated apart (see the module), [`separate_axis`].
pub fn resample_image(
    image: &[f32],
    from: [usize; 3],
    to: [usize; 3],
    interpolation: Interpolation,
    separate: Option<usize>,
) -> Vec<f32> {
    if from == to {
        return image.to_vec();
    }
    let mut out = Vec::new();
    for channel in image.chunks_exact(from.iter().product()) {
        out.extend_from_slice(&resample_channel(channel, from, to, interpolation, separate));
    }
    out
}

fn resample_channel(
    channel: &[f32],
    from: [usize; 3],
    to: [usize; 3],
    interpolation: Interpolation,
    separate: Option<usize>,
) -> Vec<f32> {
    let mut shape = from;
    let mut now = std::borrow::Cow::Borrowed(channel);
    // What shrinks comes first, as it leaves less to do; the axis that is treated apart last.
    let mut order = [0, 1, 2];
    let ratio = |axis: usize| to[axis] as f64 / from[axis] as f64;
    order.sort_by(|&a, &b| ratio(a).total_cmp(&ratio(b)));
    order.sort_by_key(|&axis| Some(axis) == separate);
    for axis in order {
        if from[axis] == to[axis] {
            continue;
        }
        if Some(axis) == separate {
            clip_slices(now.to_mut(), channel, from, shape, axis);
            let taps = Taps::new(from[axis], to[axis], Interpolation::Nearest);
            now = along(&now, shape, axis, &taps).into();
        } else {
            let taps = Taps::new(from[axis], to[axis], interpolation);
            now = along(&now, shape, axis, &taps).into();
        }
        shape[axis] = to[axis];
    }
    let mut now = now.into_owned();
    match separate {
        // The axis was not resampled, so its slices are still those of the input.
        Some(axis) if from[axis] == to[axis] => clip_slices(&mut now, channel, from, shape, axis),
        Some(_) => {}
        None => {
            let (low, high) = range(channel);
            now.par_iter_mut().for_each(|v| *v = v.clamp(low, high));
        }
    }
    now
}

/// Clips each slice across `axis` of a volume to the range of the same slice of the original.
fn clip_slices(
    volume: &mut [f32],
    original: &[f32],
    from: [usize; 3],
    shape: [usize; 3],
    axis: usize,
) {
    let inner = |s: [usize; 3]| s[axis + 1..].iter().product::<usize>();
    let n = from[axis];
    let mut ranges = vec![(f32::INFINITY, f32::NEG_INFINITY); n];
    for (i, row) in original.chunks_exact(inner(from)).enumerate() {
        let (low, high) = range(row);
        let all = &mut ranges[i % n];
        *all = (all.0.min(low), all.1.max(high));
    }
    for (i, row) in volume.chunks_exact_mut(inner(shape)).enumerate() {
        let (low, high) = ranges[i % n];
        row.iter_mut().for_each(|v| *v = v.clamp(low, high));
    }
}

/// Neighbours of an output voxel along one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Between {
    pub low: usize,
    pub high: usize,
    /// Share of `high`.
    pub weight: f64,
    /// The nearer of the two, the upper one from halfway.
    pub nearest: usize,
}

/// Where the output voxels of an axis lie between the input's, the border repeated.
pub(crate) fn between(n_in: usize, n_out: usize) -> Vec<Between> {
    let place = |i: usize| {
        let c = coordinate(i, n_in, n_out);
        let inside = c.clamp(0.0, (n_in - 1) as f64);
        let low = inside.floor() as usize;
        let high = (low + 1).min(n_in - 1);
        Between { low, high, weight: inside - low as f64, nearest: nearest(c, n_in) }
    };
    (0..n_out).map(place).collect()
}

/// Resamples labels D,H,W `from` onto a grid of edges `to`: the label whose indicator is largest
/// under linear interpolation; on ties the label of the nearest voxel if it is among them, else
/// the lowest. Along the `separate` axis whole slices are picked.
pub fn resample_labels(
    labels: &[u8],
    from: [usize; 3],
    to: [usize; 3],
    separate: Option<usize>,
) -> Vec<u8> {
    if from == to {
        return labels.to_vec();
    }
    let axes: [Vec<Between>; 3] = std::array::from_fn(|axis| {
        let mut axis_between = between(from[axis], to[axis]);
        if Some(axis) == separate {
            for b in &mut axis_between {
                *b = Between { low: b.nearest, high: b.nearest, weight: 0.0, ..*b };
            }
        }
        axis_between
    });
    let [_, h, w] = from;
    let mut out = vec![0u8; to.iter().product()];
    out.par_chunks_exact_mut(to[2]).enumerate().for_each(|(row, out)| {
        let (z, y) = (axes[0][row / to[1]], axes[1][row % to[1]]);
        let line = |z: usize, y: usize| &labels[(z * h + y) * w..][..w];
        let lines =
            [line(z.low, y.low), line(z.low, y.high), line(z.high, y.low), line(z.high, y.high)];
        let nearest_line = line(z.nearest, y.nearest);
        let shares = [
            (1.0 - z.weight) * (1.0 - y.weight),
            (1.0 - z.weight) * y.weight,
            z.weight * (1.0 - y.weight),
            z.weight * y.weight,
        ];
        for (out, x) in out.iter_mut().zip(&axes[2]) {
            let first = lines[0][x.low];
            let same = lines.iter().all(|line| line[x.low] == first && line[x.high] == first);
            *out = if same { first } else { vote(&lines, &shares, *x, nearest_line[x.nearest]) };
        }
    });
    out
}

/// The label of the largest share among eight neighbours.
fn vote(lines: &[&[u8]; 4], shares: &[f64; 4], x: Between, nearest: u8) -> u8 {
    /// Shares closer than this are tied: they differ by rounding alone.
    const TIE: f64 = 1e-9;
    let mut votes = [(0u8, 0.0f64); 8];
    let mut count = 0;
    for (line, share) in lines.iter().zip(shares) {
        for (label, share) in
            [(line[x.low], share * (1.0 - x.weight)), (line[x.high], share * x.weight)]
        {
            match votes[..count].iter_mut().find(|(known, _)| *known == label) {
                Some((_, sum)) => *sum += share,
                None => {
                    votes[count] = (label, share);
                    count += 1;
                }
            }
        }
    }
    let most = votes[..count].iter().fold(0.0, |most: f64, v| most.max(v.1));
    let tied = votes[..count].iter().filter(|v| v.1 >= most - TIE).map(|v| v.0);
    let mut winner = None;
    for label in tied {
        if label == nearest {
            return nearest;
        }
        winner = Some(winner.map_or(label, |w: u8| w.min(label)));
    }
    winner.unwrap_or(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_coarse_axis_is_one_that_stands_out() {
        assert_eq!(coarse_axis([3.6, 0.62, 0.62]), Some(0));
        assert_eq!(coarse_axis([0.6, 0.6, 3.0]), Some(2));
        assert_eq!(coarse_axis([3.0, 1.0, 1.0]), None);
        assert_eq!(coarse_axis([4.0, 4.0, 1.0]), None);
        assert_eq!(separate_axis([1.0; 3], [5.0, 1.0, 1.0]), Some(0));
    }

    #[test]
    fn edges_round_half_to_even() {
        assert_eq!(resampled_shape([5, 7, 3], [0.5, 0.5, 1.0], [1.0; 3]), [2, 4, 3]);
        assert_eq!(resampled_shape([1, 1, 1], [0.1; 3], [1.0; 3]), [1; 3]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A linear ramp is reproduced by linear interpolation away from the border, and no
        /// interpolation leaves the range of its input.
        #[test]
        fn ramps_and_ranges(
            from in prop::array::uniform3(1usize..12),
            to in prop::array::uniform3(1usize..14),
            slope in prop::array::uniform3(-2f32..2.0),
            separate in prop::option::of(0usize..3),
        ) {
            let value = |c: [f64; 3]| -> f32 {
                (0..3).map(|i| slope[i] * c[i] as f32).sum()
            };
            let [d, h, w] = from;
            let image: Vec<f32> = (0..d * h * w)
                .map(|i| value([i / (h * w), i / w % h, i % w].map(|v| v as f64)))
                .collect();
            let (low, high) = range(&image);
            for how in [Interpolation::Nearest, Interpolation::Linear, Interpolation::Cubic] {
                let out = resample_image(&image, from, to, how, separate);
                prop_assert_eq!(out.len(), to.iter().product::<usize>());
                prop_assert!(out.iter().all(|v| (low - 1e-4..=high + 1e-4).contains(v)));
            }
            let out = resample_image(&image, from, to, Interpolation::Linear, None);
            for (i, &v) in out.iter().enumerate() {
                let place = [i / (to[1] * to[2]), i / to[2] % to[1], i % to[2]];
                let c: [f64; 3] = std::array::from_fn(|a| {
                    coordinate(place[a], from[a], to[a]).clamp(0.0, (from[a] - 1) as f64)
                });
                prop_assert!((v - value(c)).abs() < 1e-3, "{} not {}", v, value(c));
            }
        }

        /// The spline passes through the voxels: resampling by an odd factor keeps them.
        #[test]
        fn the_spline_meets_the_voxels(
            from in prop::array::uniform3(2usize..9), seed in 0u32..1000,
        ) {
            let image: Vec<f32> = (0..from.iter().product::<usize>() as u32)
                .map(|i| ((i.wrapping_add(seed)).wrapping_mul(2654435761) >> 20) as f32 / 4096.0)
                .collect();
            let to = from.map(|n| 3 * n);
            let out = resample_image(&image, from, to, Interpolation::Cubic, None);
            for (i, &v) in image.iter().enumerate() {
                let at = [i / (from[1] * from[2]), i / from[2] % from[1], i % from[2]];
                let at = at.map(|p| 3 * p + 1);
                let got = out[(at[0] * to[1] + at[1]) * to[2] + at[2]];
                prop_assert!((got - v).abs() < 1e-5, "{got} not {v}");
            }
        }

        /// Labels agree with the argmax of linearly interpolated indicators, the ignore label like
        /// any other.
        #[test]
        fn labels_follow_their_indicators(
            from in prop::array::uniform3(1usize..7),
            to in prop::array::uniform3(1usize..9),
            seed in 0u32..1000,
        ) {
            const KINDS: [u8; 4] = [0, 1, 2, crate::data::labels::IGNORED];
            let labels: Vec<u8> = (0..from.iter().product::<usize>() as u32)
                .map(|i| (i.wrapping_add(seed)).wrapping_mul(2654435761) >> 28)
                .map(|random| KINDS[random as usize / 5])
                .collect();
            let out = resample_labels(&labels, from, to, None);
            let shares: Vec<Vec<f32>> = KINDS
                .into_iter()
                .map(|l| {
                    let one: Vec<f32> = labels.iter().map(|&v| f32::from(v == l)).collect();
                    resample_image(&one, from, to, Interpolation::Linear, None)
                })
                .collect();
            for (i, &label) in out.iter().enumerate() {
                let most = shares.iter().map(|s| s[i]).fold(0.0, f32::max);
                let kind = KINDS.iter().position(|&l| l == label);
                prop_assert!(kind.is_some_and(|k| shares[k][i] >= most - 1e-5));
            }
        }
    }
}
