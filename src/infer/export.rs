//! From class probabilities on the network's grid to labels on the grid of the file: linear
//! interpolation and a decision per voxel, plane by plane, so that the probabilities of a
//! whole volume are never held unless they are wanted.

use super::decision::{Decision, Voxel};
use super::predictor::Planes;
use crate::data::orientation::Turn;
use crate::data::preprocess::Origin;
use crate::data::resample::{Between, between};
use half::f16;
use rayon::prelude::*;
use std::collections::VecDeque;

/// Turns probabilities into labels as they come.
pub(super) struct Export {
    decision: Decision,
    /// H, W of the network's grid.
    from: [usize; 2],
    /// Edges of the crop along the prepared axes.
    to: [usize; 3],
    axes: [Vec<Between>; 3],
    /// Planes (classes, H, W) that are still needed; the number of the first.
    held: VecDeque<Vec<f32>>,
    first: usize,
    /// Label values.
    labels: Vec<u16>,
    /// Channels, D, H, W of the crop, where wanted.
    probabilities: Option<Vec<f16>>,
}

impl Export {
    /// From a network's grid to a crop of edges `to` along the same axes.
    pub fn new(decision: Decision, from: [usize; 3], to: [usize; 3], keep: bool) -> Self {
        let voxels: usize = to.iter().product();
        let channels = decision.channels();
        Export {
            decision,
            from: [from[1], from[2]],
            to,
            axes: std::array::from_fn(|axis| between(from[axis], to[axis])),
            held: VecDeque::new(),
            first: 0,
            labels: Vec::with_capacity(voxels),
            probabilities: keep.then(|| vec![f16::ZERO; channels * voxels]),
        }
    }

    /// Takes the next planes, in order.
    pub fn take(&mut self, planes: Planes) {
        let plane = self.from[0] * self.from[1];
        for i in 0..planes.count {
            let mut one = Vec::with_capacity(self.decision.channels() * plane);
            for class in planes.values.chunks_exact(planes.count * plane) {
                one.extend_from_slice(&class[i * plane..(i + 1) * plane]);
            }
            self.held.push_back(one);
        }
        let known = self.first + self.held.len();
        let plane_out = self.to[1] * self.to[2];
        while let Some(&z) = self.axes[0].get(self.labels.len() / plane_out.max(1)) {
            if z.high >= known {
                break;
            }
            while self.first < z.low {
                self.held.pop_front();
                self.first += 1;
            }
            self.plane(z);
        }
    }

    /// Labels of the next output plane.
    fn plane(&mut self, z: Between) {
        let [_, height, width] = self.to;
        let start = self.labels.len();
        self.labels.resize(start + height * width, 0);
        let source = Source {
            low: &self.held[z.low - self.first],
            high: &self.held[z.high - self.first],
            weight: z.weight as f32,
            edges: self.from,
        };
        let (decision, keep, axes) = (&self.decision, self.probabilities.is_some(), &self.axes);
        let classes = decision.channels();
        let rows = self.labels[start..].par_chunks_exact_mut(width).enumerate();
        let work = || (vec![0f32; self.from[1]], vec![Voxel::default(); width]);
        let kept: Vec<Vec<f16>> = rows
            .map_init(work, |(line, voxels), (row, labels)| {
                let mut kept = Vec::with_capacity(if keep { classes * width } else { 0 });
                for class in 0..classes {
                    source.line(class, axes[1][row], line);
                    for (x, voxel) in axes[2].iter().zip(&mut *voxels) {
                        let p = line[x.low] + x.weight as f32 * (line[x.high] - line[x.low]);
                        decision.take(voxel, class, p);
                        if keep {
                            kept.push(f16::from_f32(p));
                        }
                    }
                }
                labels.iter_mut().zip(&*voxels).for_each(|(label, voxel)| *label = voxel.value);
                kept
            })
            .collect();
        if let Some(all) = &mut self.probabilities {
            let voxels = all.len() / classes;
            for (row, kept) in kept.iter().enumerate() {
                for (class, values) in kept.chunks_exact(width).enumerate() {
                    all[class * voxels + start + row * width..][..width].copy_from_slice(values);
                }
            }
        }
    }

    /// Label values (D, H, W of the crop) and, where they were wanted, the probabilities.
    pub fn finish(self) -> (Vec<u16>, Option<Vec<f16>>) {
        (self.labels, self.probabilities)
    }
}

/// Two planes of the network's grid (classes, H, W) between which an output plane lies.
struct Source<'a> {
    low: &'a [f32],
    high: &'a [f32],
    /// Share of `high`.
    weight: f32,
    /// H, W.
    edges: [usize; 2],
}

