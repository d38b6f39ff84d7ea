//! Distances between the surfaces of a predicted and a reference object, in mm.
//!
//! Definitions, as MedPy 0.5 has them: the surface of an object are its voxels with one of the
//! six neighbours outside of it; voxels at the volume's edge belong to it. The distances of both
//! directions, from each surface voxel to the nearest one of the other surface, are put together.

use super::distance::distances;
use rayon::prelude::*;

/// Surface distances of one label.
///
/// Where only one of the two maps has the label there is no distance: `hd`, `hd95` and `assd` are
/// NaN, and `nsd` is 0. Where none has it, all are NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SurfaceMetrics {
    /// Hausdorff distance: the largest distance, mm.
    pub hd: f64,
    /// 95th percentile of the distances of both directions (linear interpolation), mm.
    pub hd95: f64,
    /// Average symmetric surface distance: mean over the distances of both directions, mm.
    pub assd: f64,
    /// Normalised surface Dice: the share of both surfaces' voxels within the tolerance of the
    /// other surface (Nikolov et al. 2018, with voxels in place of surface elements), 0 to 1.
    pub nsd: f64,
}

/// A box of voxels: first and last (inclusive) along D, H, W.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    first: [usize; 3],
    last: [usize; 3],
}

impl Bounds {
    fn of(place: [usize; 3]) -> Self {
        Bounds { first: place, last: place }
    }

    fn union(self, other: Self) -> Self {
        let pick = |a: [usize; 3], b: [usize; 3], choose: fn(usize, usize) -> usize| {
            [0, 1, 2].map(|i| choose(a[i], b[i]))
        };
        Bounds {
            first: pick(self.first, other.first, usize::min),
            last: pick(self.last, other.last, usize::max),
        }
    }

    fn shape(self) -> [usize; 3] {
        [0, 1, 2].map(|i| self.last[i] - self.first[i] + 1)
    }
}

/// The surface metrics of each of `labels` between two label maps (D, H, W of `shape`).
/// `spacing_mm` is the voxel size along D, H, W, `tolerance_mm` that of the normalised surface
/// Dice; distances that exceed it by a rounding error of the spacing (1e-6 of it) still count.
///
/// # Panics
/// The maps do not have the voxels of `shape`.
pub fn surface_metrics(
    prediction: &[u16],
    reference: &[u16],
    shape: [usize; 3],
    spacing_mm: [f64; 3],
    labels: &[u16],
    tolerance_mm: f64,
) -> Vec<SurfaceMetrics> {
    let count: usize = shape.iter().product();
    assert!(prediction.len() == count && reference.len() == count, "maps of another shape");
    let (in_prediction, in_reference) =
        (bounds(prediction, shape, labels), bounds(reference, shape, labels));
    let one = |i: usize| {
        let (found, truth) = match (in_prediction[i], in_reference[i]) {
            (Some(found), Some(truth)) => (found, truth),
            (None, None) => return SurfaceMetrics::NONE,
            _ => return SurfaceMetrics { nsd: 0.0, ..SurfaceMetrics::NONE },
        };
        let frame = found.union(truth);
        let found = surface(prediction, shape, labels[i], found, frame);
        let truth = surface(reference, shape, labels[i], truth, frame);
        let mut both = distances(&found, &truth, frame.shape(), spacing_mm);
        both.extend(distances(&truth, &found, frame.shape(), spacing_mm));
        SurfaceMetrics::of(both, tolerance_mm)
    };
    // One label after the other: each holds a volume of distances, and is parallel in itself.
    (0..labels.len()).map(one).collect()
}

impl SurfaceMetrics {
    /// Of a label that neither map has.
    pub const NONE: Self =
        SurfaceMetrics { hd: f64::NAN, hd95: f64::NAN, assd: f64::NAN, nsd: f64::NAN };

