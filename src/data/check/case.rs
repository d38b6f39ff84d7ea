//! What one case's files hold: read as streams, so that no volume is ever whole
//! in memory.

use super::finding::{Finding, Kind, Severity};
use crate::Error;
use crate::data::blank;
use crate::data::channels::Normalisation;
use crate::data::dataset::Case;
use crate::data::nifti::{Aspect, Header, for_each_chunk, label_advice, read_header, voxel_name};
use crate::data::preprocess::rgb_fault;
use crate::numbers::counted;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The headers of a case's files that could be read.
#[derive(Clone, Debug, Default)]
pub(super) struct CaseHeaders {
    /// In channel order.
    pub images: Vec<(PathBuf, Header)>,
    /// Of the label map.
    pub label: Option<(PathBuf, Header)>,
}

impl CaseHeaders {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &Header)> {
        self.images.iter().chain(&self.label).map(|(p, h)| (p.as_path(), h))
    }
}

/// What a channel of an image holds.
#[derive(Clone, Debug)]
pub(super) struct ChannelFacts {
    /// Least and greatest finite value; infinity and its negative if there is none.
    pub range: (f64, f64),
    /// Of the shape and the values as `f32`.
    pub hash: blake3::Hash,
}

impl ChannelFacts {
    /// Whether no two finite values differ.
    pub fn is_constant(&self) -> bool {
        self.range.0 as f32 >= self.range.1 as f32
    }

    /// The value of all voxels, if it is one.
    fn constant_value(&self) -> Option<f32> {
        let low = self.range.0 as f32;
        (self.is_constant() && low.is_finite()).then_some(low)
    }
}

/// A value of a label map.
#[derive(Clone, Copy, Debug)]
pub(super) struct LabelCount {
    pub voxels: u64,
    /// Flat index of the first voxel.
    pub first: usize,
}

/// What a label map holds.
#[derive(Clone, Debug)]
pub(super) struct LabelFacts {
    pub path: PathBuf,
    pub shape: [usize; 3],
    pub counts: BTreeMap<u16, LabelCount>,
    pub hash: blake3::Hash,
}

impl LabelFacts {
    pub fn has_foreground(&self) -> bool {
        self.counts.keys().any(|&v| v > 0)
    }
}

/// All that is known of a case after reading it.
#[derive(Clone, Debug)]
pub(super) struct CaseFacts {
    pub name: String,
    /// Whether it is one to test on.
    pub test: bool,
    pub headers: CaseHeaders,
    /// Of all image files in turn; fewer where one could not be read.
    pub channels: Vec<ChannelFacts>,
    pub label: Option<LabelFacts>,
    pub findings: Vec<Finding>,
}

fn unreadable(case: &str, path: &Path, error: &Error) -> Finding {
    Finding::from_error(Severity::Error, Kind::UnreadableFile, error, path).of_case(case)
}

/// Reads the headers of a case's files and compares their grids. Files that do
/// not exist are passed over. `channels` is 0 where dataset.json does not say.
pub(super) fn read_headers(case: &Case, channels: usize) -> (CaseHeaders, Vec<Finding>) {
    let (mut headers, mut findings) = (CaseHeaders::default(), Vec::new());
    let mut open = |path: &PathBuf| match read_header(path) {
        Ok(header) => Some((path.clone(), header)),
        Err(error) => {
            findings.push(unreadable(&case.name, path, &error));
            None
        }
    };
    headers.images = case.images.iter().filter(|p| p.is_file()).filter_map(&mut open).collect();
    headers.label = case.label.iter().filter(|p| p.is_file()).find_map(&mut open);
    let Some((first_path, first)) = headers.images.first() else { return (headers, findings) };
    let found: usize = headers.images.iter().map(|(_, h)| h.channels).sum();
    if channels > 0 && headers.images.len() == case.images.len() && found != channels {
        let found = counted(found, "channel");
        let what = format!("has {found}, but dataset.json lists {channels}");
        let channel_error = |what: String, remedy: &str| {
            Finding::new(Severity::Error, Kind::Channels, what, remedy).of_case(&case.name)
        };
        findings.push(
            channel_error(what, "give all channels or correct dataset.json").of_file(first_path),
        );
    }
    for (path, header) in headers.images.iter().skip(1) {
        for difference in first.differences(header) {
            let what = format!("differs from the first channel in {}", difference.phrase);
            let (severity, remedy) = match difference.is_error {
                true => (Severity::Error, "bring all channels to one grid"),
                false => {
                    (Severity::Warning, "copy the first channel's header if both are one grid")
                }
            };
            let finding = Finding::new(severity, Kind::Channels, what, remedy);
            findings.push(finding.of_case(&case.name).of_file(path));
        }
    }
    if let Some((path, header)) = &headers.label {
        findings.extend(label_differences(&case.name, first, path, header));
        if header.channels != 1 {
            let what = format!("has {} channels, but a label map has one", header.channels);
            findings.push(
                Finding::new(Severity::Error, Kind::LabelChannels, what, "use a 3-D file")
                    .of_case(&case.name)
                    .of_file(path),
            );
        }
    }
    (headers, findings)
}

