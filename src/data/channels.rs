//! The channels of `dataset.json`, whose names choose how they are normalised.

use super::dataset::Faults;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// How a channel's intensities are normalised, as nnU-Net v2 takes it from the channel's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalisation {
    /// `(x - mean) / std` of each image; over its non-zero voxels where much of it is empty.
    #[default]
    Zscore,
    /// Clipped to percentiles of the data set's foreground, then scaled by its mean and deviation.
    Ct,
    /// As the file has it.
    NoNorm,
    /// `(x - min) / max(max - min, 1e-8)` of each image.
    #[serde(rename = "rescale_to_0_1")]
    RescaleTo01,
    /// `x / 255`; values lie between 0 and 255.
    #[serde(rename = "rgb_to_0_1")]
    RgbTo01,
}

/// Names that choose a normalisation, in small letters.
const NAMES: [(&str, Normalisation); 7] = [
    ("ct", Normalisation::Ct),
    ("nonorm", Normalisation::NoNorm),
    ("rescale_to_0_1", Normalisation::RescaleTo01),
    ("rescale_0_1", Normalisation::RescaleTo01),
    ("rgb_to_0_1", Normalisation::RgbTo01),
    ("zscore", Normalisation::Zscore),
    ("z-score", Normalisation::Zscore),
];

impl Normalisation {
    /// That of a channel of this name, in whatever case; z-score for all names but nnU-Net's.
    pub fn of_name(name: &str) -> Self {
        let name = name.to_lowercase();
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, by)| *by).unwrap_or_default()
    }

    /// In a word or two, for tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Zscore => "z-score",
            Self::Ct => "CT",
            Self::NoNorm => "none",
            Self::RescaleTo01 => "rescaled to 0..1",
            Self::RgbTo01 => "divided by 255",
        }
    }
}

/// A name that is nearly one that chooses a normalisation, and that one: other punctuation, or a
/// letter or two of a long word.
fn near_name(name: &str) -> Option<&'static str> {
    const WRITTEN: [&str; 4] = ["CT", "noNorm", "rescale_to_0_1", "rgb_to_0_1"];
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    if NAMES.iter().any(|(known, _)| name.eq_ignore_ascii_case(known)) {
        return None;
    }
    let name = plain(name);
    WRITTEN.into_iter().find(|known| {
        let known = plain(known);
        // Other words of medicine are one letter away from CT.
        let allowed = if known.len() < 5 { 0 } else { 2 };
        name == known || strsim::damerau_levenshtein(&name, &known) <= allowed
    })
}

/// `channel_names` or `modality`: number to name, numbers 0, 1, 2... The names in order.
pub(super) fn parse(root: &Map<String, Value>, faults: &mut Faults) -> Vec<String> {
    let both = [root.get("channel_names"), root.get("modality")];
    if let [Some(v2), Some(v1)] = both
        && v1 != v2
    {
        faults.warn("has 'channel_names' and a 'modality' that differs; 'channel_names' counts, so remove 'modality'");
    }
    let Some(map) = both.into_iter().flatten().next().and_then(Value::as_object) else {
        faults.add("lacks the object 'modality' or 'channel_names' (number to name); add it");
        return Vec::new();
    };
    let mut by_number = BTreeMap::new();
    for (key, name) in map {
        match (key.parse::<usize>(), name.as_str()) {
            (Ok(n), Some(s)) => {
                if let Some(near) = near_name(s) {
                    faults.warn(format!("names channel {n} '{s}', which is z-scored like every name that nnU-Net does not know; write '{near}' if that is meant"));
                }
                by_number.insert(n, s.to_string());
            }
            _ => faults.add(format!(
                "has the channel '{key}', which is not a number with a name; correct it"
            )),
        }
    }
    faults.check_sequence(&by_number, "channels");
    by_number.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_choose_the_normalisation() {
        for (names, want) in [
            ("CT ct Ct", Normalisation::Ct),
            ("noNorm nonorm NONORM", Normalisation::NoNorm),
            ("rescale_to_0_1 Rescale_To_0_1 rescale_0_1", Normalisation::RescaleTo01),
            ("rgb_to_0_1 RGB_to_0_1", Normalisation::RgbTo01),
            ("zscore MRI T1 PET CTA CBCT no_norm R G B", Normalisation::Zscore),
        ] {
            for name in names.split(' ') {
                assert_eq!(Normalisation::of_name(name), want, "{name}");
            }
        }
    }

    #[test]
    fn near_names_are_noticed() {
        for (name, want) in [
            ("no_norm", Some("noNorm")),
            ("no norm", Some("noNorm")),
            (" CT ", Some("CT")),
            ("rescale-to-0-1", Some("rescale_to_0_1")),
            ("rescale_to_01", Some("rescale_to_0_1")),
            ("rgb_0_1", Some("rgb_to_0_1")),
            ("noNorm", None),
            ("CT", None),
            ("rescale_0_1", None),
            ("T1", None),
            ("PT", None),
            ("CTA", None),
            ("normal", None),
        ] {
            assert_eq!(near_name(name), want, "{name}");
        }
    }
}
