//! What a training is asked to do.

use super::plateau::LEAST_RATE;
use super::preset::Preset;
use crate::data::Axes;
use crate::gpu::AdapterChoice;
use crate::nn::plan::{MAX_FEATURES, MOST_BATCH, MOST_VOXELS};
use crate::nn::step::Optimizer;
use crate::numbers::plain;
use crate::ops::warp::Interpolation;
use crate::run::{FoldId, find_policy, open_policy};
use crate::search::asng::AsngOptions;
use crate::search::reinforce::Reinforce;
use crate::search::searcher::{AsngSearcher, Constant, Frozen, SearchInit, Searcher, fixed_from};
use crate::search::space::Space;
use crate::{Error, Result};
use clap::ValueEnum;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Most epochs, and iterations an epoch.
const MOST_COUNT: u64 = 100_000_000;

/// Most seconds for timing tiles.
const MOST_TUNE_SECONDS: f64 = 3600.0;

/// Largest first step of theta: about twice as far as any two distributions over one variable are
/// apart in the Fisher metric.
const MOST_STEP: f64 = 6.0;

/// Who chooses the augmentation (`--searcher`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SearcherKind {
    /// The paper's search.
    Asng,
    /// ASNG with a step that does not adapt.
    Sng,
    /// Policy gradient with a moving average as baseline.
    Reinforce,
    /// nnU-Net's hand-made policy.
    Default,
    /// No augmentation, no mirroring.
    None,
    /// Policies uniform over the space.
    Random,
    /// TrivialAugment: one transform a sample.
    Trivial,
    /// A policy or distribution from a file.
    Fixed,
}

impl SearcherKind {
    /// Whether it learns from validation losses.
    pub fn learns(self) -> bool {
        matches!(self, SearcherKind::Asng | SearcherKind::Sng | SearcherKind::Reinforce)
    }
}

/// Which variables are searched or drawn (`--searcher-variables`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SearchVariables {
    /// All of the space.
    All,
    /// The probabilities of the transforms; intervals stay as in nnU-Net's policy.
    Probabilities,
}

/// How the candidates of a weight step change the weights (`--candidate-updates`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CandidateUpdates {
    /// One step by the mean of their gradients (the paper).
    Mean,
    /// A step by each, one after the other; where they are judged, their gradients and trial steps
    /// start at the same weights.
    Each,
}

/// The random numbers of the candidates' draws (`--candidate-draws`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CandidateDraws {
    /// Each candidate has its own (the paper).
    Own,
    /// Candidates that are judged have the same: their samples differ only where their policies do, so
    /// that the luck of a draw decides less about them.
    Common,
}

/// What augments once the search is over (`--after-search`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AfterSearch {
    /// Policies drawn from the frozen distribution.
    Distribution,
    /// Its most probable policy.
    Policy,
}

/// How the policy step gets its gradients (`--search-mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SearchMode {
    /// The candidates of the weight step are also those that are judged.
    Shared,
    /// The policy step draws fresh candidates and computes their gradients anew (the paper).
    Paper,
}

/// Which cases judge the candidates (`--search-val`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SearchValidation {
    /// A share of the fold's training cases, set aside until the search stops.
    Inner,
    /// The fold's own validation cases: results on them become optimistic.
    Fold,
}

/// How the learning rate falls (`--schedule`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// `lr (1 - epoch / epochs)^0.9` (nnU-Net).
    Poly,
    /// `lr`.
    Constant,
    /// `lr` falls to a fifth where the moving average of the training loss has not improved by 5e-4 in
    /// 30 epochs; the training ends below 1e-6 or after 50 epochs without improvement (the paper).
    Plateau,
}

impl Schedule {
    /// The learning rate of an epoch, from 0; of `Plateau`, that of the first.
    pub fn learning_rate(self, first: f64, epoch: u64, epochs: u64) -> f64 {
        match self {
            Schedule::Poly => first * (1.0 - epoch as f64 / epochs.max(1) as f64).powf(0.9),
            Schedule::Constant | Schedule::Plateau => first,
        }
    }
}

