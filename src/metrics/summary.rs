//! nnU-Net v2's `summary.json`: values a case and label, their means, and the
//! text, byte for byte as Python's `json.dump(indent=4, sort_keys=True)` has it.
//!
//! Python writes the bare words `NaN` and `Infinity`, which are not JSON; the
//! writer does so too, and the reader takes them, and `null` for NaN.

use super::overlap::Overlap;
use super::surface::SurfaceMetrics;
use crate::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A value: counts are integers in a case and floats in means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A count.
    Int(i64),
    /// A measure; may be NaN.
    Float(f64),
}

impl Number {
    /// As a float.
    pub fn value(self) -> f64 {
        match self {
            Self::Int(i) => i as f64,
            Self::Float(f) => f,
        }
    }
}

/// Key of [`Summary::left_out`].
const LEFT_OUT: &str = "left_out";
/// Key of [`Summary::validation_used_in_search`].
const USED_IN_SEARCH: &str = "validation_used_in_search";

/// Metric name -> value, for one label.
pub type Metrics = BTreeMap<String, Number>;

/// The metrics of one case: label (as text) -> metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseMetrics {
    /// Label -> metrics.
    pub metrics: BTreeMap<String, Metrics>,
    /// Path of the prediction, as to be printed.
    pub prediction_file: String,
    /// Path of the reference, as to be printed.
    pub reference_file: String,
}

/// All of a `summary.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Mean over labels of `mean`, background excepted; NaN if one of them is.
    pub foreground_mean: Metrics,
    /// Label -> mean over cases, NaN left out.
    pub mean: BTreeMap<String, Metrics>,
    /// One entry a case.
    pub metric_per_case: Vec<CaseMetrics>,
    /// Whether a search looked at these cases, so that the values are optimistic; a key of its
    /// own, which nnU-Net does not have and which is written only when true.
    pub validation_used_in_search: bool,
    /// Cases that had a prediction or a reference alone; a key of its own, which is written only
    /// where there are such.
    pub left_out: Vec<String>,
}

/// The eight metrics that nnU-Net v2 writes of an overlap; others may be added.
pub fn overlap_metrics(o: &Overlap) -> Metrics {
    let count = |n: u64| Number::Int(n as i64);
    [
        ("Dice", Number::Float(o.dice())),
        ("FN", count(o.fn_)),
        ("FP", count(o.fp)),
        ("IoU", Number::Float(o.iou())),
        ("TN", count(o.tn)),
        ("TP", count(o.tp)),
        ("n_pred", count(o.n_pred())),
        ("n_ref", count(o.n_ref())),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_string(), v))
    .collect()
}

/// The four metrics of surfaces, which nnU-Net does not write.
pub fn surface_values(s: &SurfaceMetrics) -> Metrics {
    [("ASSD", s.assd), ("HD", s.hd), ("HD95", s.hd95), ("NSD", s.nsd)]
        .map(|(name, value)| (name.to_string(), Number::Float(value)))
        .into()
}

impl Summary {
    /// Averages cases.
    pub fn of(cases: Vec<CaseMetrics>) -> Self {
        let mut values: BTreeMap<&str, BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
        for (label, metrics) in cases.iter().flat_map(|c| &c.metrics) {
            for (name, v) in metrics {
                values.entry(label).or_default().entry(name).or_default().push(v.value());
            }
        }
        let mean: BTreeMap<String, Metrics> = values
            .iter()
            .map(|(label, by_name)| {
                let metrics = by_name.iter().map(|(name, all)| {
                    let known: Vec<f64> = all.iter().copied().filter(|v| !v.is_nan()).collect();
                    (name.to_string(), Number::Float(average(&known)))
                });
                (label.to_string(), metrics.collect())
            })
            .collect();
        let classes = || mean.iter().filter(|(label, _)| *label != "0").map(|(_, m)| m);
        let names: BTreeSet<&String> = classes().flat_map(|m| m.keys()).collect();
        let foreground_mean = names
            .into_iter()
            .map(|name| {
                let all: Vec<f64> =
                    classes().filter_map(|m| m.get(name)).map(|v| v.value()).collect();
                (name.clone(), Number::Float(average(&all)))
            })
            .collect();
        Self {
            foreground_mean,
            mean,
            metric_per_case: cases,
            validation_used_in_search: false,
            left_out: Vec::new(),
        }
    }

