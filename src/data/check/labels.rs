//! Label values against `dataset.json`, and labels that mean a side of the body.

use super::case::CaseFacts;
use super::finding::{Finding, Kind, Severity, how_many};
use crate::data::nifti::voxel_name;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// More values than this are no labels but intensities.
const MOST_VALUES: usize = 64;

/// A correction that fits the whole data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelSuggestion {
    /// New values of the label maps by the old ones; empty if all can stay.
    pub mapping: BTreeMap<u16, u16>,
    /// What `labels` of dataset.json should say then: value to name.
    pub labels: BTreeMap<u16, String>,
}

impl LabelSuggestion {
    /// `labels` as JSON, by name where the file has names first.
    fn labels_text(&self, names_first: bool) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let pair = |(value, name): (&u16, &String)| match names_first {
            true => format!("{}: {value}", quoted(name)),
            false => format!("\"{value}\": {}", quoted(name)),
        };
        format!("{{{}}}", self.labels.iter().map(pair).collect::<Vec<_>>().join(", "))
    }

    fn mapping_text(&self) -> String {
        let pair = |(old, new): (&u16, &u16)| format!("\"{old}\": {new}");
        format!("{{{}}}", self.mapping.iter().map(pair).collect::<Vec<_>>().join(", "))
    }
}

/// Findings about the label values of all training cases, and the correction
/// where values occur that are not declared.
pub(super) fn label_values(
    cases: &[&CaseFacts],
    declared: &BTreeMap<usize, String>,
    names_first: bool,
) -> (Vec<Finding>, Option<LabelSuggestion>) {
    let mut findings = Vec::new();
    let mut found = BTreeSet::new();
    for case in cases {
        let Some(label) = &case.label else { continue };
        found.extend(label.counts.keys().copied());
        if !label.has_foreground() {
            let what = "has no foreground: its label map is background everywhere";
            let remedy = "correct it, or take the case out if nothing is to be learned from it";
            findings.push(
                Finding::new(Severity::Warning, Kind::NoForeground, what, remedy)
                    .of_case(&case.name)
                    .of_file(&label.path),
            );
        }
        if declared.is_empty() {
            continue;
        }
        let unknown = label.counts.iter().filter(|(v, _)| !declared.contains_key(&(**v as usize)));
        let one = |(value, count): (&u16, &super::case::LabelCount)| {
            let place = voxel_name(count.first, label.shape);
            format!("{value} in {} voxel(s), first at voxel {place}", count.voxels)
        };
        let list: Vec<String> = unknown.map(one).collect();
        if !list.is_empty() {
            let more = match list.len().saturating_sub(5) {
                0 => String::new(),
                n => format!(", and {n} more values"),
            };
            let shown = list[..list.len().min(5)].join(", ");
            let what = format!("has labels that dataset.json does not list: {shown}{more}");
            let remedy = "correct the label map or dataset.json";
            findings.push(
                Finding::new(Severity::Error, Kind::LabelValue, what, remedy)
                    .of_case(&case.name)
                    .of_file(&label.path),
            );
        }
    }
    if cases.iter().any(|c| c.label.is_some()) {
        let unused = declared.iter().filter(|(v, _)| {
            **v > 0 && !u16::try_from(**v).is_ok_and(|value| found.contains(&value))
        });
        for (value, name) in unused {
            let what = format!("the label {value} ('{name}') occurs in no case");
            let remedy = "take it out of dataset.json, or add cases that have it";
            findings.push(Finding::new(Severity::Warning, Kind::UnusedLabel, what, remedy));
        }
    }
    if found.len() > MOST_VALUES {
        let what = format!("the label maps hold {} different values", found.len());
        let remedy = "look whether they are images by mistake";
        findings.push(Finding::new(Severity::Error, Kind::LabelSuggestion, what, remedy));
        return (findings, None);
    }
    let suggestion = suggest(&found, declared);
    if let Some(s) = &suggestion {
        let labels = s.labels_text(names_first);
        let remedy = match s.mapping.is_empty() {
            true => format!("write \"labels\": {labels} to dataset.json"),
            false => format!(
                "change the label maps' values by {}, and write \"labels\": {labels} to dataset.json",
                s.mapping_text()
            ),
        };
        let values = found.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        let what = format!("the label maps hold the values {values}");
        findings.push(Finding::new(Severity::Warning, Kind::LabelSuggestion, what, remedy));
    }
    (findings, suggestion)
}

/// A numbering 0, 1, 2... of all values that occur or are declared, if not
/// everything that occurs is declared. Where as many foreground values occur as
/// are declared, they take the declared places in order.
fn suggest(found: &BTreeSet<u16>, declared: &BTreeMap<usize, String>) -> Option<LabelSuggestion> {
    let names: BTreeMap<u16, &String> =
        declared.iter().filter_map(|(v, n)| Some((u16::try_from(*v).ok()?, n))).collect();
    if found.iter().all(|v| names.contains_key(v)) {
        return None;
    }
    let foreground = |v: &&u16| **v > 0;
    let name_of = |value: u16| match names.get(&value) {
        Some(name) => (*name).clone(),
        None if value == 0 => "background".into(),
        None => format!("label_{value}"),
    };
    let old: Vec<u16> = found.iter().filter(foreground).copied().collect();
    let places: Vec<u16> = names.keys().filter(foreground).copied().collect();
    let changed = |(old, new): &(u16, u16)| old != new;
    if old.len() == places.len() {
        let mapping = old.into_iter().zip(1..).filter(changed).collect();
        let labels = (1..).zip(places.iter().map(|&v| name_of(v))).collect::<BTreeMap<_, _>>();
        let labels = std::iter::once((0, name_of(0))).chain(labels).collect();
        return Some(LabelSuggestion { mapping, labels });
    }
    let all: BTreeSet<u16> = old.into_iter().chain(places).chain([0]).collect();
    let mapping =
        all.iter().copied().zip(0..).filter(|p| changed(p) && found.contains(&p.0)).collect();
    let labels = (0..).zip(all.iter().map(|&v| name_of(v))).collect();
    Some(LabelSuggestion { mapping, labels })
}