/// How a label map's grid differs from its image's.
fn label_differences(case: &str, image: &Header, path: &Path, label: &Header) -> Vec<Finding> {
    let finding = |difference: crate::data::nifti::Difference| {
        let kind = match difference.aspect {
            Aspect::Shape => Kind::Shape,
            Aspect::Spacing => Kind::Spacing,
            Aspect::Direction => Kind::Direction,
            Aspect::Origin => Kind::Origin,
        };
        let severity = if difference.is_error { Severity::Error } else { Severity::Warning };
        let what = format!("does not lie on its image's grid: {}", difference.phrase);
        let remedy = match severity {
            Severity::Error => {
                "resample the label map onto the image's grid, or copy the image's header if the voxels belong together"
            }
            _ => "copy the image's header if the voxels belong together",
        };
        Finding::new(severity, kind, what, remedy).of_case(case).of_file(path)
    };
    image.differences(label).into_iter().map(finding).collect()
}

/// Reads all files of a case.
pub(super) fn examine(case: &Case, normalisation: &[Normalisation], test: bool) -> CaseFacts {
    let (headers, mut findings) = read_headers(case, normalisation.len());
    let mut channel_facts = Vec::new();
    for (path, header) in &headers.images {
        match scan_image(path, header) {
            Ok((facts, found)) => {
                let first = channel_facts.len();
                let colours =
                    colours(path, &facts, &normalisation[first.min(normalisation.len())..]);
                findings.extend(found.into_iter().chain(colours).map(|f| f.of_case(&case.name)));
                channel_facts.extend(facts);
            }
            Err(error) => findings.push(unreadable(&case.name, path, &error)),
        }
    }
    findings.extend(constant(case, &channel_facts));
    let mut label = None;
    if let Some((path, header)) = headers.label.as_ref().filter(|(_, h)| h.channels == 1) {
        match scan_labels(path, header) {
            Ok((facts, found)) => {
                label = Some(facts);
                findings.extend(found.map(|f| f.of_case(&case.name)));
            }
            Err(error) => findings.push(unreadable(&case.name, path, &error)),
        }
    }
    CaseFacts { name: case.name.clone(), test, headers, channels: channel_facts, label, findings }
}

/// A finding if a channel of a file that should hold colours does not; `normalisation`: of its
/// channels.
fn colours(
    path: &Path,
    channels: &[ChannelFacts],
    normalisation: &[Normalisation],
) -> Option<Finding> {
    let rgb = |(_, by): &(&ChannelFacts, &Normalisation)| **by == Normalisation::RgbTo01;
    let pairs = channels.iter().zip(normalisation).filter(rgb);
    let fault = pairs.filter(|(c, _)| c.range.0 <= c.range.1).find_map(|(c, _)| {
        let (low, high) = c.range;
        rgb_fault(low, high)
    })?;
    Some(Finding::from_sentence(Severity::Error, Kind::Intensities, &fault).of_file(path))
}

/// A finding if one or all channels have one value everywhere.
fn constant(case: &Case, channels: &[ChannelFacts]) -> Option<Finding> {
    let values: Vec<Option<f32>> = channels.iter().map(ChannelFacts::constant_value).collect();
    let blank = blank::blank(&values)?;
    let severity = if blank.is_error { Severity::Error } else { Severity::Warning };
    Some(Finding::new(severity, Kind::Constant, blank.phrase, blank::REMEDY).of_case(&case.name))
}

