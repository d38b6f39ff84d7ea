//! What is said of a value that its flag cannot take.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::error::Error;
use std::num::{IntErrorKind, ParseFloatError, ParseIntError};

/// An error of the command line with advice in place of the standard library's words, such as
/// `invalid digit found in string`. Errors with advice of their own stay as they are.
pub(super) fn advised(error: clap::Error) -> clap::Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (Some(flag), Some(value), Some(advice)) = (
        text(ContextKind::InvalidArg),
        text(ContextKind::InvalidValue),
        error.source().and_then(advice),
    ) else {
        return error;
    };
    let message = format!(
        "invalid value '{value}' for '{flag}': {advice}\n\nFor more information, try '--help'.\n"
    );
    clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(&super::command())
}

/// What to give instead, by the error of the standard library's parsers and of clap's ranges.
fn advice(source: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = source.downcast_ref::<ParseIntError>() {
        return Some(match error.kind() {
            IntErrorKind::PosOverflow => "the number is too large; give a smaller one".into(),
            _ => "give a whole number from 0, as in 3".into(),
        });
    }
    if source.is::<ParseFloatError>() {
        return Some("give a number, as in 0.5".into());
    }
    let text = source.to_string();
    let (low, high) = text.rsplit_once(" is not in ")?.1.split_once("..=")?;
    Some(format!("give a whole number from {low} to {high}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_becomes_advice() {
        let said = |source: Box<dyn Error>| advice(&*source).unwrap_or_default();
        for wrong in ["x", "", "-1", "1.5"] {
            let error = wrong.parse::<u64>().unwrap_err();
            assert_eq!(said(error.into()), "give a whole number from 0, as in 3", "{wrong}");
        }
        let error = "99999999999999999999".parse::<u64>().unwrap_err();
        assert!(said(error.into()).contains("too large"));
        assert_eq!(said("x".parse::<f64>().unwrap_err().into()), "give a number, as in 0.5");
        assert_eq!(said("70000 is not in 0..=65535".into()), "give a whole number from 0 to 65535");
        assert_eq!(said("a label is not in the list".into()), "");
    }
}
