//! Folds: `splits_final.json` where it lies beside the data set, otherwise the
//! five folds that nnU-Net (scikit-learn's `KFold(5, shuffle=True,
//! random_state=12345)` over sorted names) makes of the same cases, or of their
//! patients where a file says whose they are.

use super::dataset::Dataset;
use super::names::{case_name, channel_of};
use super::patients::{Patients, patients};
use super::rng::{self, Purpose};
use crate::{Error, Result};
use rand_mt::Mt;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The file beside the data set that holds its folds.
pub const SPLITS_FILE: &str = "splits_final.json";

/// Names of the training and validation cases of one fold. The list of these is
/// nnU-Net's `splits_final.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fold {
    /// Training cases.
    pub train: Vec<String>,
    /// Validation cases.
    pub val: Vec<String>,
}

/// Validation indices of each of `k` folds over `n` sorted cases, as
/// scikit-learn's `KFold(k, shuffle=True, random_state=seed)`: NumPy's legacy
/// shuffle by MT19937, then k consecutive blocks, the first n mod k one longer.
pub fn kfold(n: usize, k: usize, seed: u32) -> Vec<Vec<usize>> {
    let mut mt = Mt::new(seed);
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        let mask = u32::MAX >> (i as u32).leading_zeros();
        let j = loop {
            let v = mt.next_u32() & mask;
            if v <= i as u32 {
                break v as usize;
            }
        };
        order.swap(i, j);
    }
    let k = k.max(1);
    let mut rest = order.as_slice();
    (0..k)
        .map(|f| {
            let (block, tail) = rest.split_at(n / k + usize::from(f < n % k));
            rest = tail;
            let mut block = block.to_vec();
            block.sort_unstable();
            block
        })
        .collect()
}

/// The default folds over the given case names: five, or as many as there are
/// cases if these are fewer.
///
/// # Errors
/// Fewer than two cases.
pub fn default_folds(names: &[String]) -> Result<Vec<Fold>> {
    if names.len() < 2 {
        return Err(Error::Input(format!(
            "the data set has {} labelled case, but training and validation need at least 2; add cases",
            names.len()
        )));
    }
    let mut sorted = names.to_vec();
    sorted.sort();
    let folds = kfold(sorted.len(), sorted.len().min(5), 12345);
    Ok(folds
        .into_iter()
        .map(|val| {
            let pick = |keep: bool| {
                sorted
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| val.binary_search(i).is_ok() == keep)
                    .map(|(_, n)| n.clone())
                    .collect()
            };
            Fold { train: pick(false), val: pick(true) }
        })
        .collect())
}

/// The fold that trains on all cases, without validation cases.
pub fn full(names: impl IntoIterator<Item = String>) -> Fold {
    Fold { train: names.into_iter().collect(), val: Vec::new() }
}

/// The default folds over patients: [`default_folds`] of the patients' names;
/// the cases follow their patients.
///
/// # Errors
/// A case without patient; fewer than two patients.
pub fn patient_folds(names: &[String], patients: &Patients) -> Result<Vec<Fold>> {
    let mut cases_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in names {
        cases_of.entry(patients.of(name)?.to_string()).or_default().push(name.clone());
    }
    let persons: Vec<String> = cases_of.keys().cloned().collect();
    if persons.len() < 2 {
        return Err(Error::Input(format!(
            "'{}' gives all cases to one patient, but training and validation need different ones; add patients or remove the file",
            patients.path.display()
        )));
    }
    let cases = |persons: &[String]| {
        let mut all: Vec<String> =
            persons.iter().filter_map(|p| cases_of.get(p)).flatten().cloned().collect();
        all.sort();
        all
    };
    let folds = default_folds(&persons)?;
    Ok(folds.iter().map(|f| Fold { train: cases(&f.train), val: cases(&f.val) }).collect())
}

