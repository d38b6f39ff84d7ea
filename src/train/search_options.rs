//! The flags of the search.

use crate::run::{find_policy, open_policy};
use crate::search::asng::AsngOptions;
use crate::search::reinforce::Reinforce;
use crate::search::searcher::{AsngSearcher, Constant, Frozen, SearchInit, Searcher, fixed_from};
use crate::search::space::Space;
use crate::{Error, Result};
use clap::ValueEnum;
use serde::Serialize;
use std::path::PathBuf;

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
    /// The policy step draws fresh candidates and computes their gradients again (the paper).
    Paper,
}

/// Which cases the reward is measured on (`--search-val`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SearchValidation {
    /// A share of the fold's training cases, set aside until the search stops.
    Inner,
    /// The fold's own validation cases: results on them become optimistic.
    Fold,
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
    /// Iterations from one policy step to the next.
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

    /// Refuses flags that do not go together.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the flag.
    pub(super) fn check(&self) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::super::options::example;
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
}
