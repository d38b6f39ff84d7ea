//! Twin of the `conv3d` kernels, in f64: the definition as one enumeration of triples.
//!
//! `y[n,o,p] = b[o] + sum_{c,t} w[o,c,t] x[n,c, p stride + t - padding]`, zero outside x
//! (torch.nn.functional.conv3d); transposed `y[n,o, p stride + t] = b[o] + sum_c x[n,c,p] w[c,o,t]`
//! (conv_transpose3d with kernel = stride). The gradients are those of `sum(y dy)`.

use crate::ops::conv3d::Geometry;

/// The shape of one convolution.
#[derive(Clone, Copy, Debug)]
pub struct Conv3d {
    /// Samples N.
    pub samples: usize,
    /// Input channels Ci.
    pub in_channels: usize,
    /// Output channels Co.
    pub out_channels: usize,
    /// Edges D, H, W of the input.
    pub input: [u32; 3],
    /// Kernel, stride, padding, direction.
    pub geometry: Geometry,
}

/// Row-major index of a position within edges; `None` outside.
fn index(at: [i64; 3], edges: [u32; 3]) -> Option<usize> {
    let mut i = 0;
    for (p, e) in at.into_iter().zip(edges) {
        if !(0..i64::from(e)).contains(&p) {
            return None;
        }
        i = i * e as usize + p as usize;
    }
    Some(i)
}

/// All positions within edges.
fn positions([d, h, w]: [u32; 3]) -> impl Iterator<Item = [i64; 3]> {
    let [d, h, w] = [d, h, w].map(i64::from);
    (0..d * h * w).map(move |v| [v / (h * w), v / w % h, v % w])
}

impl Conv3d {
    /// Edges of the output.
    fn output(&self) -> [u32; 3] {
        self.geometry.output(self.input)
    }

    /// Calls `f(x, w, y)` with the flat indices of every product `x w` that belongs to a `y`.
    fn each(&self, mut f: impl FnMut(usize, usize, usize)) {
        let (ci, co) = (self.in_channels, self.out_channels);
        let (input, output) = (self.input, self.output());
        let volume = |edges: [u32; 3]| edges.iter().map(|&e| e as usize).product::<usize>();
        let Geometry { kernel, stride, padding, transposed } = self.geometry;
        // The gathering side runs over all its positions, the other one is hit by a tap.
        let (gathering, other) = if transposed { (input, output) } else { (output, input) };
        for p in positions(gathering) {
            for t in positions(kernel) {
                let hit: [i64; 3] = std::array::from_fn(|i| {
                    p[i] * i64::from(stride[i]) + t[i] - i64::from(padding[i])
                });
                let (Some(p), Some(t), Some(q)) =
                    (index(p, gathering), index(t, kernel), index(hit, other))
                else {
                    continue;
                };
                let (x, y) = if transposed { (p, q) } else { (q, p) };
                for n in 0..self.samples {
                    for c in 0..ci {
                        for o in 0..co {
                            let row = if transposed { c * co + o } else { o * ci + c };
                            f(
                                (n * ci + c) * volume(input) + x,
                                row * volume(kernel) + t,
                                (n * co + o) * volume(output) + y,
                            );
                        }
                    }
                }
            }
        }
    }

    /// y \[N,Co,D',H',W'\] from x \[N,Ci,D,H,W\], w \[Co,Ci,kd,kh,kw\] (transposed: \[Ci,Co,..\]),
    /// b \[Co\] or nothing.
    pub fn forward(&self, x: &[f32], w: &[f32], b: Option<&[f32]>) -> Vec<f64> {
        let voxels: usize = self.output().iter().map(|&e| e as usize).product();
        let bias = |row: usize| b.map_or(0.0, |b| f64::from(b[row % self.out_channels]));
        let mut y: Vec<f64> =
            (0..self.samples * self.out_channels * voxels).map(|i| bias(i / voxels)).collect();
        self.each(|xi, wi, yi| y[yi] += f64::from(x[xi]) * f64::from(w[wi]));
        y
    }

    /// Gradient on x.
    pub fn backward_input(&self, dy: &[f32], w: &[f32]) -> Vec<f64> {
        let voxels: usize = self.input.iter().map(|&e| e as usize).product();
        let mut dx = vec![0.0; self.samples * self.in_channels * voxels];
        self.each(|xi, wi, yi| dx[xi] += f64::from(dy[yi]) * f64::from(w[wi]));
        dx
    }

    /// Gradient on w.
    pub fn backward_weight(&self, x: &[f32], dy: &[f32]) -> Vec<f64> {
        let taps: usize = self.geometry.kernel.iter().map(|&e| e as usize).product();
        let mut dw = vec![0.0; self.in_channels * self.out_channels * taps];
        self.each(|xi, wi, yi| dw[wi] += f64::from(x[xi]) * f64::from(dy[yi]));
        dw
    }

    /// Gradient on b: the sums of dy over samples and voxels.
    pub fn backward_bias(&self, dy: &[f32]) -> Vec<f64> {
        let voxels: usize = self.output().iter().map(|&e| e as usize).product();
        let mut db = vec![0.0; self.out_channels];
        for (i, &g) in dy.iter().enumerate() {
            db[i / voxels % self.out_channels] += f64::from(g);
        }
        db
    }
}
