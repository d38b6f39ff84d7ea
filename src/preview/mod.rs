//! What a policy does to a case: volumes, the draws as JSON, a contact sheet.

mod bench;
mod listing;
mod policies;
mod source;
mod words;

use crate::augment::draw::{Draw, StreamKey, draw};
use crate::augment::record::is_dummy_2d;
use crate::augment::sheet::{Sheet, SheetRow, View, limits};
use crate::data::nifti::{write_image, write_labels};
use crate::data::{Axes, Preprocessing};
use crate::error::{Error, Result};
use crate::files;
use crate::gpu::{AdapterChoice, Gpu};
use crate::numbers::edges;
use crate::ops::warp::{ImageInterpolation, Interpolation, LabelInterpolation, Placement};
use crate::run::{FoldId, find_policy, policy_config};
use crate::search::space::Field;
use bench::Bench;
use listing::{Input, Listed, Listing};
use policies::Policies;
use source::Source;
use std::path::{Path, PathBuf};
use words::{describe, legend, title};

/// Draws that the sheet shows at most; more would not be taken in at a glance.
const MOST_ROWS: usize = 12;

/// Most draws; each has a file of its own.
const MOST_DRAWS: usize = 10_000;

/// Longest edge of a patch.
const MOST_EDGE: u32 = 4096;

/// What to show.
#[derive(Clone, Debug)]
pub struct PreviewOptions {
    /// A volume, an image of a data set, or the folder of a data set.
    pub input: PathBuf,
    /// Case of the data set; the first if none is named.
    pub case: Option<String>,
    /// Label map of the volume.
    pub label: Option<PathBuf>,
    /// Folder to write.
    pub output: PathBuf,
    /// The `draws.json` of an earlier preview, whose draws are taken in place of new ones.
    pub replay: Option<PathBuf>,
    /// Number of draws.
    pub count: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// A policy file or a run; nnU-Net's hand-made policy if none is given.
    pub policy: Option<PathBuf>,
    /// Fold of the run.
    pub fold: Option<FoldId>,
    /// Numbers that replace those of the policy.
    pub values: Vec<(Field, f64)>,
    /// Edges D, H, W of the patch; the whole case if none are given.
    pub patch: Option<[u32; 3]>,
    /// Axes to mirror at random; as the run does, or all, if nothing is given.
    pub mirror: Option<Axes>,
    /// How images are read between voxels; as the run does, or linearly, if nothing is given.
    pub interpolation: Option<ImageInterpolation>,
    /// The same of labels.
    pub label_interpolation: Option<LabelInterpolation>,
    /// Channel that the sheet shows.
    pub channel: usize,
    /// Which adapter.
    pub adapter: AdapterChoice,
    /// Keep bounds checks in the shaders.
    pub checked_shaders: bool,
}

impl PreviewOptions {
    /// Refuses what no volume could be asked for, before any work.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the flag.
    pub fn check(&self) -> Result<()> {
        if !(1..=MOST_DRAWS).contains(&self.count) {
            return Err(Error::Usage(format!(
                "--count {} is out of range; use 1 to {MOST_DRAWS}",
                self.count
            )));
        }
        if let Some(edge) = self.patch.iter().flatten().find(|&&e| e == 0 || e > MOST_EDGE) {
            return Err(Error::Usage(format!(
                "--patch has an edge of {edge}; give three edges from 1 to {MOST_EDGE}"
            )));
        }
        Ok(())
    }
}

