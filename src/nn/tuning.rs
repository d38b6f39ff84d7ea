//! Tiles timed on the device at hand: a training step in every tile that its kernels offer, the fastest of
//! each class of work remembered in a file of the user's cache.
//!
//! No tile changes a bit of a result, so neither the timing nor a lost file does.

use super::plan::NetworkPlan;
use super::step::{Batch, LossPlan, Optimizer, TrainingState, record_step};
use super::unet::UNet;
use crate::error::{Error, Result};
use crate::files;
use crate::gpu::{
    AdapterChoice, Caps, Gpu, Lifetime, Memory, MemoryPlan, Program, Recording, Tile, Tiles,
};
use crate::ops::tensor::{Storage, Tensors};
use crate::ops::{ConvVariant, selftest};
use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A tile must take less than this share of the preferred one's time to replace it.
const WORTH: f64 = 0.97;
/// Timed runs of a tile, of which the fastest counts.
const RUNS: usize = 2;

/// Opens a device with the convolution variant that is right on it and the tiles that were found fastest.
///
/// # Errors
/// As [`Gpu::open`] and [`selftest::choose`].
pub fn open(choice: &AdapterChoice, checked: bool) -> Result<(Gpu, ConvVariant)> {
    let mut gpu = Gpu::open(choice, checked)?;
    let variant = selftest::choose(&gpu)?;
    let known = TileFile::read().devices.remove(&device_key(&gpu)).unwrap_or_default();
    gpu.set_tiles(Tiles::Known(Arc::new(known)));
    Ok((gpu, variant))
}

/// What timing brought.
#[derive(Debug)]
pub struct Tuned {
    /// Classes of work that were timed.
    pub classes: usize,
    /// Of these, how many take another tile than the preferred one.
    pub changed: usize,
    /// Milliseconds of all classes in a step of one sample, with the preferred tiles and with the chosen.
    pub ms: [f64; 2],
    /// Why the file could not be written, where it could not.
    pub unwritten: Option<Error>,
}

/// Times the tiles of a network's training step unless all are known, two of each and more within about
/// `limit`, and chooses the fastest for `gpu` from now on. None where nothing was to be timed or chosen, or
/// the adapter has no timestamps. `recompute` as in the training that follows, so that timing takes no
/// more memory than it.
///
/// # Errors
/// [`Error::Device`] when the device was lost or has too little memory.
pub fn tune(
    gpu: &mut Gpu,
    net: &UNet,
    variant: ConvVariant,
    recompute: usize,
    limit: Duration,
) -> Result<Option<Tuned>> {
    // The class of a convolution does not depend on the samples.
    let plan = NetworkPlan { batch: 1, accumulate: false, ..net.plan.clone() };
    let net = UNet::new(plan);
    let step = Step::record(gpu.caps(), &net, variant, recompute)?;
    let unknown = |(class, _): &(&str, usize)| !gpu.caps().tiles.knows(class);
    if !gpu.caps().timestamps || !step.classes().any(|class| unknown(&class)) {
        return Ok(None);
    }
    let rounds = step.classes().map(|(_, candidates)| candidates).max().unwrap_or(0);
    let begin = Instant::now();
    let mut times: BTreeMap<String, Vec<(f64, Tile)>> = BTreeMap::new();
    for round in 0..rounds {
        let before = begin.elapsed();
        let caps = Caps { tiles: Tiles::Trial(round), ..gpu.caps().clone() };
        for (class, time) in Step::record(&caps, &net, variant, recompute)?.time(gpu, &net)? {
            times.entry(class).or_default().push(time);
        }
        let took = begin.elapsed() - before;
        if round > 0 && begin.elapsed() + took > limit {
            break;
        }
    }
    if times.values().all(|tried| tried.len() < 2) {
        return Ok(None);
    }
    let mut tuned = Tuned { classes: times.len(), changed: 0, ms: [0.0; 2], unwritten: None };
    let mut chosen = BTreeMap::new();
    for (class, tried) in times {
        let preferred = &tried[0];
        let least = tried.iter().fold(preferred, |a, b| if b.0 < a.0 { b } else { a });
        let best = if least.0 < preferred.0 * WORTH { least } else { preferred };
        tuned.changed += usize::from(best.1 != preferred.1);
        tuned.ms[0] += preferred.0;
        tuned.ms[1] += best.0;
        chosen.insert(class, best.1.clone());
    }
    // A clock that stands still says nothing.
    if tuned.ms[0] == 0.0 {
        return Ok(None);
    }
    tuned.unwritten = TileFile::add(&device_key(gpu), &chosen).err();
    if let Tiles::Known(known) = &gpu.caps().tiles {
        for (class, tile) in known.iter() {
            chosen.entry(class.clone()).or_insert_with(|| tile.clone());
        }
    }
    gpu.set_tiles(Tiles::Known(Arc::new(chosen)));
    Ok(Some(tuned))
}

