//! `asng-wgpu plan DATASET`.

use super::interpolation::InterpolationFlags;
use super::network::NetworkFlags;
use super::progress::Phases;
use super::recipe::RecipeFlags;
use super::search::SearchFlags;
use super::{DeviceFlags, print, say};
use crate::data::dataset::folder_of;
use crate::data::{Dataset, Normalisation};
use crate::error::{Error, Result};
use crate::files;
use crate::numbers::{counted, edges, plain};
use crate::train::{Event, PlanFile, Schedule, TrainOptions, folder_name, plan, size};
use std::path::{Path, PathBuf};

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu plan Task04_Hippocampus
  asng-wgpu train Task04_Hippocampus --plan plan-Task04_Hippocampus.json

The rules are nnU-Net's: cases are resampled to the median voxel size; the patch starts at the
median case and shrinks until training fits the memory; an axis is pooled while it keeps 4 voxels
and no other is finer by a factor of 2. The memory is that of `train` with the same flags. The time
is measured on this device in a few seconds.")]
pub(super) struct Plan {
    /// Folder of the data set, or its dataset.json.
    dataset: PathBuf,
    /// Where to write the plan [default: plan-<folder of the data set>.json]. Another plan of that
    /// name is kept as FILE.previous.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace a file that holds something else than a plan.
    #[arg(long)]
    force: bool,
    /// Do not time an iteration.
    #[arg(long)]
    no_forecast: bool,
    /// Print the plan as JSON instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    recipe: RecipeFlags,
    #[command(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    search: SearchFlags,
    #[command(flatten)]
    interpolation: InterpolationFlags,
    #[command(flatten)]
    device: DeviceFlags,
}

impl Plan {
    /// The flags, resolved and checked.
    pub(super) fn options(&self) -> Result<TrainOptions> {
        self.resolved().map(|(options, _)| options)
    }

    /// The options, and the sentence about the preset, if there is one.
    fn resolved(&self) -> Result<(TrainOptions, Option<String>)> {
        let dataset = folder_of(&self.dataset);
        let recipe = self.recipe.recipe(&dataset);
        let mut options = TrainOptions::new(&dataset, self.search.options(&recipe)?);
        self.recipe.apply(&mut options, &recipe);
        (options.threads, options.adapter) = (super::threads(), self.device.choice());
        options.checked_shaders = super::checked_shaders();
        options.interpolation = self.interpolation.resolved();
        self.network.apply(&mut options, &recipe)?;
        options.check()?;
        let sentence = recipe.sentence(&options);
        Ok((options, sentence))
    }

    /// The plan that the file holds, if it is there.
    ///
    /// # Errors
    /// [`Error::Usage`] for a file that is no plan, unless `--force` lets it be replaced.
    fn earlier(&self, path: &Path) -> Result<Option<PlanFile>> {
        if !path.exists() {
            return Ok(None);
        }
        match PlanFile::read(path) {
            Ok(plan) => Ok(Some(plan)),
            Err(_) if self.force => Ok(None),
            Err(_) => Err(Error::Usage(format!(
                "'{}' exists and is no plan that this version reads; give --force to replace it, or \
                 another -o",
                path.display()
            ))),
        }
    }

    pub(super) fn run(&self) -> Result<()> {
        let (options, preset) = self.resolved()?;
        if let Some(sentence) = preset {
            say(&sentence);
        }
        self.network.check_orientation(&options.dataset)?;
        for remark in &Dataset::open(&options.dataset)?.remarks {
            say(&remark.line());
        }
        let path = self.output.clone().unwrap_or_else(|| default_path(&options.dataset));
        let earlier = self.earlier(&path)?;
        let mut phases = Phases::default();
        let made = plan(&options, !self.no_forecast, &mut |event| match event {
            Event::Note(sentence) => phases.line(|| say(sentence)),
            Event::Begin(phase) => phases.begin(phase.name()),
            Event::Preparing(p) => phases.count(p.what, "case", p.done, p.of),
            _ => {}
        });
        phases.finish();
        let made = made?;
        let json = serde_json::to_string_pretty(&made)
            .map_err(|e| Error::Input(format!("the plan cannot be written: {e}")))?;
        let content = format!("{json}\n").into_bytes();
        match earlier.filter(|earlier| !same_plan(earlier, &made)) {
            None => files::replace(&path, &content)?,
            Some(_) => {
                let previous = beside(&path);
                files::replace_keeping(&path, &previous, &content)?;
                say(&format!(
                    "'{}' held another plan, which is now '{}'",
                    path.display(),
                    previous.display()
                ));
            }
        }
        say(&format!("written to '{}'", path.display()));
        print(&if self.json { json } else { describe(&made, options.schedule) })
    }
}

