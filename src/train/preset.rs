//! Whole recipes by one flag (`--preset`): the values of flags that are not given.

use super::options::{Schedule, SearchOptions, SearchValidation, SearcherKind, TrainOptions};
use crate::data::Dataset;
use crate::data::preprocess::{is_anisotropic, survey_headers, target_spacing};
use crate::nn::step::Optimizer;
use clap::ValueEnum;
use serde::Serialize;
use std::path::Path;

/// Voxel edge of the paper's trainings in mm, unless the data are strongly anisotropic.
const PAPER_SPACING_MM: f64 = 0.7;

/// A recipe by its name (`--preset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The training and search of the paper (Xu, Li, Zhu, MICCAI 2020).
    Paper,
}

/// A data set on which the paper reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaperTask {
    /// Brain tumours.
    Brain,
    /// The left atrium.
    Heart,
    /// The prostate.
    Prostate,
}

impl PaperTask {
    /// The task of a data set by a name: `dataset.json`'s, or that of its folder.
    pub fn of(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        match () {
            () if has(&["brain", "brats"]) => Some(PaperTask::Brain),
            () if has(&["heart", "leftatrium", "left_atrium", "left atrium"]) => {
                Some(PaperTask::Heart)
            }
            () if has(&["prostate"]) => Some(PaperTask::Prostate),
            () => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            PaperTask::Brain => "Brain",
            PaperTask::Heart => "Heart",
            PaperTask::Prostate => "Prostate",
        }
    }
}

/// The values of a training's flags that are not given.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The preset, if one was asked for.
    pub preset: Option<Preset>,
    /// Epochs.
    pub epochs: u64,
    /// Iterations per epoch.
    pub iterations: u64,
    /// Samples per batch.
    pub batch: u32,
    /// Patch edges along the prepared axes; `None`: what fits the memory.
    pub patch: Option<[u32; 3]>,
    /// Voxel size of prepared cases in mm; `None`: by nnU-Net's rule.
    pub spacing_mm: Option<[f64; 3]>,
    /// Features of the full-resolution level.
    pub features: u32,
    /// Optimizer.
    pub optimizer: Optimizer,
    /// How the learning rate falls.
    pub schedule: Schedule,
    /// The flags of the search.
    pub search: SearchOptions,
    /// How the task was recognised, for a person; empty without a preset.
    task: String,
}

impl Recipe {
    /// The recipe of a preset for a data set, or the usual one. A data set that cannot be read is
    /// taken for an unknown, isotropic one: whoever opens it afterwards says what is wrong.
    pub fn new(preset: Option<Preset>, dataset: &Path) -> Self {
        match preset {
            None => Self::usual(),
            Some(Preset::Paper) => Self::paper(dataset),
        }
    }

    fn usual() -> Self {
        Recipe {
            preset: None,
            epochs: 200,
            iterations: 250,
            batch: 2,
            patch: None,
            spacing_mm: None,
            features: 32,
            optimizer: Optimizer::Adam,
            schedule: Schedule::Poly,
            search: SearchOptions::careful(),
            task: String::new(),
        }
    }

    /// The paper's values, and those of its authors' code where the paper has none: for each task the
    /// patch, for others 128^3.
    fn paper(path: &Path) -> Self {
        let dataset = Dataset::open(path).ok();
        let named = dataset.as_ref().map(|d| d.name.clone()).filter(|name| !name.is_empty());
        let folder = folder_name(path);
        let known = [named.clone(), folder.clone()].into_iter().flatten();
        let known = known.into_iter().find_map(|name| Some((PaperTask::of(&name)?, name)));
        let (epochs, patch) = match known.as_ref().map(|(task, _)| task) {
            Some(PaperTask::Brain) => (50, [128; 3]),
            Some(PaperTask::Heart) => (200, [64, 192, 160]),
            Some(PaperTask::Prostate) => (200, [20, 320, 256]),
            None => (200, [128; 3]),
        };
        let task = match known {
            Some((task, name)) => format!("the paper's task {} by the name '{name}'", task.name()),
            None => "a task that the paper does not have".into(),
        };
        let cases = dataset.as_ref().map(|dataset| survey_headers(dataset).cases);
        let cases = cases.filter(|cases| !cases.is_empty());
        let anisotropic = cases.is_some_and(|cases| is_anisotropic(target_spacing(&cases)));
        Recipe {
            preset: Some(Preset::Paper),
            epochs,
            iterations: 250,
            batch: 2,
            patch: Some(patch),
            spacing_mm: (!anisotropic).then_some([PAPER_SPACING_MM; 3]),
            features: 30,
            optimizer: Optimizer::Adam,
            schedule: Schedule::Plateau,
            search: SearchOptions { validation: SearchValidation::Fold, ..SearchOptions::paper() },
            task: match anisotropic {
                true => format!("{task}, anisotropic, so that its median voxel size is kept"),
                false => task,
            },
        }
    }

