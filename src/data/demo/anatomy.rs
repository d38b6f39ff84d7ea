//! Where which tissue is: implicit shapes in a smoothly deformed space.

use super::DemoKind;
use crate::data::rng::{self, Purpose, normal, uniform};
use rand_chacha::ChaCha8Rng;

/// A smooth random field: a sum of plane waves. Positions are in units of half
/// the shortest edge of the volume.
pub(super) struct Waves(Vec<([f64; 3], f64, f64)>);

impl Waves {
    /// `count` waves of about `frequency` periods a unit that add up to a
    /// standard deviation of `amplitude`.
    pub fn new(rng: &mut ChaCha8Rng, count: usize, frequency: f64, amplitude: f64) -> Self {
        let each = amplitude * (2.0 / count as f64).sqrt();
        Self(
            (0..count)
                .map(|_| {
                    let k = [0; 3].map(|_| normal(rng) * frequency * std::f64::consts::TAU / 1.7);
                    (k, uniform(rng, 0.0, std::f64::consts::TAU), each)
                })
                .collect(),
        )
    }

    /// The field at `p`.
    pub fn at(&self, p: [f64; 3]) -> f64 {
        self.0.iter().map(|(k, phase, a)| a * (dot(*k, p) + phase).sin()).sum()
    }
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Distance from `c` in units of the radii `r`.
fn ellipsoid(p: [f64; 3], c: [f64; 3], r: [f64; 3]) -> f64 {
    [0, 1, 2].map(|i| ((p[i] - c[i]) / r[i]).powi(2)).iter().sum::<f64>().sqrt()
}

/// Runs over voxel centres (D, H, W order): position (x, y, z) in units of half
/// the shortest edge, 0 in the middle.
pub(super) fn positions(shape: [usize; 3], spacing_mm: [f64; 3]) -> impl Iterator<Item = [f64; 3]> {
    let extent = [0, 1, 2].map(|a| shape[a] as f64 * spacing_mm[a]);
    let half = extent.iter().copied().fold(f64::INFINITY, f64::min) / 2.0;
    (0..shape.iter().product()).map(move |i: usize| {
        let at = [i / (shape[1] * shape[2]), i / shape[2] % shape[1], i % shape[2]];
        let p = [0, 1, 2].map(|a| ((at[a] as f64 + 0.5) * spacing_mm[a] - extent[a] / 2.0) / half);
        [p[2], p[1], p[0]]
    })
}

/// The shape of one case.
pub(super) struct Anatomy {
    kind: DemoKind,
    bend: [Waves; 3],
    ragged: Waves,
    size: f64,
    shift: [f64; 3],
    /// Kind-specific numbers, each uniform in [0, 1).
    free: [f64; 10],
}

impl Anatomy {
    /// The anatomy of case `number`.
    pub fn new(kind: DemoKind, seed: u64, number: u64) -> Self {
        let rng = &mut rng::stream(seed, Purpose::Demo, &[number, 0, kind as u64]);
        let bend = [0; 3].map(|_| Waves::new(rng, 6, 0.45, 0.055));
        let frequency = if kind == DemoKind::Brain { 1.6 } else { 1.0 };
        Self {
            kind,
            bend,
            ragged: Waves::new(rng, 8, frequency, 1.0),
            size: (0.14 * normal(rng)).clamp(-0.3, 0.3).exp(),
            shift: [0; 3].map(|_| uniform(rng, -0.08, 0.08)),
            free: [0; 10].map(|_| rng::unit(rng)),
        }
    }

    /// The tissue of every voxel, D, H, W.
    pub fn tissues(&self, shape: [usize; 3], spacing_mm: [f64; 3]) -> Vec<u8> {
        positions(shape, spacing_mm)
            .map(|p| {
                let q = [0, 1, 2].map(|a| p[a] + self.bend[a].at(p) - self.shift[a]);
                match self.kind {
                    DemoKind::Heart => self.heart(q),
                    DemoKind::Prostate => self.prostate(q),
                    DemoKind::Brain => self.brain(q),
                }
            })
            .collect()
    }

