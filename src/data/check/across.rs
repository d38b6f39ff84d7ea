//! What shows only across the cases of a data set.

use super::case::{CaseFacts, CaseHeaders};
use super::finding::{Finding, Kind, Severity, how_many};
use crate::data::nifti::geometry_notes;
use crate::data::split::Fold;
use crate::numbers::{counted, edges, named};
use std::collections::BTreeMap;

/// A spacing this many times larger or smaller than the median is an outlier.
const OUTLIER: f64 = 2.0;
/// Names listed in a message.
const SHOWN: usize = 5;

/// "'a', 'b' and 3 more".
fn names_text(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(SHOWN).map(|n| format!("'{n}'")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        n => format!("{} and {n} more", shown.join(", ")),
    }
}

/// Number of cases by the orientation of their first image.
pub(super) fn orientations<'a>(
    headers: impl Iterator<Item = &'a CaseHeaders>,
) -> BTreeMap<String, usize> {
    let mut histogram = BTreeMap::new();
    for (_, header) in headers.filter_map(|h| h.images.first()) {
        *histogram.entry(header.orientation().to_string()).or_insert(0) += 1;
    }
    histogram
}

/// Warnings that headers alone show: odd geometry, orientations that differ,
/// spacings far from the others'. Takes names and headers of the training cases.
pub(super) fn of_headers(cases: &[(&str, &CaseHeaders)]) -> Vec<Finding> {
    let warning =
        |kind, what: String, remedy: &str| Finding::new(Severity::Warning, kind, what, remedy);
    let files = cases.iter().flat_map(|(_, h)| h.iter());
    let note = |s: &String| Finding::from_sentence(Severity::Warning, Kind::Geometry, s);
    let mut findings: Vec<Finding> = geometry_notes(files).iter().map(note).collect();
    let histogram = orientations(cases.iter().map(|(_, h)| *h));
    if histogram.len() > 1 {
        let mut counts: Vec<(&String, &usize)> = histogram.iter().collect();
        counts.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let text: Vec<String> = counts.iter().map(|(o, n)| format!("{o} {n}")).collect();
        let what = format!("the images have {} orientations: {}", counts.len(), text.join(", "));
        findings.push(warning(Kind::Orientation, what, "train with --reorient ras"));
    }
    let median = median_spacing(cases);
    let far = |(name, headers): &(&str, &CaseHeaders)| {
        let (_, header) = headers.images.first()?;
        let ratios = header.spacing_mm().into_iter().zip(median).map(|(a, m)| (a / m).max(m / a));
        (ratios.fold(0.0, f64::max) > OUTLIER).then(|| (name.to_string(), header.spacing_mm()))
    };
    let outliers: Vec<(String, [f64; 3])> = cases.iter().filter_map(far).collect();
    if let Some((_, spacing)) = outliers.first() {
        let names: Vec<String> = outliers.iter().map(|(n, _)| n.clone()).collect();
        let verb = if names.len() > 1 { "have" } else { "has" };
        let what = format!(
            "{} {verb} voxels of {} mm, more than {OUTLIER} times larger or smaller than the median {} mm (z, y, x)",
            how_many("case", &names),
            edges(*spacing),
            edges(median)
        );
        findings.push(warning(Kind::SpacingOutlier, what, "look whether their headers are right"));
    }
    findings
}

/// A warning about cases to test on that are stored in an orientation that no training case has.
/// Takes the headers of both, with the names of those to test on.
pub(super) fn test_orientations(
    training: &BTreeMap<String, usize>,
    tests: &[(&str, &CaseHeaders)],
) -> Option<Finding> {
    let mut other: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, headers) in tests {
        let Some((_, header)) = headers.images.first() else { continue };
        let orientation = header.orientation().to_string();
        if !training.contains_key(&orientation) {
            other.entry(orientation).or_default().push(name);
        }
    }
    if other.is_empty() || training.is_empty() {
        return None;
    }
    let count = other.values().map(Vec::len).sum();
    let list: Vec<String> = other
        .iter()
        .map(|(orientation, names)| format!("{orientation}: {}", named(names)))
        .collect();
    let trained = training.keys().cloned().collect::<Vec<_>>().join(" and ");
    let verb = if count == 1 { "is" } else { "are" };
    let what = format!(
        "{} {verb} stored in an orientation that no training case has ({trained}), so that their \
         label maps may be wrong, sides exchanged: {}",
        counted(count, "image") + " of imagesTs",
        list.join(", ")
    );
    let remedy = "train with --reorient ras, or bring all images to one orientation";
    Some(Finding::new(Severity::Warning, Kind::Orientation, what, remedy))
}

fn median_spacing(cases: &[(&str, &CaseHeaders)]) -> [f64; 3] {
    let firsts = cases.iter().filter_map(|(_, h)| h.images.first());
    let spacings: Vec<[f64; 3]> = firsts.map(|(_, h)| h.spacing_mm()).collect();
    [0, 1, 2].map(|axis| super::summary::median(spacings.iter().map(|s| s[axis]).collect()))
}

