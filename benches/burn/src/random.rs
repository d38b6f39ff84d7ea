//! Made-up values, the same as in the main package's benches.

/// Values in -1 .. 1 (the generator of Numerical Recipes: good enough to keep units busy).
pub fn values(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
