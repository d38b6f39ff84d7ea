//! `asng-wgpu plan DATASET`.

use super::interpolation::InterpolationFlags;
use super::network::NetworkFlags;
use super::progress::CaseProgress;
use super::search::SearchFlags;
use super::{DeviceFlags, print, say};
use crate::data::dataset::folder_of;
use crate::data::{Dataset, Normalisation};
use crate::error::{Error, Result};
use crate::files;
use crate::numbers::{counted, edges, plain};
use crate::train::{Event, PlanFile, TrainOptions, plan, size};
use std::path::PathBuf;

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
    /// Where to write the plan [default: plan-<data set>.json].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Epochs that the training would have.
    #[arg(long, default_value_t = 200)]
    epochs: u64,
    /// Iterations an epoch.
    #[arg(long, default_value_t = 250)]
    iterations: u64,
    /// Do not time an iteration.
    #[arg(long)]
    no_forecast: bool,
    /// Print the plan as JSON instead of a table.
    #[arg(long)]
    json: bool,
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
        let mut options = TrainOptions::new(&folder_of(&self.dataset), self.search.options()?);
        (options.epochs, options.iterations) = (self.epochs, self.iterations);
        (options.threads, options.adapter) = (super::threads(), self.device.choice());
        options.checked_shaders = super::checked_shaders();
        options.interpolation = self.interpolation.resolved();
        self.network.apply(&mut options)?;
        options.check()?;
        Ok(options)
    }

    pub(super) fn run(&self) -> Result<()> {
        let options = self.options()?;
        self.network.check_orientation(&options.dataset)?;
        for remark in &Dataset::open(&options.dataset)?.remarks {
            say(&remark.line());
        }
        let mut progress = CaseProgress::new();
        let made = plan(&options, !self.no_forecast, &mut |event| match event {
            Event::Note(sentence) => progress.line(sentence),
            Event::Preparing(p) => progress.show(p.what, p.done, p.of),
            _ => {}
        });
        progress.finish();
        let made = made?;
        let json = serde_json::to_string_pretty(&made)
            .map_err(|e| Error::Input(format!("the plan cannot be written: {e}")))?;
        let path = self.output.clone().unwrap_or_else(|| default_path(&made.dataset));
        files::replace(&path, format!("{json}\n").as_bytes())?;
        say(&format!("written to '{}'", path.display()));
        print(&if self.json { json } else { describe(&made) })
    }
}

fn default_path(dataset: &str) -> PathBuf {
    let safe = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    format!("plan-{}.json", dataset.chars().map(safe).collect::<String>()).into()
}

fn describe(plan: &PlanFile) -> String {
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
        rows.push((
            "time",
            format!(
                "{} an iteration, {} an epoch of {}, {} for {} epochs",
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