/// Hashes a plane of values as `f32`, so that the voxel type of a file does not
/// count.
struct PlaneHash {
    hasher: blake3::Hasher,
    bytes: Vec<u8>,
}

impl PlaneHash {
    fn new(shape: [usize; 3]) -> Self {
        let mut hasher = blake3::Hasher::new();
        shape.iter().for_each(|&n| {
            hasher.update(&(n as u64).to_le_bytes());
        });
        Self { hasher, bytes: Vec::new() }
    }

    fn add(&mut self, values: &[f64]) {
        self.bytes.clear();
        // Adding 0 makes negative zeros equal to others.
        self.bytes.extend(values.iter().flat_map(|&v| (v as f32 + 0.0).to_le_bytes()));
        self.hasher.update(&self.bytes);
    }
}

/// Range and hash of each channel, and perhaps a finding about non-finite values.
fn scan_image(path: &Path, header: &Header) -> crate::Result<(Vec<ChannelFacts>, Option<Finding>)> {
    let shape = header.shape();
    let voxels = shape.iter().product::<usize>();
    let mut channels = Vec::new();
    let mut plane = PlaneHash::new(shape);
    let mut range = (f64::INFINITY, f64::NEG_INFINITY);
    let mut bad: Option<(u64, f32, usize)> = None;
    for_each_chunk(
        path,
        |_| Ok(()),
        |_, mut at, mut values| {
            while !values.is_empty() {
                let (part, rest) = values.split_at(values.len().min(voxels - at % voxels));
                for (i, &v) in part.iter().enumerate() {
                    if (v as f32).is_finite() {
                        range = (range.0.min(v), range.1.max(v));
                    } else {
                        bad.get_or_insert((0, v as f32, at + i)).0 += 1;
                    }
                }
                plane.add(part);
                at += part.len();
                values = rest;
                if at % voxels == 0 {
                    let hash = plane.hasher.finalize();
                    channels.push(ChannelFacts { range, hash });
                    plane = PlaneHash::new(shape);
                    range = (f64::INFINITY, f64::NEG_INFINITY);
                }
            }
            Ok(())
        },
    )?;
    let finding = bad.map(|(count, value, index)| {
        let place = voxel_name(index % voxels, shape);
        let channel = match header.channels {
            1 => String::new(),
            _ => format!(" of channel {}", index / voxels),
        };
        let what = format!(
            "has {} of NaN or infinity, the first is {value} at voxel {place}{channel}",
            counted(count as usize, "voxel")
        );
        Finding::new(Severity::Error, Kind::NotFinite, what, "replace them by finite values")
            .of_file(path)
    });
    Ok((channels, finding))
}

/// Counts of a label map's values, and perhaps a finding about values that can
/// be no labels.
fn scan_labels(path: &Path, header: &Header) -> crate::Result<(LabelFacts, Option<Finding>)> {
    let shape = header.shape();
    let mut plane = PlaneHash::new(shape);
    let mut counts: BTreeMap<u16, LabelCount> = BTreeMap::new();
    let mut bad: Option<(u64, f64, usize)> = None;
    for_each_chunk(
        path,
        |_| Ok(()),
        |_, at, values| {
            plane.add(values);
            // Labels come in runs: one look-up a run.
            let mut start = 0;
            for run in values.chunk_by(|a, b| a == b) {
                let (value, whole) = (run[0], run[0].round());
                if (value - whole).abs() <= 1e-3 && (0.0..=65535.0).contains(&whole) {
                    let first = LabelCount { voxels: 0, first: at + start };
                    counts.entry(whole as u16).or_insert(first).voxels += run.len() as u64;
                } else {
                    bad.get_or_insert((0, value, at + start)).0 += run.len() as u64;
                }
                start += run.len();
            }
            Ok(())
        },
    )?;
    let finding = bad.map(|(count, value, index)| {
        let place = voxel_name(index, shape);
        let what = format!(
            "has {} that are no whole number from 0 to 65535, the first is {value} at voxel {place}",
            counted(count as usize, "voxel")
        );
        let remedy = label_advice(value);
        Finding::new(Severity::Error, Kind::LabelNotWhole, what, remedy).of_file(path)
    });
    let hash = plane.hasher.finalize();
    Ok((LabelFacts { path: path.to_path_buf(), shape, counts, hash }, finding))
}
