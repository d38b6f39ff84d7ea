//! The settings that are compared.

use std::path::{Path, PathBuf};

/// Epochs of the searches, and of the others at equal numbers of weight updates.
const EPOCHS: u64 = 10;
/// Epochs of the others at equal time: an iteration of a search with two candidates takes as long as
/// about 2.6 plain ones (`cargo bench --bench search`: 1.32 times two plain steps).
const EPOCHS_EQUAL_TIME: u64 = 26;
/// Epochs of a search that ends after 0.4 of them, so that the rest costs two plain steps an
/// iteration: in sum as much as the others' time.
const EPOCHS_EARLY: u64 = 11;

/// The network and its training, the same for all.
const RECIPE: [&str; 12] = [
    "--patch",
    "40,56,40",
    "--features",
    "8",
    "--levels",
    "4",
    "--val-every",
    "1000",
    "--iterations",
    "40",
    "--lr",
    "3e-3",
];

/// How many of the fold's training cases are used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cases {
    /// Twenty.
    Few,
    /// All of them.
    All,
}

impl Cases {
    pub fn name(self) -> &'static str {
        match self {
            Cases::Few => "few",
            Cases::All => "all",
        }
    }
}

/// What a setting spends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// As many iterations as the searches.
    Updates,
    /// As much time as a search in mode `shared`.
    Time,
}

/// One way to train.
pub struct Setting {
    pub name: &'static str,
    pub cases: Cases,
    pub budget: Budget,
    epochs: u64,
    flags: &'static [&'static str],
}

impl Setting {
    /// Seeds that it is trained with.
    pub fn seeds(&self, most: u64) -> u64 {
        if self.cases == Cases::Few { most } else { most.min(1) }
    }

    /// The folder of a run.
    pub fn folder(&self, out: &Path, seed: u64) -> PathBuf {
        out.join(self.cases.name()).join(format!("{}-{seed}", self.name.replace(' ', "-")))
    }

    /// Flags of `train` beside data, seed and folders.
    pub fn flags(&self) -> Vec<String> {
        let epochs = ["--epochs".to_owned(), self.epochs.to_string()];
        RECIPE.iter().chain(self.flags).map(|flag| (*flag).to_owned()).chain(epochs).collect()
    }
}

/// All settings, the plain ones first. Every flag that `train` might one day default otherwise is
/// given.
pub fn settings() -> Vec<Setting> {
    let mut all = Vec::new();
    for cases in [Cases::Few, Cases::All] {
        let mut add = |name, epochs, flags| {
            let budget = if epochs == EPOCHS_EQUAL_TIME { Budget::Time } else { Budget::Updates };
            all.push(Setting { name, cases, budget, epochs, flags });
        };
        for (epochs, names) in [
            (EPOCHS, ["none", "default", "random", "trivial"]),
            (EPOCHS_EQUAL_TIME, ["none long", "default long", "random long", "trivial long"]),
        ] {
            add(names[0], epochs, &["--searcher", "none"]);
            add(names[1], epochs, &["--searcher", "default"]);
            add(names[2], epochs, &["--searcher", "random"]);
            add(names[3], epochs, &["--searcher", "trivial"]);
        }
        add("asng shared", EPOCHS, &["--search-init", "uniform", "--candidate-updates", "mean"]);
        add(
            "asng paper",
            EPOCHS,
            &["--search-mode", "paper", "--search-init", "uniform", "--candidate-updates", "mean"],
        );
        for (name, epochs, flags) in REMEDIES {
            add(name, *epochs, flags);
        }
    }
    all
}

/// Changes to the search that stay true to the method, one after the other: name, epochs, flags.
const REMEDIES: &[(&str, u64, &[&str])] = &[
    ("asng each", EPOCHS, &["--search-init", "uniform", "--candidate-updates", "each"]),
    ("asng warm", EPOCHS, &["--search-init", "default", "--candidate-updates", "mean"]),
    ("asng warm each", EPOCHS, &["--search-init", "default", "--candidate-updates", "each"]),
    (
        "asng warm each early",
        EPOCHS_EARLY,
        &["--search-init", "default", "--candidate-updates", "each", "--search-until", "0.4"],
    ),
    (
        "asng warm each early judged by 4",
        EPOCHS_EARLY,
        &[
            "--search-init",
            "default",
            "--candidate-updates",
            "each",
            "--search-until",
            "0.4",
            "--search-batches",
            "4",
            "--search-every",
            "4",
        ],
    ),
];