/// The flags of the search.
#[derive(Clone, Debug, Serialize)]
pub struct SearchOptions {
    /// Who chooses.
    pub searcher: SearcherKind,
    /// `fixed`: the file.
    pub policy: Option<PathBuf>,
    /// Candidates an iteration.
    pub lambda: usize,
    /// Where the policy step's gradients come from.
    pub mode: SearchMode,
    /// How the candidates change the weights.
    pub updates: CandidateUpdates,
    /// Which random numbers their draws take.
    pub draws: CandidateDraws,
    /// Which cases judge.
    pub validation: SearchValidation,
    /// `inner`: the share of the fold's training cases that judge.
    pub share: f64,
    /// Validation batches that judge each candidate.
    pub batches: u64,
    /// A policy step every so many iterations.
    pub every: u64,
    /// Share of the epochs after which the distribution is frozen.
    pub until: f64,
    /// What augments from then on.
    pub after: AfterSearch,
    /// Where theta starts: `uniform`, `default`, `near` or a file.
    pub init: String,
    /// First step of theta in its Fisher metric (`asng`, `sng`).
    pub step: f64,
    /// Another space than the built-in one.
    pub space: Option<PathBuf>,
    /// Which of its variables.
    pub variables: SearchVariables,
}

impl SearchOptions {
    /// The search that did best in `benches/EVIDENCE.md`: a start close to nnU-Net's policy, small steps
    /// on judgements that luck decides less, few of them, an early end, and then what was found alone.
    pub fn careful() -> Self {
        SearchOptions {
            updates: CandidateUpdates::Each,
            draws: CandidateDraws::Common,
            every: 4,
            until: 0.4,
            after: AfterSearch::Policy,
            init: "near".into(),
            mode: SearchMode::Shared,
            step: 0.1,
            ..Self::paper()
        }
    }

    /// The search as it was published (Xu, Li, Zhu, MICCAI 2020), on cases set aside.
    pub fn paper() -> Self {
        SearchOptions {
            searcher: SearcherKind::Asng,
            policy: None,
            lambda: 2,
            mode: SearchMode::Paper,
            updates: CandidateUpdates::Mean,
            draws: CandidateDraws::Own,
            validation: SearchValidation::Inner,
            share: 0.25,
            batches: 1,
            every: 1,
            until: 0.8,
            after: AfterSearch::Distribution,
            init: "uniform".into(),
            step: 1.0,
            space: None,
            variables: SearchVariables::All,
        }
    }

    /// Makes the searcher with its space.
    ///
    /// # Errors
    /// [`Error::Usage`] for flags that do not go together; as the files' readers.
    pub fn build(&self) -> Result<(Box<dyn Searcher>, Space)> {
        self.check()?;
        let mut space = match &self.space {
            Some(path) => Space::from_file(path)?,
            None => Space::default(),
        };
        if self.variables == SearchVariables::Probabilities {
            space = space.probabilities();
            if let (true, Some(path)) = (space.variables.is_empty(), &self.space) {
                return Err(Error::Usage(format!(
                    "--searcher-variables probabilities leaves nothing of '{}', which has no \
                     probability; add one, for example p_rotation",
                    path.display()
                )));
            }
        }
        let searcher: Box<dyn Searcher> = match (self.searcher, &self.policy) {
            (SearcherKind::Asng | SearcherKind::Sng, _) => {
                let theta = self.init()?.theta(&space)?;
                let fixed_step = self.searcher == SearcherKind::Sng;
                let delta_init = self.step;
                let options = AsngOptions { fixed_step, delta_init, ..AsngOptions::default() };
                Box::new(AsngSearcher::new(space.clone(), theta, options))
            }
            (SearcherKind::Reinforce, _) => {
                let theta = self.init()?.theta(&space)?;
                Box::new(Reinforce::new(space.clone(), theta))
            }
            (SearcherKind::Default, _) => Box::new(Constant::nnunet()),
            (SearcherKind::None, _) => Box::new(Constant::none()),
            (SearcherKind::Random, _) => Box::new(Frozen::random(space.clone())),
            (SearcherKind::Trivial, _) => Box::new(Constant::trivial(&space)),
            (SearcherKind::Fixed, Some(source)) => {
                let (_, file) = open_policy(source, None)?;
                return Ok(fixed_from(file));
            }
            (SearcherKind::Fixed, None) => {
                return Err(Error::Usage(
                    "--searcher fixed needs --policy; give a policy.json, the folder of a run, or \
                     default"
                        .into(),
                ));
            }
        };
        Ok((searcher, space))
    }