    /// Of the distances of both directions, at least one.
    fn of(mut distances: Vec<f64>, tolerance_mm: f64) -> Self {
        let count = distances.len() as f64;
        let mean = distances.iter().sum::<f64>() / count;
        let limit = tolerance_mm * (1.0 + 1e-6);
        let within = distances.iter().filter(|&&d| d <= limit).count() as f64;
        distances.par_sort_unstable_by(f64::total_cmp);
        SurfaceMetrics {
            hd: distances.last().copied().unwrap_or(f64::NAN),
            hd95: super::statistics::quantile(&distances, 0.95),
            assd: mean,
            nsd: within / count,
        }
    }
}

/// The box of each label, or none where the map does not hold it.
fn bounds(map: &[u16], shape: [usize; 3], labels: &[u16]) -> Vec<Option<Bounds>> {
    let [_, height, width] = shape;
    let top = labels.iter().copied().max().map_or(0, usize::from);
    let join = |a: Option<Bounds>, b: Option<Bounds>| match (a, b) {
        (Some(a), Some(b)) => Some(a.union(b)),
        (a, b) => a.or(b),
    };
    let slice = |(z, slice): (usize, &[u16])| {
        let mut boxes = vec![None::<Bounds>; top + 1];
        for (y, row) in slice.chunks(width).enumerate() {
            let mut x = 0;
            for run in row.chunk_by(|a, b| a == b) {
                if let Some(known) = boxes.get_mut(usize::from(run[0])) {
                    let ends = Bounds::of([z, y, x]).union(Bounds::of([z, y, x + run.len() - 1]));
                    *known = join(*known, Some(ends));
                }
                x += run.len();
            }
        }
        boxes
    };
    let boxes = map.par_chunks((height * width).max(1)).enumerate().map(slice).reduce(
        || vec![None; top + 1],
        |a, b| a.into_iter().zip(b).map(|(a, b)| join(a, b)).collect(),
    );
    labels.iter().map(|&label| boxes[usize::from(label)]).collect()
}

