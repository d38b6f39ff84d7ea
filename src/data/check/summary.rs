//! A data set in numbers.

use super::across;
use super::case::CaseFacts;
use super::labels::LabelSuggestion;
use crate::data::channels::Normalisation;
use crate::data::dataset::Inspection;
use serde::Serialize;
use std::collections::BTreeMap;

/// Least, median and greatest along D, H, W.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Of each axis by itself.
    pub min: [f64; 3],
    /// Of each axis by itself.
    pub median: [f64; 3],
    /// Of each axis by itself.
    pub max: [f64; 3],
}

impl Spread {
    fn of(values: &[[f64; 3]]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let axis = |a: usize| values.iter().map(move |v| v[a]);
        Some(Self {
            min: [0, 1, 2].map(|a| axis(a).fold(f64::INFINITY, f64::min)),
            median: [0, 1, 2].map(|a| median(axis(a).collect())),
            max: [0, 1, 2].map(|a| axis(a).fold(f64::NEG_INFINITY, f64::max)),
        })
    }
}

/// The middle value, or the mean of the two in the middle; NaN of nothing.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    match (values.get(n.saturating_sub(1) / 2), values.get(n / 2)) {
        (Some(a), Some(b)) => (a + b) / 2.0,
        _ => f64::NAN,
    }
}

/// A channel over the training cases.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChannelSummary {
    /// Name by dataset.json.
    pub name: String,
    /// How it is normalised, by its name.
    pub normalisation: Normalisation,
    /// Least finite value, if there is one.
    pub min: Option<f64>,
    /// Greatest finite value.
    pub max: Option<f64>,
}

/// A label over the training cases.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelSummary {
    /// The value in label maps.
    pub value: u16,
    /// Name by dataset.json; none if it is not listed there.
    pub name: Option<String>,
    /// Voxels that have it.
    pub voxels: u64,
    /// Cases that have it.
    pub cases: usize,
}

/// The training cases in numbers; as far as files could be read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Training cases.
    pub cases: usize,
    /// Cases in imagesTs.
    pub test_cases: usize,
    /// Voxels of the images along D, H, W.
    pub shape: Option<Spread>,
    /// Voxel sizes of the images along D, H, W in mm.
    pub spacing_mm: Option<Spread>,
    /// Number of cases by the orientation of the image's axes x, y, z.
    pub orientations: BTreeMap<String, usize>,
    /// In order.
    pub channels: Vec<ChannelSummary>,
    /// By value: all that occur or are listed.
    pub labels: Vec<LabelSummary>,
    /// A correction of the labels, if some are not listed.
    pub label_suggestion: Option<LabelSuggestion>,
}

impl Summary {
    pub(super) fn of(
        cases: &[CaseFacts],
        inspection: &Inspection,
        label_suggestion: Option<LabelSuggestion>,
    ) -> Self {
        let training: Vec<&CaseFacts> = cases.iter().filter(|c| !c.test).collect();
        let firsts: Vec<_> = training.iter().filter_map(|c| c.headers.images.first()).collect();
        let shapes: Vec<[f64; 3]> =
            firsts.iter().map(|(_, h)| h.shape().map(|n| n as f64)).collect();
        let spacings: Vec<[f64; 3]> = firsts.iter().map(|(_, h)| h.spacing_mm()).collect();
        Self {
            cases: training.len(),
            test_cases: cases.len() - training.len(),
            shape: Spread::of(&shapes),
            spacing_mm: Spread::of(&spacings),
            orientations: across::orientations(training.iter().map(|c| &c.headers)),
            channels: channels(&training, &inspection.dataset.modalities),
            labels: labels(&training, &inspection.declared),
            label_suggestion,
        }
    }
}

fn channels(cases: &[&CaseFacts], names: &[String]) -> Vec<ChannelSummary> {
    // Where a file could not be read, its channels are unknown, and so is their order.
    let whole = cases.iter().filter(|c| c.channels.len() == names.len());
    let empty = |name: &String| {
        let normalisation = Normalisation::of_name(name);
        ChannelSummary { name: name.clone(), normalisation, min: None, max: None }
    };
    let mut summaries: Vec<ChannelSummary> = names.iter().map(empty).collect();
    for case in whole {
        for (summary, channel) in summaries.iter_mut().zip(&case.channels) {
            let (low, high) = channel.range;
            if low <= high {
                summary.min = Some(summary.min.map_or(low, |m| m.min(low)));
                summary.max = Some(summary.max.map_or(high, |m| m.max(high)));
            }
        }
    }
    summaries
}

fn labels(cases: &[&CaseFacts], declared: &BTreeMap<u16, String>) -> Vec<LabelSummary> {
    let mut all: BTreeMap<u16, LabelSummary> = BTreeMap::new();
    let empty =
        |value: u16, name: Option<String>| LabelSummary { value, name, voxels: 0, cases: 0 };
    for (value, name) in declared {
        all.insert(*value, empty(*value, Some(name.clone())));
    }
    for (value, count) in cases.iter().filter_map(|c| c.label.as_ref()).flat_map(|l| &l.counts) {
        let label = all.entry(*value).or_insert_with(|| empty(*value, None));
        label.voxels += count.voxels;
        label.cases += 1;
    }
    all.into_values().collect()
}
