//! Adaptive stochastic natural gradient over categorical variables.
//!
//! Akimoto et al., "Adaptive Stochastic Natural Gradient Method for One-Shot
//! Neural Architecture Search" (ICML 2019), Algorithm 1, with the ranking
//! utilities of its section 4.3, as Xu, Li, Zhu (MICCAI 2020) use it for
//! augmentation policies. Everything is f64 on the host.

use serde::{Deserialize, Serialize};

use super::distribution::Categorical;

/// Two neighbouring losses are equal when they differ by no more than this times |loss|.
const EQUAL_LOSSES: f64 = 1e-14;
/// A natural gradient below this in every entry is no gradient. Its exact value is
/// a sum of utilities over lambda, zero or far above this bound; the authors' 1e-18
/// would take rounding errors (1e-17) for a direction and make a full step of it.
const NO_GRADIENT: f64 = 1e-12;

/// Constants of a search.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AsngOptions {
    /// Threshold of the signal to noise test, paper: 1.5.
    pub alpha: f64,
    /// Step in the Fisher metric at Delta = 1, paper: 1.
    pub delta_init: f64,
    /// Upper bound of Delta; none is infinity.
    pub delta_max: Option<f64>,
    /// `sng`: Delta stays 1, the step is not adapted.
    pub fixed_step: bool,
}

impl Default for AsngOptions {
    fn default() -> Self {
        AsngOptions { alpha: 1.5, delta_init: 1.0, delta_max: None, fixed_step: false }
    }
}

/// What an update did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateOutcome {
    /// theta moved.
    Updated,
    /// Nothing to learn: equal losses, or policies that do not differ.
    SkippedEqual,
    /// No loss was finite.
    SkippedNonFinite,
}

/// The search's state: the distribution and the step size adaptation.
#[derive(Debug, Clone, PartialEq)]
pub struct Asng {
    options: AsngOptions,
    theta: Categorical,
    delta: f64,
    gamma: f64,
    s: Vec<f64>,
}

impl Asng {
    /// Starts at `theta` with Delta = 1, gamma = 0, s = 0 (length `n = sum(K_i - 1)`).
    /// Entries below theta_min are raised to it, since the gradient divides by them.
    pub fn new(theta: Categorical, options: AsngOptions) -> Self {
        let mut theta = theta;
        let d = searched(&theta);
        for row in theta.rows_mut() {
            let min = theta_min(d, row.len());
            if row.len() > 1 && row.iter().any(|&p| p < min * (1.0 - 1e-9)) {
                project(row, min);
            }
        }
        let n = dimensions(&theta);
        Asng { options, theta, delta: 1.0, gamma: 0.0, s: vec![0.0; n] }
    }

    /// The distribution.
    pub fn theta(&self) -> &Categorical {
        &self.theta
    }

    /// The constants.
    pub fn options(&self) -> &AsngOptions {
        &self.options
    }

    /// Delta: the step is `delta_init / Delta`.
    pub fn delta(&self) -> f64 {
        self.delta
    }

    /// gamma: the accumulated weight of s, in 0..1.
    pub fn gamma(&self) -> f64 {
        self.gamma
    }

    /// |s|^2, the squared length of the accumulated normalised gradient.
    pub fn s_norm2(&self) -> f64 {
        self.s.iter().map(|x| x * x).sum()
    }