/// The folds of a data set: those of its `splits_final.json`; else
/// [`patient_folds`] where a [`patients`] file lies beside it; else
/// [`default_folds`] over its labelled cases.
///
/// # Errors
/// A broken file; a name that is not a labelled case; a case in both halves; a
/// fold without training cases; fewer than two cases.
pub fn folds(dataset: &Dataset) -> Result<Vec<Fold>> {
    let names = dataset.labelled_names();
    let path = dataset.dir.join(SPLITS_FILE);
    if path.exists() {
        return folds_from(&path, &names);
    }
    match patients(&dataset.dir, &names)? {
        Some(patients) => patient_folds(&names, &patients),
        None => default_folds(&names),
    }
}

/// The file of folds that older versions of nnU-Net write: Python's pickle, which is a program rather
/// than a text.
const PICKLED_SPLITS: &str = "splits_final.pkl";

/// The command that writes the folds of a pickle to a JSON file.
fn conversion(pickle: &Path, json: &Path) -> String {
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    // Without a space behind semicolons, which separate the parts of a sentence.
    format!(
        "python3 -c \"import json,pickle,sys;text=json.dumps([{{k:[str(c) for c in fold[k]] for k in ('train','val')}} for fold in pickle.load(open(sys.argv[1],'rb'))]);open(sys.argv[2],'w').write(text)\" {} {}",
        quoted(pickle),
        quoted(json)
    )
}

/// A sentence about the pickled folds in a data set's folder, if there are such.
pub(super) fn pickle_beside(dir: &Path) -> Option<String> {
    let (pickle, json) = (dir.join(PICKLED_SPLITS), dir.join(SPLITS_FILE));
    let path = pickle.display();
    match (pickle.is_file(), json.is_file()) {
        (false, _) => None,
        (true, true) => Some(format!("'{path}' is not read; the folds are those of {SPLITS_FILE}")),
        (true, false) => Some(format!(
            "'{path}' is not read, because it is a pickle; for its folds convert it (Python with NumPy): {}",
            conversion(&pickle, &json)
        )),
    }
}

/// The folds of a file in the form of nnU-Net's `splits_final.json`, for cases
/// of these names.
///
/// # Errors
/// As [`folds`]; a pickle.
pub fn folds_from(path: &Path, names: &[String]) -> Result<Vec<Fold>> {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("pkl")) && path.is_file() {
        let json = path.with_extension("json");
        return Err(Error::Input(format!(
            "'{}' is a pickle, which is not read; convert it (Python with NumPy) and give '{}': {}",
            path.display(),
            json.display(),
            conversion(path, &json)
        )));
    }
    let text = crate::files::read_text(path).map_err(|e| Error::io("read", path, e))?;
    parse_folds(&text, names, path)
}

/// Parses a `splits_final.json` and checks it against the case names.
///
/// # Errors
/// As [`folds`].
pub fn parse_folds(text: &str, names: &[String], path: &Path) -> Result<Vec<Fold>> {
    let (folds, faults) = inspect_folds(text, names, path);
    match faults.into_iter().next() {
        Some(first) => Err(Error::Input(first)),
        None => Ok(folds),
    }
}

/// As [`parse_folds`], but with a sentence for every fault instead of only the
/// first; the folds are of use only if there is none.
pub fn inspect_folds(text: &str, names: &[String], path: &Path) -> (Vec<Fold>, Vec<String>) {
    let mut faults = Vec::new();
    let mut bad =
        |what: String| faults.push(format!("'{}' {what}; correct or remove it", path.display()));
    let folds: Vec<Fold> = match serde_json::from_str(text) {
        Ok(folds) => folds,
        Err(e) => {
            bad(format!("is not a list of {{\"train\": [...], \"val\": [...]}} ({e})"));
            Vec::new()
        }
    };
    let known: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    for (i, fold) in folds.iter().enumerate() {
        if fold.train.is_empty() {
            bad(format!("has no training cases in fold {i}"));
        }
        let mut seen = BTreeSet::new();
        for name in fold.train.iter().chain(&fold.val) {
            if !known.contains(name.as_str()) {
                let near = near_name(name, &known)
                    .map(|n| format!(" (it has '{n}'; names stand without ending and channel)"))
                    .unwrap_or_default();
                bad(format!(
                    "names the case '{name}' in fold {i}, which the data set does not have{near}"
                ));
            }
            if !seen.insert(name) {
                bad(format!("names the case '{name}' twice in fold {i}"));
            }
        }
    }
    if folds.is_empty() && faults.is_empty() {
        faults.push(format!("'{}' has no folds; correct or remove it", path.display()));
    }
    (folds, faults)
}

