//! Flags of the augmentation search; `train` and `plan` share them.

use crate::train::{SearchMode, SearchOptions, SearchValidation, SearcherKind};
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
    /// A policy step every so many iterations.
    #[arg(long, default_value_t = 1)]
    search_every: u64,
    /// Share of the epochs after which the distribution is frozen and all training cases are used.
    #[arg(long, default_value_t = 0.8)]
    search_until: f64,
    /// Where the distribution starts: uniform, default (near nnU-Net's policy), or the policy.json
    /// of a run.
    #[arg(long, default_value = "uniform")]
    search_init: String,
    /// TOML or JSON file with another policy space.
    #[arg(long)]
    space: Option<PathBuf>,
}

impl SearchFlags {
    /// The flags, resolved.
    pub fn options(&self) -> SearchOptions {
        let searcher = self.searcher;
        let learns = matches!(searcher, SearcherKind::Asng | SearcherKind::Sng);
        SearchOptions {
            searcher,
            policy: self.policy.clone(),
            lambda: self.lambda.unwrap_or(if learns { 2 } else { 1 }),
            mode: self.search_mode,
            validation: self.search_val,
            every: self.search_every,
            until: self.search_until,
            init: self.search_init.clone(),
            space: self.space.clone(),
        }
    }
}