/// Words of a name: cut at anything that is no letter or digit, and where a
/// small letter meets a capital; in small letters.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (small && c.is_uppercase()) {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().into_iter().for_each(|w| w.extend(c.to_lowercase()));
        }
        small = c.is_lowercase();
    }
    words.retain(|w| !w.is_empty());
    words
}

/// Parts that a body has once, though their name says left or right.
const ONCE: [&str; 6] = ["atrium", "atrial", "ventricle", "ventricular", "appendage", "myocardium"];

/// Names of the labels that mean a side of the body of something that has two:
/// "left ..." where "right ..." is a label too, or where the name is of no part
/// of the heart. Mirroring makes their sides indistinguishable.
pub(super) fn sided_labels(labels: &[String]) -> Vec<String> {
    let side = |word: &str| match word {
        "left" | "lt" | "lh" | "l" => Some(false),
        "right" | "rt" | "rh" | "r" => Some(true),
        _ => None,
    };
    // The side, and the name without it.
    let split = |name: &String| {
        let words = words(name);
        let at = words.iter().position(|w| side(w).is_some())?;
        let rest: Vec<&String> =
            words.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, w)| w).collect();
        Some((side(&words[at])?, rest.into_iter().cloned().collect::<Vec<_>>(), words[at].len()))
    };
    let parts: Vec<_> = labels.iter().map(split).collect();
    let paired = |i: usize| {
        parts[i].as_ref().is_some_and(|(side, rest, _)| {
            parts.iter().flatten().any(|(other, name, _)| other != side && name == rest)
        })
    };
    let alone = |i: usize| {
        parts[i].as_ref().is_some_and(|(_, rest, length)| {
            // A single letter or an abbreviation means a side only beside its counterpart.
            *length > 2 && !rest.iter().any(|w| ONCE.contains(&w.as_str()))
        })
    };
    (0..labels.len()).filter(|&i| paired(i) || alone(i)).map(|i| labels[i].clone()).collect()
}

/// A warning if labels mean sides.
pub(super) fn sides(labels: &[String]) -> Option<Finding> {
    let sided = sided_labels(labels);
    if sided.is_empty() {
        return None;
    }
    let what = format!(
        "{} means a side of the body, but mirroring, which training does by default, makes left and right alike",
        how_many("label", &sided)
    );
    let what = if sided.len() > 1 { what.replacen(" means ", " mean ", 1) } else { what };
    let remedy = "train with --no-mirror, or without that axis by --mirror-axes";
    Some(Finding::new(Severity::Warning, Kind::Sides, what, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sided(names: &[&str]) -> usize {
        sided_labels(&names.iter().map(|n| n.to_string()).collect::<Vec<_>>()).len()
    }

    #[test]
    fn sides_are_told_from_chambers() {
        assert_eq!(sided(&["background", "left atrium"]), 0);
        assert_eq!(sided(&["background", "Left ventricle", "right-ventricle"]), 2);
        assert_eq!(sided(&["background", "kidneyLeft"]), 1);
        assert_eq!(sided(&["background", "hippocampus_L", "hippocampus_R", "liver"]), 2);
        assert_eq!(sided(&["background", "L3", "bright spot", "cleft", "PZ", "vitamin L"]), 0);
    }

    #[test]
    fn suggestions_number_without_gap() {
        let names = |list: &[(usize, &str)]| {
            list.iter().map(|(v, n)| (*v, n.to_string())).collect::<BTreeMap<_, _>>()
        };
        let found = |list: &[u16]| list.iter().copied().collect::<BTreeSet<_>>();
        let two = names(&[(0, "background"), (1, "a")]);
        assert_eq!(suggest(&found(&[0, 1]), &two), None);
        let s = suggest(&found(&[0, 255]), &two).unwrap();
        assert_eq!(s.mapping_text(), r#"{"255": 1}"#);
        assert_eq!(s.labels_text(true), r#"{"background": 0, "a": 1}"#);
        let s = suggest(&found(&[0, 1, 2]), &two).unwrap();
        assert_eq!(s.mapping_text(), "{}");
        assert_eq!(s.labels_text(false), r#"{"0": "background", "1": "a", "2": "label_2"}"#);
        let s = suggest(&found(&[0, 1, 7, 9]), &two).unwrap();
        assert_eq!(s.mapping_text(), r#"{"7": 2, "9": 3}"#);
        let s = suggest(&found(&[2, 3, 4]), &BTreeMap::new()).unwrap();
        assert_eq!(s.mapping_text(), r#"{"2": 1, "3": 2, "4": 3}"#);
        assert_eq!(s.labels[&0], "background");
    }
}
