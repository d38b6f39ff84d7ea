//! What a policy does to a case: volumes, the draws as JSON, a contact sheet.

mod source;

use crate::augment::batch::{Augmenter, AugmenterSpec};
use crate::augment::draw::{Draw, StreamKey, draw};
use crate::augment::record::{is_dummy_2d, record};
use crate::augment::sheet::{Sheet, SheetRow, View, limits};
use crate::data::nifti::{write_image, write_labels};
use crate::data::rng::{self, Purpose};
use crate::error::{Error, Result};
use crate::files;
use crate::gpu::{AdapterChoice, Gpu, Lifetime, Memory, MemoryPlan, Program, Recording, SlotId};
use crate::ops::tensor::{Storage, Tensors, View as TensorView, host};
use crate::ops::warp::Placement;
use crate::ops::{ConvVariant, Lowering};
use crate::run::{RunConfig, find_policy};
use crate::search::file::PolicyFile;
use crate::search::policy::Policy;
use crate::search::space::Field;
use serde::Serialize;
use source::Source;
use std::path::PathBuf;

/// Draws that the sheet shows at most; more would not be taken in at a glance.
const MOST_ROWS: usize = 12;

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
    /// Number of draws.
    pub count: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// A policy file or a run; nnU-Net's hand-made policy if none is given.
    pub policy: Option<PathBuf>,
    /// Fold of the run.
    pub fold: Option<usize>,
    /// Numbers that replace those of the policy.
    pub values: Vec<(Field, f64)>,
    /// Edges D, H, W of the patch; the whole case if none are given.
    pub patch: Option<[u32; 3]>,
    /// Mirror at random.
    pub mirror: bool,
    /// Channel that the sheet shows.
    pub channel: usize,
    /// Which adapter.
    pub adapter: AdapterChoice,
    /// Keep bounds checks in the shaders.
    pub checked_shaders: bool,
}

/// `draws.json`.
#[derive(Serialize)]
struct Listing {
    version: u32,
    case: String,
    seed: u64,
    policy: PolicyNote,
    /// First voxel of the patch in the file, D, H, W, and its edges.
    patch_start: [i64; 3],
    patch: [u32; 3],
    draws: Vec<Listed>,
}

#[derive(Serialize)]
struct PolicyNote {
    source: String,
    /// True: each draw's policy was sampled from the file's distribution.
    sampled: bool,
    /// The policy of all draws, unless sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Policy>,
}

#[derive(Serialize)]
struct Listed {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Policy>,
    draw: Draw,
}

/// Where policies come from.
struct Policies {
    source: String,
    file: Option<PolicyFile>,
    values: Vec<(Field, f64)>,
}

impl Policies {
    fn open(options: &PreviewOptions) -> Result<Self> {
        let (source, file) = match &options.policy {
            None if options.fold.is_some() => {
                return Err(Error::Usage("--fold goes with --policy RUN; give both".into()));
            }
            None => ("default".to_string(), None),
            Some(path) => {
                let path = find_policy(path, options.fold)?;
                (path.display().to_string(), Some(PolicyFile::read(&path)?))
            }
        };
        Ok(Policies { source, file, values: options.values.clone() })
    }

    /// Whether each draw has a policy of its own.
    fn sampled(&self) -> bool {
        self.file.as_ref().is_some_and(|f| f.theta.is_some())
    }

    /// The policy of a draw, checked.
    fn policy(&self, seed: u64, number: usize) -> Result<Policy> {
        let mut policy = match &self.file {
            None => Policy::nnunet(),
            Some(PolicyFile { theta: Some(theta), space, .. }) => {
                let mut stream = rng::stream(seed, Purpose::Search, &[number as u64]);
                Policy::from_indices(space, &theta.sample(&mut stream))
            }
            Some(file) => file.policy.clone(),
        };
        self.values.iter().for_each(|&(field, value)| policy.set(field, value));
        policy.check()?;
        Ok(policy)
    }
}

/// Writes `<case>_00.nii.gz`, `<case>_00_label.nii.gz`... (images normalised, as training sees
/// them), `draws.json` and `sheet.png`; gives the sheet's path. The same seed gives the same
/// files.
///
/// # Errors
/// [`Error::Usage`] for flags that do not fit, [`Error::Input`] and [`Error::Io`] for files,
/// [`Error::Device`] for the device.
pub fn preview(options: &PreviewOptions, log: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    if options.count == 0 {
        return Err(Error::Usage("--count 0 draws nothing; use 1 or more".into()));
    }
    let policies = Policies::open(options)?;
    policies.policy(options.seed, 0)?;
    let run = options.policy.as_ref().filter(|p| p.is_dir());
    let config = run.map(|run| RunConfig::read(run)).transpose()?;
    let source = source::open(
        &options.input,
        options.case.as_deref(),
        options.label.as_deref(),
        config.as_ref().map(|c| &c.preprocessing),
    )?;
    let channels = source.image.channels;
    if options.channel >= channels {
        return Err(Error::Usage(format!(
            "--channel {} is out of range; '{}' has channels 0 to {}",
            options.channel,
            source.name,
            channels - 1
        )));
    }
    let place = place(&source, options.patch)?;
    let gpu = Gpu::open(&options.adapter, options.checked_shaders)?;
    let bench = Bench::new(&gpu, &source, place.patch)?;
    files::create_folder(&options.output)?;
    log(&format!(
        "'{}', {} x {} x {} voxels, {} on '{}'",
        source.name,
        place.patch[0],
        place.patch[1],
        place.patch[2],
        match (policies.sampled(), policies.source.as_str()) {
            (true, file) => format!("policies sampled from the distribution in '{file}'"),
            (false, "default") => "nnU-Net's policy".into(),
            (false, file) => format!("the policy of '{file}'"),
        },
        gpu.name()
    ));
    show(options, &policies, &source, &place, &gpu, &bench)
}

