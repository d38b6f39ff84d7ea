//! Statistics of paired values: quantiles, bootstrap intervals, Wilcoxon's signed-rank test.

use crate::data::rng::{Purpose, below, stream};

/// Resamples of a bootstrap interval.
pub const RESAMPLES: usize = 10_000;

/// What a list of differences, one a case, tells of their mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paired {
    /// Number of differences.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// 95% bootstrap interval of the mean (percentiles of [`RESAMPLES`] resamples of the cases).
    pub interval: [f64; 2],
    /// Two-sided p of [`wilcoxon`].
    pub p: f64,
}

impl Paired {
    /// Of finite differences; all values are NaN where there is none. The same seed gives the
    /// same interval.
    pub fn of(differences: &[f64], seed: u64) -> Self {
        Paired {
            count: differences.len(),
            mean: mean(differences),
            interval: bootstrap(differences, seed),
            p: wilcoxon(differences),
        }
    }
}

/// The mean; NaN of nothing.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { f64::NAN } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The standard deviation of a sample (n - 1); NaN of fewer than two values.
pub fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return f64::NAN;
    }
    let centre = mean(values);
    let squares: f64 = values.iter().map(|v| (v - centre).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// The `q`-quantile (0 to 1) of ascending values by linear interpolation between ranks, NumPy's
/// default; NaN of nothing.
pub fn quantile(ascending: &[f64], q: f64) -> f64 {
    let Some(last) = ascending.len().checked_sub(1) else { return f64::NAN };
    let rank = q.clamp(0.0, 1.0) * last as f64;
    let below = (rank.floor() as usize).min(last);
    let (low, high) = (ascending[below], ascending[(below + 1).min(last)]);
    low + (high - low) * (rank - below as f64)
}

/// 95% percentile bootstrap interval of the mean.
fn bootstrap(values: &[f64], seed: u64) -> [f64; 2] {
    let mut rng = stream(seed, Purpose::Bootstrap, &[]);
    let n = values.len();
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| (0..n).map(|_| values[below(&mut rng, n as u64) as usize]).sum::<f64>() / n as f64)
        .collect();
    means.sort_by(f64::total_cmp);
    [quantile(&means, 0.025), quantile(&means, 0.975)]
}