    /// One update from lambda policies (`samples[j][i]` = value index of variable
    /// i) and their losses, lower is better. A non-finite loss counts as the worst.
    ///
    /// # Panics
    /// If there is not one loss a sample, or a sample is not of this space: a
    /// mistake in the caller.
    pub fn update(&mut self, samples: &[Vec<usize>], losses: &[f64]) -> UpdateOutcome {
        let counts = self.theta.counts();
        assert_eq!(samples.len(), losses.len(), "one loss a sample");
        for m in samples {
            assert!(
                m.len() == counts.len() && m.iter().zip(&counts).all(|(k, count)| k < count),
                "samples of this space"
            );
        }
        if !losses.iter().any(|f| f.is_finite()) {
            return UpdateOutcome::SkippedNonFinite;
        }
        let u = utilities(losses);
        let mean = u.iter().sum::<f64>() / u.len() as f64;
        let n = self.s.len();
        if n == 0 || u.iter().all(|x| *x == u[0]) {
            return UpdateOutcome::SkippedEqual;
        }

        // g = mean_j (u_j - mean u) (M_j - theta), ragged like theta
        let lambda = samples.len() as f64;
        let mut g: Vec<Vec<f64>> = counts.iter().map(|&k| vec![0.0; k]).collect();
        for (m, u) in samples.iter().zip(&u) {
            for (i, row) in self.theta.rows().iter().enumerate() {
                for (k, p) in row.iter().enumerate() {
                    let one_hot = if m[i] == k { 1.0 } else { 0.0 };
                    g[i][k] += (u - mean) * (one_hot - p) / lambda;
                }
            }
        }
        if g.iter().flatten().all(|x| x.abs() < NO_GRADIENT) {
            return UpdateOutcome::SkippedEqual;
        }

        let step = root_fisher(&self.theta, &g);
        let norm = step.iter().map(|x| x * x).sum::<f64>().sqrt();
        let delta = self.options.delta_init / self.delta;
        // Above 1 the weights of the moving averages would turn negative, above 2
        // their root would not exist; only spaces of a few values come near.
        let beta = (delta / (n as f64).sqrt()).min(1.0);

        let d = searched(&self.theta);
        for (row, g) in self.theta.rows_mut().iter_mut().zip(&g).filter(|(row, _)| row.len() > 1) {
            row.iter_mut().zip(g).for_each(|(p, g)| *p += delta * g / norm);
            let min = theta_min(d, row.len());
            project(row, min);
        }

        let weight = (beta * (2.0 - beta)).sqrt() / norm;
        self.s.iter_mut().zip(&step).for_each(|(s, x)| *s = (1.0 - beta) * *s + weight * x);
        self.gamma = (1.0 - beta).powi(2) * self.gamma + beta * (2.0 - beta);
        if !self.options.fixed_step {
            let rate = beta * (self.gamma - self.s_norm2() / self.options.alpha);
            let limit = self.options.delta_max.unwrap_or(f64::INFINITY);
            self.delta = (self.delta * rate.exp()).min(limit).min(f64::MAX);
        }
        UpdateOutcome::Updated
    }

    /// Everything an identical continuation needs; numbers as decimal text, which
    /// reads back to the same bits whatever JSON reader is used.
    pub fn state(&self) -> AsngState {
        AsngState {
            options: self.options,
            theta: self.theta.rows().iter().map(|row| texts(row)).collect(),
            delta: self.delta.to_string(),
            gamma: self.gamma.to_string(),
            s: texts(&self.s),
        }
    }

    /// Rebuilds the search from [`Asng::state`].
    ///
    /// # Errors
    /// One clause saying which part of the state is not usable.
    pub fn from_state(state: &AsngState) -> Result<Self, String> {
        let theta: Result<Vec<_>, _> = state.theta.iter().map(|row| numbers(row)).collect();
        let theta = Categorical::try_from(theta?)?;
        let (delta, gamma) = (number(&state.delta)?, number(&state.gamma)?);
        let s = numbers(&state.s)?;
        if s.len() != dimensions(&theta) {
            return Err(format!("s has {} entries, not {}", s.len(), dimensions(&theta)));
        }
        if delta <= 0.0 || theta.rows().iter().flatten().any(|&p| p <= 0.0) {
            return Err("Delta and theta must be positive".into());
        }
        Ok(Asng { options: state.options, theta, delta, gamma, s })
    }
}

/// [`Asng`] as stored in a checkpoint; every number as decimal text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AsngState {
    options: AsngOptions,
    theta: Vec<Vec<String>>,
    delta: String,
    gamma: String,
    s: Vec<String>,
}

fn texts(values: &[f64]) -> Vec<String> {
    values.iter().map(f64::to_string).collect()
}

fn number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(x),
        _ => Err(format!("'{text}' is not a finite number")),
    }
}

fn numbers(texts: &[String]) -> Result<Vec<f64>, String> {
    texts.iter().map(|t| number(t)).collect()
}

/// n = sum(K_i - 1), the dimension of the statistical manifold.
fn dimensions(theta: &Categorical) -> usize {
    theta.rows().iter().map(|row| row.len() - 1).sum()
}

/// d: number of variables with more than one value.
fn searched(theta: &Categorical) -> usize {
    theta.rows().iter().filter(|row| row.len() > 1).count()
}

/// Smallest probability of a value: 1 / (d (K - 1)). Where that leaves no room
/// (one variable, or two of two values) it is 1 / (2 K), or nothing could be learned.
pub fn theta_min(d: usize, k: usize) -> f64 {
    if k <= 1 {
        return 1.0;
    }
    let min = 1.0 / (d * (k - 1)) as f64;
    if min * (k as f64) < 1.0 - 1e-12 { min } else { 0.5 / k as f64 }
}

/// Raises entries to `min`, takes the surplus from what lies above it in
/// proportion, and normalises (the authors' code).
fn project(row: &mut [f64], min: f64) {
    row.iter_mut().for_each(|p| *p = p.max(min));
    let total: f64 = row.iter().sum();
    let room = total - row.len() as f64 * min;
    if room > 0.0 {
        row.iter_mut().for_each(|p| *p -= (total - 1.0) * (*p - min) / room);
    }
    let total: f64 = row.iter().sum();
    row.iter_mut().for_each(|p| *p /= total);
}

