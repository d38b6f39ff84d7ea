//! The labels of a data set: which numbers label maps hold, which of them a network learns, one by
//! one or as regions, and which number marks voxels that nobody labelled.
//!
//! Label maps in files hold label **values**, any whole numbers. Prepared label maps and the device
//! hold label **indices**: the position of a value among all values in ascending order, so 0 is the
//! background; [`IGNORED`] marks voxels of unknown label.

mod parse;

pub use parse::{Declaration, parse};

use crate::Error;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The label index of voxels whose label is unknown.
pub const IGNORED: u8 = u8::MAX;
/// Most labels, the background included: indices 0 to 254.
pub const MOST_LABELS: usize = u8::MAX as usize;
/// Most regions: the device keeps those of a label in the bits of one word.
pub const MOST_REGIONS: usize = 32;

/// Whether a label index is foreground.
pub fn is_foreground(index: u8) -> bool {
    index != 0 && index != IGNORED
}

/// A union of labels that has an output channel of its own (nnU-Net v2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Name by `dataset.json`.
    pub name: String,
    /// The label values that belong to it, in the order of `dataset.json`.
    pub labels: Vec<u16>,
    /// The value that predictions get where the region is predicted; later regions overwrite
    /// earlier ones.
    pub written: u16,
    /// Its name in `summary.json`, as [`region_key`].
    pub key: String,
}

/// What a network segments and what is measured: a label, or a region of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name by `dataset.json`.
    pub name: String,
    /// Name in `summary.json`: the value, or that of [`region_key`].
    pub key: String,
    /// The label values that belong to it.
    pub values: Vec<u16>,
}

