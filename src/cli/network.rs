//! Flags that say which network is trained on what grid; `train` and `plan` share them.

use super::edges;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::train::{PlanFile, Recipe, TrainOptions};
use std::path::{Path, PathBuf};

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Network")]
pub(super) struct NetworkFlags {
    /// Patch edges in voxels of the prepared cases: D,H,W [default: up to the median case, as much
    /// as the memory allows].
    #[arg(long, value_name = "D,H,W")]
    patch: Option<String>,
    /// Voxel size that all cases are resampled to, in mm along D,H,W of the files [default: by
    /// nnU-Net's rule, the median].
    #[arg(long, value_name = "D,H,W")]
    spacing: Option<String>,
    /// Turn all volumes to RAS first (x grows to the right, y to the front, z upward), or keep them
    /// as they lie in their files [default: keep, but ras where dataset.json asks for a reader of
    /// nnU-Net that reorients]. Predictions always come back in the file's own
    /// frame.
    #[arg(long, value_enum, value_name = "ras|keep")]
    reorient: Option<Reorient>,
    /// Samples per batch [default: 2].
    #[arg(long)]
    batch_size: Option<u32>,
    /// Features of the full-resolution level, doubled per level up to 320 [default: 32; --preset
    /// paper: 30].
    #[arg(long)]
    features: Option<u32>,
    /// Levels, 2 to 7 [default: by nnU-Net's rules].
    #[arg(long)]
    levels: Option<u32>,
    /// Device memory to stay below, as 6GiB or 800MiB [default, for choosing a patch: 8 GiB, 2 GiB
    /// on software adapters].
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Levels, from the full resolution on, whose activations are made again in the backward pass
    /// instead of kept: less memory for one more pass over them, the same result [default: as many
    /// as --memory needs]. GPUs keep no activations, which convolutions make while they load.
    #[arg(long, value_name = "LEVELS")]
    recompute: Option<u32>,
    /// Let the samples of a batch through the network one after the other and add up their
    /// gradients: the memory of one sample's activations, the same result but for rounding [default:
    /// where --memory needs it].
    #[arg(long)]
    accumulate: bool,
    /// A plan that `plan` wrote; other flags win over it.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Reorient {
    Ras,
    Keep,
}

impl NetworkFlags {
    /// Refuses `--reorient keep` for a data set whose image reader turns scans to RAS.
    ///
    /// # Errors
    /// [`Error::Usage`] naming both.
    pub fn check_orientation(&self, dataset: &Path) -> Result<()> {
        let turns = || Dataset::open(dataset).is_ok_and(|dataset| dataset.reorient);
        if self.reorient == Some(Reorient::Keep) && turns() {
            return Err(Error::Usage(format!(
                "--reorient keep contradicts '{}', whose overwrite_image_reader_writer turns scans to RAS; \
                 leave out one of them",
                dataset.join("dataset.json").display()
            )));
        }
        Ok(())
    }

    /// Puts the flags into the options; where they say nothing what the plan's file says, and else
    /// what the recipe does.
    pub fn apply(&self, options: &mut TrainOptions, recipe: &Recipe) -> Result<()> {
        let plan = self.plan.as_deref().map(PlanFile::read).transpose()?;
        let network = plan.as_ref().map(|p| &p.network);
        options.patch = match &self.patch {
            Some(text) => Some(edges("--patch", text)?),
            None => network.map(|n| n.patch).or(recipe.patch),
        };
        options.spacing_mm = match &self.spacing {
            Some(text) => Some(edges("--spacing", text)?),
            None => plan.as_ref().map(|p| p.preprocessing.file_spacing_mm()).or(recipe.spacing_mm),
        };
        options.reorient = match self.reorient {
            Some(reorient) => reorient == Reorient::Ras,
            None => plan.as_ref().is_some_and(|p| p.preprocessing.reorient),
        };
        options.batch = self.batch_size.or(network.map(|n| n.batch)).unwrap_or(recipe.batch);
        options.features =
            self.features.or(network.map(|n| n.base_features)).unwrap_or(recipe.features);
        options.levels = self.levels.or(network.map(|n| n.levels() as u32)).unwrap_or(0);
        options.recompute = self.recompute.or(plan.as_ref().map(|p| p.recompute)).unwrap_or(0);
        options.accumulate = self.accumulate || network.is_some_and(|n| n.accumulate);
        options.memory_bytes =
            self.memory.as_deref().map(|text| bytes("--memory", text)).transpose()?;
        Ok(())
    }
}

/// The size that a flag gives, as `6GiB`, `6G`, `800MiB` or `500000000`.
pub(super) fn bytes(flag: &str, text: &str) -> Result<u64> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = match unit.as_str() {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1024f64.powi(2),
        "g" | "gb" | "gib" => 1024f64.powi(3),
        "t" | "tb" | "tib" => 1024f64.powi(4),
        _ => f64::NAN,
    };
    match number.parse::<f64>() {
        Ok(value) if value > 0.0 && (value * factor).is_finite() => Ok((value * factor) as u64),
        _ => {
            Err(Error::Usage(format!("{flag} '{text}' is no size; give one as in 6GiB or 800MiB")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(bytes("--memory", "6GiB").unwrap(), 6 << 30);
        assert_eq!(bytes("--memory", "1.5 g").unwrap(), 3 << 29);
        assert_eq!(bytes("--memory", "800MiB").unwrap(), 800 << 20);
        assert_eq!(bytes("--memory", "123").unwrap(), 123);
        for wrong in ["", "GiB", "-3G", "6 parsecs", "0", "1e999999G"] {
            assert!(
                bytes("--memory", wrong).unwrap_err().to_string().contains("--memory"),
                "{wrong}"
            );
        }
    }
}
