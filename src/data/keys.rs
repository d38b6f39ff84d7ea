//! The keys of `dataset.json`: those that are followed, those that are known to change nothing, and
//! those that may be misspelt.

use super::dataset::{Faults, Topic};
use serde_json::{Map, Value};

/// Whether a value is of the type that a key has.
type TypeOf = fn(&Value) -> bool;

/// Keys that change what is trained, and the type of their values.
const FOLLOWED: [(&str, TypeOf); 8] = [
    ("channel_names", Value::is_object),
    ("dataset", Value::is_object),
    ("file_ending", Value::is_string),
    ("labels", Value::is_object),
    ("modality", Value::is_object),
    ("overwrite_image_reader_writer", Value::is_string),
    ("regions_class_order", Value::is_array),
    ("training", Value::is_array),
];

/// Keys of the Decathlon's, nnU-Net's and MONAI's files that describe a data set and change nothing.
const HARMLESS: [&str; 27] = [
    "author",
    "authors",
    "citation",
    "comment",
    "comments",
    "contact",
    "converted_by",
    "dataset_name",
    "date",
    "description",
    "doi",
    "institution",
    "licence",
    "license",
    "name",
    "note",
    "notes",
    "numTest",
    "numTraining",
    "numValidation",
    "reference",
    "relase",
    "release",
    "tensorImageSize",
    "test",
    "url",
    "version",
];

/// Image readers of nnU-Net for NIfTI files, and whether they turn scans to RAS.
const READERS: [(&str, bool); 4] = [
    ("SimpleITKIO", false),
    ("NibabelIO", false),
    ("NibabelIOWithReorient", true),
    ("SimpleITKIOWithReorient", true),
];

/// A word for comparison: without case and punctuation.
fn plain(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The word of `known` that is most like this one, if one is nearly the same or begins as it does.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = plain(word);
    let near = |known: &&str| {
        let known = plain(known);
        let begins = word.chars().zip(known.chars()).take_while(|(a, b)| a == b).count();
        let allowed = if known.len() < 6 { 1 } else { 2 };
        strsim::damerau_levenshtein(&word, &known) <= allowed || 4 * begins >= 3 * known.len()
    };
    let distance = |k: &&str| strsim::damerau_levenshtein(&word, &plain(k));
    known.filter(near).min_by_key(distance)
}

/// Names keys that are neither followed nor known: an error where one is nearly that of a key that is
/// followed and missing.
pub(super) fn check(root: &Map<String, Value>, faults: &mut Faults) {
    let mut unknown = Vec::new();
    for (key, value) in root {
        let followed = || FOLLOWED.iter().map(|(known, _)| *known);
        if followed().any(|k| k == key) || HARMLESS.contains(&&**key) || key.starts_with('_') {
            continue;
        }
        let near = nearest(key, followed().chain(HARMLESS));
        match near.and_then(|near| FOLLOWED.iter().find(|(known, _)| *known == near)) {
            Some((near, _)) if root.contains_key(*near) => faults.warn(format!(
                "has the key '{key}' beside '{near}'; only '{near}' is read, so remove '{key}'"
            )),
            Some((near, looks_right)) if looks_right(value) => {
                faults.add(format!("has the unknown key '{key}'; write '{near}' if that is meant"));
            }
            _ if key == "validation" => faults.warn(
                "lists cases in 'validation', which is not read; write the folds to splits_final.json",
            ),
            _ => unknown.push(match near {
                Some(near) => format!("'{key}' (nearly '{near}')"),
                None => format!("'{key}'"),
            }),
        }
    }
    let remark = match &unknown[..] {
        [] => return,
        [one] => format!("has the unknown key {one}, which is not read; remove or correct it"),
        all => format!(
            "has unknown keys, which are not read: {}; remove or correct them",
            all.join(", ")
        ),
    };
    faults.remark(Topic::UnknownKey, remark);
}

/// Whether `overwrite_image_reader_writer` names a reader that turns scans to RAS.
pub(super) fn turns_to_ras(root: &Map<String, Value>, faults: &mut Faults) -> bool {
    const KEY: &str = "overwrite_image_reader_writer";
    let name = match root.get(KEY) {
        None | Some(Value::Null) => return false,
        Some(Value::String(name)) => name.as_str(),
        Some(_) => {
            faults.add(format!("gives no name in '{KEY}'; write the reader's name or remove it"));
            return false;
        }
    };
    if let Some((_, turns)) = READERS.iter().find(|(known, _)| *known == name) {
        return *turns;
    }
    let advice = match nearest(name, READERS.iter().map(|(known, _)| *known)) {
        Some(near) => format!("write '{near}' if that is meant"),
        None => "convert the files to .nii.gz and remove the key".to_owned(),
    };
    faults.add(format!(
        "asks for the reader '{name}' in '{KEY}', but only NIfTI files are read ({}); {advice}",
        READERS.map(|(known, _)| known).join(", ")
    ));
    false
}

