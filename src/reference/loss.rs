//! Twin of the `loss` kernels, in f64: cross entropy plus soft Dice, deep supervision, labels of
//! lower heads (nnU-Net v1: DC_and_CE_loss, MultipleOutputLoss2, downsample_seg_for_ds_transform2).
//! Voxels of label 255 count nowhere, and their gradient is 0.
//!
//! `ce = mean over samples and voxels of -log p[label]`. Per class (and sample, unless `batch_dice`
//! sums over them) `dc = (2 tp + 1e-5) / (2 tp + fp + fn + 1e-5 + 1e-8)` with `tp = sum p t`,
//! `fp = sum p (1 - t)`, `fn = sum (1 - p) t`; `dice = - mean dc` over the classes 1, 2, ...
//! (over all regions); `total = ce + dice`.

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

/// What the kernels leave out: a label of [`crate::ops::loss::IGNORE`].
const IGNORE: i32 = 255;

/// The loss of one head by softmax: logits \[N,K,V\], labels \[N,V\].
pub fn dice_ce(
    logits: &[f64],
    labels: &[i32],
    classes: usize,
    voxels: usize,
    batch_dice: bool,
) -> Loss {
    let sizes = Sizes { samples: labels.len() / voxels, channels: classes, voxels };
    let p = softmax(logits, classes, voxels);
    let target = |n: usize, c: usize, v: usize| labels[n * voxels + v] == c as i32;
    let counted = |n: usize, v: usize| labels[n * voxels + v] != IGNORE;
    let count = sizes.places().filter(|&(n, v)| counted(n, v)).count().max(1) as f64;
    let mut ce = 0.0;
    for (n, v) in sizes.places().filter(|&(n, v)| counted(n, v)) {
        let value = |c: usize| logits[sizes.at(n, c, v)];
        let top = (0..classes).map(value).fold(f64::NEG_INFINITY, f64::max);
        let log_sum = (0..classes).map(|c| (value(c) - top).exp()).sum::<f64>().ln() + top;
        ce += (log_sum - value(labels[n * voxels + v] as usize)) / count;
    }
    let (dice, dp) = soft_dice(&p, &sizes, &target, &counted, 1, batch_dice);
    let mut gradient = vec![0.0; p.len()];
    for (n, v) in sizes.places().filter(|&(n, v)| counted(n, v)) {
        let mean: f64 = (0..classes).map(|c| p[sizes.at(n, c, v)] * dp[sizes.at(n, c, v)]).sum();
        for c in 0..classes {
            let (i, t) = (sizes.at(n, c, v), f64::from(target(n, c, v)));
            gradient[i] = p[i] * (dp[i] - mean) + (p[i] - t) / count;
        }
    }
    Loss { ce, dice, gradient }
}

/// The loss of one head by sigmoid: logits \[N,R,V\], labels \[N,V\], the label indices of each region.
/// `bce = mean over samples, regions and voxels of max(l, 0) - l t + log(1 + exp(-|l|))` (nnU-Net v2,
/// DC_and_BCE_loss, which leaves the regions out of the mean where there is an ignore label).
pub fn dice_bce(
    logits: &[f64],
    labels: &[i32],
    regions: &[Vec<u8>],
    voxels: usize,
    batch_dice: bool,
) -> Loss {
    let channels = regions.len();
    let sizes = Sizes { samples: labels.len() / voxels, channels, voxels };
    let p: Vec<f64> = logits.iter().map(|l| 1.0 / (1.0 + (-l).exp())).collect();
    let target = |n: usize, c: usize, v: usize| {
        regions[c].iter().any(|&label| i32::from(label) == labels[n * voxels + v])
    };
    let counted = |n: usize, v: usize| labels[n * voxels + v] != IGNORE;
    let count = sizes.places().filter(|&(n, v)| counted(n, v)).count().max(1) * channels;
    let (dice, dp) = soft_dice(&p, &sizes, &target, &counted, 0, batch_dice);
    let (mut ce, mut gradient) = (0.0, vec![0.0; p.len()]);
    for (n, v) in sizes.places().filter(|&(n, v)| counted(n, v)) {
        for c in 0..channels {
            let (i, t) = (sizes.at(n, c, v), f64::from(target(n, c, v)));
            ce += (logits[i].max(0.0) - logits[i] * t + (-logits[i].abs()).exp().ln_1p())
                / count as f64;
            gradient[i] = p[i] * (1.0 - p[i]) * dp[i] + (p[i] - t) / count as f64;
        }
    }
    Loss { ce, dice, gradient }
}

/// Sizes of logits \[N,K,V\].
struct Sizes {
    samples: usize,
    channels: usize,
    voxels: usize,
}

impl Sizes {
    fn at(&self, n: usize, c: usize, v: usize) -> usize {
        (n * self.channels + c) * self.voxels + v
    }

    /// Every sample and voxel.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (samples, voxels) = (self.samples, self.voxels);
        (0..samples).flat_map(move |n| (0..voxels).map(move |v| (n, v)))
    }
}

/// Minus the mean soft Dice of the channels from `first` on, over the voxels that count, and its
/// derivative on each probability.
fn soft_dice(
    p: &[f64],
    sizes: &Sizes,
    target: &dyn Fn(usize, usize, usize) -> bool,
    counted: &dyn Fn(usize, usize) -> bool,
    first: usize,
    batch_dice: bool,
) -> (f64, Vec<f64>) {
    let samples = sizes.samples;
    let groups: Vec<Vec<usize>> = match batch_dice {
        true => vec![(0..samples).collect()],
        false => (0..samples).map(|n| vec![n]).collect(),
    };
    let terms = ((sizes.channels - first) * groups.len()) as f64;
    let (mut dice, mut dp) = (0.0, vec![0.0; p.len()]);
    for group in &groups {
        for c in first..sizes.channels {
            let places = || sizes.places().filter(|(n, v)| group.contains(n) && counted(*n, *v));
            let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
                places().map(|(n, v)| f(p[sizes.at(n, c, v)], f64::from(target(n, c, v)))).sum()
            };
            let tp = sum(&|p, t| p * t);
            let (fp, fn_) = (sum(&|p, t| p * (1.0 - t)), sum(&|p, t| (1.0 - p) * t));
            let (above, below) = (2.0 * tp + 1e-5, 2.0 * tp + fp + fn_ + 1e-5 + 1e-8);
            dice -= above / below / terms;
            for (n, v) in places() {
                // d(2 tp)/dp = 2 t and d(2 tp + fp + fn)/dp = 1.
                let t = f64::from(target(n, c, v));
                dp[sizes.at(n, c, v)] = -(2.0 * t * below - above) / (below * below) / terms;
            }
        }
    }
    (dice, dp)
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
