//! `labels` and `regions_class_order` of a `dataset.json`.

use super::{Labels, MOST_LABELS, MOST_REGIONS, Region, region_key};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a `dataset.json` says about labels.
#[derive(Clone, Debug, Default)]
pub struct Declaration {
    /// As far as they could be read.
    pub labels: Labels,
    /// Every value that label maps may hold, with its name: labels, those that only regions name,
    /// and the ignore label.
    pub declared: BTreeMap<u16, String>,
    /// Whether labels are written name to number, as nnU-Net v2 does.
    pub names_first: bool,
    /// What is wrong, each as the rest of a sentence that begins with the file's name.
    pub faults: Vec<String>,
    /// What is noteworthy, likewise.
    pub remarks: Vec<String>,
}

/// A JSON object as it is written: `serde_json`'s own map sorts its keys and drops repeated ones,
/// but the order of regions is that of a network's output channels.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The part of `dataset.json` that is about labels.
#[derive(serde::Deserialize)]
struct Root {
    labels: Entries,
    #[serde(default)]
    regions_class_order: Value,
}

/// An entry of `labels`: a name and the label values that it lists.
struct Entry {
    name: String,
    values: Vec<u16>,
    /// Whether the file has a list of numbers.
    list: bool,
}

impl Entry {
    fn is_background(&self) -> bool {
        self.values == [0]
    }

    fn is_ignore(&self) -> bool {
        self.name.eq_ignore_ascii_case("ignore")
    }
}

/// Reads the labels of a `dataset.json`, whose text is known to be a JSON object, and gathers all
/// that is wrong with them.
pub fn parse(text: &str) -> Declaration {
    let mut found = Declaration::default();
    let Ok(Root { labels: Entries(written), regions_class_order }) = serde_json::from_str(text)
    else {
        found.faults.push("lacks the object 'labels'; add it, as in \"labels\": {\"background\": 0, \"liver\": 1}".into());
        return found;
    };
    found.names_first = written.iter().any(|(key, value)| names_first(key, value));
    found.remarks.extend(numbers_as_text(&written));
    let entries = entries(&written, &mut found);
    let ignore = ignore_label(&entries, &mut found.faults);
    let learned = || entries.iter().filter(|e| !e.is_ignore());
    check_numbering(&entries, ignore, &mut found);
    let mut names: BTreeMap<u16, String> = BTreeMap::new();
    for entry in learned().filter(|e| e.values.len() == 1) {
        names.entry(entry.values[0]).or_insert_with(|| entry.name.clone());
    }
    for &value in learned().flat_map(|e| &e.values) {
        names.entry(value).or_insert_with(|| format!("label {value}"));
    }
    names.retain(|&value, _| Some(value) != ignore);
    match names.len() {
        // Other faults explain it.
        0 | 1 if !found.faults.is_empty() => {}
        1 if names.contains_key(&0) => found
            .faults
            .push("has no label but the background; add the structures to segment".into()),
        n if n > MOST_LABELS => found
            .faults
            .push(format!("has {n} labels, but at most {MOST_LABELS} are supported; merge some")),
        _ => {}
    }
    found.declared = names.clone();
    if let Some(ignore) = ignore {
        found.declared.insert(ignore, "ignore".into());
    }
    let regions = regions(learned(), &names, &regions_class_order, &mut found.faults);
    let ordered = regions_class_order.as_array().is_some_and(|list| !list.is_empty());
    if ordered && !learned().any(|e| e.values.len() > 1) {
        found.remarks.push(
            "has 'regions_class_order' but no region, which is a list of labels, so that nothing \
             follows from it; remove it, or write the regions"
                .into(),
        );
    }
    let (values, names) = names.into_iter().take(MOST_LABELS).unzip();
    found.labels = Labels { names, values, ignore, regions };
    found
}

/// A whole number in a text.
fn whole(text: &str) -> Option<i64> {
    let text = text.trim();
    text.parse().ok().or_else(|| whole_float(text.parse().ok()?))
}

fn whole_float(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < 1e15).then_some(value as i64)
}

/// A whole number, written as a number or as text.
fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(n) => n.as_i64().or_else(|| whole_float(n.as_f64()?)),
        Value::String(text) => whole(text),
        _ => None,
    }
}

