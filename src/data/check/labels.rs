//! Label values against `dataset.json`, and labels that mean a side of the body.

use super::case::{CaseFacts, LabelCount};
use super::finding::{Finding, Kind, Severity, how_many};
use crate::data::dataset::Inspection;
use crate::data::labels::Labels;
use crate::data::nifti::voxel_name;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// More values than this that are not declared are no labels but intensities.
const MOST_VALUES: usize = 64;
/// Values that a message names.
const SHOWN: usize = 5;

/// A correction of `dataset.json` that fits the whole data set; the label maps stay as they are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelSuggestion {
    /// Single labels that `labels` of dataset.json should have: value to name.
    pub labels: BTreeMap<u16, String>,
    /// Those of them that it lacks.
    added: BTreeMap<u16, String>,
}

/// `labels` as JSON, by name where the file has names first; without braces.
fn labels_text(labels: &BTreeMap<u16, String>, names_first: bool) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let pair = |(value, name): (&u16, &String)| match names_first {
        true => format!("{}: {value}", quoted(name)),
        false => format!("\"{value}\": {}", quoted(name)),
    };
    labels.iter().map(pair).collect::<Vec<_>>().join(", ")
}

/// Findings about the label values of all training cases, and the correction
/// where values occur that are not declared.
pub(super) fn label_values(
    cases: &[&CaseFacts],
    inspection: &Inspection,
) -> (Vec<Finding>, Option<LabelSuggestion>) {
    let Inspection { declared, names_first, .. } = inspection;
    let labels = &inspection.dataset.labels;
    let mut findings = Vec::new();
    let mut found = BTreeSet::new();
    for case in cases {
        let Some(label) = &case.label else { continue };
        found.extend(label.counts.keys().copied());
        let of_case = |finding: Finding| finding.of_case(&case.name).of_file(&label.path);
        findings.extend(without_foreground(&label.counts, labels.ignore()).map(of_case));
        // What a fault of dataset.json left out is not undeclared.
        if inspection.labels_sound {
            findings.extend(undeclared(&label.counts, label.shape, declared).map(of_case));
        }
    }
    if cases.iter().any(|c| c.label.is_some()) {
        let unused = declared.iter().filter(|(v, _)| **v > 0 && !found.contains(v));
        for (value, name) in unused {
            let what = format!("the label {value} ('{name}') occurs in no case");
            let remedy = "take it out of dataset.json, or add cases that have it";
            findings.push(Finding::new(Severity::Warning, Kind::UnusedLabel, what, remedy));
        }
    }
    if !inspection.labels_sound {
        return (findings, None);
    }
    let unknown = found.iter().filter(|v| !declared.contains_key(v)).count();
    if unknown > MOST_VALUES {
        let what = format!("the label maps hold {} different values", found.len());
        let remedy = "look whether they are images by mistake";
        findings.push(Finding::new(Severity::Error, Kind::LabelSuggestion, what, remedy));
        return (findings, None);
    }
    let with_regions = !labels.regions().is_empty();
    let suggestion = suggest(&found, declared, with_regions);
    if let Some(s) = &suggestion {
        let remedy = if with_regions {
            format!(
                "add {} to 'labels' of dataset.json, and their numbers to 'regions_class_order'",
                labels_text(&s.added, *names_first)
            )
        } else {
            let labels = labels_text(&s.labels, *names_first);
            format!("write \"labels\": {{{labels}}} to dataset.json")
        };
        let values = found.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        let what = format!("the label maps hold the values {values}");
        findings.push(Finding::new(Severity::Warning, Kind::LabelSuggestion, what, remedy));
    }
    (findings, suggestion)
}

/// A warning about a label map that has nothing to learn.
fn without_foreground(counts: &BTreeMap<u16, LabelCount>, ignore: Option<u16>) -> Option<Finding> {
    let labelled = || counts.keys().filter(|v| Some(**v) != ignore);
    let (what, remedy) = if counts.is_empty() || labelled().any(|v| *v > 0) {
        return None;
    } else if labelled().next().is_none() {
        let what = "has no labelled voxel: its label map is the ignore label everywhere";
        (what, "label a part of it, or take the case out")
    } else {
        let what = match labelled().count() == counts.len() {
            true => "has no foreground: its label map is background everywhere",
            false => "has no foreground: its label map is background and ignore label",
        };
        (what, "correct it, or take the case out if nothing is to be learned from it")
    };
    Some(Finding::new(Severity::Warning, Kind::NoForeground, what, remedy))
}

