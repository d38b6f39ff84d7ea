//! The categorical distribution over policies: one row of probabilities a variable.

use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};

/// One number of [0, 1) from the stream: the upper 53 bits of the next 64 times
/// 2^-53. Written out, not taken from a library's distribution, so that the same
/// seed gives the same policies and draws in every later version.
pub fn unit(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// How far a row's sum may be from 1 in a file.
const SUM_TOLERANCE: f64 = 1e-6;

/// theta\[i\]\[k\] = probability of value k of variable i; rows may differ in
/// length. Every row is non-negative and sums to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<f64>>", into = "Vec<Vec<f64>>")]
pub struct Categorical {
    rows: Vec<Vec<f64>>,
}

impl TryFrom<Vec<Vec<f64>>> for Categorical {
    type Error = String;

    /// Refuses empty rows, numbers that are no probabilities, sums that are not 1.
    fn try_from(rows: Vec<Vec<f64>>) -> Result<Self, String> {
        for (i, row) in rows.iter().enumerate() {
            if let Some(p) = row.iter().find(|p| !(0.0..=1.0 + SUM_TOLERANCE).contains(*p)) {
                return Err(format!("theta row {i} holds {p}, which is not in 0..1"));
            }
            let total: f64 = row.iter().sum();
            if (total - 1.0).abs() > SUM_TOLERANCE {
                return Err(format!("theta row {i} sums to {total}, not to 1"));
            }
        }
        Ok(Categorical { rows })
    }
}

impl From<Categorical> for Vec<Vec<f64>> {
    fn from(theta: Categorical) -> Self {
        theta.rows
    }
}

impl Categorical {
    /// Every value of a variable equally probable; a count of 0 is taken as 1.
    pub fn uniform(counts: &[usize]) -> Self {
        let row = |&k: &usize| vec![1.0 / k.max(1) as f64; k.max(1)];
        Categorical { rows: counts.iter().map(row).collect() }
    }

    /// `mass` (0..1) of each variable on `centre[i]`, the rest spread evenly over
    /// its other values; a variable with one value has all its mass there.
    pub fn centred(counts: &[usize], centre: &[usize], mass: f64) -> Self {
        let row = |(&k, &c): (&usize, &usize)| {
            if k <= 1 {
                return vec![1.0];
            }
            let rest = (1.0 - mass) / (k - 1) as f64;
            (0..k).map(|j| if j == c.min(k - 1) { mass } else { rest }).collect()
        };
        Categorical { rows: counts.iter().zip(centre).map(row).collect() }
    }

    /// The rows, one a variable.
    pub fn rows(&self) -> &[Vec<f64>] {
        &self.rows
    }

    /// The rows for an update in place; the caller keeps them distributions.
    pub(super) fn rows_mut(&mut self) -> &mut [Vec<f64>] {
        &mut self.rows
    }

    /// Number of values of each variable.
    pub fn counts(&self) -> Vec<usize> {
        self.rows.iter().map(Vec::len).collect()
    }

    /// Draws one value index for each variable by inverting the cumulative sum;
    /// consumes one [`unit()`] a variable. A value of probability 0 is never drawn.
    pub fn sample(&self, rng: &mut impl Rng) -> Vec<usize> {
        self.rows.iter().map(|row| pick(row, unit(rng))).collect()
    }

    /// Each variable's most probable value, the lowest index on ties.
    pub fn most_probable(&self) -> Vec<usize> {
        let best = |row: &Vec<f64>| {
            (0..row.len()).fold(0, |best, k| if row[k] > row[best] { k } else { best })
        };
        self.rows.iter().map(best).collect()
    }

    /// Mean over the variables of `-sum p ln p`, in nats; 0 without variables.
    pub fn mean_entropy(&self) -> f64 {
        let entropy =
            |row: &Vec<f64>| -> f64 { row.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum() };
        self.rows.iter().map(entropy).sum::<f64>() / self.rows.len().max(1) as f64
    }
}

/// The index at which the cumulative sum of `row` passes `u` (in [0, 1)).
fn pick(row: &[f64], u: f64) -> usize {
    let mut sum = 0.0;
    let mut last = 0;
    for (k, &p) in row.iter().enumerate().filter(|(_, p)| **p > 0.0) {
        sum += p;
        last = k;
        if u < sum {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn the_stream_is_fixed() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let drawn = Categorical::uniform(&[11; 18]).sample(&mut rng);
        assert_eq!(
            drawn,
            Categorical::uniform(&[11; 18]).sample(&mut ChaCha8Rng::seed_from_u64(0))
        );
        assert!(drawn.iter().all(|&k| k < 11));
    }

    #[test]
    fn bad_rows_are_refused() {
        for rows in
            [vec![vec![0.5, 0.4]], vec![vec![1.5, -0.5]], vec![vec![f64::NAN]], vec![vec![]]]
        {
            let why = Categorical::try_from(rows).unwrap_err();
            assert!(why.to_string().contains("theta"), "{why}");
        }
        assert!(serde_json::from_str::<Categorical>("[[0.5, 0.5], [1]]").is_ok());
    }

    #[test]
    fn zero_probability_is_never_drawn() {
        assert_eq!(pick(&[0.0, 1.0 - 1e-12, 0.0], 1.0 - 1e-16), 1);
        assert_eq!(pick(&[0.0, 0.5, 0.5], 0.0), 1);
        assert_eq!(pick(&[0.25, 0.25, 0.5], 0.5), 2);
    }

    #[test]
    fn mode_and_entropy() {
        let theta = Categorical::centred(&[11, 1, 3], &[4, 0, 9], 0.9);
        assert_eq!(theta.most_probable(), vec![4, 0, 2]);
        assert_eq!((theta.rows()[0][4], theta.rows()[1][0]), (0.9, 1.0));
        assert_eq!(Categorical::uniform(&[5, 2]).most_probable(), vec![0, 0]);
        assert!((Categorical::uniform(&[11; 18]).mean_entropy() - 11f64.ln()).abs() < 1e-12);
        assert!((theta.rows()[0].iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
