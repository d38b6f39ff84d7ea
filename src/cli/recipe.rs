//! Flags of the recipe and length of a training; `train` and `plan` share them.

use crate::train::{Preset, Recipe, TrainOptions};
use std::path::Path;

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Training")]
pub(super) struct RecipeFlags {
    /// Values for all flags that are not given. paper: the recipe of the paper, with --search-preset
    /// paper and --search-val fold, 30 features, voxels of 0.7 mm (the median for anisotropic data),
    /// a patch of 128,128,128, batches of 2, adam, the plateau schedule, 250 iterations and 200 epochs.
    /// A data set whose name or folder says brain, BRATS, heart, left atrium or prostate gets the
    /// epochs of that task (brain: 50) and the patch of the authors' code (heart: 64,192,160;
    /// prostate: 20,320,256). Flags and --plan win over it; the resulting values are printed, and
    /// recorded in config.json.
    #[arg(long, value_enum)]
    pub preset: Option<Preset>,
    /// Epochs [default: 200]; with --schedule plateau, at most.
    #[arg(long)]
    epochs: Option<u64>,
    /// Iterations per epoch [default: 250].
    #[arg(long)]
    iterations: Option<u64>,
}

impl RecipeFlags {
    /// The values of flags that are not given, for a data set.
    pub fn recipe(&self, dataset: &Path) -> Recipe {
        Recipe::new(self.preset, dataset)
    }

    /// Puts the flags into the options.
    pub fn apply(&self, options: &mut TrainOptions, recipe: &Recipe) {
        options.preset = self.preset;
        options.epochs = self.epochs.unwrap_or(recipe.epochs);
        options.iterations = self.iterations.unwrap_or(recipe.iterations);
        options.optimizer = recipe.optimizer;
        options.schedule = recipe.schedule;
    }
}