/// Whether an entry is written name to number: with a number or a list, or with a text that is a
/// number while the key is none.
fn names_first(key: &str, value: &Value) -> bool {
    match value {
        Value::Number(_) | Value::Array(_) => true,
        Value::String(text) => whole(text).is_some() && whole(key).is_none(),
        _ => false,
    }
}

/// A sentence about numbers that are written as text, with the correction.
fn numbers_as_text(written: &[(String, Value)]) -> Option<String> {
    let textual = |(key, value): &(String, Value)| value.is_string() && names_first(key, value);
    if !written.iter().any(textual) {
        return None;
    }
    let pair = |entry: &(String, Value)| {
        let (key, value) = entry;
        let number = number(value).filter(|_| textual(entry));
        let value = number.map_or_else(|| value.to_string(), |n| n.to_string());
        format!("{}: {value}", Value::from(key.as_str()))
    };
    Some(format!(
        "writes the numbers of labels as text, which other programs refuse; write \"labels\": {{{}}}",
        written.iter().map(pair).collect::<Vec<_>>().join(", ")
    ))
}

/// The entries that can be understood, in the order of the file.
fn entries(written: &[(String, Value)], found: &mut Declaration) -> Vec<Entry> {
    let highest = written.iter().flat_map(|(key, value)| match value {
        Value::Array(list) => list.iter().filter_map(number).collect(),
        Value::String(_) => number(value).or_else(|| whole(key)).into_iter().collect(),
        other => number(other).into_iter().collect::<Vec<i64>>(),
    });
    let free = highest.filter(|n| (0..65535).contains(n)).max().unwrap_or(0) + 1;
    let mut entries: Vec<Entry> = Vec::new();
    for (key, value) in written {
        let (name, numbers, list) = match value {
            Value::Array(list) => (key, list.iter().map(number).collect(), true),
            Value::String(name) if !names_first(key, value) => {
                if found.names_first && whole(name).is_some() {
                    found.faults.push(format!(
                        "writes {key:?}: {name:?} among labels that are written name to number; \
                         write the number without quotes, as in \"label_{key}\": {}",
                        name.trim()
                    ));
                    continue;
                }
                (name, vec![whole(key)], false)
            }
            other => (key, vec![number(other)], false),
        };
        if list && numbers.is_empty() {
            found.faults.push(format!("defines the region '{name}' without labels; list them"));
            continue;
        }
        let mut values = Vec::new();
        for number in &numbers {
            match checked(name, *number, free) {
                Ok(value) if values.contains(&value) => found.faults.push(format!(
                    "lists the label {value} twice in the region '{name}'; once is enough"
                )),
                Ok(value) => values.push(value),
                Err(fault) => found.faults.push(fault),
            }
        }
        if entries.iter().any(|e| e.name == *name) && found.names_first {
            found.faults.push(format!("has two labels named '{name}'; rename one"));
        }
        if !values.is_empty() {
            entries.push(Entry { name: name.clone(), values, list });
        }
    }
    entries
}

/// A number as a label value. `free`: one that no label has.
fn checked(name: &str, number: Option<i64>, free: i64) -> Result<u16, String> {
    match number {
        None => Err(format!(
            "has the label '{name}' without a whole number from 0; give it one, as in {name:?}: {free}"
        )),
        Some(-1) => Err(format!(
            "gives the label '{name}' the number -1, but labels are whole numbers from 0; -1 \
             usually marks voxels that nobody labelled: declare \"ignore\": {free}, and give them \
             the value {free} in the label maps"
        )),
        Some(n) if n < 0 => Err(format!(
            "gives the label '{name}' the number {n}, but labels are whole numbers from 0; negative \
             ones usually come from a signed voxel type (200 in 8 bits reads as -56): store the \
             label maps as uint8 or uint16, and declare the number that they hold then"
        )),
        Some(n) => u16::try_from(n).map_err(|_| {
            format!("gives the label '{name}' the number {n}, but labels go to 65535; renumber it")
        }),
    }
}