fn show(
    options: &PreviewOptions,
    policies: &Policies,
    source: &Source,
    place: &Placement,
    gpu: &Gpu,
    bench: &Bench,
) -> Result<PathBuf> {
    let image = &source.image;
    let shape = place.patch.map(|e| e as usize);
    let voxels: usize = shape.iter().product();
    let start: [i64; 3] =
        std::array::from_fn(|i| image.crop_start[i] as i64 + i64::from(place.patch_start[i]));
    let header = image.header.cut(start, shape);
    let dummy_2d = is_dummy_2d(image.spacing_mm);
    let labelled = source.labels.iter().any(|&l| l > 0);

    let (original, labels) = bench.run(gpu, &Draw::default(), place, dummy_2d, false)?;
    let plane = |volume: &[f32]| volume[options.channel * voxels..][..voxels].to_vec();
    let original = plane(&original);
    let at = centre(&labels, shape);
    let view = View {
        axes: header.anatomical_axes(),
        spacing_mm: image.spacing_mm,
        limits: limits(&original),
    };
    let mut text = vec!["original".to_string()];
    text.push(format!("{} x {} x {} voxels", shape[0], shape[1], shape[2]));
    text.push(format!("{} mm", image.spacing_mm.map(short).join(" x ")));
    if image.channels > 1 {
        let name = source.channel_names.get(options.channel).map_or("", String::as_str);
        text.push(format!("channel {} {name}", options.channel));
    }
    let mut rows = vec![SheetRow::new(text, &original, &labels, shape, at, &view)?];
    let mut listed = Vec::new();
    let digits = (options.count - 1).to_string().len().max(2);
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
        let drawn = draw(&policy, image.channels, options.mirror, &mut key.rng());
        let (volume, labels) = bench.run(gpu, &drawn, place, dummy_2d, source.masked)?;
        let stem = format!("{}_{number:0digits$}", source.name);
        let (file, label_file) = (format!("{stem}.nii.gz"), format!("{stem}_label.nii.gz"));
        write_image(&options.output.join(&file), &volume, image.channels, shape, &header)?;
        if labelled {
            let narrow: Vec<u16> = labels.iter().map(|&l| l as u16).collect();
            write_labels(&options.output.join(&label_file), &narrow, shape, &header)?;
        }
        if rows.len() <= MOST_ROWS {
            // The planes follow the mirroring, so that they show the same anatomy.
            let at =
                std::array::from_fn(|i| if drawn.mirror[i] { shape[i] - 1 - at[i] } else { at[i] });
            let text = describe(number, &drawn, &view, dummy_2d);
            rows.push(SheetRow::new(text, &plane(&volume), &labels, shape, at, &view)?);
        }
        listed.push(Listed {
            image: file,
            label: labelled.then_some(label_file),
            policy: policies.sampled().then_some(policy),
            draw: drawn,
        });
    }
    let fixed = if policies.sampled() { None } else { Some(policies.policy(options.seed, 0)?) };
    let listing = Listing {
        version: 1,
        case: source.name.clone(),
        seed: options.seed,
        policy: PolicyNote {
            source: policies.source.clone(),
            sampled: policies.sampled(),
            policy: fixed,
        },
        patch_start: start,
        patch: place.patch,
        draws: listed,
    };
    let path = options.output.join("draws.json");
    let json = serde_json::to_string_pretty(&listing)
        .map_err(|e| Error::io("encode", &path, std::io::Error::other(e)))?;
    files::replace(&path, format!("{json}\n").as_bytes())?;
    let sheet = Sheet { title: title(options, policies, source), legend: legend(source), rows };
    let path = options.output.join("sheet.png");
    sheet.save(&path, &view)?;
    Ok(path)
}

fn title(options: &PreviewOptions, policies: &Policies, source: &Source) -> Vec<String> {
    let name = PathBuf::from(&policies.source);
    let name = name.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let changed = if policies.values.is_empty() { "" } else { ", changed by flags" };
    let policy = match (policies.sampled(), &policies.file) {
        (_, None) => format!("policy of nnU-Net{changed}"),
        (true, _) => format!("policies sampled from {name}{changed}"),
        (false, _) => format!("policy of {name}{changed}"),
    };
    let mut lines = vec![source.name.clone(), format!("{policy}, seed {}", options.seed)];
    lines.push("rotation x y z in degrees, elastic alpha / sigma in voxels".into());
    if options.count > MOST_ROWS {
        lines.push(format!("the first {MOST_ROWS} of {} draws", options.count));
    }
    lines
}