impl Source<'_> {
    /// Interpolates one class along D and H: a line along the network's W.
    fn line(&self, class: usize, y: Between, line: &mut [f32]) {
        let [h, w] = self.edges;
        let row = |y: usize| (class * h + y) * w..(class * h + y + 1) * w;
        let (a, b) = (&self.low[row(y.low)], &self.low[row(y.high)]);
        let (c, d) = (&self.high[row(y.low)], &self.high[row(y.high)]);
        let share = y.weight as f32;
        let (wc, wd) = (self.weight * (1.0 - share), self.weight * share);
        let (wa, wb) = (1.0 - share - wc, share - wd);
        for (i, v) in line.iter_mut().enumerate() {
            *v = (wa * a[i] + wb * b[i]) + (wc * c[i] + wd * d[i]);
        }
    }
}

/// Puts values of a crop (D, H, W along the prepared axes: axis i is the file's `axes[i]`) into
/// the whole volume of the file, turned back; `outside` elsewhere.
pub(super) fn paste<T: Copy>(
    values: &[T],
    axes: [usize; 3],
    origin: &Origin,
    outside: T,
) -> Vec<T> {
    let [_, h, w] = origin.shape;
    let mut whole = vec![outside; origin.shape.iter().product()];
    let axes = Turn::permutation(origin.crop_shape, axes);
    let turned = (!axes.is_identity()).then(|| axes.undo(values));
    let [_, height, width] = origin.crop_shape;
    let [z, y, x] = origin.crop_start;
    for (i, row) in turned.as_deref().unwrap_or(values).chunks_exact(width.max(1)).enumerate() {
        let at = ((z + i / height) * h + y + i % height) * w + x;
        whole[at..at + width].copy_from_slice(row);
    }
    if origin.turn.is_identity() { whole } else { origin.turn.undo(&whole) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::labels::Labels;
    use crate::data::nifti::Header;
    use crate::data::resample::{Interpolation, resample_image};
    use proptest::prelude::*;

    fn origin(shape: [usize; 3], crop_start: [usize; 3], crop_shape: [usize; 3]) -> Origin {
        let spacing_mm = [1.0; 3];
        let header = Header::plain(shape, spacing_mm);
        let turn = Turn::permutation(shape, [0, 1, 2]);
        Origin { header, turn, shape, crop_start, crop_shape, spacing_mm }
    }

    #[test]
    fn a_crop_returns_to_its_place() {
        let labels: Vec<u16> = (1..9).collect();
        let full = paste(&labels, [0, 1, 2], &origin([4, 3, 5], [1, 0, 2], [2; 3]), 0);
        let at = |full: &[u16], z: usize, y: usize, x: usize| full[(z * 3 + y) * 5 + x];
        let found =
            [at(&full, 1, 0, 2), at(&full, 1, 0, 3), at(&full, 1, 1, 2), at(&full, 2, 1, 3)];
        assert_eq!(found, [1, 2, 3, 8]);
        assert_eq!(full.iter().filter(|&&v| v > 0).count(), 8);
        // Turned axes: the first of the crop is the file's last.
        let full = paste(&labels, [2, 0, 1], &origin([4, 3, 5], [1, 0, 2], [2; 3]), 0);
        let found =
            [at(&full, 1, 0, 2), at(&full, 1, 0, 3), at(&full, 1, 1, 2), at(&full, 2, 0, 2)];
        assert_eq!(found, [1, 5, 2, 3]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Plane by plane or at once: the same labels and probabilities as by resampling the
        /// probabilities whole.
        #[test]
        fn slabs_do_not_show(
            from in prop::array::uniform3(1usize..7),
            to in prop::array::uniform3(1usize..9),
            classes in 2usize..5,
            at_a_time in 1usize..4,
            seed in 0u32..1000,
        ) {
            let plane = from[1] * from[2];
            let values: Vec<f32> = (0..(classes * from[0] * plane) as u32)
                .map(|i| (i.wrapping_add(seed).wrapping_mul(2654435761) >> 8) as f32 / 16777216.0)
                .collect();
            let decision = Decision::new(&Labels::numbered(classes));
            let mut export = Export::new(decision, from, to, true);
            for first in (0..from[0]).step_by(at_a_time) {
                let count = at_a_time.min(from[0] - first);
                let part: Vec<f32> = values
                    .chunks_exact(from[0] * plane)
                    .flat_map(|class| &class[first * plane..][..count * plane])
                    .copied()
                    .collect();
                export.take(Planes { first, count, values: &part });
            }
            let (labels, probabilities) = export.finish();
            let whole = resample_image(&values, from, to, Interpolation::Linear, None);
            let voxels = to.iter().product::<usize>();
            prop_assert_eq!(labels.len(), voxels);
            for (v, &label) in labels.iter().enumerate() {
                let p = |class: usize| whole[class * voxels + v];
                let best = (0..classes).map(p).fold(0.0, f32::max);
                prop_assert!(p(label as usize) >= best - 1e-5);
            }
            for (&kept, &p) in probabilities.unwrap().iter().zip(&whole) {
                prop_assert!((kept.to_f32() - p).abs() < 1e-3);
            }
        }
    }
}