    /// The file's text, without a newline at its end.
    pub fn to_json(&self) -> String {
        let metrics =
            |m: &Metrics| Node::Map(m.iter().map(|(k, v)| (k.clone(), Node::Number(*v))).collect());
        let labels = |m: &BTreeMap<String, Metrics>| {
            Node::Map(m.iter().map(|(k, v)| (k.clone(), metrics(v))).collect())
        };
        let cases = self.metric_per_case.iter().map(|c| {
            Node::Map(vec![
                ("metrics".into(), labels(&c.metrics)),
                ("prediction_file".into(), Node::Text(c.prediction_file.clone())),
                ("reference_file".into(), Node::Text(c.reference_file.clone())),
            ])
        });
        let mut root = vec![
            ("foreground_mean".into(), metrics(&self.foreground_mean)),
            ("mean".into(), labels(&self.mean)),
            ("metric_per_case".into(), Node::List(cases.collect())),
        ];
        if !self.left_out.is_empty() {
            let names = self.left_out.iter().map(|name| Node::Text(name.clone()));
            root.push((LEFT_OUT.into(), Node::List(names.collect())));
        }
        if self.validation_used_in_search {
            root.push((USED_IN_SEARCH.into(), Node::Bool(true)));
        }
        let mut out = String::new();
        Node::Map(root).write(0, &mut out);
        out
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// Broken JSON, or not the structure of a `summary.json` of nnU-Net v2.
    pub fn from_json(text: &str) -> Result<Self> {
        let bad = |what: &str| {
            Error::Input(format!(
                "the text is no summary.json of nnU-Net v2 ({what}); evaluate anew"
            ))
        };
        let root: Value =
            serde_json::from_str(&quote_bare_words(text)).map_err(|e| bad(&e.to_string()))?;
        let labels = |v: &Value| -> Option<BTreeMap<String, Metrics>> {
            v.as_object()?.iter().map(|(k, v)| Some((k.clone(), read_metrics(v)?))).collect()
        };
        let foreground_mean = root.get("foreground_mean").and_then(read_metrics);
        let mean = root.get("mean").and_then(labels);
        let cases = root.get("metric_per_case").and_then(Value::as_array).and_then(|list| {
            list.iter()
                .map(|c| {
                    let text = |key| c.get(key).and_then(Value::as_str).map(String::from);
                    Some(CaseMetrics {
                        metrics: labels(c.get("metrics")?)?,
                        prediction_file: text("prediction_file")?,
                        reference_file: text("reference_file")?,
                    })
                })
                .collect()
        });
        Ok(Self {
            foreground_mean: foreground_mean.ok_or_else(|| bad("foreground_mean"))?,
            mean: mean.ok_or_else(|| bad("mean"))?,
            metric_per_case: cases.ok_or_else(|| bad("metric_per_case"))?,
            validation_used_in_search: root.get(USED_IN_SEARCH) == Some(&Value::Bool(true)),
            left_out: root.get(LEFT_OUT).and_then(Value::as_array).map_or(Vec::new(), |names| {
                names.iter().filter_map(|name| name.as_str().map(String::from)).collect()
            }),
        })
    }
}

fn average(values: &[f64]) -> f64 {
    if values.is_empty() { f64::NAN } else { values.iter().sum::<f64>() / values.len() as f64 }
}

fn read_metrics(v: &Value) -> Option<Metrics> {
    let number = |v: &Value| {
        Some(match v {
            Value::Null => Number::Float(f64::NAN),
            Value::String(s) => Number::Float(match s.as_str() {
                "NaN" => f64::NAN,
                "Infinity" => f64::INFINITY,
                "-Infinity" => f64::NEG_INFINITY,
                _ => return None,
            }),
            v => v.as_i64().map(Number::Int).or_else(|| v.as_f64().map(Number::Float))?,
        })
    };
    v.as_object()?.iter().map(|(k, v)| Some((k.clone(), number(v)?))).collect()
}

/// Puts quotes around NaN, Infinity and -Infinity outside of strings.
fn quote_bare_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let (mut quoted, mut escaped) = (false, false);
    while let Some(c) = rest.chars().next() {
        if !quoted
            && let Some(word) =
                ["NaN", "Infinity", "-Infinity"].iter().find(|w| rest.starts_with(**w))
        {
            let _ = write!(out, "\"{word}\"");
            rest = &rest[word.len()..];
            continue;
        }
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// JSON with numbers as Python prints them.
enum Node {
    Map(Vec<(String, Node)>),
    List(Vec<Node>),
    Text(String),
    Number(Number),
    Bool(bool),
}

impl Node {
    fn write(&self, depth: usize, out: &mut String) {
        let pad = |depth: usize| "    ".repeat(depth);
        match self {
            Self::Map(m) if m.is_empty() => out.push_str("{}"),
            Self::List(l) if l.is_empty() => out.push_str("[]"),
            Self::Map(m) => {
                for (i, (k, v)) in m.iter().enumerate() {
                    out.push_str(if i == 0 { "{\n" } else { ",\n" });
                    out.push_str(&pad(depth + 1));
                    text(k, out);
                    out.push_str(": ");
                    v.write(depth + 1, out);
                }
                let _ = write!(out, "\n{}}}", pad(depth));
            }
            Self::List(l) => {
                for (i, v) in l.iter().enumerate() {
                    out.push_str(if i == 0 { "[\n" } else { ",\n" });
                    out.push_str(&pad(depth + 1));
                    v.write(depth + 1, out);
                }
                let _ = write!(out, "\n{}]", pad(depth));
            }
            Self::Text(t) => text(t, out),
            Self::Bool(b) => {
                let _ = write!(out, "{b}");
            }
            Self::Number(Number::Int(i)) => {
                let _ = write!(out, "{i}");
            }
            Self::Number(Number::Float(f)) => out.push_str(&python_float(*f)),
        }
    }
}

/// A string as Python writes it: everything beyond ASCII as `\uXXXX`.
fn text(s: &str, out: &mut String) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|u| {
                let _ = write!(out, "\\u{u:04x}");
            }),
        }
    }
    out.push('"');
}