/// The case that a name with ending or channel number, or a path, stands for.
fn near_name<'a>(name: &str, known: &BTreeSet<&'a str>) -> Option<&'a str> {
    let stem = case_name(Path::new(name));
    let without_channel = channel_of(&stem).map_or(stem.as_str(), |(case, _)| case);
    [stem.as_str(), without_channel].into_iter().find_map(|n| known.get(n)).copied()
}

/// Sentences that name the patients of whom some cases train and others
/// validate, one a fold.
pub fn patient_leaks(folds: &[Fold], patients: &Patients) -> Vec<String> {
    let mut sentences = Vec::new();
    for (i, fold) in folds.iter().enumerate() {
        let of = |names: &[String]| -> BTreeSet<String> {
            names.iter().filter_map(|n| patients.of(n).ok()).map(String::from).collect()
        };
        let both: Vec<String> = of(&fold.train).intersection(&of(&fold.val)).cloned().collect();
        if !both.is_empty() {
            let shown = both.iter().take(5).map(|p| format!("'{p}'")).collect::<Vec<_>>();
            let more = match both.len().saturating_sub(5) {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            sentences.push(format!(
                "fold {i} trains and validates on cases of the same patient: {}{more}; results of it are optimistic: split by patient",
                shown.join(", ")
            ));
        }
    }
    sentences
}

/// Sentences about the folds for which `split` finds no cases to search on, one per reason, each
/// with what to do.
pub fn unsearchable(folds: &[Fold], split: impl Fn(&Fold) -> Result<()>) -> Vec<String> {
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for (number, fold) in folds.iter().enumerate() {
        let Err(error) = split(fold) else { continue };
        let why = error.to_string();
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, numbers)) => numbers.push(number.to_string()),
            None => reasons.push((why, vec![number.to_string()])),
        }
    }
    let sentence = |(why, numbers): (String, Vec<String>)| {
        let s = if numbers.len() == 1 { "" } else { "s" };
        format!("no policy can be searched on fold{s} {}: {why}", numbers.join(", "))
    };
    reasons.into_iter().map(sentence).collect()
}

/// Splits training cases once more, for the search: (training, inner
/// validation). `share` of the cases, at least one on either side, drawn by
/// `seed`; both halves keep the given order.
///
/// # Errors
/// Fewer than two cases, or a share outside (0, 1).
pub fn inner_split(train: &[String], share: f64, seed: u64) -> Result<(Vec<String>, Vec<String>)> {
    if !(share > 0.0 && share < 1.0) {
        return Err(Error::Usage(format!(
            "the inner validation share must lie between 0 and 1, not {share}"
        )));
    }
    if train.len() < 2 {
        return Err(Error::Input(format!(
            "the fold has {} training case{}, but the search sets some aside to evaluate its candidates and needs at least 2; add cases, or train with --searcher default or with --search-val fold",
            train.len(),
            if train.len() == 1 { "" } else { "s" }
        )));
    }
    let n = ((train.len() as f64 * share).round() as usize).clamp(1, train.len() - 1);
    let mut order: Vec<usize> = (0..train.len()).collect();
    rng::shuffle(&mut rng::stream(seed, Purpose::InnerSplit, &[]), &mut order);
    let held: BTreeSet<usize> = order.into_iter().take(n).collect();
    let pick = |keep: bool| {
        let chosen = train.iter().enumerate().filter(|(i, _)| held.contains(i) == keep);
        chosen.map(|(_, n)| n.clone()).collect()
    };
    Ok((pick(false), pick(true)))
}