/// Writes `<case>_00.nii.gz`, `<case>_00_label.nii.gz`... (images normalised, as training sees
/// them), `draws.json` and `sheet.png`; gives the sheet's path. The same seed gives the same
/// files, and so does the `draws.json` of an earlier preview.
///
/// # Errors
/// [`Error::Usage`] for flags that do not fit, [`Error::Input`] and [`Error::Io`] for files,
/// [`Error::Device`] for the device.
pub fn preview(options: &PreviewOptions, log: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    options.check()?;
    let gpu = Gpu::open(&options.adapter, options.checked_shaders)?;
    let (listing, source) = match &options.replay {
        Some(path) => replayed(options, path)?,
        None => drawn(options)?,
    };
    let at = listing.placement(&source);
    let bench = Bench::new(&gpu, &source, at.patch, listing.interpolation)?;
    files::create_folder(&options.output)?;
    let [d, h, w] = at.patch;
    log(&format!(
        "'{}', {d} x {h} x {w} voxels, {} on '{}'",
        source.name,
        match (&options.replay, listing.policy.sampled, listing.policy.source.as_str()) {
            (Some(path), ..) => format!("the draws of '{}'", path.display()),
            (None, true, file) => format!("policies sampled from the distribution in '{file}'"),
            (None, false, "default") => "nnU-Net's policy".into(),
            (None, false, file) => format!("the policy of '{file}'"),
        },
        gpu.name()
    ));
    show(options, &listing, &source, &at, &gpu, &bench)
}

/// The draws that an earlier preview listed, for the input at hand.
fn replayed(options: &PreviewOptions, path: &Path) -> Result<(Listing, Source)> {
    let mut listing = Listing::read(path)?;
    let source = open(options, Some(&listing.preprocessing))?;
    listing.fit(path, &source)?;
    Ok((listing, source))
}

/// New draws from a policy.
fn drawn(options: &PreviewOptions) -> Result<(Listing, Source)> {
    let policies = Policies::open(options)?;
    policies.policy(options.seed, 0)?;
    let run = options.policy.as_ref().filter(|p| p.is_dir());
    let config = run
        .map(|run| find_policy(run, options.fold).and_then(|path| policy_config(run, &path)))
        .transpose()?;
    let source = open(options, config.as_ref().map(|c| &c.preprocessing))?;
    let (mirror, interpolation) = match &config {
        Some(config) => (config.mirror, config.interpolation),
        None => (Axes::ALL, Interpolation::default()),
    };
    let mirror = options.mirror.unwrap_or(mirror);
    let image = &source.image;
    let place = place(&source, options.patch)?;
    let mut draws = Vec::new();
    for number in 0..options.count {
        let policy = policies.policy(options.seed, number)?;
        let key = StreamKey {
            seed: options.seed,
            fold: 0,
            epoch: 0,
            iteration: 0,
            sample: number as u32,
            candidate: 0,
        };
        let draw = draw(&policy, image.channels, mirror, &mut key.rng());
        let policy = policies.sampled().then_some(policy);
        draws.push(Listed { image: String::new(), label: None, policy, draw });
    }
    let mut listing = Listing {
        version: listing::VERSION,
        case: String::new(),
        seed: options.seed,
        policy: policies.note(options.seed)?,
        input: Input { channels: image.channels, shape: image.origin.header.shape() },
        preprocessing: source.preprocessing.clone(),
        dummy_2d: is_dummy_2d(source.preprocessing.spacing_mm),
        interpolation: Interpolation {
            image: options.interpolation.unwrap_or(interpolation.image),
            labels: options.label_interpolation.unwrap_or(interpolation.labels),
        },
        patch_start: place.patch_start.map(i64::from),
        patch: place.patch,
        draws,
    };
    listing.name_files(&source);
    Ok((listing, source))
}

/// The input, with the sheet's channel checked.
fn open(options: &PreviewOptions, by: Option<&Preprocessing>) -> Result<Source> {
    let (case, label) = (options.case.as_deref(), options.label.as_deref());
    let source = source::open(&options.input, case, label, by)?;
    let channels = source.image.channels;
    if options.channel >= channels {
        return Err(Error::Usage(format!(
            "--channel {} is out of range; '{}' has channels 0 to {}",
            options.channel,
            source.name,
            channels - 1
        )));
    }
    Ok(source)
}