/// A training step on made-up data.
struct Step {
    tensors: Tensors,
    recording: Recording,
    state: TrainingState,
}

impl Step {
    fn record(caps: &Caps, net: &UNet, variant: ConvVariant, recompute: usize) -> Result<Self> {
        let plan = &net.plan;
        let mut tensors = Tensors::new(caps);
        let state = TrainingState::new(&mut tensors, net, Optimizer::Sgd);
        let (keep, channels) = (Lifetime::Persistent, [plan.in_channels]);
        let image = tensors.add("image", 1, &channels, plan.patch, Storage::Buffer, keep)?.view();
        let bytes = u64::from(tensors.voxels(image)) * 4;
        let batch = Batch { image, labels: tensors.slots.buffer("labels", bytes, keep) };
        let loss = LossPlan { head_weights: plan.head_weights(), batch_dice: false };
        let (recording, _) =
            record_step(&mut tensors, variant, net, &state, batch, &loss, recompute)?;
        Ok(Step { tensors, recording, state })
    }

    /// The classes of its dispatches with their numbers of candidates; some more than once.
    fn classes(&self) -> impl Iterator<Item = (&str, usize)> {
        let tiled = self.recording.dispatches().filter_map(|d| d.tiled.as_ref());
        tiled.map(|tiled| (tiled.class.as_str(), tiled.candidates))
    }

    /// Milliseconds of each class, all its dispatches in sum, and the tile that they had.
    fn time(&self, gpu: &Gpu, net: &UNet) -> Result<BTreeMap<String, (f64, Tile)>> {
        let placed = MemoryPlan::new(&self.tensors.slots, &[&self.recording]);
        let memory = Memory::new(gpu, &self.tensors.slots, &placed)?;
        gpu.write(&memory, self.state.parameters, 0, &net.parameters.initial(0))?;
        let program = Program::new(gpu, &memory, &self.recording)?;
        program.submit(gpu)?;
        let tiled = self.recording.dispatches().filter_map(|d| d.tiled.as_ref());
        let mut times: BTreeMap<String, (f64, Tile)> =
            tiled.map(|t| (t.class.clone(), (f64::INFINITY, t.tile.clone()))).collect();
        for _ in 0..RUNS {
            let mut sums: BTreeMap<String, f64> = BTreeMap::new();
            for timing in program.profile(gpu)? {
                if let Some(class) = timing.class {
                    *sums.entry(class).or_default() += timing.ms;
                }
            }
            for (class, ms) in sums {
                if let Some((least, _)) = times.get_mut(&class) {
                    *least = least.min(ms);
                }
            }
        }
        Ok(times)
    }
}

/// `tiles.json` in the user's cache: for each device and version of the program, the tile of each class.
#[derive(Debug, Default, Serialize, Deserialize)]
struct TileFile {
    devices: BTreeMap<String, BTreeMap<String, Tile>>,
}

impl TileFile {
    fn path() -> Option<PathBuf> {
        let base = etcetera::choose_base_strategy().ok()?;
        Some(base.cache_dir().join("asng-wgpu/tiles.json"))
    }

    /// The file, empty where there is none that can be read.
    fn read() -> Self {
        let text = Self::path().and_then(|path| files::read_text(&path).ok());
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Adds a device's tiles to what the file holds.
    fn add(device: &str, tiles: &BTreeMap<String, Tile>) -> Result<()> {
        let path = Self::path()
            .ok_or_else(|| Error::Input("there is no home folder to remember tiles in".into()))?;
        let mut file = Self::read();
        let own = file.devices.entry(device.to_owned()).or_default();
        own.extend(tiles.iter().map(|(class, tile)| (class.clone(), tile.clone())));
        let text = serde_json::to_string_pretty(&file)
            .map_err(|e| Error::Input(format!("the tiles cannot be written: {e}")))?;
        if let Some(folder) = path.parent() {
            files::create_folder(folder)?;
        }
        files::replace(&path, text.as_bytes())
    }
}

/// What the timings hold for.
fn device_key(gpu: &Gpu) -> String {
    format!("{} | {} | asng-wgpu {}", gpu.name(), gpu.driver(), env!("CARGO_PKG_VERSION"))
}
