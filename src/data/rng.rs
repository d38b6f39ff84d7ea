//! Random streams: one independent ChaCha8 stream for each purpose and counter.
//!
//! Streams must never change, because runs are repeated and resumed by them. So
//! the key derivation below and the helpers that turn words into numbers are
//! written out here and do not depend on another crate's choice of algorithm.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream is for. The numbers are part of the format of a run: never
/// renumber, only append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[repr(u64)]
#[non_exhaustive]
pub enum Purpose {
    /// Initial weights; counters: parameter number.
    Weights = 1,
    /// Cases and patch positions; counters: epoch, iteration; for a sample whose case cannot be
    /// read also the sample and how often it was drawn anew.
    Patches = 2,
    /// The inner validation split; no counters.
    InnerSplit = 3,
    /// The sample of foreground voxels kept for a case; counters: class.
    Foreground = 4,
    /// Augmentation parameters; counters: epoch, iteration, sample.
    Augment = 5,
    /// Noise fields of the augmentation; counters: epoch, iteration, sample.
    Noise = 6,
    /// Draws from the searched distribution; counters: step.
    Search = 7,
    /// Patches of the search's validation; counters: epoch, iteration.
    SearchPatches = 8,
    /// Patches of the validation loss; counters: epoch, iteration.
    ValidationPatches = 9,
    /// Demo data; counters: case, part.
    Demo = 10,
    /// Bootstrap intervals; no counters.
    Bootstrap = 11,
    /// Tests and self-tests; counters: any.
    Test = 12,
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The stream for `seed`, `purpose` and `counters`.
///
/// The 256-bit ChaCha key consists of four 64-bit lanes. Lane i starts as
/// `mix((i + 1) * G)` with G = 0x9E3779B97F4A7C15 and absorbs the words `seed`,
/// `purpose`, number of counters, counters... by
/// `lane = mix((lane ^ word) + G)` (wrapping, with `mix` of SplitMix64); lanes
/// are stored little endian in order. Stream 0, position 0.
pub fn stream(seed: u64, purpose: Purpose, counters: &[u64]) -> ChaCha8Rng {
    const G: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut key = [0u8; 32];
    for (i, bytes) in key.chunks_exact_mut(8).enumerate() {
        let mut lane = mix((i as u64 + 1).wrapping_mul(G));
        let head = [seed, purpose as u64, counters.len() as u64];
        for &word in head.iter().chain(counters) {
            lane = mix((lane ^ word).wrapping_add(G));
        }
        bytes.copy_from_slice(&lane.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// A whole number uniform in `0..n`, without bias (64-bit words masked to the
/// next power of two, rejected when too large). 0 for `n` = 0.
pub fn below(rng: &mut impl Rng, n: u64) -> u64 {
    if n <= 1 {
        return 0;
    }
    let mask = u64::MAX >> (n - 1).leading_zeros();
    loop {
        let v = rng.next_u64() & mask;
        if v < n {
            return v;
        }
    }
}

/// A number uniform in [0, 1): the upper 53 bits of one 64-bit word.
pub fn unit(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// A number uniform in [lo, hi).
pub fn uniform(rng: &mut impl Rng, lo: f64, hi: f64) -> f64 {
    lo + (hi - lo) * unit(rng)
}

/// A standard normal number (Box-Muller, cosine branch, two words a number).
pub fn normal(rng: &mut impl Rng) -> f64 {
    let u = 1.0 - unit(rng);
    let v = unit(rng);
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Shuffles in place (Fisher-Yates from the end, [`below`]).
pub fn shuffle<T>(rng: &mut impl Rng, items: &mut [T]) {
    for i in (1..items.len()).rev() {
        let j = below(rng, i as u64 + 1) as usize;
        items.swap(i, j);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_separate_and_fixed() {
        let first = |s, p, c: &[u64]| stream(s, p, c).next_u64();
        // Computed independently from the description of `stream`.
        assert_eq!(first(12345, Purpose::Patches, &[3, 7]), 0xFDF7207668FAE1E6);
        let a = first(1, Purpose::Patches, &[0, 1]);
        assert_eq!(a, first(1, Purpose::Patches, &[0, 1]));
        for other in [
            first(2, Purpose::Patches, &[0, 1]),
            first(1, Purpose::Augment, &[0, 1]),
            first(1, Purpose::Patches, &[1, 0]),
            first(1, Purpose::Patches, &[0, 1, 0]),
        ] {
            assert_ne!(a, other);
        }
    }

    #[test]
    fn below_is_in_range_and_even() {
        let mut rng = stream(3, Purpose::Test, &[]);
        let mut counts = [0u32; 5];
        for _ in 0..5000 {
            counts[below(&mut rng, 5) as usize] += 1;
        }
        assert!(counts.iter().all(|c| (850..1150).contains(c)), "{counts:?}");
        assert_eq!(below(&mut rng, 0), 0);
    }

    #[test]
    fn normal_has_unit_variance() {
        let mut rng = stream(4, Purpose::Test, &[]);
        let v: Vec<f64> = (0..20000).map(|_| normal(&mut rng)).collect();
        let mean = v.iter().sum::<f64>() / 2e4;
        let var = v.iter().map(|x| x * x).sum::<f64>() / 2e4;
        assert!(mean.abs() < 0.03 && (var - 1.0).abs() < 0.05);
    }
}