fn show(
    options: &PreviewOptions,
    listing: &Listing,
    source: &Source,
    place: &Placement,
    gpu: &Gpu,
    bench: &Bench,
) -> Result<PathBuf> {
    let image = &source.image;
    let shape = place.patch.map(|e| e as usize);
    let voxels: usize = shape.iter().product();
    let header = source.header.cut(listing.patch_start, shape);
    let spacing_mm = source.preprocessing.spacing_mm;
    let dummy_2d = listing.dummy_2d;

    let (original, labels) = bench.run(gpu, &Draw::default(), place, dummy_2d, false)?;
    let plane = |volume: &[f32]| volume[options.channel * voxels..][..voxels].to_vec();
    let original = plane(&original);
    let ignore = source.known.ignore();
    let at = centre(&labels, ignore, shape);
    let view = View { axes: header.anatomical_axes(), spacing_mm, limits: limits(&original) };
    let mut text = vec!["original".to_string()];
    text.push(format!("{} x {} x {} voxels", shape[0], shape[1], shape[2]));
    text.push(format!("{} mm", edges(spacing_mm)));
    if image.channels > 1 {
        let name = source.channel_names.get(options.channel).map_or("", String::as_str);
        text.push(format!("channel {} {name}", options.channel));
    }
    let mut rows = vec![SheetRow::new(text, &original, &labels, shape, at, &view)?];
    for (number, listed) in listing.draws.iter().enumerate() {
        let drawn = &listed.draw;
        let mask = listing.preprocessing.nonzero_mask;
        let (volume, labels) = bench.run(gpu, drawn, place, dummy_2d, mask)?;
        let path = options.output.join(&listed.image);
        write_image(&path, &volume, image.channels, shape, &header)?;
        if let Some(name) = &listed.label {
            let narrow: Vec<u16> = labels.iter().map(|&l| l as u16).collect();
            write_labels(&options.output.join(name), &narrow, shape, &header)?;
        }
        if rows.len() <= MOST_ROWS {
            // The planes follow the mirroring, so that they show the same anatomy.
            let at =
                std::array::from_fn(|i| if drawn.mirror[i] { shape[i] - 1 - at[i] } else { at[i] });
            let text = describe(number, drawn, &view, dummy_2d);
            rows.push(SheetRow::new(text, &plane(&volume), &labels, shape, at, &view)?);
        }
    }
    listing.write(&options.output.join("draws.json"))?;
    let sheet = Sheet { title: title(listing), legend: legend(source), rows };
    let path = options.output.join("sheet.png");
    sheet.save(&path, &view)?;
    Ok(path)
}

/// The voxel whose planes are shown: the middle of the foreground, or of the volume.
fn centre(labels: &[u32], ignore: Option<u16>, [d, h, w]: [usize; 3]) -> [usize; 3] {
    let foreground = |l: u32| l > 0 && Some(l) != ignore.map(u32::from);
    let (mut sum, mut count) = ([0usize; 3], 0);
    for (i, _) in labels.iter().enumerate().filter(|(_, l)| foreground(**l)) {
        let at = [i / (h * w), i / w % h, i % w];
        (0..3).for_each(|axis| sum[axis] += at[axis]);
        count += 1;
    }
    if count == 0 { [d / 2, h / 2, w / 2] } else { sum.map(|s| s / count) }
}

/// Where the patch lies: the whole case, or about the middle of the labels within the case.
fn place(source: &Source, patch: Option<[u32; 3]>) -> Result<Placement> {
    let case = source.image.shape.map(|e| e as u32);
    let patch = patch.unwrap_or(case);
    if let Some(edge) = patch.iter().find(|&&e| e == 0 || e > MOST_EDGE) {
        return Err(Error::Usage(format!(
            "--patch has an edge of {edge}; give three edges from 1 to {MOST_EDGE}"
        )));
    }
    let middle = centre(&source.labels, source.known.ignore(), source.image.shape);
    let start = std::array::from_fn(|i| {
        let (edge, room) = (i64::from(patch[i]), i64::from(case[i]) - i64::from(patch[i]));
        let start = middle[i] as i64 - edge / 2;
        // A patch larger than the case lies around it.
        (if room < 0 { room / 2 } else { start.clamp(0, room) }) as i32
    });
    Ok(Placement::whole(case, start, patch))
}
