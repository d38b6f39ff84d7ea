//! How a convolution runs along one axis: which taps meet which inputs, for which outputs.

use super::Geometry;

/// The taps and steps of one dispatch along one axis: output q * out_step + out_offset takes
/// input q * in_step + in_offset + j with weight tap0 + tap_step * j, j = 0 .. count - 1. Where a point
/// scatters, output q * out_step + out_offset + c takes input q * in_step + in_offset with weight c,
/// c = 0 .. scatter - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    pub tap0: i32,
    pub tap_step: i32,
    pub count: u32,
    pub in_step: i32,
    pub in_offset: i32,
    pub out_step: u32,
    pub out_offset: u32,
    /// Neighbouring outputs of a point; more than 1 only where `count` is 1.
    pub scatter: u32,
    /// Number of output points, of which each scatters.
    pub points: u32,
}

impl Axis {
    /// Weights that are packed.
    pub fn weights(&self) -> u32 {
        self.count * self.scatter
    }

    /// The axis cut into runs of at most `points` output points.
    pub fn slabs(self, points: u32) -> impl Iterator<Item = Axis> {
        (0..self.points).step_by(points.max(1) as usize).map(move |start| Axis {
            in_offset: self.in_offset + self.in_step * start as i32,
            out_offset: self.out_offset + self.out_step * start,
            points: points.max(1).min(self.points - start),
            ..self
        })
    }
}

impl Geometry {
    /// The forward pass, axis by axis: one list of dispatches an axis; `input` and `output` edges.
    pub(super) fn forward_axis(&self, axis: usize, input: u32, output: u32) -> Vec<Axis> {
        let (k, s) = (self.kernel[axis], self.stride[axis]);
        if self.transposed {
            // Kernel and stride are the same: every tap is an output of its own.
            return vec![Axis {
                tap0: 0,
                tap_step: 1,
                count: 1,
                in_step: 1,
                in_offset: 0,
                out_step: s,
                out_offset: 0,
                scatter: k,
                points: input,
            }];
        }
        vec![Axis {
            tap0: 0,
            tap_step: 1,
            count: k,
            in_step: s as i32,
            in_offset: -(self.padding[axis] as i32),
            out_step: 1,
            out_offset: 0,
            scatter: 1,
            points: output,
        }]
    }

    /// The input gradient: a residue class of input voxels a dispatch, with the taps that hit it.
    pub(super) fn backward_axis(&self, axis: usize, input: u32, output: u32) -> Vec<Axis> {
        let (k, s, p) = (self.kernel[axis] as i32, self.stride[axis], self.padding[axis] as i32);
        if self.transposed {
            let taps = Geometry { transposed: false, padding: [0; 3], ..*self };
            return taps.forward_axis(axis, output, input);
        }
        (0..s.min(input))
            .map(|residue| {
                let step = s as i32;
                let reach = residue as i32 + p;
                // Largest tap that hits this residue; the others follow downwards by the stride.
                let tap0 = k - 1 - (k - 1 - reach).rem_euclid(step);
                Axis {
                    tap0,
                    tap_step: -step,
                    count: if tap0 < 0 { 0 } else { (tap0 / step + 1) as u32 },
                    in_step: 1,
                    in_offset: (reach - tap0).div_euclid(step),
                    out_step: s,
                    out_offset: residue,
                    scatter: 1,
                    points: (input - residue).div_ceil(s),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_are_the_axis_in_pieces() {
        let axis = Geometry { kernel: [3; 3], stride: [2; 3], padding: [1; 3], transposed: false }
            .backward_axis(0, 23, 12)[1];
        for most in [1, 4, 11, 12, 100] {
            let points = |a: Axis| {
                (0..a.points as i32).map(move |q| {
                    (q * a.in_step + a.in_offset, q as u32 * a.out_step + a.out_offset)
                })
            };
            let pieces: Vec<_> = axis.slabs(most).flat_map(points).collect();
            assert_eq!(pieces, points(axis).collect::<Vec<_>>());
            assert!(axis.slabs(most).all(|a| a.points <= most));
        }
    }

    /// Every (input, output, tap) triple of the definition must occur once in either direction.
    #[test]
    fn axes_enumerate_the_definition() {
        for (k, s, p) in
            [(3, 1, 1), (3, 2, 1), (1, 1, 0), (1, 2, 0), (2, 2, 0), (3, 1, 0), (2, 1, 0)]
        {
            for input in k..12 {
                let geometry =
                    Geometry { kernel: [k; 3], stride: [s; 3], padding: [p; 3], transposed: false };
                let output = (input + 2 * p - k) / s + 1;
                let mut expected = Vec::new();
                for o in 0..output as i32 {
                    for t in 0..k as i32 {
                        let i = o * s as i32 + t - p as i32;
                        if (0..input as i32).contains(&i) {
                            expected.push((i, o, t));
                        }
                    }
                }
                expected.sort_unstable();
                let mut backward = Vec::new();
                let mut covered = vec![0; input as usize];
                for a in geometry.backward_axis(0, input, output) {
                    for q in 0..a.points as i32 {
                        let i = q * a.out_step as i32 + a.out_offset as i32;
                        covered[i as usize] += 1;
                        for j in 0..a.count as i32 {
                            let o = q * a.in_step + a.in_offset + j;
                            if (0..output as i32).contains(&o) {
                                backward.push((i, o, a.tap0 + a.tap_step * j));
                            }
                        }
                    }
                }
                backward.sort_unstable();
                assert_eq!(backward, expected, "k {k} s {s} p {p} n {input}");
                assert!(covered.iter().all(|&c| c == 1));
            }
        }
    }
}
