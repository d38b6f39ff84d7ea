//! What the search is worth and what it costs: trains the same network on a fold of a data set with
//! each way to choose the augmentation, and compares the results case by case.
//!
//! Runs are resumable one by one: what `results.jsonl` has is not trained again, what was interrupted
//! goes on. Every run is made by the program itself, with the flags that `results.jsonl` lists.

mod report;
mod results;
mod settings;

use asng_wgpu::Error;
use asng_wgpu::data::dataset::Dataset;
use asng_wgpu::data::split::{self, Fold};
use asng_wgpu::files;
use clap::Parser;
use results::{Finished, Results};
use settings::{Cases, Setting, settings};
use std::path::{Path, PathBuf};
use std::process::Command;

type Result<T> = std::result::Result<T, Error>;

/// Trains with each way to choose the augmentation and compares the results.
#[derive(Parser)]
struct Flags {
    /// Folder of the data set.
    dataset: PathBuf,
    /// Folder of the runs, of results.jsonl and of report.md.
    out: PathBuf,
    /// Seeds of the settings with few cases.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Only settings whose name contains one of these texts.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Train nothing; write the report of what there is.
    #[arg(long)]
    report: bool,
    /// Further flags of every training, for example --features 4.
    #[arg(last = true)]
    flags: Vec<String>,
    /// Given by cargo bench; says nothing.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Fold that is trained.
const FOLD: usize = 0;
/// Training cases of the small setting.
const FEW: usize = 20;

fn main() -> std::process::ExitCode {
    match run(&Flags::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> Result<()> {
    let wanted: Vec<Setting> = settings()
        .into_iter()
        .filter(|s| flags.only.is_empty() || flags.only.iter().any(|part| s.name.contains(part)))
        .collect();
    if wanted.is_empty() {
        return Err(Error::Usage("--only leaves no setting; leave it out for all".into()));
    }
    files::create_folder(&flags.out)?;
    let mut results = Results::open(&flags.out)?;
    if !flags.report {
        let splits = write_splits(flags)?;
        // Seed by seed, so that an unfinished series still compares all settings.
        for seed in 0..flags.seeds {
            for setting in wanted.iter().filter(|s| seed < s.seeds(flags.seeds)) {
                train(flags, setting, seed, &splits, &mut results)?;
            }
        }
    }
    let text = report::report(&results, &wanted)?;
    files::replace(&flags.out.join("report.md"), text.as_bytes())?;
    println!("{text}");
    Ok(())
}

/// The folds with few training cases, evenly picked from the sorted ones; and their file.
fn write_splits(flags: &Flags) -> Result<PathBuf> {
    let folds = split::folds(&Dataset::open(&flags.dataset)?)?;
    let few: Vec<Fold> = folds
        .into_iter()
        .map(|fold| {
            let mut train = fold.train.clone();
            train.sort();
            let count = train.len().min(FEW);
            let picked = (0..count).map(|i| train[i * train.len() / count].clone()).collect();
            Fold { train: picked, val: fold.val }
        })
        .collect();
    let path = flags.out.join("few.json");
    let text = serde_json::to_string_pretty(&few)
        .map_err(|e| Error::Input(format!("the folds cannot be written: {e}")))?;
    files::replace(&path, text.as_bytes())?;
    Ok(path)
}

/// Trains one run unless it is there already.
fn train(
    flags: &Flags,
    setting: &Setting,
    seed: u64,
    splits: &Path,
    results: &mut Results,
) -> Result<()> {
    let own: Vec<String> = setting.flags().into_iter().chain(flags.flags.clone()).collect();
    if results.find(setting, seed, &own)?.is_some() {
        return Ok(());
    }
    let out = setting.folder(&flags.out, seed);
    let mut command = Command::new(env!("CARGO_BIN_EXE_asng-wgpu"));
    command.arg("train").arg(&flags.dataset).arg("--out").arg(&out).arg("--resume");
    command.args(["--fold", &FOLD.to_string(), "--seed", &seed.to_string()]);
    command.arg("--cache").arg(flags.out.join("cache").join(setting.cases.name()));
    if setting.cases == Cases::Few {
        command.arg("--splits").arg(splits);
    }
    command.args(&own);
    println!("{} {}, seed {seed}", setting.cases.name(), setting.name);
    let status = command.status().map_err(|e| Error::io("start the program for", &out, e))?;
    if !status.success() {
        return Err(Error::Input(format!(
            "the training in '{}' ended with {status}; start again to go on",
            out.display()
        )));
    }
    results.add(Finished::read(&out, setting, seed, own)?)
}