/// Rank utilities: +1/mu for the mu = ceil(lambda / 4) lowest losses, -1/mu for
/// the mu highest, 0 between; equal losses share the mean of theirs.
fn utilities(losses: &[f64]) -> Vec<f64> {
    let lambda = losses.len();
    let mu = lambda.div_ceil(4);
    let worst_last = |f: f64| if f.is_finite() { f } else { f64::INFINITY };
    let mut order: Vec<usize> = (0..lambda).collect();
    order.sort_by(|&a, &b| worst_last(losses[a]).total_cmp(&worst_last(losses[b])));
    let mut ranked = vec![0.0; lambda];
    ranked[..mu].fill(1.0 / mu as f64);
    ranked[lambda - mu..].fill(-1.0 / mu as f64);

    let equal = |a: f64, b: f64| match (a.is_finite(), b.is_finite()) {
        (true, true) => b - a <= EQUAL_LOSSES * a.abs(),
        (a, b) => a == b,
    };
    let mut utilities = vec![0.0; lambda];
    let mut start = 0;
    for end in 1..=lambda {
        if end < lambda && equal(losses[order[end - 1]], losses[order[end]]) {
            continue;
        }
        let shared = ranked[start..end].iter().sum::<f64>() / (end - start) as f64;
        order[start..end].iter().for_each(|&j| utilities[j] = shared);
        start = end;
    }
    utilities
}

/// s' = F^(1/2) g over the first K-1 values of every variable (Akimoto et al.,
/// appendix): `g_k / sqrt(theta_k) + sqrt(theta_k) sum(g) / (theta_K + sqrt(theta_K))`.
fn root_fisher(theta: &Categorical, g: &[Vec<f64>]) -> Vec<f64> {
    let mut out = Vec::with_capacity(dimensions(theta));
    for (row, g) in theta.rows().iter().zip(g) {
        let last = row.len() - 1;
        let shared = g[..last].iter().sum::<f64>() / (row[last] + row[last].sqrt());
        out.extend(row[..last].iter().zip(g).map(|(p, g)| g / p.sqrt() + p.sqrt() * shared));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utilities_rank_and_share() {
        assert_eq!(utilities(&[2.0, 1.0]), [-1.0, 1.0]);
        assert_eq!(utilities(&[-1.0, -1.0]), [0.0, 0.0]);
        assert_eq!(utilities(&[0.0, 0.0]), [0.0, 0.0]);
        assert_eq!(utilities(&[f64::NAN, 5.0]), [-1.0, 1.0]);
        assert_eq!(utilities(&[f64::NEG_INFINITY, 5.0]), [-1.0, 1.0]);
        assert_eq!(utilities(&[3.0, 1.0, 1.0, 2.0]), [-1.0, 0.5, 0.5, 0.0]);
        assert_eq!(utilities(&[1.0, f64::NAN, f64::INFINITY, 2.0]), [1.0, -0.5, -0.5, 0.0]);
        assert_eq!(utilities(&[6.0, 5.0, 4.0, 3.0, 2.0, 1.0]), [-0.5, -0.5, 0.0, 0.0, 0.5, 0.5]);
    }

    #[test]
    fn state_reads_back_to_the_same_bits() {
        let mut a = Asng::new(Categorical::uniform(&[3, 1, 7]), AsngOptions::default());
        a.update(&[vec![0, 0, 3], vec![2, 0, 1]], &[0.3, 0.1]);
        let text = serde_json::to_string(&a.state()).unwrap();
        let b = Asng::from_state(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(a, b);
    }

    #[test]
    fn single_values_and_tiny_spaces_work() {
        let mut none = Asng::new(Categorical::uniform(&[1, 1]), AsngOptions::default());
        assert_eq!(none.update(&vec![vec![0, 0]; 2], &[1.0, 2.0]), UpdateOutcome::SkippedEqual);
        for counts in [vec![2], vec![11], vec![2, 2], vec![1, 3]] {
            let mut a = Asng::new(Categorical::uniform(&counts), AsngOptions::default());
            let zero = vec![0; counts.len()];
            let last: Vec<usize> = counts.iter().map(|k| k - 1).collect();
            for _ in 0..500 {
                a.update(&[zero.clone(), last.clone()], &[2.0, 1.0]);
            }
            assert!(a.theta().rows().iter().flatten().all(|p| p.is_finite()), "{counts:?}");
            assert_eq!(a.theta().most_probable(), last);
        }
    }
}