/// Two-sided p of Wilcoxon's signed-rank test that differences are symmetric about 0, as SciPy's
/// `wilcoxon` decides with `method="auto"`: differences of 0 are dropped and ties share their mean
/// rank; p is exact for up to 50 differences without ties or zeros and for up to 13 with them;
/// otherwise by the normal approximation with the tie correction of the variance and without a
/// continuity correction. 1 where all differences are 0, NaN of nothing.
pub fn wilcoxon(differences: &[f64]) -> f64 {
    if differences.is_empty() {
        return f64::NAN;
    }
    let mut sorted: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    if sorted.is_empty() {
        return 1.0;
    }
    sorted.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    // Twice the ranks are whole numbers, ties included.
    let (mut doubled, mut positive, mut ties) = (Vec::new(), 0, 0.0);
    for group in sorted.chunk_by(|a, b| a.abs() == b.abs()) {
        let rank = 2 * doubled.len() + group.len() + 1;
        positive += rank * group.iter().filter(|d| **d > 0.0).count();
        ties += (group.len() as f64).powi(3) - group.len() as f64;
        doubled.extend(group.iter().map(|_| rank));
    }
    let plain = ties == 0.0 && sorted.len() == differences.len();
    if differences.len() <= if plain { 50 } else { 13 } {
        return exact(&doubled, positive);
    }
    let n = sorted.len() as f64;
    let centre = n * (n + 1.0) / 4.0;
    let variance = (n * (n + 1.0) * (2.0 * n + 1.0) - ties / 2.0) / 24.0;
    let z = (positive as f64 / 2.0 - centre) / variance.sqrt();
    erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// Two-sided p of the sum of the positive ranks when every sign is as likely as its opposite.
fn exact(doubled: &[usize], positive: usize) -> f64 {
    let total: usize = doubled.iter().sum();
    // ways[s]: in how many of the 2^n sign patterns the positive ranks have the sum s.
    let mut ways = vec![0.0f64; total + 1];
    ways[0] = 1.0;
    for &rank in doubled {
        for sum in (rank..=total).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    let tail = positive.min(total - positive);
    let extreme: f64 = ways[..=tail].iter().sum();
    (2.0 * extreme / 2f64.powi(doubled.len() as i32)).min(1.0)
}

/// The complementary error function for x >= 0: its power series, and beyond 3 its continued
/// fraction (Abramowitz and Stegun 7.1.6 and 7.1.14).
fn erfc(x: f64) -> f64 {
    let bell = (-x * x).exp() / std::f64::consts::PI.sqrt();
    if x < 3.0 {
        let (mut term, mut sum, mut k) = (x, x, 1.0);
        while term > 1e-17 * sum {
            term *= 2.0 * x * x / (2.0 * k + 1.0);
            sum += term;
            k += 1.0;
        }
        return 1.0 - 2.0 * bell * sum;
    }
    let fraction = (1..=60).rev().fold(x, |tail, k| x + f64::from(k) / 2.0 / tail);
    bell / fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-9 * b.abs(), "{a} not {b}");
    }

    #[test]
    fn wilcoxon_as_scipy() {
        // SciPy 1.17.1, `wilcoxon(d).pvalue`: exact, exact with ties and zeros, exact at 50,
        // and twice by the normal approximation with ties and zeros.
        near(wilcoxon(&[0.12, -0.05, 0.3, 0.21, -0.11, 0.08, 0.47]), 0.109375);
        near(wilcoxon(&[1.0, -1.0, 2.0, 2.0, -3.0, 0.0, 4.0, 5.0, 0.0, -2.0]), 0.40625);
        let spread = |i: u32| f64::from(i * 37 % 53) - 20.0;
        let fifty: Vec<f64> = (1..=50).map(|i| spread(i) / 7.0 + 0.001 * f64::from(i)).collect();
        near(wilcoxon(&fifty), 0.004912360514200742);
        near(wilcoxon(&(0..60).map(spread).collect::<Vec<_>>()), 0.015382894732814081);
        let twenty: Vec<f64> = (0..20).map(|i| f64::from(i * 7 % 11) - 3.0).collect();
        near(wilcoxon(&twenty), 0.024445369306417008);
        assert_eq!(wilcoxon(&[0.0; 3]), 1.0);
        assert_eq!(wilcoxon(&[1.0]), 1.0);
        assert!(wilcoxon(&[]).is_nan());
    }

    #[test]
    fn error_function() {
        for (x, wanted) in [
            (0.0, 1.0),
            (0.1, 0.8875370839817152),
            (1.0, 0.15729920705028516),
            (2.5, 0.00040695201744495886),
            (4.0, 1.541725790028002e-08),
            (10.0, 2.0884875837625446e-45),
        ] {
            near(erfc(x), wanted);
        }
    }

    #[test]
    fn quantiles_and_deviation() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.5), 2.0);
        near(quantile(&[1.0, 2.0, 4.0], 0.95), 3.8);
        assert_eq!(quantile(&[3.0], 0.95), 3.0);
        assert!(quantile(&[], 0.5).is_nan());
        near(deviation(&[1.0, 2.0, 4.0]), (7.0f64 / 3.0).sqrt());
        assert!(deviation(&[1.0]).is_nan());
    }

    #[test]
    fn intervals_are_repeatable_and_cover_what_they_should() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let [low, high] = bootstrap(&values, 1);
        assert_eq!([low, high], bootstrap(&values, 1));
        assert_ne!([low, high], bootstrap(&values, 2));
        // The standard error of the mean is 2.89.
        let half = 1.96 * 2.886;
        assert!((low - (49.5 - half)).abs() < 0.3, "{low}");
        assert!((high - (49.5 + half)).abs() < 0.3, "{high}");
        assert_eq!(bootstrap(&[2.0; 5], 0), [2.0, 2.0]);
        assert!(bootstrap(&[], 0)[0].is_nan());
    }
}
