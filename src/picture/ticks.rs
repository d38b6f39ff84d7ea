//! Round numbers along an axis.

/// Multiples of 1, 2 or 5 times a power of ten within `low..=high`, at most `most` of them (at
/// least 2; one more where otherwise none would lie within); `least` bounds their distance from
/// below, 1 for counts. Empty unless `low < high`, and where no multiple of `least` lies within.
pub(super) fn ticks(low: f64, high: f64, most: usize, least: f64) -> Vec<f64> {
    if !(low.is_finite() && high.is_finite() && low < high) {
        return Vec::new();
    }
    let mut distance = step((high - low) / most.max(2) as f64).max(least);
    let within = |distance: f64| {
        let first = (low / distance - 1e-9).ceil();
        let count = (high / distance + 1e-9).floor() - first + 1.0;
        (first, count.clamp(0.0, 100.0) as usize)
    };
    // A range shorter than the distance may lie between two multiples.
    while within(distance).1 == 0 && distance > least {
        distance = step(distance * 0.4).max(least);
    }
    let (first, count) = within(distance);
    (0..count).map(|i| (first + i as f64) * distance).collect()
}

/// The least of 1, 2, 5 times a power of ten that is not below `value`.
fn step(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|f| f * power >= value * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// The texts of ticks: as many decimals as tell them apart; with an exponent where all are small
/// or one is very large.
pub(super) fn texts(ticks: &[f64]) -> Vec<String> {
    let largest = ticks.iter().fold(0f64, |top, t| top.max(t.abs()));
    let step = ticks.windows(2).map(|w| w[1] - w[0]).fold(f64::INFINITY, f64::min);
    let step = if step.is_finite() { step } else { largest };
    if largest > 0.0 && !(0.01..1e5).contains(&largest) {
        let one = |&t: &f64| {
            if t == 0.0 {
                return "0".to_owned();
            }
            let digits = (t.abs().log10().floor() - step.log10().floor()).clamp(0.0, 6.0);
            format!("{t:.*e}", digits as usize)
        };
        return ticks.iter().map(one).collect();
    }
    let decimals = if step > 0.0 { (-step.log10() - 1e-9).ceil().clamp(0.0, 6.0) } else { 0.0 };
    let one = |t: &f64| {
        let text = format!("{t:.*}", decimals as usize);
        if text.trim_start_matches('-').chars().all(|c| matches!(c, '0' | '.')) {
            text.trim_start_matches('-').to_owned()
        } else {
            text
        }
    };
    ticks.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_are_round_and_their_texts_short() {
        let of = |low, high, most, least| texts(&ticks(low, high, most, least)).join(" ");
        assert_eq!(of(0.0, 1.0, 5, 0.0), "0.0 0.2 0.4 0.6 0.8 1.0");
        assert_eq!(of(-0.31, 0.52, 5, 0.0), "-0.2 0.0 0.2 0.4");
        assert_eq!(of(1.0, 3.0, 6, 1.0), "1 2 3");
        assert_eq!(of(0.0, 3.2e-4, 4, 0.0), "0 1e-4 2e-4 3e-4");
        assert_eq!(of(0.0, 3.2e5, 4, 0.0), "0 1e5 2e5 3e5");
        assert_eq!(of(9.9e-5, 10.6e-5, 4, 0.0), "1.00e-4 1.02e-4 1.04e-4 1.06e-4");
        assert_eq!(of(153_735.0, 196_326.0, 2, 0.0), "1.6e5 1.8e5");
        assert_eq!(of(1.2, 1.8, 4, 1.0), "");
        assert_eq!(of(1.0, 1.0, 4, 0.0), "");
        assert_eq!(of(f64::NAN, 1.0, 4, 0.0), "");
    }

    proptest! {
        #[test]
        fn ticks_lie_within_and_differ(low in -1e6f64..1e6, size in 1e-3f64..1e6, most in 2usize..9) {
            let ticks = ticks(low, low + size, most, 0.0);
            prop_assert!(!ticks.is_empty() && ticks.len() <= most + 1);
            prop_assert!(ticks.windows(2).all(|w| w[0] < w[1]));
            let slack = 1e-6 * size;
            prop_assert!(ticks.iter().all(|t| (low - slack..=low + size + slack).contains(t)));
        }
    }
}
