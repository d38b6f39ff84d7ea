//! Numbers as people read them.

/// Decimals that a value may need: spacings such as 500/512 mm have seven.
const MOST_DECIMALS: usize = 7;
/// Relative error below which a rounded value counts as the value: that of `f32`, in which headers
/// store theirs.
const F32_ERROR: f64 = 7e-8;
/// Decimals of a value that no short text gives exactly, such as 1/3.
const INEXACT_DECIMALS: usize = 4;

/// A value with the digits it needs and no more: 0.625, 1, 0.9765625; the `f32` closest to 0.7 is
/// 0.7. A value that has no short text is rounded (1/3: 0.3333).
pub fn plain(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() || size >= 1e15 {
        return format!("{value}");
    }
    let rounded = |decimals: usize| format!("{value:.decimals$}");
    let exact = |text: &String| {
        text.parse::<f64>().is_ok_and(|read| (read - value).abs() <= F32_ERROR * size)
    };
    let text = (0..=MOST_DECIMALS).map(rounded).find(exact).unwrap_or_else(|| match size {
        s if s < 1e-6 => format!("{value:.3e}"),
        // Four digits from the first that is not 0.
        s if s < 0.1 => rounded(INEXACT_DECIMALS - 1 + (-s.log10()).ceil() as usize),
        _ => rounded(INEXACT_DECIMALS),
    });
    if text == "-0" { "0".into() } else { text }
}

/// Voxel edges, or other values of three axes: "0.625 x 0.625 x 3".
pub fn edges(values: [f64; 3]) -> String {
    values.map(plain).join(" x ")
}

/// A place: "[12.5, -30.25, 7]".
pub fn place(values: [f64; 3]) -> String {
    format!("[{}]", values.map(plain).join(", "))
}

/// "1 case", "2 cases".
pub fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

/// Names that a message lists; of others it gives the number.
pub const MOST_NAMED: usize = 10;

/// "a, b and 7 more": at most [`MOST_NAMED`] names.
pub fn named<S: AsRef<str>>(names: &[S]) -> String {
    named_by(names, ", ")
}

/// As [`named`], with something else between the names.
pub fn named_by<S: AsRef<str>>(names: &[S], between: &str) -> String {
    let shown: Vec<&str> = names.iter().take(MOST_NAMED).map(AsRef::as_ref).collect();
    match names.len() - shown.len() {
        0 => shown.join(between),
        more => format!("{} and {more} more", shown.join(between)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_the_digits_it_needs() {
        let wanted = [
            (0.625, "0.625"),
            (500.0 / 512.0, "0.9765625"),
            (0.78125, "0.78125"),
            (f64::from(0.7f32), "0.7"),
            (f64::from(123.4f32), "123.4"),
            (1.0, "1"),
            (100.0, "100"),
            (-0.0, "0"),
            (-2.5, "-2.5"),
            (1.0 / 3.0, "0.3333"),
            (2000.0 / 3.0, "666.6667"),
            (0.01 / 3.0, "0.003333"),
            (1e-9, "1.000e-9"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in wanted {
            assert_eq!(plain(value), text);
        }
        assert_eq!(edges([3.0, 0.625, 0.625]), "3 x 0.625 x 0.625");
        assert_eq!(place([12.5, -0.01, 7.0]), "[12.5, -0.01, 7]");
    }

    #[test]
    fn names_are_counted_from_the_eleventh() {
        assert_eq!(named(&["a", "b"]), "a, b");
        assert_eq!(named(&["x"; 12]), "x, x, x, x, x, x, x, x, x, x and 2 more");
        assert_eq!([counted(1, "case"), counted(0, "case")], ["1 case", "0 cases"]);
    }
}