/// The ending that `file_ending` demands, as [`super::names::ending_of`] has it; `None` where the
/// file says nothing or nothing usable, which is then a fault.
pub(super) fn file_ending(root: &Map<String, Value>, faults: &mut Faults) -> Option<String> {
    let known = super::names::ENDINGS;
    let text = match root.get("file_ending")? {
        Value::String(text) => text,
        other => {
            faults
                .add(format!("has the 'file_ending' {other}, which is no text; write \".nii.gz\""));
            return None;
        }
    };
    let ending = super::names::ending_of(text);
    if known.iter().any(|k| text.eq_ignore_ascii_case(k)) {
        return Some(ending);
    }
    let advice = match known.iter().find(|k| plain(k) == plain(text)) {
        Some(near) => format!("write \"{near}\""),
        None => format!(
            "only {} are read: convert the images and label maps, and write \".nii.gz\"",
            ".nii.gz, .nii and .hdr with .img"
        ),
    };
    faults.add(format!("has the 'file_ending' '{text}', which is not supported; {advice}"));
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// Errors, warnings and notes of a file with these keys.
    fn found(json: &str) -> (Vec<String>, Vec<String>) {
        let mut faults = Faults::new(PathBuf::from("d.json"));
        check(&serde_json::from_str(json).unwrap(), &mut faults);
        let remarks = faults.remarks.into_iter().map(|r| r.sentence).collect();
        (faults.list, remarks)
    }

    #[test]
    fn keys_of_the_usual_files_are_known() {
        for json in [
            r#"{"name":1,"description":1,"reference":1,"licence":1,"relase":1,"tensorImageSize":1,
                "modality":1,"labels":1,"numTraining":1,"numTest":1,"training":1,"test":1}"#,
            r#"{"channel_names":1,"labels":1,"numTraining":1,"file_ending":1,"citation":1,
                "regions_class_order":1,"overwrite_image_reader_writer":1,"dataset":1,
                "converted_by":1,"license":1,"release":1,"_comment":1}"#,
        ] {
            assert_eq!(found(json), (vec![], vec![]), "{json}");
        }
    }

    #[test]
    fn misspelt_keys_name_the_right_one() {
        for (key, near, value) in [
            ("region_class_order", "regions_class_order", "[1]"),
            ("channel_name", "channel_names", "{}"),
            ("channelNames", "channel_names", "{}"),
            ("Channel_Names", "channel_names", "{}"),
            ("label", "labels", "{}"),
            ("fileEnding", "file_ending", "\".nii\""),
            ("file_endings", "file_ending", "\".nii\""),
            ("modalities", "modality", "{}"),
            ("Modality", "modality", "{}"),
            ("trainings", "training", "[]"),
            ("datasets", "dataset", "{}"),
            ("overwrite_image_reader", "overwrite_image_reader_writer", "\"NibabelIO\""),
        ] {
            let (errors, _) = found(&format!(r#"{{"{key}":{value}}}"#));
            let named = errors.len() == 1 && errors[0].contains(&format!("'{near}'"));
            assert!(named, "{key} {errors:?}");
            let (errors, warnings) = found(&format!(r#"{{"{key}":{value},"{near}":1}}"#));
            assert!(errors.is_empty() && warnings.len() == 1, "{key} {errors:?} {warnings:?}");
        }
    }

    #[test]
    fn other_keys_are_named_once() {
        let json = r#"{"colour":1,"patch_size":1,"labels":1,"data_set":"T","descripton":"x"}"#;
        let (errors, notes) = found(json);
        assert!(errors.is_empty() && notes.len() == 1, "{errors:?} {notes:?}");
        for word in
            ["'colour', 'data_set' (nearly 'dataset')", "(nearly 'description')", "'patch_size'"]
        {
            assert!(notes[0].contains(word), "{word}: {notes:?}");
        }
        assert_eq!(found(r#"{"validation":[]}"#).1.len(), 1);
    }

    #[test]
    fn readers_and_endings_are_followed_or_refused() {
        let read = |json: &str| {
            let mut faults = Faults::new(PathBuf::from("d.json"));
            let root = serde_json::from_str(json).unwrap();
            let turns = turns_to_ras(&root, &mut faults);
            let ending = file_ending(&root, &mut faults);
            (turns, ending.unwrap_or_default(), faults.list.join(" "))
        };
        let reader = |name: &str| read(&format!(r#"{{"overwrite_image_reader_writer":{name}}}"#));
        for name in ["null", "\"SimpleITKIO\"", "\"NibabelIO\""] {
            assert_eq!(reader(name), (false, String::new(), String::new()), "{name}");
        }
        for name in ["\"NibabelIOWithReorient\"", "\"SimpleITKIOWithReorient\""] {
            assert_eq!(reader(name), (true, String::new(), String::new()), "{name}");
        }
        for name in ["\"Tiff3DIO\"", "\"NaturalImage2DIO\"", "3"] {
            let (turns, _, fault) = reader(name);
            assert!(!turns && fault.contains(name.trim_matches('"')) || fault.contains("no name"));
        }
        assert!(reader("\"NibabelIoWithReorient\"").2.contains("'NibabelIOWithReorient'"));
        let ending = |text: &str| read(&format!(r#"{{"file_ending":{text}}}"#));
        for (text, want) in [("\".nii.gz\"", ".nii.gz"), ("\".NII\"", ".nii"), ("\".img\"", ".hdr")]
        {
            assert_eq!(ending(text), (false, want.into(), String::new()), "{text}");
        }
        for text in [".nrrd", ".png", ".tif", ".mha"] {
            let (_, none, fault) = ending(&format!("\"{text}\""));
            assert!(none.is_empty() && fault.contains(text) && fault.contains("file_ending"));
        }
        assert!(ending("\"nii.gz\"").2.contains("\".nii.gz\""));
        assert!(ending("3").2.contains("file_ending"));
    }
}
