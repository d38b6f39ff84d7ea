//! Images that hold nothing. One rule for all commands: an image whose channels are all constant is
//! an error, a single constant channel of several is a warning.

/// What can be done about an image that holds nothing.
pub const REMEDY: &str = "fetch the image again or take the case out";

/// What is wrong with an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Blank {
    /// Whether nothing is left to use.
    pub is_error: bool,
    /// As the end of a sentence about the image.
    pub phrase: String,
}

/// Judges an image by its channels: the value that a channel has everywhere, `None` where values
/// differ or none is finite.
pub fn blank(channels: &[Option<f32>]) -> Option<Blank> {
    let flat: Vec<(usize, f32)> =
        channels.iter().enumerate().filter_map(|(c, value)| Some((c, (*value)?))).collect();
    let list = |texts: Vec<String>| texts.join(" and ");
    let values = || list(flat.iter().map(|(_, value)| value.to_string()).collect());
    match flat.len() {
        0 => None,
        1 if channels.len() == 1 => {
            let phrase = format!("holds nothing: its image is {} everywhere", values());
            Some(Blank { is_error: true, phrase })
        }
        n if n == channels.len() => {
            let phrase = format!("holds nothing: its {n} channels are {} everywhere", values());
            Some(Blank { is_error: true, phrase })
        }
        n => {
            let numbers = list(flat.iter().map(|(c, _)| c.to_string()).collect());
            let s = if n > 1 { "s" } else { "" };
            let value = if n > 1 { "values" } else { "value" };
            let phrase = format!("has the {value} {} everywhere in channel{s} {numbers}", values());
            Some(Blank { is_error: false, phrase })
        }
    }
}

/// The value that all of a channel's voxels have, if it is one and finite.
pub fn constant_value(channel: &[f32]) -> Option<f32> {
    let first = *channel.first()?;
    (first.is_finite() && channel.iter().all(|v| *v == first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rule_for_all_commands() {
        let of = |channels: &[Option<f32>]| blank(channels).map(|b| (b.is_error, b.phrase));
        assert_eq!(of(&[None]), None);
        assert_eq!(of(&[None, None]), None);
        let wanted = (true, "holds nothing: its image is 0 everywhere".to_string());
        assert_eq!(of(&[Some(0.0)]), Some(wanted));
        let wanted = (true, "holds nothing: its 2 channels are 0 and 3 everywhere".to_string());
        assert_eq!(of(&[Some(0.0), Some(3.0)]), Some(wanted));
        let wanted = (false, "has the value 3 everywhere in channel 1".to_string());
        assert_eq!(of(&[None, Some(3.0)]), Some(wanted));
        assert_eq!(constant_value(&[2.0, 2.0]), Some(2.0));
        assert_eq!(constant_value(&[2.0, 2.5]), None);
        assert_eq!(constant_value(&[f32::NAN, f32::NAN]), None);
        assert_eq!(constant_value(&[]), None);
    }
}