/// The number of the ignore label.
fn ignore_label(entries: &[Entry], faults: &mut Vec<String>) -> Option<u16> {
    let entry = entries.iter().find(|e| e.is_ignore())?;
    match entry.values[..] {
        [0] => {
            faults.push("gives the ignore label the number 0, which is the background; give it the highest number".into());
            None
        }
        [value] => Some(value),
        _ => {
            faults.push(
                "defines the ignore label as a region; give it one number, the highest".into(),
            );
            None
        }
    }
}

/// Background, numbers that two labels share, numbers of regions that are not allowed.
fn check_numbering(entries: &[Entry], ignore: Option<u16>, found: &mut Declaration) {
    let faults = &mut found.faults;
    let named = entries.iter().find(|e| e.name.eq_ignore_ascii_case("background"));
    match (entries.iter().any(Entry::is_background), named.map(|e| &e.values[..])) {
        (false, Some(&[number])) => faults.push(format!(
            "gives the background the number {number}, but it must be 0; renumber it here and in the label maps"
        )),
        (false, _) => {
            let entry = if found.names_first { r#""background": 0"# } else { r#""0": "background""# };
            faults.push(format!(
                "has no label 0, which must be the background; add {entry} to 'labels'"
            ));
        }
        (true, Some(values)) if values != [0] => faults.push(format!(
            "gives the background the number {}, but another label the number 0, which must be the background; exchange them",
            values[0]
        )),
        _ => {}
    }
    let mut seen = BTreeMap::new();
    for entry in entries.iter().filter(|e| e.values.len() == 1 && !e.list) {
        if let Some(other) = seen.insert(entry.values[0], &entry.name) {
            faults.push(format!(
                "gives the number {} to both '{other}' and '{}'; number each label once",
                entry.values[0], entry.name
            ));
        }
    }
    for entry in entries.iter().filter(|e| e.values.len() > 1 && !e.is_ignore()) {
        if entry.values.contains(&0) {
            faults.push(format!(
                "puts the background 0 into the region '{}'; list foreground labels only",
                entry.name
            ));
        }
        if let Some(ignore) = ignore.filter(|v| entry.values.contains(v)) {
            faults.push(format!(
                "puts the ignore label {ignore} into the region '{}'; take it out",
                entry.name
            ));
        }
    }
}

/// The regions in the order of the file; none unless one has several labels. The background and
/// the ignore label have none.
fn regions<'a>(
    entries: impl Iterator<Item = &'a Entry> + Clone,
    names: &BTreeMap<u16, String>,
    order: &Value,
    faults: &mut Vec<String>,
) -> Vec<Region> {
    if !entries.clone().any(|e| e.values.len() > 1) {
        return Vec::new();
    }
    let heads: Vec<&Entry> = entries.filter(|e| !e.is_background()).collect();
    let list = || heads.iter().map(|e| format!("'{}'", e.name)).collect::<Vec<_>>().join(", ");
    if heads.len() > MOST_REGIONS {
        faults.push(format!(
            "has {} regions, but at most {MOST_REGIONS} are supported; merge some",
            heads.len()
        ));
        return Vec::new();
    }
    let Some(order) = order.as_array() else {
        faults.push(format!(
            "has regions but no list 'regions_class_order'; add it, with the label that a \
             prediction gets for each of {} in this order, later ones over earlier ones",
            list()
        ));
        return Vec::new();
    };
    if order.len() != heads.len() {
        faults.push(format!(
            "has {} entries in 'regions_class_order' but {} regions; give one label for each of {} \
             in this order",
            order.len(),
            heads.len(),
            list()
        ));
        return Vec::new();
    }
    let mut regions = Vec::new();
    for (entry, written) in heads.iter().zip(order) {
        let value = number(written).and_then(|n| u16::try_from(n).ok());
        let Some(value) = value.filter(|v| *v > 0 && names.contains_key(v)) else {
            faults.push(format!(
                "has {written} in 'regions_class_order' for the region '{}', which is no foreground \
                 label; give one of {}",
                entry.name,
                names.keys().skip(1).map(u16::to_string).collect::<Vec<_>>().join(", ")
            ));
            return Vec::new();
        };
        let key = match entry.list {
            true => region_key(&entry.values),
            false => entry.values[0].to_string(),
        };
        let (name, labels) = (entry.name.clone(), entry.values.clone());
        regions.push(Region { name, labels, written: value, key });
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The labels of a text without faults.
    fn good(text: &str) -> Declaration {
        let found = parse(text);
        assert_eq!(found.faults, Vec::<String>::new(), "{text}");
        found
    }

    /// The one fault of a text.
    fn fault(text: &str) -> String {
        let mut faults = parse(text).faults;
        assert_eq!(faults.len(), 1, "{text}: {faults:?}");
        faults.remove(0)
    }

    fn labels(inside: &str) -> String {
        format!(r#"{{"labels":{{{inside}}}}}"#)
    }

    #[test]
    fn any_whole_numbers_are_labels() {
        for text in [
            labels(r#""0":"background","1":"a","3":"b""#),
            labels(r#""background":0,"b":3,"a":1"#),
            labels(r#""background":"0","a":"1","b":"3""#),
            labels(r#""background":0.0,"a":1.0,"b":[3]"#),
        ] {
            let found = good(&text);
            assert_eq!(found.labels.values(), [0, 1, 3], "{text}");
            assert_eq!(found.labels.names(), ["background", "a", "b"], "{text}");
            assert_eq!(found.labels.outputs(), 3, "{text}");
            assert!(found.labels.regions().is_empty());
        }
        let found = good(&labels(r#""0":"background","10":"a","205":"b","1000":"c""#));
        assert_eq!(found.labels.values(), [0, 10, 205, 1000]);
        assert!(!found.names_first);
    }

    #[test]
    fn what_has_no_effect_or_reads_here_alone_is_noted() {
        let remarks = |text: &str| good(text).remarks;
        assert!(remarks(&labels(r#""background":0,"a":1"#)).is_empty());
        let text = remarks(&labels(r#""background":0,"a b":"1","c":2"#)).remove(0);
        assert!(text.contains(r#"{"background": 0, "a b": 1, "c": 2}"#), "{text}");
        let idle = r#"{"labels":{"background":0,"a":1},"regions_class_order":[1]}"#;
        assert!(remarks(idle)[0].contains("no region"));
    }

    #[test]
    fn the_background_is_0() {
        assert!(fault(&labels(r#""a":1,"b":2"#)).contains("\"background\": 0"));
        assert!(fault(&labels(r#""1":"a","2":"b""#)).contains("\"0\": \"background\""));
        assert!(fault(&labels(r#""background":1,"a":2"#)).contains("the background the number 1"));
        assert!(fault(&labels(r#""background":1,"a":0"#)).contains("exchange"));
        assert!(fault(&labels(r#""background":0"#)).contains("no label but the background"));
    }

    #[test]
    fn numbers_that_are_none_are_named() {
        assert!(fault(&labels(r#""background":0,"a":1,"b":"liver""#)).contains("'liver'"));
        assert!(fault(&labels(r#""background":0,"a":1,"b":null"#)).contains("\"b\": 2"));
        assert!(fault(&labels(r#""background":0,"a":1,"b":1.5"#)).contains("'b'"));
        assert!(fault(&labels(r#""background":0,"a":1,"3":"2""#)).contains("without quotes"));
        assert!(fault(&labels(r#""background":0,"a":1,"b":70000"#)).contains("65535"));
        let large = parse(&labels(r#""background":0,"a":9223372036854775807,"b":null"#)).faults;
        assert!(large[0].contains("65535") && large[1].contains("\"b\": 1"), "{large:?}");
        assert!(fault(&labels(r#""background":0,"a":1,"b":1"#)).contains("both 'a' and 'b'"));
        assert!(fault(&labels(r#""background":0,"a":1,"a":2"#)).contains("two labels named 'a'"));
        assert!(fault(r#"{"labels":[0,1]}"#).contains("lacks the object 'labels'"));
        assert!(fault(r#"{}"#).contains("lacks the object 'labels'"));
    }

    #[test]
    fn negative_numbers_get_advice_that_does_no_harm() {
        let text = fault(&labels(r#""background":0,"a":1,"unknown":-1"#));
        assert!(text.contains("\"ignore\": 2"), "{text}");
        let text = fault(&labels(r#""0":"background","1":"a","-1":"unknown""#));
        assert!(text.contains("'unknown'") && text.contains("nobody labelled"), "{text}");
        let text = fault(&labels(r#""background":0,"a":-56"#));
        assert!(text.contains("uint8"), "{text}");
    }

    #[test]
    fn too_many_labels_are_refused() {
        let of = |n: usize| {
            let entries: Vec<String> = (0..n).map(|i| format!("\"{i}\":\"l{i}\"")).collect();
            labels(&entries.join(","))
        };
        good(&of(255));
        assert!(fault(&of(256)).contains("256 labels"));
        assert_eq!(parse(&of(400)).labels.index_of_value()[254], Some(254));
    }

    #[test]
    fn the_ignore_label_is_no_class() {
        let found = good(&labels(r#""background":0,"a":1,"b":2,"ignore":3"#));
        assert_eq!((found.labels.ignore(), found.labels.outputs()), (Some(3), 3));
        assert_eq!(found.declared[&3], "ignore");
        let found = good(&labels(r#""0":"background","1":"a","255":"Ignore""#));
        assert_eq!((found.labels.ignore(), found.labels.len()), (Some(255), 2));
        assert!(
            fault(&labels(r#""background":0,"a":1,"ignore":1"#)).contains("both 'a' and 'ignore'")
        );
        assert!(fault(&labels(r#""background":0,"a":1,"ignore":[3,4]"#)).contains("one number"));
        let zero = parse(&labels(r#""background":0,"a":1,"ignore":0"#)).faults;
        assert!(zero.iter().any(|f| f.contains("which is the background")), "{zero:?}");
    }

    #[test]
    fn regions_follow_the_order_of_the_file() {
        let found = good(
            r#"{"labels":{"background":0,"whole":[1,2,3],"core":[2,3],"enhancing":3},"regions_class_order":[1,2,3]}"#,
        );
        let labels = found.labels;
        let names: Vec<&str> = labels.regions().iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["whole", "core", "enhancing"]);
        let keys: Vec<String> = labels.targets().into_iter().map(|t| t.key).collect();
        assert_eq!(keys, ["(1, 2, 3)", "(2, 3)", "3"]);
        assert_eq!(labels.target_indices(), [vec![1, 2, 3], vec![2, 3], vec![3]]);
        assert_eq!((labels.values(), labels.outputs()), (&[0u16, 1, 2, 3][..], 3));
        assert_eq!(labels.names()[1..], ["label 1", "label 2", "enhancing"]);
        // A file whose keys are not in the order of the alphabet, with an ignore label between.
        let found = good(
            r#"{"labels":{"z":[5,7],"ignore":9,"background":0,"a":[7]},"regions_class_order":["5",7]}"#,
        );
        let regions = found.labels.regions();
        assert_eq!((regions[0].name.as_str(), regions[0].written), ("z", 5));
        assert_eq!((regions[1].name.as_str(), regions[1].key.as_str()), ("a", "(7,)"));
        assert_eq!(found.labels.ignore(), Some(9));
        assert_eq!(found.declared.keys().copied().collect::<Vec<_>>(), [0, 5, 7, 9]);
    }

    #[test]
    fn faulty_regions_are_named_once() {
        let of = |labels: &str, order: &str| {
            format!(r#"{{"labels":{{"background":0,{labels}}}{order}}}"#)
        };
        let two = r#""whole":[1,2],"core":2"#;
        let text = fault(&of(two, ""));
        assert!(text.contains("no list 'regions_class_order'") && text.contains("'whole', 'core'"));
        assert!(fault(&of(two, r#","regions_class_order":[1]"#)).contains("1 entries"));
        assert!(fault(&of(two, r#","regions_class_order":[1,7]"#)).contains("has 7 in"));
        assert!(fault(&of(two, r#","regions_class_order":[0,1]"#)).contains("has 0 in"));
        let order = r#","regions_class_order":[1]"#;
        assert!(fault(&of(r#""whole":[0,1,2]"#, order)).contains("background 0"));
        assert!(fault(&of(r#""whole":[1,2,2]"#, order)).contains("twice"));
        assert!(fault(&of(r#""whole":[1,2],"none":[]"#, order)).contains("without labels"));
        assert!(fault(&of(r#""whole":[1,2,3],"ignore":3"#, order)).contains("take it out"));
        assert!(parse(&of(two, "")).declared.contains_key(&1));
    }
}