    /// 0 air, 1 body, 2 lung, 3 heart muscle, 4 left atrium, 5 other blood,
    /// 6 thin wall, 7 bone.
    fn heart(&self, p: [f64; 3]) -> u8 {
        let [x, y, _] = p;
        if (x / 1.02).powi(2) + (y / 0.98).powi(2) > 1.0 {
            return 0;
        }
        let f = &self.free;
        let s = self.size;
        let centre = [0.06, 0.16, 0.12];
        let radii = [0.40 * s, (0.25 + 0.08 * f[0]) * s, (0.32 + 0.1 * f[1]) * s];
        let atrium = ellipsoid(p, centre, radii);
        // Pulmonary veins: tubes from the atrium, labelled up to a cut.
        let (mut vein, mut stump) = (false, false);
        for (side, a, b) in [(1.0, f[2], f[3]), (-1.0, f[4], f[5])] {
            let dir = [side, 0.5 * (a - 0.2), 0.9 * (b - 0.5)];
            let n = dot(dir, dir).sqrt();
            let rel = [0, 1, 2].map(|i| p[i] - centre[i]);
            let along = dot(rel, dir) / n;
            let off = (dot(rel, rel) - along * along).max(0.0).sqrt();
            if along > 0.0 && off < 0.1 * s {
                vein |= along < 0.95;
                stump |= along < 0.58 * s;
            }
        }
        if atrium < 1.0 || stump {
            4
        } else if vein {
            5
        } else if atrium < 1.16 {
            6
        } else if ellipsoid(p, [-0.02, -0.32, -0.18], [0.27 * s, 0.2 * s, 0.4 * s]) < 1.0
            || ellipsoid(p, [-0.3, -0.1, 0.1], [0.13, 0.13, 0.8]) < 1.0
        {
            5
        } else if ellipsoid(p, [0.0, -0.1, -0.05], [0.56, 0.6, 0.72]) < 1.0 {
            3
        } else if ellipsoid(p, [0.05, 0.74, 0.0], [0.16, 0.15, 3.0]) < 1.0 {
            7
        } else if ellipsoid(p, [0.62, 0.05, 0.0], [0.3, 0.62, 1.2]) < 1.0
            || ellipsoid(p, [-0.62, 0.05, 0.0], [0.3, 0.62, 1.2]) < 1.0
        {
            2
        } else {
            1
        }
    }

    /// 1 muscle, 2 fat, 3 bladder, 4 rectum, 5 peripheral zone, 6 transition
    /// zone, 7 bone.
    fn prostate(&self, p: [f64; 3]) -> u8 {
        let f = &self.free;
        let s = self.size;
        let gland = ellipsoid(
            p,
            [0.0, 0.0, 0.0],
            [0.56 * s, (0.4 + 0.08 * f[0]) * s, (0.55 + 0.1 * f[1]) * s],
        );
        let inner = ellipsoid(
            p,
            [0.0, -0.09 * s, 0.06],
            [(0.3 + 0.14 * f[2]) * s, (0.2 + 0.1 * f[3]) * s, (0.34 + 0.14 * f[4]) * s],
        );
        if gland < 1.0 {
            return if inner < 1.0 + 0.05 * self.ragged.at(p) { 6 } else { 5 };
        }
        if ellipsoid(p, [0.0, -0.3, 0.95], [0.6, 0.45, 0.4 + 0.1 * f[5]]) < 1.0 {
            3
        } else if ellipsoid(p, [0.1 * (f[6] - 0.5), 0.78, 0.0], [0.26, 0.25, 4.0]) < 1.0 {
            4
        } else if ellipsoid(p, [0.0, -0.95, -0.1], [0.45, 0.25, 0.5]) < 1.0 {
            7
        } else if p[0].abs() > 0.78 + 0.08 * self.ragged.at(p) {
            1
        } else {
            2
        }
    }

    /// 0 outside, 1 grey matter, 2 white matter, 3 fluid, 4 edema,
    /// 5 non-enhancing core, 6 enhancing rim.
    fn brain(&self, p: [f64; 3]) -> u8 {
        let f = &self.free;
        let head = ellipsoid(p, [0.0; 3], [0.8, 0.95, 0.78]);
        if head > 1.0 {
            return 0;
        }
        let rough = self.ragged.at(p);
        let angle = std::f64::consts::TAU * f[0];
        let from = 0.32 + 0.18 * f[1];
        let centre = [from * angle.cos(), from * angle.sin(), 0.4 * (f[2] - 0.5)];
        let radius = (0.34 + 0.12 * f[3]) * self.size;
        let stretch = [1.0, 0.8 + 0.4 * f[4], 0.8 + 0.4 * f[5]].map(|v| v * radius);
        let tumour = ellipsoid(p, centre, stretch) * (0.17 * rough).exp();
        if tumour < 0.44 + 0.1 * f[6] {
            5
        } else if tumour < 0.66 + 0.08 * f[7] {
            6
        } else if head > 0.95
            || ellipsoid(p, [0.14, -0.03, 0.08], [0.08, 0.3, 0.16]) < 1.0
            || ellipsoid(p, [-0.14, -0.03, 0.08], [0.08, 0.3, 0.16]) < 1.0
        {
            3
        } else if tumour < 1.0 {
            4
        } else if head > 0.8 + 0.07 * rough || p[0].abs() < 0.03 {
            1
        } else {
            2
        }
    }
}

/// The label of a tissue.
pub(super) fn label(kind: DemoKind, tissue: u8) -> u16 {
    match (kind, tissue) {
        (DemoKind::Heart, 4) | (DemoKind::Prostate, 5) | (DemoKind::Brain, 4) => 1,
        (DemoKind::Prostate, 6) | (DemoKind::Brain, 5) => 2,
        (DemoKind::Brain, 6) => 3,
        _ => 0,
    }
}
