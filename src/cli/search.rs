//! Flags of the augmentation search; `train` and `plan` share them.

use crate::error::{Error, Result};
use crate::train::{
    AfterSearch, CandidateDraws, CandidateUpdates, Recipe, SearchMode, SearchOptions,
    SearchValidation, SearchVariables, SearcherKind,
};
use clap::ValueEnum;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Search")]
pub(super) struct SearchFlags {
    /// Who chooses the augmentation.
    #[arg(long, value_enum, default_value = "asng")]
    searcher: SearcherKind,
    /// For --searcher fixed: a policy.json, a run (its learned policy), or default: nnU-Net's.
    #[arg(long, value_name = "FILE|RUN|default")]
    policy: Option<PathBuf>,
    /// Candidate policies an iteration, each with a batch of its own [default: 2 for searches, 1
    /// otherwise].
    #[arg(long)]
    lambda: Option<usize>,
    /// Values for the flags of the search that are not given: careful, which did best in
    /// benches/EVIDENCE.md, or paper, the search as it was published. It sets the search alone;
    /// --preset paper also sets network and training [default: careful; with --preset paper: paper].
    #[arg(long, value_enum)]
    search_preset: Option<SearchPreset>,
    /// Judge the candidates of the weight step, or fresh ones as in the paper [default: shared].
    #[arg(long, value_enum)]
    search_mode: Option<SearchMode>,
    /// Judge candidates on a quarter of the training cases, set aside until the search stops, or on
    /// the fold's own validation cases (their results are optimistic then) [default: inner; with
    /// --preset paper: fold].
    #[arg(long, value_enum)]
    search_val: Option<SearchValidation>,
    /// With --search-val inner: the share of the training cases that is set aside.
    #[arg(long, default_value_t = 0.25, value_name = "SHARE")]
    search_share: f64,
    /// Validation batches that judge each candidate.
    #[arg(long, default_value_t = 1, value_name = "N")]
    search_batches: u64,
    /// A weight step by each candidate, or one by their mean gradient as in the paper [default:
    /// each].
    #[arg(long, value_enum)]
    candidate_updates: Option<CandidateUpdates>,
    /// Random numbers of its own for each candidate's draws as in the paper, or the same for all
    /// candidates of an iteration that judges, whose samples then differ only where the policies do
    /// [default: common].
    #[arg(long, value_enum)]
    candidate_draws: Option<CandidateDraws>,
    /// Run a policy step every N iterations [default: 4; paper: 1].
    #[arg(long, value_name = "N")]
    search_every: Option<u64>,
    /// Share of the epochs after which the distribution is frozen and all training cases are used
    /// [default: 0.4; paper: 0.8].
    #[arg(long, value_name = "SHARE")]
    search_until: Option<f64>,
    /// What augments once the search is over: policies drawn from the frozen distribution as in the
    /// paper, or its most probable policy [default: policy].
    #[arg(long, value_enum)]
    after_search: Option<AfterSearch>,
    /// Where the distribution starts: near (0.9 of each variable's mass at nnU-Net's policy), default
    /// (half of it), uniform as in the paper, or a policy.json or a run, whose distribution it is [default: near].
    #[arg(long, value_name = "near|default|uniform|FILE|RUN")]
    search_init: Option<String>,
    /// With --searcher asng or sng: first step of the distribution in its Fisher metric; smaller ones
    /// need more agreement among the judgements to go as far [default: 0.1; paper: 1].
    #[arg(long, value_name = "STEP")]
    search_step: Option<f64>,
    /// TOML or JSON file with another policy space.
    #[arg(long)]
    space: Option<PathBuf>,
    /// Search or draw all variables of the space, or the probabilities of the transforms alone.
    #[arg(long, value_enum, default_value = "all")]
    searcher_variables: SearchVariables,
}

/// Values of the flags that are not given.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum SearchPreset {
    Careful,
    Paper,
}

impl SearchFlags {
    /// The flags, resolved; what is not given is as in the recipe.
    ///
    /// # Errors
    /// [`Error::Usage`] for a flag that the searcher does not heed.
    pub fn options(&self, recipe: &Recipe) -> Result<SearchOptions> {
        let searcher = self.searcher;
        if self.search_step.is_some()
            && ![SearcherKind::Asng, SearcherKind::Sng].contains(&searcher)
        {
            return Err(Error::Usage(
                "--search-step goes with --searcher asng or sng; drop it".into(),
            ));
        }
        let usual = match self.search_preset {
            Some(SearchPreset::Careful) => SearchOptions::careful(),
            Some(SearchPreset::Paper) => SearchOptions::paper(),
            None => recipe.search.clone(),
        };
        Ok(SearchOptions {
            searcher,
            policy: self.policy.clone(),
            lambda: self.lambda.unwrap_or(if searcher.learns() { 2 } else { 1 }),
            mode: self.search_mode.unwrap_or(usual.mode),
            updates: self.candidate_updates.unwrap_or(usual.updates),
            draws: self.candidate_draws.unwrap_or(usual.draws),
            validation: self.search_val.unwrap_or(recipe.search.validation),
            share: self.search_share,
            batches: self.search_batches,
            every: self.search_every.unwrap_or(usual.every),
            until: self.search_until.unwrap_or(usual.until),
            after: self.after_search.unwrap_or(usual.after),
            init: self.search_init.clone().unwrap_or(usual.init),
            step: self.search_step.unwrap_or(usual.step),
            space: self.space.clone(),
            variables: self.searcher_variables,
        })
    }
}
