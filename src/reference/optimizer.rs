//! Twin of the `optimizer` kernels, in f64, as torch.optim.Adam (amsgrad) and torch.optim.SGD
//! (nesterov) with L2 in the gradient, behind clip_grad_norm_.

/// L2 norm of a gradient.
pub fn norm(gradient: &[f64]) -> f64 {
    gradient.iter().map(|g| g * g).sum::<f64>().sqrt()
}

/// `gradient * min(1, clip / (norm + 1e-6))`; `clip` 0 is off.
pub fn clipped(gradient: &[f64], clip: f64) -> Vec<f64> {
    let scale = if clip > 0.0 { (clip / (norm(gradient) + 1e-6)).min(1.0) } else { 1.0 };
    gradient.iter().map(|g| g * scale).collect()
}

/// Adam, betas 0.9 and 0.999 (Kingma and Ba 2015; amsgrad: Reddi et al. 2018).
#[derive(Clone, Debug)]
pub struct Adam {
    /// Learning rate.
    pub lr: f64,
    /// Factor of the parameters in the gradient.
    pub weight_decay: f64,
    /// Divide by the largest second moment so far.
    pub amsgrad: bool,
    /// First moments.
    pub m: Vec<f64>,
    /// Second moments.
    pub v: Vec<f64>,
    /// Largest second moments.
    pub vmax: Vec<f64>,
    /// Steps done.
    pub steps: i32,
}

impl Adam {
    /// Before the first step on so many parameters.
    pub fn new(len: usize, lr: f64, weight_decay: f64, amsgrad: bool) -> Self {
        let zeros = vec![0.0; len];
        Adam {
            lr,
            weight_decay,
            amsgrad,
            m: zeros.clone(),
            v: zeros.clone(),
            vmax: zeros,
            steps: 0,
        }
    }

    /// `g = grad + wd p; m = 0.9 m + 0.1 g; v = 0.999 v + 0.001 g^2; vmax = max(vmax, v);
    /// p -= lr / (1 - 0.9^t) m / (sqrt(v or vmax) / sqrt(1 - 0.999^t) + 1e-8)`.
    pub fn step(&mut self, parameters: &mut [f64], gradient: &[f64]) {
        self.steps += 1;
        let (first, second) = (1.0 - 0.9f64.powi(self.steps), 1.0 - 0.999f64.powi(self.steps));
        for (i, p) in parameters.iter_mut().enumerate() {
            let g = gradient[i] + self.weight_decay * *p;
            self.m[i] = 0.9 * self.m[i] + 0.1 * g;
            self.v[i] = 0.999 * self.v[i] + 0.001 * g * g;
            self.vmax[i] = self.vmax[i].max(self.v[i]);
            let v = if self.amsgrad { self.vmax[i] } else { self.v[i] };
            *p -= self.lr / first * self.m[i] / (v.sqrt() / second.sqrt() + 1e-8);
        }
    }
}

/// SGD with Nesterov momentum.
#[derive(Clone, Debug)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// Factor of the parameters in the gradient.
    pub weight_decay: f64,
    /// Factor of the buffer.
    pub momentum: f64,
    /// `None` before the first step.
    pub buffer: Option<Vec<f64>>,
}

impl Sgd {
    /// `g = grad + wd p; buf = g at the first step, then mu buf + g; p -= lr (g + mu buf)`.
    pub fn step(&mut self, parameters: &mut [f64], gradient: &[f64]) {
        let g: Vec<f64> =
            gradient.iter().zip(&*parameters).map(|(g, p)| g + self.weight_decay * p).collect();
        let buffer = match self.buffer.take() {
            None => g.clone(),
            Some(old) => old.iter().zip(&g).map(|(b, g)| self.momentum * b + g).collect(),
        };
        for (i, p) in parameters.iter_mut().enumerate() {
            *p -= self.lr * (g[i] + self.momentum * buffer[i]);
        }
        self.buffer = Some(buffer);
    }
}