/// The content of a case's image: the hashes of its channels, if all could be
/// read and one is not constant.
fn content(case: &CaseFacts, channels: usize) -> Option<Vec<blake3::Hash>> {
    let whole = case.channels.len() == channels.max(1);
    let says = case.channels.iter().any(|c| !c.is_constant());
    (whole && says).then(|| case.channels.iter().map(|c| c.hash).collect())
}

/// Images, channels and label maps of equal content, and where they leak from
/// training into validation or testing.
pub(super) fn duplicates(cases: &[CaseFacts], channels: usize, folds: &[Fold]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut groups: BTreeMap<Vec<[u8; 32]>, Vec<&CaseFacts>> = BTreeMap::new();
    for case in cases {
        if let Some(hashes) = content(case, channels) {
            let key = hashes.iter().map(|h| *h.as_bytes()).collect();
            groups.entry(key).or_default().push(case);
        }
        findings.extend(equal_channels(case));
    }
    for group in groups.values().filter(|g| g.len() > 1) {
        let names = |test: bool| -> Vec<&str> {
            group.iter().filter(|c| c.test == test).map(|c| c.name.as_str()).collect()
        };
        let (training, test) = (names(false), names(true));
        if let (Some(first), true) = (training.first(), training.len() > 1) {
            let what = format!("the images of {} have the same content", names_text(&training));
            let remedy = "keep one of them";
            let duplicate = Finding::new(Severity::Warning, Kind::Duplicate, what, remedy);
            findings.push(duplicate.of_case(first));
            findings.extend(leak(&training, folds));
        }
        if let (Some(first), [one, ..]) = (test.first(), &training[..]) {
            let what = format!(
                "the images to test on {} have the content of the training case '{one}'",
                names_text(&test)
            );
            let remedy = "take them out of imagesTs or the case out of training";
            findings.push(Finding::new(Severity::Warning, Kind::Leak, what, remedy).of_case(first));
        } else if let (Some(first), true) = (test.first(), test.len() > 1) {
            let what = format!("the images of {} have the same content", names_text(&test));
            let duplicate =
                Finding::new(Severity::Warning, Kind::Duplicate, what, "keep one of them");
            findings.push(duplicate.of_case(first));
        }
    }
    findings.extend(equal_labels(cases));
    findings
}

/// An error if equal images lie in both halves of a fold; the first such fold.
fn leak(names: &[&str], folds: &[Fold]) -> Option<Finding> {
    let within = |half: &[String]| names.iter().find(|n| half.iter().any(|h| h == *n)).copied();
    let (fold, train, val) = folds
        .iter()
        .enumerate()
        .find_map(|(i, f)| Some((i, within(&f.train)?, within(&f.val)?)))?;
    let what = format!(
        "fold {fold} trains on '{train}' and validates on '{val}', whose images have the same content"
    );
    let remedy = "keep one of them, or split so that they stay together";
    Some(Finding::new(Severity::Error, Kind::Leak, what, remedy).of_case(val))
}

/// A warning if two channels of a case are equal.
fn equal_channels(case: &CaseFacts) -> Option<Finding> {
    let pair = (0..case.channels.len()).find_map(|b| {
        let same = |a: &usize| case.channels[*a].hash == case.channels[b].hash;
        (0..b).find(same).map(|a| (a, b)).filter(|_| !case.channels[b].is_constant())
    });
    let (a, b) = pair?;
    let what = format!("has the same content in channels {a} and {b}");
    let remedy = "look whether a channel was copied by mistake";
    Some(Finding::new(Severity::Warning, Kind::Channels, what, remedy).of_case(&case.name))
}

/// Warnings for label maps with foreground that are equal while the images differ.
fn equal_labels(cases: &[CaseFacts]) -> Vec<Finding> {
    let mut groups: BTreeMap<[u8; 32], Vec<&CaseFacts>> = BTreeMap::new();
    for case in cases {
        if let Some(label) = case.label.as_ref().filter(|l| l.has_foreground()) {
            groups.entry(*label.hash.as_bytes()).or_default().push(case);
        }
    }
    let images =
        |c: &CaseFacts| -> Vec<_> { c.channels.iter().map(|c| *c.hash.as_bytes()).collect() };
    let differ = |g: &&Vec<&CaseFacts>| g.iter().any(|c| images(c) != images(g[0]));
    let found = groups.values().filter(|g| g.len() > 1).filter(differ);
    found
        .map(|group| {
            let names: Vec<&str> = group.iter().map(|c| c.name.as_str()).collect();
            let what = format!(
                "the label maps of {} have the same content, but their images differ",
                names_text(&names)
            );
            let remedy = "look whether a label map was copied by mistake";
            Finding::new(Severity::Warning, Kind::Duplicate, what, remedy).of_case(names[0])
        })
        .collect()
}