    /// Where the distribution starts; of a run, the policy file of its first fold that has one.
    fn init(&self) -> Result<SearchInit> {
        match SearchInit::parse(&self.init) {
            SearchInit::File(path) if !path.exists() => Err(Error::Usage(format!(
                "--search-init '{}' is neither near, default nor uniform, and no such file or run \
                 exists; give one of these, a policy.json or the folder of a run",
                path.display()
            ))),
            SearchInit::File(path) => find_policy(&path, None).map(SearchInit::File),
            named => Ok(named),
        }
    }

    fn check(&self) -> Result<()> {
        let usage = |text: &str| Err(Error::Usage(text.into()));
        if self.policy.is_some() && self.searcher != SearcherKind::Fixed {
            return usage(
                "--policy is read only by --searcher fixed; give that too, or drop --policy",
            );
        }
        if self.lambda == 0 || self.lambda > 64 {
            return usage("--lambda must lie between 1 and 64");
        }
        if self.searcher.learns() && self.lambda < 2 {
            return usage("a search compares candidates: use --lambda 2 or more");
        }
        if self.every == 0 {
            return usage("--search-every 0 never searches; use 1 or more");
        }
        if self.batches == 0 || self.batches > 64 {
            return usage("--search-batches must lie between 1 and 64");
        }
        if !(self.share > 0.0 && self.share < 1.0) {
            return usage(
                "--search-share is a share of the training cases; give a number above 0 and below 1",
            );
        }
        let has_policy = [SearcherKind::Default, SearcherKind::None, SearcherKind::Fixed]
            .contains(&self.searcher);
        if self.variables == SearchVariables::Probabilities && has_policy {
            return usage(
                "--searcher-variables goes with searchers that draw from a space: asng, sng, \
                 reinforce, random or trivial",
            );
        }
        if !(self.step > 0.0 && self.step <= MOST_STEP) {
            return Err(Error::Usage(format!(
                "--search-step must lie above 0, at most {MOST_STEP}; the paper's is 1"
            )));
        }
        if !(self.until > 0.0 && self.until <= 1.0) {
            return usage(
                "--search-until is a share of the epochs; give a number above 0 and up to 1",
            );
        }
        Ok(())
    }

    /// The epoch, from 0, from which the distribution is frozen.
    pub fn frozen_from(&self, epochs: u64) -> u64 {
        ((epochs as f64 * self.until).round() as u64).clamp(1, epochs.max(1))
    }
}

/// When a training stops with a state, as if interrupted (`--max-minutes`).
#[derive(Clone, Copy, Debug)]
pub struct TimeLimit {
    /// The limit as it was given.
    pub minutes: f64,
    /// When it is over.
    pub at: Instant,
}

/// What to train, and on what.
#[derive(Clone, Debug, Serialize)]
pub struct TrainOptions {
    /// The recipe that the flags which were not given follow.
    pub preset: Option<Preset>,
    /// Folder of the data set.
    pub dataset: PathBuf,
    /// Folder of the run.
    pub out: PathBuf,
    /// Fold.
    pub fold: FoldId,
    /// Epochs.
    pub epochs: u64,
    /// Batches an epoch.
    pub iterations: u64,
    /// Online validation every so many epochs (and after the last).
    pub validate_every: u64,
    /// Samples a batch.
    pub batch: u32,
    /// Patch edges along the prepared axes; `None`: what fits the memory, up to the median case.
    pub patch: Option<[u32; 3]>,
    /// Device memory that the patch must fit, in bytes.
    pub memory_bytes: Option<u64>,
    /// Levels whose activations are made again in the backward pass, at least.
    pub recompute: u32,
    /// Let the samples of a batch through the network one after the other.
    pub accumulate: bool,
    /// Voxel size of prepared cases (D, H, W of the files, mm); `None`: by nnU-Net's rule.
    pub spacing_mm: Option<[f64; 3]>,
    /// Turn all volumes to RAS before all else.
    pub reorient: bool,
    /// Another split than the data set's, in the form of nnU-Net's `splits_final.json`.
    pub splits: Option<PathBuf>,
    /// Folder of prepared cases; `None`: `cache` in the run's folder.
    pub cache: Option<PathBuf>,
    /// Features of the full-resolution level.
    pub features: u32,
    /// Levels; 0 by nnU-Net's rules.
    pub levels: u32,
    /// Optimizer.
    pub optimizer: Optimizer,
    /// Learning rate of the first epoch.
    pub learning_rate: f64,
    /// How it falls.
    pub schedule: Schedule,
    /// Bound of the gradient's norm; 0 is none.
    pub clip: f64,
    /// Dice over the batch instead of per sample.
    pub batch_dice: bool,
    /// Mirror these axes with probability 0.5 each.
    pub mirror: Axes,
    /// How augmentation reads cases between voxels.
    pub interpolation: Interpolation,
    /// The search.
    pub search: SearchOptions,
    /// Predict and evaluate the fold's validation cases at the end.
    pub validate: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// Host threads for preparing cases; 0: as many as cores.
    pub threads: usize,
    /// Prepared cases held in host memory, in bytes; `None`: half of what is free.
    pub host_memory_bytes: Option<u64>,
    /// Stop at a case that cannot be read any more, instead of leaving it out.
    pub strict: bool,
    /// When to stop with a state, as if interrupted.
    #[serde(skip)]
    pub time_limit: Option<TimeLimit>,
    /// Which adapter.
    #[serde(skip)]
    pub adapter: AdapterChoice,
    /// Seconds for timing tiles that were not timed on this device; `None`: some, on a GPU.
    #[serde(skip)]
    pub tune_seconds: Option<f64>,
    /// Keep bounds checks in the shaders.
    pub checked_shaders: bool,
    /// Go on from the latest state in the run's folder.
    #[serde(skip)]
    pub resume: bool,
    /// Write event files for TensorBoard.
    #[serde(skip)]
    pub tensorboard: bool,
}