/// Python's `repr` of a float: shortest digits, exponent from 1e16 and below 1e-4.
fn python_float(f: f64) -> String {
    if f.is_nan() {
        return "NaN".into();
    }
    if f.is_infinite() {
        return if f > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let size = f.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let e = format!("{f:e}");
        if let Some((digits, exponent)) = e.split_once('e') {
            let (sign, n) = exponent.strip_prefix('-').map_or(('+', exponent), |n| ('-', n));
            return format!("{digits}e{sign}{n:0>2}");
        }
    }
    let plain = format!("{f}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, overlaps: [Overlap; 2]) -> CaseMetrics {
        CaseMetrics {
            metrics: [("1", overlaps[0]), ("2", overlaps[1])]
                .map(|(l, o)| (l.to_string(), overlap_metrics(&o)))
                .into(),
            prediction_file: format!("p/{name}"),
            reference_file: format!("r/{name}"),
        }
    }

    #[test]
    fn floats_as_python() {
        for (f, s) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-0.0, "-0.0"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e16, "1e+16"),
            (123456789012345.0, "123456789012345.0"),
            (0.0001, "0.0001"),
            (1e100, "1e+100"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(python_float(f), s);
        }
    }

    #[test]
    fn means_skip_nan_and_text_is_pythons() {
        let o = Overlap { tp: 3, fp: 1, fn_: 0, tn: 6 };
        let none = Overlap { tn: 10, ..Overlap::default() };
        let s = Summary::of(vec![case("ä.nii.gz", [o, none]), case("b.nii.gz", [none, none])]);
        assert_eq!(s.mean["1"]["Dice"], Number::Float(6.0 / 7.0));
        assert_eq!(s.mean["1"]["TP"], Number::Float(1.5));
        assert!(s.mean["2"]["Dice"].value().is_nan());
        assert!(s.foreground_mean["Dice"].value().is_nan());
        let json = s.to_json();
        assert!(
            json.starts_with(
                "{\n    \"foreground_mean\": {\n        \"Dice\": NaN,\n        \"FN\": 0.0,"
            ),
            "{json}"
        );
        assert!(json.contains("                    \"TP\": 3,\n"), "{json}");
        assert!(json.contains("\"prediction_file\": \"p/\\u00e4.nii.gz\",\n"), "{json}");
        let back = Summary::from_json(&json).unwrap();
        assert_eq!(back.to_json(), json);
        let noted = Summary { validation_used_in_search: true, ..s };
        let text = noted.to_json();
        assert!(text.ends_with("    ],\n    \"validation_used_in_search\": true\n}"), "{text}");
        assert!(Summary::from_json(&text).unwrap().validation_used_in_search);
        let with_null = json.replace("NaN", "null");
        assert_eq!(Summary::from_json(&with_null).unwrap().to_json(), json);
        for wrong in ["{}", "{\"foreground_mean\": "] {
            let why = Summary::from_json(wrong).unwrap_err().to_string();
            assert!(why.contains("summary.json"), "{why}");
        }
    }
}
