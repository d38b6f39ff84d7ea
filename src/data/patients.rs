//! Which patient a case belongs to: `patients.json` or `patients.csv` beside the
//! data set.

use crate::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files beside a data set that may say whose the cases are; one of them.
pub const PATIENT_FILES: [&str; 2] = ["patients.json", "patients.csv"];

/// The patients of cases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patients {
    /// The file that says so.
    pub path: PathBuf,
    /// Case name to patient name; cases of other data may be among them.
    pub by_case: BTreeMap<String, String>,
}

impl Patients {
    /// The patient of a case.
    ///
    /// # Errors
    /// The file does not list the case.
    pub fn of(&self, case: &str) -> Result<&str> {
        self.by_case.get(case).map(String::as_str).ok_or_else(|| {
            Error::Input(format!(
                "'{}' gives no patient for the case '{case}'; add it",
                self.path.display()
            ))
        })
    }
}

/// The patients by the file `patients.json` (`{"CASE": "PATIENT"}`) or
/// `patients.csv` (two columns, case and patient; a first line that names no
/// case is a heading) in the data set's folder; `None` if there is neither.
/// Every one of `names` must be in it.
///
/// # Errors
/// Both files, a broken file, a case with two patients, a case without one.
pub fn patients(dir: &Path, names: &[String]) -> Result<Option<Patients>> {
    let [json, csv] = PATIENT_FILES.map(|name| dir.join(name));
    let path = match (json.is_file(), csv.is_file()) {
        (false, false) => return Ok(None),
        (true, true) => {
            return Err(Error::Input(format!(
                "'{}' holds both patients.json and patients.csv; remove one",
                dir.display()
            )));
        }
        (true, false) => json,
        (false, true) => csv,
    };
    let text = crate::files::read_text(&path).map_err(|e| Error::io("read", &path, e))?;
    let is_json = path.extension().is_some_and(|e| e == "json");
    let by_case = if is_json { from_json(&text, &path) } else { from_csv(&text, names, &path) }?;
    let patients = Patients { path, by_case };
    let without: Vec<&String> = names.iter().filter(|n| patients.of(n).is_err()).collect();
    match without[..] {
        [] => Ok(Some(patients)),
        [one] => patients.of(one).map(|_| None),
        [first, ..] => Err(Error::Input(format!(
            "'{}' gives no patient for {} cases, the first is '{first}'; add them",
            patients.path.display(),
            without.len()
        ))),
    }
}

fn bad(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::Input(format!("'{}' {what}", path.display()))
}

fn from_json(text: &str, path: &Path) -> Result<BTreeMap<String, String>> {
    let map: Map<String, Value> = serde_json::from_str(text)
        .map_err(|e| bad(path, format!("is not an object of case to patient ({e}); correct it")))?;
    map.into_iter()
        .map(|(case, patient)| match patient {
            Value::String(name) => Ok((case, name)),
            Value::Number(number) => Ok((case, number.to_string())),
            _ => Err(bad(path, format!("gives '{case}' no name of a patient; write a text"))),
        })
        .collect()
}

fn from_csv(text: &str, names: &[String], path: &Path) -> Result<BTreeMap<String, String>> {
    let mut by_case = BTreeMap::new();
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (position, (i, line)) in lines.enumerate() {
        let cells: Vec<&str> =
            line.split([',', ';', '\t']).map(|c| c.trim().trim_matches('"')).collect();
        let (case, patient) = match cells[..] {
            [case, patient] if !case.is_empty() && !patient.is_empty() => (case, patient),
            _ => {
                return Err(bad(
                    path,
                    format!("has no case and patient in line {}; write 'case,patient'", i + 1),
                ));
            }
        };
        if position == 0 && !names.iter().any(|n| n == case) {
            continue;
        }
        if by_case.insert(case.to_string(), patient.to_string()).is_some_and(|p| p != patient) {
            return Err(bad(path, format!("gives the case '{case}' two patients; correct it")));
        }
    }
    Ok(by_case)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str, text: &str) -> Result<Option<Patients>> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(file), text).unwrap();
        patients(dir.path(), &["a".into(), "b".into(), "c".into()])
    }

    #[test]
    fn both_forms_are_read() {
        let want =
            ["a", "b", "c"].map(String::from).into_iter().zip(["1", "2", "1"].map(String::from));
        let want: BTreeMap<String, String> = want.collect();
        for (file, text) in [
            ("patients.json", r#"{"a": "1", "b": 2, "c": "1"}"#),
            ("patients.csv", "a,1\nb,2\n\nc,1\n"),
            ("patients.csv", "\u{feff}case,patient\r\n\"a\", \"1\"\r\nb;2\r\nc\t1\r\n"),
        ] {
            assert_eq!(read(file, text).unwrap().unwrap().by_case, want);
        }
        assert_eq!(read("other.csv", "").unwrap(), None);
    }

    #[test]
    fn faults_are_named() {
        for (file, text, word) in [
            ("patients.json", "[", "object"),
            ("patients.json", r#"{"a": [1]}"#, "'a'"),
            ("patients.json", r#"{"a": "1", "b": "1"}"#, "'c'"),
            ("patients.csv", "a,1", "2 cases, the first is 'b'"),
            ("patients.csv", "a,1\nb", "line 2"),
            ("patients.csv", "a,1\na,2", "two patients"),
        ] {
            let e = read(file, text).unwrap_err().to_string();
            assert!(e.contains(word) && e.contains(file), "{word}: {e}");
        }
    }
}