impl TrainOptions {
    /// What `train` does with a data set where no flag says otherwise, without a run's folder.
    pub fn new(dataset: &Path, search: SearchOptions) -> Self {
        TrainOptions {
            preset: None,
            dataset: dataset.to_owned(),
            out: PathBuf::new(),
            fold: FoldId::default(),
            epochs: 200,
            iterations: 250,
            validate_every: 1,
            batch: 2,
            patch: None,
            memory_bytes: None,
            recompute: 0,
            accumulate: false,
            spacing_mm: None,
            reorient: false,
            splits: None,
            cache: None,
            features: 32,
            levels: 0,
            optimizer: Optimizer::Adam,
            learning_rate: 3e-4,
            schedule: Schedule::Poly,
            clip: 12.0,
            batch_dice: false,
            mirror: Axes::ALL,
            interpolation: Interpolation::default(),
            search,
            validate: true,
            seed: 0,
            threads: 0,
            host_memory_bytes: None,
            strict: false,
            time_limit: None,
            adapter: AdapterChoice::default(),
            tune_seconds: None,
            checked_shaders: false,
            resume: false,
            tensorboard: false,
        }
    }

    /// Refuses what cannot be trained, before any work.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the flag.
    pub fn check(&self) -> Result<()> {
        let counts = [
            ("--epochs", self.epochs),
            ("--iterations", self.iterations),
            ("--val-every", self.validate_every),
        ];
        for (flag, value) in counts {
            if value == 0 {
                return Err(Error::Usage(format!("{flag} 0 is not possible; use 1 or more")));
            }
        }
        for (flag, value) in counts {
            if value > MOST_COUNT {
                return Err(Error::Usage(format!(
                    "{flag} {value} is too large; use at most {MOST_COUNT}"
                )));
            }
        }
        self.check_network()?;
        if self.accumulate && self.batch_dice {
            return Err(Error::Usage(
                "--accumulate sees one sample at a time, so that --batch-dice has no batch; drop one \
                 of them"
                    .into(),
            ));
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Err(Error::Usage(format!(
                "--lr {} is not a positive number; give one, as in 3e-4",
                self.learning_rate
            )));
        }
        if self.schedule == Schedule::Plateau && self.learning_rate < LEAST_RATE {
            return Err(Error::Usage(format!(
                "--lr {:e} is below {LEAST_RATE:e}, where --schedule plateau ends a training; use a \
                 larger one",
                self.learning_rate
            )));
        }
        if let Some(spacing) = self.spacing_mm
            && !spacing.iter().all(|&mm| mm.is_finite() && (0.01..=100.0).contains(&mm))
        {
            return Err(Error::Usage(format!(
                "--spacing {} is out of range; give three voxel edges of 0.01 to 100 mm",
                spacing.map(plain).join(",")
            )));
        }
        if !(self.clip.is_finite() && self.clip >= 0.0) {
            return Err(Error::Usage(format!(
                "--clip {} is not a bound; use 12 as nnU-Net does, or 0 for none",
                self.clip
            )));
        }
        if let Some(seconds) = self.tune_seconds
            && !(0.0..=MOST_TUNE_SECONDS).contains(&seconds)
        {
            return Err(Error::Usage(format!(
                "--tune {seconds} is out of range; give 0 to {MOST_TUNE_SECONDS} seconds"
            )));
        }
        self.search.check()
    }
}

