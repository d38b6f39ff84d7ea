//! Properties over random shapes.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

/// Runs a property on a few random inputs; always the same ones, of a fixed seed.
pub fn property<S: Strategy>(
    cases: u32,
    strategy: S,
    test: impl Fn(S::Value) -> Result<(), String>,
) {
    const SEED: u64 = 20_240_229;
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(SEED),
        failure_persistence: None,
        max_shrink_iters: 64,
        ..Config::default()
    };
    let outcome =
        TestRunner::new(config).run(&strategy, |value| test(value).map_err(TestCaseError::fail));
    if let Err(e) = outcome {
        panic!("seed {SEED}, {cases} cases: {e}");
    }
}