/// Name of a region in nnU-Net's `summary.json`, the text of a Python tuple: `(1, 2, 3)`, `(3,)`.
pub fn region_key(labels: &[u16]) -> String {
    match labels {
        [one] => format!("({one},)"),
        all => format!("({})", all.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// The labels of a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Stored", try_from = "Stored")]
pub struct Labels {
    /// By index: background first, values ascending.
    names: Vec<String>,
    values: Vec<u16>,
    ignore: Option<u16>,
    /// In the order of the output channels; empty where each label is a class.
    regions: Vec<Region>,
}

impl Labels {
    /// The labels of a `dataset.json`.
    ///
    /// # Errors
    /// A file that cannot be read or is no JSON object; the first thing that is wrong with its labels.
    pub fn read(path: &Path) -> crate::Result<Self> {
        let text = crate::files::read_text(path).map_err(|e| Error::io("read", path, e))?;
        let text = text.trim_start_matches('\u{feff}');
        let refuse = |what: &str| Error::Input(format!("'{}' {what}", path.display()));
        if let Err(e) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
            return Err(refuse(&format!("is not a JSON object: {e}; correct it")));
        }
        let found = parse(text);
        match found.faults.first() {
            Some(fault) => Err(refuse(fault)),
            None => Ok(found.labels),
        }
    }

    /// Labels 0, 1, 2... of these names, the background first.
    pub fn named(names: Vec<String>) -> Self {
        let values = (0..=u16::MAX).take(names.len()).collect();
        Self { names, values, ignore: None, regions: Vec::new() }
    }

    /// The background and `count - 1` labels 1, 2... without names of their own.
    pub fn numbered(count: usize) -> Self {
        let name = |i: usize| if i == 0 { "background".into() } else { format!("label {i}") };
        Self::named((0..count).map(name).collect())
    }

    /// Labels of these values (ascending, at most [`MOST_LABELS`]), one of which may mark voxels of
    /// unknown label; the background is added.
    pub fn of_values(values: impl IntoIterator<Item = u16>, ignore: Option<u16>) -> Self {
        let labels = values.into_iter().filter(|v| *v != 0 && Some(*v) != ignore);
        let values: Vec<u16> = std::iter::once(0).chain(labels).take(MOST_LABELS).collect();
        let names = values.iter().map(|v| format!("label {v}")).collect();
        Self { names, values, ignore, regions: Vec::new() }
    }

    /// Number of labels, the background included; neither the ignore label nor regions count.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no label, not even the background.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Name of each label by index.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Value of each label by index, ascending.
    pub fn values(&self) -> &[u16] {
        &self.values
    }

    /// The value of voxels whose label is unknown.
    pub fn ignore(&self) -> Option<u16> {
        self.ignore
    }

    /// The regions in the order of the output channels; empty where each label is a class.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Whether these are labels 0, 1, 2... alone, as versions before regions had them.
    pub fn is_plain(&self) -> bool {
        let consecutive = self.values.iter().enumerate().all(|(i, &v)| i == usize::from(v));
        consecutive && self.ignore.is_none() && self.regions.is_empty()
    }

    /// Output channels of a network: one per label, or one per region.
    pub fn outputs(&self) -> usize {
        if self.regions.is_empty() { self.len() } else { self.regions.len() }
    }

    /// The label index of each value from 0 to 65535; none for values that are no label.
    pub fn index_of_value(&self) -> Vec<Option<u8>> {
        let mut table = vec![None; usize::from(u16::MAX) + 1];
        for (&value, index) in self.values.iter().zip(0..) {
            table[usize::from(value)] = Some(index);
        }
        if let Some(value) = self.ignore {
            table[usize::from(value)] = Some(IGNORED);
        }
        table
    }

    /// The value of a label index; 0 for indices that no label has.
    pub fn value_of(&self, index: u8) -> u16 {
        match index {
            IGNORED => self.ignore.unwrap_or(0),
            _ => self.values.get(usize::from(index)).copied().unwrap_or(0),
        }
    }

    /// What is segmented, without the background: foreground labels by value, or the regions in the
    /// order of the output channels.
    pub fn targets(&self) -> Vec<Target> {
        if !self.regions.is_empty() {
            let of = |r: &Region| Target {
                name: r.name.clone(),
                key: r.key.clone(),
                values: r.labels.clone(),
            };
            return self.regions.iter().map(of).collect();
        }
        let of = |(name, &value): (&String, &u16)| Target {
            name: name.clone(),
            key: value.to_string(),
            values: vec![value],
        };
        self.names.iter().zip(&self.values).skip(1).map(of).collect()
    }

    /// The label indices of each of [`Labels::targets`].
    pub fn target_indices(&self) -> Vec<Vec<u8>> {
        let table = self.index_of_value();
        let of = |t: Target| t.values.iter().filter_map(|&v| table[usize::from(v)]).collect();
        self.targets().into_iter().map(of).collect()
    }

    /// The values that predictions may hold beside 0.
    pub fn written(&self) -> Vec<u16> {
        if self.regions.is_empty() {
            return self.values.iter().copied().skip(1).collect();
        }
        let mut written: Vec<u16> = self.regions.iter().map(|r| r.written).collect();
        written.sort_unstable();
        written.dedup();
        written
    }

    /// Name of a label or region by its key in `summary.json`, which is the value of a label; none if it is not one of these.
    pub fn name_of(&self, key: &str) -> Option<String> {
        let target = self.targets().into_iter().find(|t| t.key == key).map(|t| t.name);
        let label = || {
            let at = self.values.iter().position(|v| v.to_string() == key)?;
            self.names.get(at).cloned()
        };
        let ignore = || (key == self.ignore?.to_string()).then(|| "ignore".to_owned());
        target.or_else(label).or_else(ignore).filter(|name| !name.is_empty())
    }

    /// "0, 1, 3" and, where there is one, "and 4 (ignore)".
    pub fn values_text(&self) -> String {
        let values = self.values.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        match self.ignore {
            Some(ignore) => format!("{values} and {ignore} (ignore)"),
            None => values,
        }
    }

    /// "3 labels", or "3 regions of 4 labels"; without the background.
    pub fn count_text(&self) -> String {
        let count = |n: usize, what: &str| match n {
            1 => format!("1 {what}"),
            n => format!("{n} {what}s"),
        };
        let labels = count(self.len().saturating_sub(1), "label");
        let classes = match self.regions.len() {
            0 => labels,
            n => format!("{} of {labels}", count(n, "region")),
        };
        match self.ignore {
            Some(_) => format!("{classes} and an ignore label"),
            None => classes,
        }
    }
}

/// [`Labels`] in `config.json`. Versions before had `labels` alone.
#[derive(Serialize, Deserialize)]
struct Stored {
    labels: Vec<String>,
    /// Empty: 0, 1, 2...
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    label_values: Vec<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ignore_label: Option<u16>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    regions: Vec<Region>,
}

impl From<Labels> for Stored {
    fn from(labels: Labels) -> Self {
        let plain = labels.values == Labels::named(labels.names.clone()).values;
        Stored {
            label_values: if plain { Vec::new() } else { labels.values },
            labels: labels.names,
            ignore_label: labels.ignore,
            regions: labels.regions,
        }
    }
}

impl TryFrom<Stored> for Labels {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let mut labels = Labels::named(stored.labels);
        if labels.names.len() > MOST_LABELS {
            return Err(format!("it has more than {MOST_LABELS} labels"));
        }
        if !stored.label_values.is_empty() {
            labels.values = stored.label_values;
        }
        let ascending = labels.values.windows(2).all(|w| w[0] < w[1]);
        if labels.values.len() != labels.names.len() || !ascending {
            return Err("'label_values' is no ascending list with one number per label".into());
        }
        if stored.ignore_label.is_some_and(|v| labels.values.contains(&v)) {
            return Err("'ignore_label' is also a label".into());
        }
        let known = |v: &u16| labels.values.contains(v);
        if stored.regions.iter().any(|r| !r.labels.iter().all(known) || !known(&r.written)) {
            return Err("'regions' name labels that are not listed".into());
        }
        Ok(Labels { ignore: stored.ignore_label, regions: stored.regions, ..labels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(json: &str) -> Result<Labels, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    #[test]
    fn labels_of_earlier_versions_are_numbered_from_0() {
        let old = r#"{"labels":["background","a","b"]}"#;
        let labels = round_trip(old).unwrap();
        assert_eq!(labels.values(), [0, 1, 2]);
        assert!(labels.is_plain());
        assert_eq!(serde_json::to_string(&labels).unwrap(), old);
        assert_eq!(labels.outputs(), 3);
    }

    #[test]
    fn all_kinds_survive_the_configuration() {
        let declared = parse(
            r#"{"labels":{"background":0,"whole":[1,3],"core":3,"ignore":9},"regions_class_order":[1,3]}"#,
        );
        assert_eq!(declared.faults, Vec::<String>::new());
        let text = serde_json::to_string(&declared.labels).unwrap();
        assert_eq!(round_trip(&text).unwrap(), declared.labels);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (json, word) in [
            (r#"{"labels":["a","b"],"label_values":[0]}"#, "label_values"),
            (r#"{"labels":["a","b"],"label_values":[1,0]}"#, "label_values"),
            (r#"{"labels":["a","b"],"ignore_label":1}"#, "ignore_label"),
            (
                r#"{"labels":["a","b"],"regions":[{"name":"r","labels":[7],"written":1,"key":"7"}]}"#,
                "regions",
            ),
        ] {
            assert!(round_trip(json).unwrap_err().contains(word), "{json}");
        }
    }

    #[test]
    fn values_indices_and_targets_belong_together() {
        let labels = parse(r#"{"labels":{"background":0,"b":205,"a":10,"ignore":1000}}"#).labels;
        assert_eq!(labels.values(), [0, 10, 205]);
        let table = labels.index_of_value();
        let of = |v: usize| table[v];
        assert_eq!(
            [of(0), of(10), of(205), of(1000), of(1)],
            [Some(0), Some(1), Some(2), Some(IGNORED), None]
        );
        assert_eq!(labels.name_of("205").as_deref(), Some("b"));
        assert_eq!(labels.name_of("1"), None);
        assert_eq!(labels.target_indices(), [[1], [2]]);
        assert_eq!(labels.written(), [10, 205]);
        assert_eq!(labels.count_text(), "2 labels and an ignore label");
    }
}
