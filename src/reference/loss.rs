//! Twin of the `loss` kernels, in f64: cross entropy plus soft Dice, deep supervision, labels of
//! lower heads (nnU-Net v1: DC_and_CE_loss, MultipleOutputLoss2, downsample_seg_for_ds_transform2).
//!
//! `ce = mean over samples and voxels of -log p[label]`. Per class (and sample, unless `batch_dice`
//! sums over them) `dc = (2 tp + 1e-5) / (2 tp + fp + fn + 1e-5 + 1e-8)` with `tp = sum p t`,
//! `fp = sum p (1 - t)`, `fn = sum (1 - p) t`; `dice = - mean dc` over the classes 1, 2, ...;
//! `total = ce + dice`.

/// Values and gradient of one head.
#[derive(Clone, Debug)]
pub struct Loss {
    /// Cross entropy.
    pub ce: f64,
    /// Minus the mean soft Dice.
    pub dice: f64,
    /// Gradient of `ce + dice` on the logits, \[N,K,V\].
    pub gradient: Vec<f64>,
}

/// Probabilities of logits \[N,K,V\].
pub fn softmax(logits: &[f64], classes: usize, voxels: usize) -> Vec<f64> {
    let mut p = logits.to_vec();
    for sample in p.chunks_exact_mut(classes * voxels) {
        for v in 0..voxels {
            let at = |c: usize| c * voxels + v;
            let top = (0..classes).map(|c| sample[at(c)]).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = (0..classes).map(|c| (sample[at(c)] - top).exp()).sum();
            (0..classes).for_each(|c| sample[at(c)] = (sample[at(c)] - top).exp() / sum);
        }
    }
    p
}

/// The loss of one head: logits \[N,K,V\], labels \[N,V\].
pub fn dice_ce(
    logits: &[f64],
    labels: &[i32],
    classes: usize,
    voxels: usize,
    batch_dice: bool,
) -> Loss {
    let samples = labels.len() / voxels;
    let p = softmax(logits, classes, voxels);
    let at = |n: usize, c: usize, v: usize| (n * classes + c) * voxels + v;
    let t = |n: usize, c: usize, v: usize| f64::from(labels[n * voxels + v] == c as i32);
    let count = (samples * voxels) as f64;
    let mut ce = 0.0;
    for n in 0..samples {
        for v in 0..voxels {
            let value = |c: usize| logits[at(n, c, v)];
            let top = (0..classes).map(value).fold(f64::NEG_INFINITY, f64::max);
            let log_sum = (0..classes).map(|c| (value(c) - top).exp()).sum::<f64>().ln() + top;
            ce += (log_sum - value(labels[n * voxels + v] as usize)) / count;
        }
    }
    // Dice and its derivative on each probability.
    let groups: Vec<Vec<usize>> = if batch_dice {
        vec![(0..samples).collect()]
    } else {
        (0..samples).map(|n| vec![n]).collect()
    };
    let terms = ((classes - 1) * groups.len()) as f64;
    let (mut dice, mut dp) = (0.0, vec![0.0; p.len()]);
    for group in &groups {
        for c in 1..classes {
            let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
                let voxels = group.iter().flat_map(|&n| (0..voxels).map(move |v| (n, v)));
                voxels.map(|(n, v)| f(p[at(n, c, v)], t(n, c, v))).sum()
            };
            let tp = sum(&|p, t| p * t);
            let (fp, fn_) = (sum(&|p, t| p * (1.0 - t)), sum(&|p, t| (1.0 - p) * t));
            let (above, below) = (2.0 * tp + 1e-5, 2.0 * tp + fp + fn_ + 1e-5 + 1e-8);
            dice -= above / below / terms;
            for &n in group {
                for v in 0..voxels {
                    // d(2 tp)/dp = 2 t and d(2 tp + fp + fn)/dp = 1.
                    let slope = (2.0 * t(n, c, v) * below - above) / (below * below);
                    dp[at(n, c, v)] = -slope / terms;
                }
            }
        }
    }
    let mut gradient = vec![0.0; p.len()];
    for n in 0..samples {
        for v in 0..voxels {
            let mean: f64 = (0..classes).map(|c| p[at(n, c, v)] * dp[at(n, c, v)]).sum();
            for c in 0..classes {
                let i = at(n, c, v);
                gradient[i] = p[i] * (dp[i] - mean) + (p[i] - t(n, c, v)) / count;
            }
        }
    }
    Loss { ce, dice, gradient }
}

/// `sum_i weights[i] total_i` over heads of (logits, labels, voxels), with each head's gradient.
pub fn deep_supervision(
    heads: &[(&[f64], &[i32], usize)],
    weights: &[f64],
    classes: usize,
    batch_dice: bool,
) -> (f64, Vec<Vec<f64>>) {
    let (mut loss, mut gradients) = (0.0, Vec::new());
    for (&(logits, labels, voxels), &weight) in heads.iter().zip(weights) {
        let head = dice_ce(logits, labels, classes, voxels, batch_dice);
        loss += weight * (head.ce + head.dice);
        gradients.push(head.gradient.iter().map(|g| g * weight).collect());
    }
    (loss, gradients)
}

/// Nearest labels: `out[i] = in[floor((i + 0.5) n_in / n_out)]` per axis; \[N,D,H,W\].
pub fn downsample(labels: &[i32], from: [u32; 3], to: [u32; 3]) -> Vec<i32> {
    let ([d, h, w], [td, th, tw]) = (from.map(|e| e as usize), to.map(|e| e as usize));
    let source = |i: usize, n_in: usize, n_out: usize| {
        ((i as f64 + 0.5) * n_in as f64 / n_out as f64).floor() as usize
    };
    let mut out = Vec::new();
    for sample in labels.chunks_exact(d * h * w) {
        for v in 0..td * th * tw {
            let (z, y, x) = (v / (th * tw), v / tw % th, v % tw);
            let row = source(z, d, td) * h + source(y, h, th);
            out.push(sample[row * w + source(x, w, tw)]);
        }
    }
    out
}