/// As [`inner_split`], but cases of one patient stay on one side where patients
/// are known: patients are drawn until the validation half has at least its
/// share of cases.
///
/// # Errors
/// As [`inner_split`]; besides a case without patient, or all cases of one.
pub fn inner_split_of(
    train: &[String],
    patients: Option<&Patients>,
    share: f64,
    seed: u64,
) -> Result<(Vec<String>, Vec<String>)> {
    let Some(patients) = patients else { return inner_split(train, share, seed) };
    // Also checks the share and the number of cases.
    let wanted = inner_split(train, share, seed)?.1.len();
    let mut cases_of: BTreeMap<&str, usize> = BTreeMap::new();
    for name in train {
        *cases_of.entry(patients.of(name)?).or_default() += 1;
    }
    if cases_of.len() < 2 {
        return Err(Error::Input(format!(
            "'{}' gives all training cases of the fold to one patient, but the search sets those of some patients aside and needs at least 2; add cases, or train with --searcher default or with --search-val fold",
            patients.path.display()
        )));
    }
    let mut order: Vec<(&str, usize)> = cases_of.into_iter().collect();
    rng::shuffle(&mut rng::stream(seed, Purpose::InnerSplit, &[]), &mut order);
    // One patient at least stays for training.
    let mut held = BTreeSet::new();
    let mut count = 0;
    for (patient, cases) in order.iter().skip(1) {
        if count >= wanted {
            break;
        }
        held.insert(*patient);
        count += cases;
    }
    let pick = |keep: bool| {
        let chosen =
            train.iter().filter(|n| patients.of(n).is_ok_and(|p| held.contains(p)) == keep);
        chosen.cloned().collect()
    };
    Ok((pick(false), pick(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kfold_matches_scikit_learn() {
        assert_eq!(kfold(10, 5, 12345), [[0, 7], [3, 9], [4, 6], [1, 8], [2, 5]]);
    }

    #[test]
    fn heart_fold_0_is_the_published_one() {
        // The 20 training cases of MSD Task02.
        let numbers = [3, 4, 5, 7, 9, 10, 11, 14, 16, 17, 18, 19, 20, 21, 22, 23, 24, 26, 29, 30];
        let names: Vec<String> = numbers.iter().map(|n| format!("la_{n:03}")).collect();
        let folds = default_folds(&names).unwrap();
        assert_eq!(folds.len(), 5);
        assert_eq!(folds[0].val, ["la_007", "la_016", "la_021", "la_024"]);
    }

    #[test]
    fn few_cases() {
        let names: Vec<String> = (0..3).map(|i| i.to_string()).collect();
        let folds = default_folds(&names).unwrap();
        assert_eq!(folds.len(), 3);
        assert!(folds.iter().all(|f| f.val.len() == 1 && f.train.len() == 2));
        assert!(default_folds(&names[..1]).is_err());
    }

    #[test]
    fn files_are_checked() {
        let names: Vec<String> = ["a", "b"].map(String::from).to_vec();
        let p = Path::new("splits_final.json");
        assert!(parse_folds(r#"[{"train":["a"],"val":["b"]}]"#, &names, p).is_ok());
        // Trains without validation.
        assert!(parse_folds(r#"[{"train":["a","b"],"val":[]}]"#, &names, p).is_ok());
        for bad in [
            "[",
            "[]",
            r#"[{"train":[],"val":["a"]}]"#,
            r#"[{"train":["a"],"val":["a"]}]"#,
            r#"[{"train":["a"],"val":["c"]}]"#,
        ] {
            let e = parse_folds(bad, &names, p).unwrap_err().to_string();
            assert!(e.contains("splits_final.json"), "{e}");
        }
    }

    #[test]
    fn every_fault_is_found_and_near_names_are_suggested() {
        let names: Vec<String> = ["a", "b_1"].map(String::from).to_vec();
        let p = Path::new("s.json");
        let text =
            r#"[{"train":["a.nii.gz"],"val":["b_1_0000.nii"]},{"train":[],"val":["a","a"]}]"#;
        let (_, faults) = inspect_folds(text, &names, p);
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert!(faults[0].contains("it has 'a'") && faults[1].contains("it has 'b_1'"));
        assert!(faults[2].contains("fold 1") && faults[3].contains("'a' twice"));
    }

    #[test]
    fn cases_follow_their_patients() {
        let names: Vec<String> = (0..12).map(|i| format!("case_{i:02}")).collect();
        // Ten patients, of whom two have two scans.
        let patient = |i: usize| (names[i].clone(), format!("p{}", i % 10));
        let patients = Patients { path: "p.csv".into(), by_case: (0..12).map(patient).collect() };
        let folds = patient_folds(&names, &patients).unwrap();
        // Patients 0 and 7, as scikit-learn's folds of ten.
        assert_eq!(folds[0].val, ["case_00", "case_07", "case_10"]);
        assert!(patient_leaks(&folds, &patients).is_empty());
        for fold in &folds {
            let mut all = [fold.train.clone(), fold.val.clone()].concat();
            all.sort();
            assert_eq!(all, names);
        }
        let leaks = patient_leaks(&default_folds(&names).unwrap(), &patients);
        assert!(leaks.iter().any(|l| l.contains("'p0'")), "{leaks:?}");
        let (train, val) = inner_split_of(&names, Some(&patients), 0.25, 3).unwrap();
        assert!(val.len() >= 3 && train.len() + val.len() == 12);
        let halves = [Fold { train, val }];
        assert!(patient_leaks(&halves, &patients).is_empty());
        let plain = inner_split(&names, 0.25, 3).unwrap();
        assert_eq!(inner_split_of(&names, None, 0.25, 3).unwrap(), plain);
        let one = Patients {
            by_case: names.iter().map(|n| (n.clone(), "p".into())).collect(),
            ..patients
        };
        assert!(patient_folds(&names, &one).is_err());
        assert!(inner_split_of(&names, Some(&one), 0.25, 3).is_err());
    }

    #[test]
    fn inner_split_is_a_partition() {
        let names: Vec<String> = (0..16).map(|i| format!("{i:02}")).collect();
        let (train, val) = inner_split(&names, 0.25, 7).unwrap();
        assert_eq!((train.len(), val.len()), (12, 4));
        let mut all = [train.clone(), val.clone()].concat();
        all.sort();
        assert_eq!(all, names);
        assert_eq!(inner_split(&names, 0.25, 7).unwrap(), (train, val));
        assert!(inner_split(&names[..1], 0.25, 7).is_err());
    }

    #[test]
    fn folds_that_are_too_small_for_a_search_are_named_with_the_flags() {
        let fold = |train: &[&str]| Fold {
            train: train.iter().map(|n| (*n).to_owned()).collect(),
            val: vec!["v".into()],
        };
        let split = |fold: &Fold| inner_split(&fold.train, 0.25, 0).map(drop);
        let sentences = unsearchable(&[fold(&["a"]), fold(&["a", "b"]), fold(&["b"])], split);
        let [sentence] = &sentences[..] else { panic!("{sentences:?}") };
        for words in ["folds 0, 2:", "1 training case,", "--searcher default", "--search-val fold"]
        {
            assert!(sentence.contains(words), "{sentence}");
        }
        assert!(unsearchable(&[fold(&["a", "b"])], split).is_empty());
    }
}
