//! Twin of the `norm` kernels, in f64: instance norm, affine map, leaky ReLU.
//!
//! Per sample and channel over D, H, W: `x = (z - mean) / sqrt(var + 1e-5)` with the biased
//! variance, `n = gamma x + beta`, `a = n > 0 ? n : slope n` (torch.nn.InstanceNorm3d, LeakyReLU).
//! With `g = da leaky'(n)`: `dgamma = sum g x`, `dbeta = sum g` (over samples too), and
//! `dz = gamma / std (g - mean(g) - x mean(g x))`, which is `sum_j da_j / dz_i` written out.

/// Sizes and slope.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// Channels C.
    pub channels: usize,
    /// Voxels D * H * W.
    pub voxels: usize,
    /// Slope below 0; 1 leaves the activation out.
    pub slope: f64,
}

/// Gradients of [`Norm::forward`].
#[derive(Clone, Debug)]
pub struct NormGradients {
    /// On z, \[N,C,V\].
    pub dz: Vec<f64>,
    /// On gamma, \[C\].
    pub dgamma: Vec<f64>,
    /// On beta, \[C\].
    pub dbeta: Vec<f64>,
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Normalised values of one sample's channel, and the standard deviation.
fn normalised(z: &[f64]) -> (Vec<f64>, f64) {
    let centre = mean(z);
    let squares: Vec<f64> = z.iter().map(|v| (v - centre).powi(2)).collect();
    let std = (mean(&squares) + 1e-5).sqrt();
    (z.iter().map(|v| (v - centre) / std).collect(), std)
}

impl Norm {
    fn derivative(&self, n: f64) -> f64 {
        if n > 0.0 { 1.0 } else { self.slope }
    }

    /// a \[N,C,V\] from z \[N,C,V\], gamma \[C\], beta \[C\].
    pub fn forward(&self, z: &[f64], gamma: &[f64], beta: &[f64]) -> Vec<f64> {
        let mut a = Vec::with_capacity(z.len());
        for (row, z) in z.chunks_exact(self.voxels).enumerate() {
            let c = row % self.channels;
            let affine = |x: f64| gamma[c] * x + beta[c];
            a.extend(normalised(z).0.into_iter().map(affine).map(|n| n * self.derivative(n)));
        }
        a
    }

    /// Gradients of `sum(a da)`.
    pub fn backward(&self, z: &[f64], gamma: &[f64], beta: &[f64], da: &[f64]) -> NormGradients {
        let mut out = NormGradients {
            dz: Vec::with_capacity(z.len()),
            dgamma: vec![0.0; self.channels],
            dbeta: vec![0.0; self.channels],
        };
        let rows = z.chunks_exact(self.voxels).zip(da.chunks_exact(self.voxels));
        for (row, (z, da)) in rows.enumerate() {
            let c = row % self.channels;
            let (x, std) = normalised(z);
            let slopes = x.iter().map(|x| self.derivative(gamma[c] * x + beta[c]));
            let g: Vec<f64> = da.iter().zip(slopes).map(|(da, s)| da * s).collect();
            let gx: Vec<f64> = g.iter().zip(&x).map(|(g, x)| g * x).collect();
            out.dgamma[c] += gx.iter().sum::<f64>();
            out.dbeta[c] += g.iter().sum::<f64>();
            let (g_mean, gx_mean) = (mean(&g), mean(&gx));
            let dz = g.iter().zip(&x).map(|(g, x)| gamma[c] / std * (g - g_mean - x * gx_mean));
            out.dz.extend(dz);
        }
        out
    }
}