/// The labels that occur, with their names where they are known.
fn legend(source: &Source) -> Vec<(u32, String)> {
    let mut labels: Vec<u32> = source.labels.iter().copied().filter(|&l| l > 0).collect();
    labels.sort_unstable();
    labels.dedup();
    let name = |&l: &u32| match source.label_names.get(l as usize) {
        Some(name) => (l, name.clone()),
        None => (l, format!("label {l}")),
    };
    labels.iter().take(8).map(name).collect()
}

/// A number with at most three decimals.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The draw in words and numbers, a line a transform.
fn describe(number: usize, draw: &Draw, view: &View, dummy_2d: bool) -> Vec<String> {
    let mut lines = vec![format!("draw {number}")];
    match draw.rotation {
        // Only the angle within the slices is applied.
        Some([x, _, _]) if dummy_2d => lines.push(format!("rotation x {x:.1}")),
        Some([x, y, z]) => lines.push(format!("rotation {x:.1} {y:.1} {z:.1}")),
        None => {}
    }
    if let Some(factor) = draw.scale {
        lines.push(format!("scale {factor:.2}"));
    }
    if let Some(elastic) = &draw.elastic {
        lines.push(format!("elastic {:.0} / {:.1}", elastic.alpha, elastic.sigma));
    }
    if let Some(exponents) = &draw.gamma {
        let list: Vec<String> = exponents.iter().map(|e| format!("{e:.2}")).collect();
        lines.push(format!("gamma {}", list.join(" ")));
    }
    let names = ["left-right", "front-back", "up-down"];
    for (name, (axis, _)) in names.iter().zip(view.axes) {
        if draw.mirror[axis] {
            lines.push(format!("mirrored {name}"));
        }
    }
    if lines.len() == 1 {
        lines.push("unchanged".into());
    }
    lines
}

/// The voxel whose planes are shown: the middle of the labels, or of the volume.
fn centre(labels: &[u32], [d, h, w]: [usize; 3]) -> [usize; 3] {
    let (mut sum, mut count) = ([0usize; 3], 0);
    for (i, _) in labels.iter().enumerate().filter(|(_, l)| **l > 0) {
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
    let middle = centre(&source.labels, source.image.shape);
    let start = std::array::from_fn(|i| {
        let (edge, room) = (i64::from(patch[i]), i64::from(case[i]) - i64::from(patch[i]));
        let start = middle[i] as i64 - edge / 2;
        // A patch larger than the case lies around it.
        (if room < 0 { room / 2 } else { start.clamp(0, room) }) as i32
    });
    Ok(Placement::whole(case, start, patch))
}

/// An augmenter for one sample, and its case on the device.
struct Bench {
    augmenter: Augmenter,
    tensors: Tensors,
    memory: Memory,
    program: Program,
    image: TensorView,
    labels: SlotId,
}

impl Bench {
    fn new(gpu: &Gpu, source: &Source, patch: [u32; 3]) -> Result<Self> {
        let channels = source.image.channels as u32;
        let mut tensors = Tensors::new(gpu.caps());
        let capacity = source.labels.len() as u64;
        let spec = AugmenterSpec { batch: 1, channels, patch, capacity, candidates: 1 };
        let augmenter = Augmenter::new(&mut tensors, spec)?;
        let keep = Lifetime::Persistent;
        let image = tensors.add("image", 1, &[channels], patch, Storage::Buffer, keep)?.view();
        let voxels: u64 = patch.iter().map(|&e| u64::from(e)).product();
        let labels = tensors.slots.buffer("labels", voxels * 4, keep);
        let mut recording = Recording::new();
        let variant = ConvVariant::Simt;
        let mut l = Lowering { tensors: &mut tensors, recording: &mut recording, variant };
        augmenter.record(&mut l, 0, image, labels)?;
        let placed = MemoryPlan::new(&tensors.slots, &[&recording]);
        let memory = Memory::new(gpu, &tensors.slots, &placed)?;
        let program = Program::new(gpu, &memory, &recording)?;
        augmenter.upload_source(gpu, &memory, 0, &source.image.image, &source.labels)?;
        Ok(Bench { augmenter, tensors, memory, program, image, labels })
    }

    /// Image C,D,H,W and labels D,H,W of a draw.
    fn run(
        &self,
        gpu: &Gpu,
        draw: &Draw,
        place: &Placement,
        dummy_2d: bool,
        mask: bool,
    ) -> Result<(Vec<f32>, Vec<u32>)> {
        let record = record(draw, place, dummy_2d, mask)?;
        self.augmenter.upload_draws(gpu, &self.memory, 0, &[record])?;
        self.program.submit(gpu)?;
        let image = host::download(gpu, &self.memory, &self.tensors, self.image)?;
        let voxels = self.tensors.voxels(self.image) as usize;
        Ok((image, gpu.read(&self.memory, self.labels, 0, voxels)?))
    }
}