    /// The flags that a preset results in, those that were given included; none without a preset.
    pub fn sentence(&self, options: &TrainOptions) -> Option<String> {
        self.preset?;
        let list = |edges: Vec<String>| edges.join(",");
        let mut flags = vec![format!("--features {}", options.features)];
        if let Some(mm) = options.spacing_mm {
            flags.push(format!("--spacing {}", list(mm.map(|e| e.to_string()).to_vec())));
        }
        if let Some(patch) = options.patch {
            flags.push(format!("--patch {}", list(patch.map(|e| e.to_string()).to_vec())));
        }
        let named = |value: &dyn ToString| value.to_string();
        flags.push(format!("--batch-size {}", named(&options.batch)));
        flags.push(format!("--optimizer {}", value_name(options.optimizer)));
        flags.push(format!("--lr {:e}", options.learning_rate));
        flags.push(format!("--schedule {}", value_name(options.schedule)));
        flags.push(format!("--epochs {} --iterations {}", options.epochs, options.iterations));
        let search = &options.search;
        flags.push(format!("--searcher {}", value_name(search.searcher)));
        flags.push(format!("--lambda {}", search.lambda));
        if search.searcher.learns() {
            flags.push(format!("--search-mode {}", value_name(search.mode)));
            flags.push(format!("--search-val {}", value_name(search.validation)));
            flags.push(format!("--search-every {}", search.every));
            flags.push(format!("--search-until {}", search.until));
            flags.push(format!("--search-init {}", search.init));
            if search.searcher != SearcherKind::Reinforce {
                flags.push(format!("--search-step {}", search.step));
            }
            flags.push(format!("--candidate-updates {}", value_name(search.updates)));
            flags.push(format!("--candidate-draws {}", value_name(search.draws)));
            flags.push(format!("--after-search {}", value_name(search.after)));
        }
        Some(format!("--preset paper, {}: {}", self.task, flags.join(" ")))
    }
}

/// The name of a value as its flag takes it.
fn value_name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}

/// The name of a data set's folder, also where the path ends in `.` or `..`.
pub fn folder_name(path: &Path) -> Option<String> {
    let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
    name(path).or_else(|| name(&path.canonicalize().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_known_by_the_names_that_people_give_them() {
        for (name, task) in [
            ("BRATS", Some(PaperTask::Brain)),
            ("Task01_BrainTumour", Some(PaperTask::Brain)),
            ("LeftAtrium", Some(PaperTask::Heart)),
            ("Task02_Heart", Some(PaperTask::Heart)),
            ("Dataset005_Prostate", Some(PaperTask::Prostate)),
            ("PROSTATE", Some(PaperTask::Prostate)),
            ("Hippocampus", None),
            ("", None),
        ] {
            assert_eq!(PaperTask::of(name), task, "{name}");
        }
    }

    #[test]
    fn a_folder_has_a_name_even_as_a_dot() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("Task02_Heart");
        std::fs::create_dir(&inside).unwrap();
        for path in [inside.clone(), inside.join("."), inside.join("x/..")] {
            std::fs::create_dir_all(inside.join("x")).unwrap();
            assert_eq!(folder_name(&path).as_deref(), Some("Task02_Heart"), "{path:?}");
        }
    }
}
