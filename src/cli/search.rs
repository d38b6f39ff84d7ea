//! Flags of the augmentation search; `train` and `plan` share them.

use crate::train::{
    AfterSearch, CandidateDraws, CandidateUpdates, SearchMode, SearchOptions, SearchValidation,
    SearchVariables, SearcherKind,
};
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Search")]
pub(super) struct SearchFlags {
    /// Who chooses the augmentation.
    #[arg(long, value_enum, default_value = "asng")]
    searcher: SearcherKind,
    /// For `--searcher fixed`: the policy.json of a run.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// Candidate policies an iteration, each with a batch of its own [default: 2 for searches, 1
    /// otherwise].
    #[arg(long)]
    lambda: Option<usize>,
    /// Judge the candidates of the weight step, or fresh ones as in the paper.
    #[arg(long, value_enum, default_value = "shared")]
    search_mode: SearchMode,
    /// Judge candidates on a quarter of the training cases, set aside until the search stops, or on
    /// the fold's own validation cases (their results are optimistic then).
    #[arg(long, value_enum, default_value = "inner")]
    search_val: SearchValidation,
    /// With --search-val inner: the share of the training cases that is set aside.
    #[arg(long, default_value_t = 0.25, value_name = "SHARE")]
    search_share: f64,
    /// Validation batches that judge each candidate.
    #[arg(long, default_value_t = 1, value_name = "N")]
    search_batches: u64,
    /// A weight step by each candidate, or one by their mean gradient as in the paper.
    #[arg(long, value_enum, default_value = "each")]
    candidate_updates: CandidateUpdates,
    /// Random numbers of its own for each candidate's draws, or the same for all candidates of an
    /// iteration, whose samples then differ only where the policies do.
    #[arg(long, value_enum, default_value = "own")]
    candidate_draws: CandidateDraws,
    /// A policy step every so many iterations.
    #[arg(long, default_value_t = 1)]
    search_every: u64,
    /// Share of the epochs after which the distribution is frozen and all training cases are used.
    #[arg(long, default_value_t = 0.8)]
    search_until: f64,
    /// What augments once the search is over: policies drawn from the frozen distribution, or its
    /// most probable policy.
    #[arg(long, value_enum, default_value = "distribution")]
    after_search: AfterSearch,
    /// Where the distribution starts: default (around nnU-Net's policy), uniform as in the paper, or
    /// the policy.json of a run.
    #[arg(long, default_value = "default")]
    search_init: String,
    /// With --search-init default: the share of each variable's mass that starts on the value
    /// nearest to nnU-Net's policy; the rest is spread over the other values.
    #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
    search_mass: f64,
    /// With --searcher asng or sng: first step of the distribution in its Fisher metric; smaller ones
    /// need more agreement among the judgements to go as far.
    #[arg(long, default_value_t = 1.0, value_name = "STEP")]
    search_step: f64,
    /// TOML or JSON file with another policy space.
    #[arg(long)]
    space: Option<PathBuf>,
    /// Search or draw all variables of the space, or the probabilities of the transforms alone.
    #[arg(long, value_enum, default_value = "all")]
    searcher_variables: SearchVariables,
}

impl SearchFlags {
    /// The flags, resolved.
    pub fn options(&self) -> SearchOptions {
        let searcher = self.searcher;
        SearchOptions {
            searcher,
            policy: self.policy.clone(),
            lambda: self.lambda.unwrap_or(if searcher.learns() { 2 } else { 1 }),
            mode: self.search_mode,
            updates: self.candidate_updates,
            draws: self.candidate_draws,
            validation: self.search_val,
            share: self.search_share,
            batches: self.search_batches,
            every: self.search_every,
            until: self.search_until,
            after: self.after_search,
            init: self.search_init.clone(),
            mass: self.search_mass,
            step: self.search_step,
            space: self.space.clone(),
            variables: self.searcher_variables,
        }
    }
}
