//! Numbers as a reader wants them.

/// A measure with a number of decimals; a dash where there is none, an exponent where it is huge.
pub(super) fn number(value: f64, decimals: usize) -> String {
    match value {
        v if v.is_nan() => "–".into(),
        v if v.is_infinite() => "∞".into(),
        v if v.abs() >= 1e7 => format!("{v:.3e}"),
        v => format!("{v:.decimals$}"),
    }
}

/// As [`number`], of what may not have been measured.
pub(super) fn measured(value: Option<f64>, decimals: usize) -> String {
    number(value.unwrap_or(f64::NAN), decimals)
}

/// A duration in the two units that say most.
pub(super) fn duration(seconds: f64) -> String {
    if !(seconds.is_finite() && seconds >= 0.0) {
        return "–".into();
    }
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round().min(1e15) as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, _) => format!("{minutes} min {} s", whole % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Numbers with a word between.
pub(super) fn joined(values: &[impl ToString], between: &str) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let durations = [0.25, 9.94, 59.6, 61.0, 3600.0, 90_000.0, f64::NAN].map(duration);
        assert_eq!(
            durations,
            ["0.2 s", "9.9 s", "1 min 0 s", "1 min 1 s", "1 h 0 min", "1 d 1 h", "–"]
        );
        assert_eq!(number(0.87654, 3), "0.877");
        assert_eq!([number(f64::NAN, 1), number(f64::INFINITY, 1)], ["–", "∞"]);
    }
}