impl TrainOptions {
    /// Refuses flags that no network can have, whatever the data.
    fn check_network(&self) -> Result<()> {
        let usage = |text: String| Err(Error::Usage(text));
        if !(1..=MOST_BATCH).contains(&self.batch) {
            return usage(format!(
                "--batch-size {} is out of range; use 1 to {MOST_BATCH}",
                self.batch
            ));
        }
        if !(1..=MAX_FEATURES).contains(&self.features) {
            return usage(format!(
                "--features {} is out of range; use 1 to {MAX_FEATURES}",
                self.features
            ));
        }
        if self.levels != 0 && !(2..=7).contains(&self.levels) {
            return usage(format!("--levels {} is out of range; use 2 to 7", self.levels));
        }
        if let Some(patch) = self.patch {
            let voxels: u64 = patch.iter().map(|&e| u64::from(e)).fold(1, u64::saturating_mul);
            if voxels == 0 || voxels.saturating_mul(self.batch.into()) > MOST_VOXELS {
                let [d, h, w] = patch;
                return usage(format!(
                    "--patch {d},{h},{w} is out of range; use edges from 8, and at most \
                     {MOST_VOXELS} voxels in a batch of {}",
                    self.batch
                ));
            }
        }
        Ok(())
    }
}

/// Options of a small training, for tests.
#[cfg(test)]
pub(super) fn example() -> TrainOptions {
    let search = SearchOptions { mode: SearchMode::Shared, ..SearchOptions::paper() };
    TrainOptions {
        out: "run".into(),
        epochs: 1,
        iterations: 1,
        batch: 1,
        patch: Some([16; 3]),
        features: 4,
        levels: 2,
        learning_rate: 1e-3,
        validate: false,
        seed: 3,
        threads: 1,
        checked_shaders: true,
        ..TrainOptions::new(Path::new("data"), search)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(searcher: SearcherKind) -> SearchOptions {
        SearchOptions { searcher, ..example().search }
    }

    #[test]
    fn flags_that_do_not_go_together_are_refused() {
        let ok = search(SearcherKind::Asng);
        assert_eq!(ok.build().unwrap().0.name(), "asng");
        assert_eq!(search(SearcherKind::Reinforce).build().unwrap().0.name(), "reinforce");
        let few = SearchOptions { variables: SearchVariables::Probabilities, ..ok.clone() };
        let (searcher, space) = few.build().unwrap();
        assert_eq!(space.counts(), [11; 4]);
        assert_eq!(searcher.theta().unwrap().counts(), [11; 4]);
        let wrong = [
            SearchOptions { lambda: 1, ..ok.clone() },
            SearchOptions { every: 0, ..ok.clone() },
            SearchOptions { batches: 0, ..ok.clone() },
            SearchOptions { share: 1.0, ..ok.clone() },
            SearchOptions { step: 0.0, ..ok.clone() },
            SearchOptions { step: f64::NAN, ..ok.clone() },
            SearchOptions {
                variables: SearchVariables::Probabilities,
                ..search(SearcherKind::Default)
            },
            SearchOptions { until: 0.0, ..ok.clone() },
            SearchOptions { until: f64::NAN, ..ok.clone() },
            SearchOptions { policy: Some("x.json".into()), ..ok.clone() },
            search(SearcherKind::Fixed),
        ];
        for options in wrong {
            let error = options.build().err().expect("refused");
            assert_eq!(error.exit_code(), 2, "{options:?}");
        }
    }

    #[test]
    fn the_search_ends_after_its_share_of_the_epochs() {
        let options = search(SearcherKind::Asng);
        assert_eq!([1, 2, 5, 10, 200].map(|e| options.frozen_from(e)), [1, 2, 4, 8, 160]);
    }

    #[test]
    fn the_learning_rate_falls_by_nnunets_rule() {
        assert_eq!(Schedule::Poly.learning_rate(1e-2, 0, 100), 1e-2);
        let half = Schedule::Poly.learning_rate(1.0, 50, 100);
        assert!((half - 0.5f64.powf(0.9)).abs() < 1e-15);
        assert_eq!(Schedule::Constant.learning_rate(3e-4, 99, 100), 3e-4);
    }
}
