//! The command line: parse, call, print. No logic.

mod augment;
mod check;
mod compare;
mod completions;
mod cross_validate;
mod demo;
mod devices;
mod evaluate;
mod man;
mod measures;
mod network;
mod plan;
mod policy;
mod predict;
mod progress;
mod report;
mod resume;
mod search;
mod table;
mod train;

use crate::error::{Error, Result};
use crate::gpu::AdapterChoice;
use clap::{Args, Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Trains 3D U-Nets for medical image segmentation on any vendor's GPU.
#[derive(Parser, Debug)]
#[command(
    name = "asng-wgpu",
    version = env!("ASNG_WGPU_VERSION"),
    after_long_help = "\
Example:
  asng-wgpu demo heart
  asng-wgpu check heart
  asng-wgpu train heart --out runs/heart
  asng-wgpu predict -m runs/heart -i heart/imagesTr -o predictions
  asng-wgpu evaluate predictions heart/labelsTr

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. Results go to stdout, everything
else to stderr. ASNG_WGPU_CHECKED_SHADERS=1 keeps bounds checks in the shaders; WGPU_BACKEND and
NO_COLOR are respected."
)]
struct Cli {
    /// Print errors and results only.
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Shows what a policy does to a case: volumes and a contact sheet.
    Augment(Box<augment::Augment>),
    /// Reads every file of a data set and reports all that is wrong.
    Check(check::Check),
    /// Compares runs on the same cases: paired differences, intervals, p values.
    Compare(compare::Compare),
    /// Prints a completion script for a shell.
    Completions(completions::Completions),
    /// Puts the validation cases of a run's folds together.
    CrossValidate(cross_validate::CrossValidate),
    /// Lists the adapters, whether their kernels compute rightly, and which one is taken.
    Devices(devices::Devices),
    /// Writes a synthetic data set in the layout of the Medical Segmentation Decathlon.
    Demo(demo::Demo),
    /// Dice, surface distances and counts of predictions against references.
    Evaluate(evaluate::Evaluate),
    /// Writes manual pages.
    Man(man::Man),
    /// Plans patch and network for a data set, and forecasts memory and time.
    Plan(Box<plan::Plan>),
    /// Prints learned policies.
    Policy(policy::PolicyCommand),
    /// Segments images with the networks of a run.
    Predict(predict::Predict),
    /// Writes the report of a run: how its training goes or went.
    Report(report::Report),
    /// Trains a U-Net on a fold of a data set, or on all, and searches the augmentation.
    Train(Box<train::Train>),
}

/// Flags of every command that uses a device.
#[derive(Args, Debug, Clone)]
struct DeviceFlags {
    /// Adapter: auto, cpu (the software one), a number or a part of a name from `devices`.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Graphics interface: vulkan, metal, dx12 or gl [default: whichever works].
    #[arg(long, default_value = "", hide_default_value = true)]
    backend: String,
}

impl DeviceFlags {
    fn choice(&self) -> AdapterChoice {
        AdapterChoice { device: self.device.clone(), backend: self.backend.clone() }
    }
}

/// Parses the command line, runs it, prints errors and gives the exit code.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    QUIET.store(cli.quiet, Ordering::Relaxed);
    let outcome = match cli.command {
        Command::Augment(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Compare(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::CrossValidate(command) => command.run(),
        Command::Devices(command) => command.run(),
        Command::Demo(command) => command.run(),
        Command::Evaluate(command) => command.run(),
        Command::Man(command) => command.run(),
        Command::Plan(command) => command.run(),
        Command::Policy(command) => command.run(),
        Command::Predict(command) => command.run(),
        Command::Report(command) => command.run(),
        Command::Train(command) => command.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Whether `--quiet` was given; set once, before any command runs.
static QUIET: AtomicBool = AtomicBool::new(false);

fn quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Prints a sentence about the work on stderr, unless `--quiet`.
fn say(sentence: &str) {
    if !quiet() {
        complain(sentence);
    }
}

/// Prints a sentence on stderr, `--quiet` or not.
fn complain(sentence: &str) {
    // Nobody is left to be told when stderr is closed.
    let _ = writeln!(std::io::stderr(), "{sentence}");
}

/// Prints results on stdout; that the reader went away (`| head`) is no error.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Io { context: "cannot print the result".into(), source: e })
        }
        _ => Ok(()),
    }
}

/// The three numbers D,H,W of a flag.
fn edges<T: std::str::FromStr>(flag: &str, text: &str) -> Result<[T; 3]> {
    let list: Option<Vec<T>> = text.split(',').map(|e| e.trim().parse().ok()).collect();
    list.and_then(|l| l.try_into().ok()).ok_or_else(|| {
        Error::Usage(format!("{flag} '{text}' is no D,H,W; give three numbers as in 40,56,40"))
    })
}

/// Whether shaders keep their bounds checks: by the environment, and in debug builds.
fn checked_shaders() -> bool {
    std::env::var_os("ASNG_WGPU_CHECKED_SHADERS").is_some_and(|v| v == "1")
        || cfg!(debug_assertions)
}

fn print_error(error: &Error) {
    eprintln!("asng-wgpu: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        eprintln!("    {inner}");
        cause = inner.source();
    }
}
