//! A small check of the convolution variants on the device at hand: forward pass and both
//! gradients of a few convolutions, with what they do for norms, against sums in f64. A variant is to be
//! used only where it passes.

use super::conv3d::{
    Conv3dBackwardInput, Conv3dBackwardWeight, Conv3dForward, Geometry, GradientSums, InputGradient,
};
use super::norm::{NormOnLoad, NormStatistics, NormSums, SegmentNorm, statistics_slot};
use super::stage::Stage;
use super::tensor::{Storage, Tensors, host};
use super::{ConvVariant, Lowering, ParamRef};
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Lifetime, Memory, MemoryPlan, Program, Recording};

/// Largest difference, as a share of the largest value, that f32 sums of this length explain.
const TOLERANCE: f64 = 1e-5;
/// Samples, input and output channels: no multiples of a block or tile.
const N: usize = 2;
const CI: usize = 6;
const CO: usize = 9;
/// Slope of the activation below 0.
const SLOPE: f64 = 0.01;
/// Edges of the input: odd ones, and one longer than a row of lanes.
const EDGES: [u32; 3] = [3, 6, 18];

/// A variant and, if it fails, why.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Verdict {
    /// Name of the variant.
    pub variant: String,
    /// Whether every check passed.
    pub passes: bool,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Checks the first `most` variants that the device can run, the preferred one first.
pub fn check_first(gpu: &Gpu, most: usize) -> Vec<Verdict> {
    let variants = ConvVariant::available(gpu.caps());
    let verdict = |variant: ConvVariant| {
        let reason = check(gpu, variant).err().map(|e| e.to_string());
        Verdict { variant: variant.name().into(), passes: reason.is_none(), reason }
    };
    variants.into_iter().take(most).map(verdict).collect()
}

/// The first variant in order of preference that passes its check.
///
/// # Errors
/// [`Error::Device`] when none does.
pub fn choose(gpu: &Gpu) -> Result<ConvVariant> {
    let mut last = None;
    for variant in ConvVariant::available(gpu.caps()) {
        match check(gpu, variant) {
            Ok(()) => return Ok(variant),
            Err(e) => last = Some(e),
        }
    }
    Err(last.unwrap_or_else(|| Error::Device(format!("'{}' runs no convolution", gpu.name()))))
}

/// The checked convolutions: plain, strided, transposed. Few, because software adapters take
/// seconds to compile a kernel.
fn geometries() -> [Geometry; 3] {
    let plain = |kernel: [u32; 3], stride| Geometry {
        kernel,
        stride,
        padding: kernel.map(|k| k / 2),
        transposed: false,
    };
    [
        plain([3; 3], [1; 3]),
        plain([1, 3, 3], [1, 2, 2]),
        Geometry { kernel: [2; 3], stride: [2; 3], padding: [0; 3], transposed: true },
    ]
}

/// Checks one variant.
///
/// # Errors
/// [`Error::Device`] saying which result is wrong by how much, or what the device refused.
pub fn check(gpu: &Gpu, variant: ConvVariant) -> Result<()> {
    let loads = if variant.fuses_norms() { &[false, true][..] } else { &[false] };
    let cases = geometries().into_iter().flat_map(|g| loads.iter().map(move |&n| Case::new(g, n)));
    for case in cases {
        let (geometry, expected, got) = (case.geometry, case.expected(), case.run(gpu, variant)?);
        let names = [
            "forward pass",
            "input gradient",
            "weight gradient",
            "statistic of the output",
            "gradient on the scale",
            "gradient on the shift",
        ];
        for ((name, expected), got) in names.iter().zip(&expected).zip(&got) {
            let top = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
            let off = expected.iter().zip(got).map(|(e, &g)| (e - f64::from(g)).abs());
            // A NaN is worse than any number.
            let worst = off.fold(0f64, |m, d| if d <= m { m } else { d });
            if worst > TOLERANCE * top || worst.is_nan() {
                return Err(Error::Device(format!(
                    "the {name} of a {}convolution {}(kernel {:?}, stride {:?}) is off by {:.1e} of \
                     its largest value on '{}' in the variant '{}'; update the driver, or choose \
                     another adapter with --device",
                    if geometry.transposed { "transposed " } else { "" },
                    if case.normalised { "that normalises " } else { "" },
                    geometry.kernel,
                    geometry.stride,
                    worst / top,
                    gpu.name(),
                    variant.name()
                )));
            }
        }
    }
    Ok(())
}

/// A convolution with its inputs.
struct Case {
    geometry: Geometry,
    output: [u32; 3],
    /// Whether x is normalised and activated while it is loaded, and norms are summed while y and dx are
    /// stored.
    normalised: bool,
    x: Vec<f32>,
    /// Scale and shift of each input channel.
    affine: [Vec<f32>; 2],
    w: Vec<f32>,
    dy: Vec<f32>,
}

fn volume(edges: [u32; 3]) -> usize {
    edges.iter().map(|&e| e as usize).product()
}