/// The surface voxels of a label, whose box is `object`, as flat indices into `frame`, ascending.
fn surface(
    map: &[u16],
    shape: [usize; 3],
    label: u16,
    object: Bounds,
    frame: Bounds,
) -> Vec<usize> {
    let [depth, height, width] = shape;
    let [_, frame_height, frame_width] = frame.shape();
    let inside = |index: usize| map[index] == label;
    let slice = |z: usize| {
        let mut found = Vec::new();
        for y in object.first[1]..=object.last[1] {
            let row = (z * height + y) * width;
            let edge = z == 0 || z + 1 == depth || y == 0 || y + 1 == height;
            let out = ((z - frame.first[0]) * frame_height + y - frame.first[1]) * frame_width;
            for x in object.first[2]..=object.last[2] {
                let index = row + x;
                let buried = || {
                    !edge
                        && x > 0
                        && x + 1 < width
                        && inside(index - 1)
                        && inside(index + 1)
                        && inside(index - width)
                        && inside(index + width)
                        && inside(index - height * width)
                        && inside(index + height * width)
                };
                if inside(index) && !buried() {
                    found.push(out + x - frame.first[2]);
                }
            }
        }
        found
    };
    let slices: Vec<Vec<usize>> =
        (object.first[0]..=object.last[0]).into_par_iter().map(slice).collect();
    slices.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPES: [[usize; 3]; 5] = [[1, 1, 1], [1, 7, 5], [6, 1, 4], [5, 6, 7], [8, 3, 9]];

    /// All pairs of surface voxels, straight from the definitions.
    fn naive(
        a: &[u16],
        b: &[u16],
        shape: [usize; 3],
        spacing: [f64; 3],
        label: u16,
        tolerance: f64,
    ) -> Option<SurfaceMetrics> {
        let surface = |map: &[u16]| {
            let at = |p: [i64; 3]| {
                let within = (0..3).all(|i| (0..shape[i] as i64).contains(&p[i]));
                let [z, y, x] = p.map(|v| v as usize);
                within && map[(z * shape[1] + y) * shape[2] + x] == label
            };
            let mut points = Vec::new();
            for z in 0..shape[0] as i64 {
                for y in 0..shape[1] as i64 {
                    for x in 0..shape[2] as i64 {
                        let sides = [
                            [z - 1, y, x],
                            [z + 1, y, x],
                            [z, y - 1, x],
                            [z, y + 1, x],
                            [z, y, x - 1],
                            [z, y, x + 1],
                        ];
                        if at([z, y, x]) && !sides.into_iter().all(at) {
                            points.push([z as f64, y as f64, x as f64]);
                        }
                    }
                }
            }
            points
        };
        let (a, b) = (surface(a), surface(b));
        if a.is_empty() || b.is_empty() {
            return None;
        }
        let nearest = |p: &[f64; 3], others: &[[f64; 3]]| {
            let far = |q: &[f64; 3]| {
                (0..3).map(|i| ((p[i] - q[i]) * spacing[i]).powi(2)).sum::<f64>().sqrt()
            };
            others.iter().map(far).fold(f64::INFINITY, f64::min)
        };
        let mut all: Vec<f64> = a.iter().map(|p| nearest(p, &b)).collect();
        all.extend(b.iter().map(|p| nearest(p, &a)));
        let n = all.len() as f64;
        all.sort_by(f64::total_cmp);
        let rank = 0.95 * (n - 1.0);
        let (low, high) = (all[rank.floor() as usize], all[rank.ceil() as usize]);
        Some(SurfaceMetrics {
            hd: all[all.len() - 1],
            hd95: low + (high - low) * rank.fract(),
            assd: all.iter().sum::<f64>() / n,
            nsd: all.iter().filter(|d| **d <= tolerance).count() as f64 / n,
        })
    }

    proptest! {
        #[test]
        fn agrees_with_all_pairs(
            shape in prop::sample::select(SHAPES.to_vec()),
            spacing in [0.1f64..5.0, 0.1f64..5.0, 0.1f64..5.0],
            seed in prop::collection::vec(0u16..100, 512),
            fill in 1u16..100,
            tolerance in 0.05f64..6.0,
        ) {
            let count: usize = shape.iter().product();
            let map = |from: usize| -> Vec<u16> {
                seed.iter().cycle().skip(from).take(count)
                    .map(|&v| if v < fill { 1 + v % 2 } else { 0 }).collect()
            };
            let (a, b) = (map(0), map(200));
            let labels = [1, 2, 7];
            let found = surface_metrics(&a, &b, shape, spacing, &labels, tolerance);
            for (label, found) in labels.into_iter().zip(found) {
                match naive(&a, &b, shape, spacing, label, tolerance) {
                    Some(wanted) => {
                        let pairs = [
                            (found.hd, wanted.hd),
                            (found.hd95, wanted.hd95),
                            (found.assd, wanted.assd),
                            (found.nsd, wanted.nsd),
                        ];
                        for (f, w) in pairs {
                            prop_assert!((f - w).abs() <= 1e-6 * w.max(1e-3), "{f} not {w}");
                        }
                    }
                    None => {
                        prop_assert!(found.hd.is_nan() && found.hd95.is_nan());
                        prop_assert!(found.assd.is_nan());
                        let one = a.contains(&label) || b.contains(&label);
                        prop_assert_eq!(found.nsd.is_nan(), !one);
                        prop_assert!(found.nsd.is_nan() || found.nsd == 0.0);
                    }
                }
            }
        }
    }

    #[test]
    fn the_tolerance_forgives_the_rounding_of_a_header() {
        let (a, b) = ([1, 0, 0, 0, 0], [0, 0, 0, 1, 0]);
        let spacing = [1.0, 1.0, f64::from(0.7f32)];
        let nsd = |tolerance| surface_metrics(&a, &b, [1, 1, 5], spacing, &[1], tolerance)[0].nsd;
        assert_eq!(nsd(2.1), 1.0);
        assert_eq!(nsd(2.09), 0.0);
    }
}
