//! Flags that say how long and by which recipe a network is trained; `train` and `plan` share them.

use crate::train::{Preset, Recipe, TrainOptions};
use std::path::Path;

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Training")]
pub(super) struct RecipeFlags {
    /// What all flags that are not given say: paper is the recipe of the paper, with --search-preset
    /// paper and --search-val fold; 30 features, 0.7 mm (the median for anisotropic data), patches of
    /// 128,128,128, batches of 2, adam, the plateau schedule, 250 iterations, 200 epochs. Data sets
    /// whose name or folder says brain, BRATS, heart, left atrium or prostate get the paper's epochs
    /// (brain: 50) and its authors' patch (heart: 64,192,160; prostate: 20,320,256). Flags and --plan
    /// win over it; what it came to is printed, and recorded in config.json.
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
    /// What is done with a data set where no other flag says otherwise.
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