/// `plan-<folder of the data set>.json`.
fn default_path(dataset: &Path) -> PathBuf {
    let safe = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name = folder_name(dataset).unwrap_or("dataset".into());
    format!("plan-{}.json", name.chars().map(safe).collect::<String>()).into()
}

/// The file that keeps what a plan's file held before.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".previous");
    path.with_file_name(name)
}

/// Whether two plans are the same but for what was measured.
fn same_plan(a: &PlanFile, b: &PlanFile) -> bool {
    let unmeasured = |plan: &PlanFile| {
        serde_json::to_value(PlanFile { seconds_per_iteration: None, ..plan.clone() }).ok()
    };
    unmeasured(a) == unmeasured(b)
}

fn describe(plan: &PlanFile, schedule: Schedule) -> String {
    let voxels = |s: &[String]| s.join(" x ");
    let list = |all: &[[u32; 3]]| {
        all.iter().map(|k| k.map(|e| e.to_string()).join("x")).collect::<Vec<_>>().join("  ")
    };
    let network = &plan.network;
    let features: Vec<String> =
        (0..network.levels()).map(|l| network.features(l).to_string()).collect();
    let by = &plan.preprocessing;
    let mut memory = size(plan.memory_bytes);
    if plan.recompute > 0 {
        let levels = plan.recompute;
        let levels = counted(levels as usize, "level");
        memory += &format!(", with the activations of {levels} recomputed in the backward pass");
    }
    if network.accumulate {
        memory += ", one sample after the other";
    }
    let mut rows = vec![
        ("cases", plan.cases.to_string()),
        ("voxel size", format!("{} mm", edges(by.spacing_mm))),
        ("median case", voxels(&plan.median_shape.map(|e| e.to_string()))),
        ("patch", voxels(&network.patch.map(|e| e.to_string()))),
        ("batch", network.batch.to_string()),
        ("features", features.join("  ")),
        ("kernels", list(&network.kernels)),
        ("strides", list(&network.pools)),
        ("parameters", plan.parameters.to_string()),
        ("intensities", intensities(plan)),
        ("device", plan.adapter.clone()),
        ("memory", memory),
    ];
    if by.axes != [0, 1, 2] {
        let names = by.axes.map(|axis| ["z", "y", "x"][axis]).join(", ");
        rows.insert(2, ("axes", format!("{names} of the files, the coarsest first")));
    }
    if let Some(seconds) = plan.seconds_per_iteration {
        let epoch = seconds * plan.iterations as f64;
        let most = if schedule == Schedule::Plateau { "at most " } else { "" };
        rows.push((
            "time",
            format!(
                "{} per iteration, {} per epoch of {}, {} for {most}{} epochs",
                duration(seconds),
                duration(epoch),
                plan.iterations,
                duration(epoch * plan.epochs as f64),
                plan.epochs
            ),
        ));
    }
    rows.iter().map(|(name, value)| format!("{name:<12} {value}")).collect::<Vec<_>>().join("\n")
}

fn intensities(plan: &PlanFile) -> String {
    let by = &plan.preprocessing;
    let zscore = if by.nonzero_mask { "z-score of non-zero voxels" } else { "z-score" };
    let kinds: Vec<String> = (0..plan.network.in_channels as usize)
        .map(|c| match (by.normalisation(c), by.intensities(c)) {
            (Normalisation::Ct, Some(ct)) => format!(
                "clipped to {}..{}, mean {}, deviation {}",
                plain(ct.low),
                plain(ct.high),
                plain(ct.mean),
                plain(ct.std)
            ),
            (Normalisation::Ct | Normalisation::Zscore, _) => zscore.to_string(),
            (Normalisation::NoNorm, _) => "not normalised".to_string(),
            (other, _) => other.word().to_string(),
        })
        .collect();
    match kinds.first() {
        Some(first) if kinds.iter().all(|k| k == first) => first.clone(),
        _ => kinds.join("; "),
    }
}

/// Seconds for a person: `0.35 s`, `4.2 min`, `13.5 h`, `6.1 d`.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.2} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}