/// An error about values that `dataset.json` does not declare.
fn undeclared(
    counts: &BTreeMap<u16, LabelCount>,
    shape: [usize; 3],
    declared: &BTreeMap<u16, String>,
) -> Option<Finding> {
    let unknown = counts.iter().filter(|(v, _)| !declared.contains_key(v));
    let one = |(value, count): (&u16, &LabelCount)| {
        let place = voxel_name(count.first, shape);
        format!("{value} in {} voxel(s), first at voxel {place}", count.voxels)
    };
    let list: Vec<String> = unknown.map(one).collect();
    if list.is_empty() {
        return None;
    }
    let more = match list.len().saturating_sub(SHOWN) {
        0 => String::new(),
        n => format!(", and {n} more values"),
    };
    let shown = list[..list.len().min(SHOWN)].join(", ");
    let what = format!("has labels that dataset.json does not list: {shown}{more}");
    let remedy = "correct the label map or dataset.json";
    Some(Finding::new(Severity::Error, Kind::LabelValue, what, remedy))
}

/// Labels that declare every value that occurs, where some are not declared. Where as many
/// foreground values are undeclared as declared ones occur nowhere, these give them their names in
/// order; regions are left alone.
fn suggest(
    found: &BTreeSet<u16>,
    declared: &BTreeMap<u16, String>,
    with_regions: bool,
) -> Option<LabelSuggestion> {
    let unknown: Vec<u16> = found.iter().filter(|v| !declared.contains_key(v)).copied().collect();
    if unknown.is_empty() {
        return None;
    }
    let mut labels = declared.clone();
    let unused: Vec<u16> =
        declared.keys().filter(|v| **v > 0 && !found.contains(v)).copied().collect();
    let rename = !with_regions && unused.len() == unknown.len();
    let names = unused.iter().filter_map(|v| if rename { labels.remove(v) } else { None });
    let mut names: Vec<String> = names.collect();
    names.reverse();
    let mut added = BTreeMap::new();
    for value in unknown {
        let own = || if value == 0 { "background".into() } else { format!("label_{value}") };
        added.insert(value, names.pop().unwrap_or_else(own));
    }
    labels.extend(added.clone());
    Some(LabelSuggestion { labels, added })
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

/// A warning if names of labels or regions mean sides.
pub(super) fn sides(labels: &Labels) -> Option<Finding> {
    let names: Vec<String> = labels.targets().into_iter().map(|t| t.name).collect();
    let sided = sided_labels(&names);
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
    fn suggestions_keep_the_values_of_the_label_maps() {
        let names = |list: &[(u16, &str)]| {
            list.iter().map(|(v, n)| (*v, n.to_string())).collect::<BTreeMap<_, _>>()
        };
        let suggested = |found: &[u16], declared: &[(u16, &str)], names_first: bool| {
            let found = found.iter().copied().collect::<BTreeSet<_>>();
            let s = suggest(&found, &names(declared), false)?;
            Some(labels_text(&s.labels, names_first))
        };
        let two = [(0, "background"), (1, "a")];
        assert_eq!(suggested(&[0, 1], &two, true), None);
        // 255 takes the name of the label that occurs nowhere.
        let renamed = suggested(&[0, 255], &two, true).unwrap();
        assert_eq!(renamed, r#""background": 0, "a": 255"#);
        let more = suggested(&[0, 1, 2], &two, false).unwrap();
        assert_eq!(more, r#""0": "background", "1": "a", "2": "label_2""#);
        let gaps = suggested(&[0, 3, 7], &[(0, "b"), (1, "a"), (2, "c")], true).unwrap();
        assert_eq!(gaps, r#""b": 0, "a": 3, "c": 7"#);
        // With regions labels are only added.
        let found = [0, 255].into_iter().collect();
        let s = suggest(&found, &names(&two), true).unwrap();
        assert_eq!(labels_text(&s.added, true), r#""label_255": 255"#);
    }

    #[test]
    fn label_maps_without_anything_to_learn_are_told_apart() {
        let of = |values: &[u16]| {
            let one = LabelCount { voxels: 1, first: 0 };
            let counts = values.iter().map(|v| (*v, one)).collect();
            without_foreground(&counts, Some(4)).map(|f| f.message)
        };
        assert_eq!(of(&[0, 1, 4]), None);
        assert!(of(&[0]).unwrap().contains("background everywhere"));
        assert!(of(&[0, 4]).unwrap().contains("background and ignore label"));
        assert!(of(&[4]).unwrap().contains("no labelled voxel"));
    }
}
