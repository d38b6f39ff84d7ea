//! `asng-wgpu train DATASET`.

use super::DeviceFlags;
use crate::error::{Error, Result};
use crate::train::{Epoch, TrainOptions, train};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(clap::Args, Debug)]
pub(super) struct Train {
    /// Folder of the data set (Medical Segmentation Decathlon or nnU-Net layout).
    dataset: PathBuf,
    /// Folder of the run [default: runs/<data set>-<time>].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Fold of the cross-validation, 0 to 4.
    #[arg(long, default_value_t = 0)]
    fold: usize,
    /// How augmentation is chosen; this version trains without (none).
    #[arg(long, value_enum, default_value = "none")]
    searcher: Searcher,
    /// Epochs.
    #[arg(long, default_value_t = 200)]
    epochs: u64,
    /// Batches an epoch.
    #[arg(long, default_value_t = 250)]
    iterations: u64,
    /// Samples a batch.
    #[arg(long, default_value_t = 2)]
    batch_size: u32,
    /// Patch edges in voxels: D,H,W.
    #[arg(long, value_delimiter = ',', num_args = 1, default_value = "64,64,64")]
    patch: Vec<u32>,
    /// Features of the full-resolution level, doubled a level.
    #[arg(long, default_value_t = 32)]
    features: u32,
    /// Levels, 2 to 7 [default: by nnU-Net's rules].
    #[arg(long)]
    levels: Option<u32>,
    /// Learning rate of the first epoch.
    #[arg(long, default_value_t = 3e-4)]
    lr: f64,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    device: DeviceFlags,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Searcher {
    None,
}

impl Train {
    fn options(&self) -> Result<TrainOptions> {
        let patch: [u32; 3] = self.patch.clone().try_into().map_err(|_| {
            Error::Usage("--patch needs three edges, as in --patch 40,56,40".to_string())
        })?;
        for (flag, value) in [("--epochs", self.epochs), ("--iterations", self.iterations)] {
            if value == 0 {
                return Err(Error::Usage(format!("{flag} 0 trains nothing; use 1 or more")));
            }
        }
        if !(self.lr.is_finite() && self.lr > 0.0) {
            return Err(Error::Usage(format!("--lr {} is no positive number", self.lr)));
        }
        let default_out = || {
            let name = self.dataset.file_name().map(|n| n.to_string_lossy().into_owned());
            let time = jiff::ZonedDateTime::now().strftime("%Y%m%d-%H%M%S").to_string();
            PathBuf::from("runs").join(format!("{}-{time}", name.unwrap_or("run".into())))
        };
        Ok(TrainOptions {
            dataset: self.dataset.clone(),
            out: self.out.clone().unwrap_or_else(default_out),
            fold: self.fold,
            epochs: self.epochs,
            iterations: self.iterations,
            batch: self.batch_size,
            patch,
            features: self.features,
            levels: self.levels.unwrap_or(0),
            learning_rate: self.lr,
            seed: self.seed,
            adapter: self.device.choice(),
            checked_shaders: std::env::var_os("ASNG_WGPU_CHECKED_SHADERS")
                .is_some_and(|v| v == "1")
                || cfg!(debug_assertions),
        })
    }

    pub(super) fn run(&self) -> Result<()> {
        let options = self.options()?;
        let stop = Arc::new(AtomicBool::new(false));
        let handler = stop.clone();
        ctrlc::set_handler(move || {
            // The second signal stops at once.
            if handler.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        })
        .map_err(|e| Error::Device(format!("signals cannot be handled: {e}")))?;
        let epochs = options.epochs;
        let trained =
            train(&options, &stop, &mut |sentence| eprintln!("{sentence}"), &mut |epoch| {
                eprintln!("{}", line(epoch, epochs))
            })?;
        println!("{}", trained.checkpoint.display());
        Ok(())
    }
}

/// `epoch 12/200  loss -0.7123  val -0.6981  dice 0.874 0.861  lr 2.8e-4  14.2 s`
fn line(epoch: &Epoch, epochs: u64) -> String {
    let dice: Vec<String> =
        epoch.dice.iter().map(|d| d.map_or("-".to_string(), |v| format!("{v:.3}"))).collect();
    let skipped = match epoch.skipped {
        0 => String::new(),
        n => format!("  ({n} steps skipped: non-finite)"),
    };
    format!(
        "epoch {}/{epochs}  loss {:.4}  val {:.4}  dice {}  lr {:.1e}  {:.1} s{skipped}",
        epoch.epoch,
        epoch.loss,
        epoch.val_loss,
        dice.join(" "),
        epoch.learning_rate,
        epoch.seconds
    )
}
