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
/// The same with a policy step every 4th iteration.
const EPOCHS_SPARSE: u64 = 12;

/// The network and its training, the same for all. Settings add `--no-mirror`: mirroring makes the two
/// ends of the hippocampus alike and costs more than any policy gains here. One with it is named so.
const RECIPE: [&str; 12] = [
    "--patch",
    "32,40,32",
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
    /// As many weight steps as a search that makes one an iteration.
    Updates,
    /// As much time as such a search in mode `shared`.
    Time,
    /// Both.
    Both,
}

impl Budget {
    /// Whether a setting may be held against a baseline.
    pub fn meets(self, baseline: Budget) -> bool {
        self == Budget::Both || self == baseline
    }
}

/// One way to train.
pub struct Setting {
    pub name: &'static str,
    pub cases: Cases,
    pub budget: Budget,
    epochs: u64,
    flags: Vec<String>,
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
        let recipe = RECIPE.iter().map(|flag| (*flag).to_owned());
        recipe.chain(self.flags.iter().cloned()).chain(epochs).collect()
    }
}

/// All settings, the plain ones first.
pub fn settings() -> Vec<Setting> {
    let mut all = Vec::new();
    for cases in [Cases::Few, Cases::All] {
        let mut add = |name, budget, epochs, flags| {
            all.push(Setting { name, cases, budget, epochs, flags });
        };
        let plain = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect();
        let long = ["none long", "default long", "random long", "trivial long"];
        for (budget, epochs, names) in [
            (Budget::Updates, EPOCHS, ["none", "default", "random", "trivial"]),
            (Budget::Time, EPOCHS_EQUAL_TIME, long),
        ] {
            add(names[0], budget, epochs, plain(&["--searcher", "none"]));
            add(names[1], budget, epochs, plain(&["--searcher", "default", "--no-mirror"]));
            add(names[2], budget, epochs, plain(&["--searcher", "random", "--no-mirror"]));
            add(names[3], budget, epochs, plain(&["--searcher", "trivial", "--no-mirror"]));
        }
        let mirrored = plain(&["--searcher", "default"]);
        add("default mirrored long", Budget::Time, EPOCHS_EQUAL_TIME, mirrored);
        for search in SEARCHES {
            add(search.name, search.budget(), search.epochs, search.flags());
        }
    }
    all
}

/// A search and what is changed of it. Every flag that `train` might one day default otherwise is
/// given.
struct Search {
    name: &'static str,
    epochs: u64,
    mode: &'static str,
    init: &'static str,
    updates: &'static str,
    until: &'static str,
    every: &'static str,
    draws: &'static str,
    step: &'static str,
    variables: &'static str,
    after: &'static str,
    lambda: u64,
}

/// Mode `shared`, all else as in the paper.
const SHARED: Search = Search {
    name: "asng shared",
    epochs: EPOCHS,
    mode: "shared",
    init: "uniform",
    updates: "mean",
    until: "0.8",
    every: "1",
    draws: "own",
    step: "1",
    variables: "all",
    after: "distribution",
    lambda: 2,
};

/// A start at nnU-Net's policy, a step by each candidate, an early end, a small first step, and luck that
/// both candidates share.
const CAREFUL: Search = Search {
    name: "asng warm each early small common",
    epochs: EPOCHS_EARLY,
    init: "default",
    updates: "each",
    until: "0.4",
    draws: "common",
    step: "0.1",
    ..SHARED
};

/// The same with a judgement every 4th iteration.
const SPARSE: Search = Search {
    name: "asng warm each early small common every 4",
    epochs: EPOCHS_SPARSE,
    every: "4",
    ..CAREFUL
};

/// The same from nearer to nnU-Net's policy, of which the most probable policy goes on: the defaults.
const PRESET: Search = Search {
    name: "asng careful every 4, mass 0.9, then its policy",
    init: "near",
    after: "policy",
    ..SPARSE
};

/// The search as published, and changes that stay true to it.
const SEARCHES: [Search; 10] = [
    SHARED,
    Search { name: "asng paper", mode: "paper", ..SHARED },
    CAREFUL,
    SPARSE,
    Search { name: "asng uniform, careful every 4", init: "uniform", ..SPARSE },
    Search { name: "asng careful, then its policy", after: "policy", ..CAREFUL },
    Search { name: "asng careful, mass 0.9", init: "near", ..CAREFUL },
    PRESET,
    Search {
        name: "asng careful every 4, mass 0.9, probabilities, then its policy",
        variables: "probabilities",
        ..PRESET
    },
    // Each candidate makes a weight step, so half of the iterations do.
    Search {
        name: "asng careful every 4, mass 0.9, four candidates, then its policy",
        epochs: EPOCHS_SPARSE / 2,
        lambda: 4,
        ..PRESET
    },
];

impl Search {
    fn budget(&self) -> Budget {
        match (self.mode, self.updates) {
            ("paper", _) => Budget::Updates,
            (_, "each") => Budget::Time,
            _ => Budget::Both,
        }
    }

    fn flags(&self) -> Vec<String> {
        let pairs = [
            ("--search-mode", self.mode),
            ("--search-init", self.init),
            ("--candidate-updates", self.updates),
            ("--search-until", self.until),
            ("--search-every", self.every),
            ("--candidate-draws", self.draws),
            ("--search-step", self.step),
            ("--searcher-variables", self.variables),
            ("--after-search", self.after),
        ];
        let pairs = pairs.iter().flat_map(|(flag, value)| [*flag, *value]);
        let flags = std::iter::once("--no-mirror").chain(pairs).map(String::from);
        let lambda = (self.lambda != SHARED.lambda).then(|| self.lambda.to_string());
        flags.chain(lambda.into_iter().flat_map(|n| ["--lambda".to_owned(), n])).collect()
    }
}
