//! Policy gradient over categorical variables, the plain relative of the reinforcement learning
//! that the paper compares its costs with.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::distribution::Categorical;
use super::policy::Policy;
use super::searcher::{Candidate, Outcome, Searcher, draw, foreign_state};
use super::space::Space;
use crate::Result;
use rand_chacha::ChaCha8Rng;

/// Step along the gradient of the logits, for advantages of unit deviation.
const RATE: f64 = 0.1;
/// Weight of the past in the baseline and the losses' variance.
const MEMORY: f64 = 0.9;

/// `reinforce`: REINFORCE (Williams 1992) with a moving average of the losses as baseline. The
/// distribution of each variable is the softmax of its logits; after losses f_j of policies M_j
///
/// `logits += rate mean_j (baseline - f_j) / deviation (M_j - theta)`,
///
/// the deviation being the moving root mean square of `f_j - baseline`, so that the rate does not
/// depend on the scale of the loss.
#[derive(Debug, Clone)]
pub struct Reinforce {
    space: Space,
    theta: Categorical,
    state: ReinforceState,
}

/// What an identical continuation needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ReinforceState {
    logits: Vec<Vec<f64>>,
    /// Moving averages of the losses' mean and of their squared distance to it; none before the
    /// first losses.
    moments: Option<(f64, f64)>,
}

impl Reinforce {
    /// Starts at `theta`, which must be of `space`; values of probability 0 are never tried.
    pub fn new(space: Space, theta: Categorical) -> Self {
        // The softmax of the smallest f64's logarithm is 0 against any other value.
        let logits = |row: &Vec<f64>| row.iter().map(|p| p.max(f64::MIN_POSITIVE).ln()).collect();
        let logits = theta.rows().iter().map(logits).collect();
        Reinforce { space, theta, state: ReinforceState { logits, moments: None } }
    }
}

/// `exp(x_k) / sum exp(x)`.
fn softmax(logits: &[f64]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|x| (x - most).exp()).collect();
    let total: f64 = powers.iter().sum();
    powers.iter().map(|p| p / total).collect()
}

impl Searcher for Reinforce {
    fn name(&self) -> &'static str {
        "reinforce"
    }

    fn ask(&mut self, rng: &mut ChaCha8Rng, lambda: usize) -> Vec<Candidate> {
        draw(&self.theta, &self.space, rng, lambda)
    }

    fn tell(&mut self, candidates: &[Candidate], losses: &[f64]) -> Outcome {
        let finite = || losses.iter().copied().filter(|f| f.is_finite());
        let count = finite().count();
        if count == 0 {
            return Outcome::SkippedNonFinite;
        }
        // A loss that is not finite counts as the worst that was seen.
        let worst = finite().fold(f64::NEG_INFINITY, f64::max);
        let losses: Vec<f64> =
            losses.iter().map(|&f| if f.is_finite() { f } else { worst }).collect();
        let mean = finite().sum::<f64>() / count as f64;
        let (baseline, variance) = self.state.moments.unwrap_or((mean, 0.0));
        let square =
            losses.iter().map(|f| (f - baseline).powi(2)).sum::<f64>() / losses.len() as f64;
        let variance = match self.state.moments {
            Some(_) => MEMORY * variance + (1.0 - MEMORY) * square,
            None => square,
        };
        self.state.moments = Some((MEMORY * baseline + (1.0 - MEMORY) * mean, variance));
        let deviation = variance.sqrt();
        if !(deviation > 0.0 && deviation.is_finite()) {
            return Outcome::SkippedEqual;
        }
        let step = RATE / (losses.len() as f64 * deviation);
        for (candidate, loss) in candidates.iter().zip(&losses) {
            let advantage = step * (baseline - loss);
            let rows = self.state.logits.iter_mut().zip(self.theta.rows());
            for ((logits, theta), &chosen) in rows.zip(&candidate.indices) {
                for (k, (logit, p)) in logits.iter_mut().zip(theta).enumerate() {
                    let one_hot = if k == chosen { 1.0 } else { 0.0 };
                    *logit += advantage * (one_hot - p);
                }
            }
        }
        let rows: Vec<Vec<f64>> = self.state.logits.iter().map(|row| softmax(row)).collect();
        for (to, from) in self.theta.rows_mut().iter_mut().zip(rows) {
            *to = from;
        }
        Outcome::Updated
    }

    fn learns(&self) -> bool {
        true
    }

    fn theta(&self) -> Option<&Categorical> {
        Some(&self.theta)
    }

    fn policy(&self) -> Policy {
        Policy::from_indices(&self.space, &self.theta.most_probable())
    }

    fn state(&self) -> Value {
        // f64 in JSON keeps its bits here: serde_json writes and reads them exactly.
        serde_json::to_value((&self.state, self.theta.rows())).unwrap_or(Value::Null)
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        let refuse = |why: String| foreign_state(self.name(), &why);
        let (state, theta): (ReinforceState, Categorical) =
            serde_path_to_error::deserialize(state).map_err(|e| refuse(e.to_string()))?;
        let counts = self.space.counts();
        let fits = state.logits.iter().map(Vec::len).eq(counts.iter().copied());
        if !fits || theta.counts() != counts {
            return Err(refuse("theta is of another space".into()));
        }
        (self.state, self.theta) = (state, theta);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::space::{Field, Variable};

    /// One variable of three values.
    fn small() -> Reinforce {
        let name = Field::PGamma;
        let unit = name.unit().into();
        let variables = vec![Variable { name, low: 0.0, high: 1.0, count: 3, unit }];
        Reinforce::new(Space { variables }, Categorical::uniform(&[3]))
    }

    fn candidates(searcher: &Reinforce, indices: &[usize]) -> Vec<Candidate> {
        let one = |&k: &usize| Candidate {
            indices: vec![k],
            policy: Policy::from_indices(&searcher.space, &[k]),
        };
        indices.iter().map(one).collect()
    }

    #[test]
    fn the_first_step_is_that_of_the_formula() {
        let mut searcher = small();
        let tried = candidates(&searcher, &[0, 2]);
        assert_eq!(searcher.tell(&tried, &[1.0, 3.0]), Outcome::Updated);
        // Baseline 2, deviation 1: advantages 1 and -1, each times (M - 1/3), mean times the rate.
        let logit = |k: usize| searcher.state.logits[0][k] - (1.0f64 / 3.0).ln();
        for (k, expected) in [0.05, 0.0, -0.05].into_iter().enumerate() {
            assert!((logit(k) - expected).abs() < 1e-15, "{k}");
        }
        let theta = &searcher.theta.rows()[0];
        assert!((theta.iter().sum::<f64>() - 1.0).abs() < 1e-15 && theta[0] > theta[2]);
        assert_eq!(searcher.state.moments, Some((2.0, 1.0)));
    }

    #[test]
    fn equal_and_broken_losses_move_nothing_at_first() {
        let mut searcher = small();
        let tried = candidates(&searcher, &[0, 2]);
        assert_eq!(searcher.tell(&tried, &[f64::NAN, f64::INFINITY]), Outcome::SkippedNonFinite);
        assert_eq!(searcher.tell(&tried, &[1.0, 1.0]), Outcome::SkippedEqual);
        assert_eq!(searcher.tell(&tried, &[1.0, f64::NAN]), Outcome::SkippedEqual);
        assert_eq!(searcher.theta, Categorical::uniform(&[3]));
    }
}