/// Numbers between -1 and 1 from a multiplicative sequence.
fn values(count: usize, start: u32) -> Vec<f32> {
    let mut state = start;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

impl Case {
    fn new(geometry: Geometry, normalised: bool) -> Self {
        let output = geometry.output(EDGES);
        Case {
            geometry,
            output,
            normalised,
            affine: [4, 5].map(|start| values(CI, start)),
            x: values(N * CI * volume(EDGES), 1),
            w: values(CI * CO * volume(geometry.kernel), 2),
            dy: values(N * CO * volume(output), 3),
        }
    }

    /// x normalised, without scale and shift.
    fn standardised(&self) -> Vec<f64> {
        let wide: Vec<f64> = self.x.iter().map(|&v| f64::from(v)).collect();
        let rows = wide.chunks(volume(EDGES)).zip(statistics(&wide, volume(EDGES)));
        rows.flat_map(|(z, [mean, rstd])| z.iter().map(move |v| (v - mean) * rstd)).collect()
    }

    /// Scaled and shifted values in front of the activation.
    fn affine(&self, standardised: &[f64]) -> Vec<f64> {
        let channel = |i: usize| i / volume(EDGES) % CI;
        let [scale, shift] = &self.affine;
        let affine =
            |(i, v): (usize, &f64)| f64::from(scale[channel(i)]) * v + f64::from(shift[channel(i)]);
        standardised.iter().enumerate().map(affine).collect()
    }

    /// What the sums are taken over: x, or its activation.
    fn loaded(&self) -> Vec<f64> {
        if !self.normalised {
            return self.x.iter().map(|&v| f64::from(v)).collect();
        }
        let affine = self.affine(&self.standardised());
        affine.into_iter().map(|n| if n > 0.0 { n } else { n * SLOPE }).collect()
    }

    /// Forward pass, input gradient, weight gradient; where norms are summed, statistics of y and the
    /// gradients on scale and shift of the norm of x.
    fn expected(&self) -> Vec<Vec<f64>> {
        let [y, dx, dw] = self.convolved();
        if !self.normalised {
            return vec![y, dx, dw];
        }
        let (standardised, mut on_scale, mut on_shift) =
            (self.standardised(), vec![0.0; CI], vec![0.0; CI]);
        let affine = self.affine(&standardised);
        for (i, ((da, n), x)) in dx.iter().zip(&affine).zip(&standardised).enumerate() {
            let g = if *n > 0.0 { *da } else { da * SLOPE };
            on_scale[i / volume(EDGES) % CI] += g * x;
            on_shift[i / volume(EDGES) % CI] += g;
        }
        let stats = statistics(&y, volume(self.output)).into_iter().flatten().collect();
        vec![y, dx, dw, stats, on_scale, on_shift]
    }

    /// Forward pass, input gradient, weight gradient: every product once, into all three sums.
    fn convolved(&self) -> [Vec<f64>; 3] {
        let Geometry { kernel, stride, padding, transposed } = self.geometry;
        let loaded = self.loaded();
        let mut y = vec![0f64; self.dy.len()];
        let mut dx = vec![0f64; self.x.len()];
        let mut dw = vec![0f64; self.w.len()];
        // The smaller grid p steps over the larger one: s = p * stride + tap - padding.
        let (small, large) = if transposed { (EDGES, self.output) } else { (self.output, EDGES) };
        let taps = volume(kernel);
        let place = |i: usize, edges: [u32; 3]| {
            let [_, h, w] = edges.map(|e| e as usize);
            [i / (h * w), i / w % h, i % w]
        };
        for p in 0..volume(small) {
            for tap in 0..taps {
                let (at, offset) = (place(p, small), place(tap, kernel));
                let mut q = Some(0);
                for axis in 0..3 {
                    let s = (at[axis] * stride[axis] as usize + offset[axis])
                        .checked_sub(padding[axis] as usize)
                        .filter(|&s| s < large[axis] as usize);
                    q = q.zip(s).map(|(q, s)| q * large[axis] as usize + s);
                }
                let Some(q) = q else { continue };
                let (input, output) = if transposed { (p, q) } else { (q, p) };
                for n in 0..N {
                    for ci in 0..CI {
                        for co in 0..CO {
                            let xi = (n * CI + ci) * volume(EDGES) + input;
                            let yi = (n * CO + co) * volume(self.output) + output;
                            let pair = if transposed { ci * CO + co } else { co * CI + ci };
                            let wi = pair * taps + tap;
                            let [w, dy] = [self.w[wi], self.dy[yi]].map(f64::from);
                            let x = loaded[xi];
                            y[yi] += x * w;
                            dx[xi] += dy * w;
                            dw[wi] += dy * x;
                        }
                    }
                }
            }
        }
        [y, dx, dw]
    }

    /// As [`Case::expected`] by the kernels.
    fn run(&self, gpu: &Gpu, variant: ConvVariant) -> Result<Vec<Vec<f32>>> {
        let mut tensors = Tensors::new(gpu.caps());
        let (keep, n, geometry) = (Lifetime::Persistent, N as u32, self.geometry);
        let (ci, co) = ([CI as u32], [CO as u32]);
        let operand = variant.operand();
        let mut add = |name, channels: &[u32], edges, storage| {
            tensors.add(name, n, channels, edges, storage, keep).map(|t| t.view())
        };
        let x_host = add("x", &ci, EDGES, Storage::Buffer)?;
        let x = add("x operand", &ci, EDGES, operand)?;
        let dy_host = add("dy", &co, self.output, Storage::Buffer)?;
        let dy = add("dy operand", &co, self.output, operand)?;
        let y = add("y", &co, self.output, Storage::Buffer)?;
        let dx = add("dx", &ci, EDGES, Storage::Buffer)?;
        let mut flat = |name, len: usize| {
            let bytes = (len as u64 * 4).next_multiple_of(256);
            ParamRef { slot: tensors.slots.buffer(name, bytes, keep), offset: 0, len: len as u64 }
        };
        let [w, dw] = ["w", "dw"].map(|name| flat(name, self.w.len()));
        let [gamma, beta, dgamma, dbeta] =
            ["gamma", "beta", "dgamma", "dbeta"].map(|name| flat(name, CI));
        let mut recording = Recording::new();
        let mut l = Lowering { tensors: &mut tensors, recording: &mut recording, variant };
        Stage { from: x_host, to: x }.lower(&mut l);
        Stage { from: dy_host, to: dy }.lower(&mut l);
        let sums = self.normalised.then(|| {
            let [stats, sums] = [(); 2].map(|()| statistics_slot(&mut l, x, keep));
            NormStatistics { z: x, stats }.lower(&mut l);
            let norm = SegmentNorm { stats, gamma, beta, slope: SLOPE as f32 };
            let table = NormOnLoad { z: x, segments: vec![Some(norm)] }.lower(&mut l);
            GradientSums { of: NormSums { z: x, norm, sums, dgamma, dbeta }, table }
        });
        let on_load = sums.map(|sums| sums.table);
        let statistics = self.normalised.then(|| statistics_slot(&mut l, y, keep));
        Conv3dForward { x, on_load, w, bias: None, y, statistics, geometry }.lower(&mut l)?;
        let gradient = InputGradient { to: dx, add: false, sums };
        let (dx_list, segments) = (vec![Some(gradient)], ci.to_vec());
        Conv3dBackwardInput { dy, w, dx: dx_list, segments, geometry }.lower(&mut l)?;
        Conv3dBackwardWeight { x, on_load, dy, dw, db: None, geometry }.lower(&mut l)?;
        let plan = MemoryPlan::new(&tensors.slots, &[&recording]);
        let memory = Memory::new(gpu, &tensors.slots, &plan)?;
        host::upload(gpu, &memory, &tensors, x_host, &self.x)?;
        host::upload(gpu, &memory, &tensors, dy_host, &self.dy)?;
        gpu.write(&memory, w.slot, 0, &self.w)?;
        if self.normalised {
            for (to, values) in [gamma, beta].into_iter().zip(&self.affine) {
                gpu.write(&memory, to.slot, 0, values)?;
            }
        }
        Program::new(gpu, &memory, &recording)?.submit(gpu)?;
        let mut results = vec![
            host::download(gpu, &memory, &tensors, y)?,
            host::download(gpu, &memory, &tensors, dx)?,
            gpu.read(&memory, dw.slot, 0, self.w.len())?,
        ];
        if let Some(slot) = statistics {
            // vec4 [n][block][2]: mean, 1 / standard deviation.
            let blocks = CO.div_ceil(4);
            let flat: Vec<f32> = gpu.read(&memory, slot, 0, N * blocks * 8)?;
            let row = |n: usize, c: usize| (n * blocks + c / 4) * 8 + c % 4;
            let rows = (0..N).flat_map(|n| (0..CO).map(move |c| row(n, c)));
            results.push(rows.flat_map(|i| [flat[i], flat[i + 4]]).collect());
            for gradient in [dgamma, dbeta] {
                results.push(gpu.read(&memory, gradient.slot, 0, CI)?);
            }
        }
        Ok(results)
    }
}

/// Mean and 1 / standard deviation of each run of so many values.
fn statistics(values: &[f64], voxels: usize) -> Vec<[f64; 2]> {
    let of = |row: &[f64]| {
        let mean = row.iter().sum::<f64>() / voxels as f64;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / voxels as f64;
        [mean, 1.0 / (variance + 1e-5).sqrt()]
    };
    values.chunks(voxels).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::AdapterChoice;

    /// Where an activation's input is nearly 0, a rounding would decide about its gradient.
    #[test]
    fn no_activation_is_on_the_edge() {
        let case = Case::new(geometries()[0], true);
        let affine = case.affine(&case.standardised());
        assert!(affine.iter().all(|n| n.abs() > 1e-4));
    }

    #[test]
    fn the_adapter_at_hand_passes() {
        let gpu = Gpu::open(&AdapterChoice::default(), true).unwrap();
        let verdicts = check_first(&gpu, usize::MAX);
        assert!(!verdicts.is_empty() && verdicts.iter().all(|v| v.passes), "{verdicts:?}");
        assert_eq!(choose(&gpu).unwrap(), ConvVariant::available(gpu.caps())[0]);
    }
}
