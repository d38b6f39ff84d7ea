//! The command line: parse, call, print. No logic.

mod augment;
mod check;
mod compare;
mod completions;
mod cross_validate;
mod demo;
mod devices;
mod evaluate;
mod interpolation;
mod man;
mod measures;
mod mirroring;
mod network;
mod plan;
mod policy;
mod predict;
mod progress;
mod recipe;
mod report;
mod resume;
mod search;
mod signals;
mod table;
mod train;
mod values;

use crate::crash;
use crate::error::{Error, Result};
use crate::gpu::{AdapterChoice, Fault};
use crate::numbers::MOST_NAMED;
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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
    /// Host threads [default: as many as cores].
    #[arg(long, global = true, default_value_t = 0, hide_default_value = true, value_name = "N")]
    threads: usize,
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

/// Heading of the flags about the device.
const DEVICE: &str = "Device";

/// Flags of every command that uses a device.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = DEVICE)]
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
        let (device, backend) = (self.device.clone(), self.backend.clone());
        AdapterChoice { device, backend, fault: fault() }
    }
}

/// The fault that a test provokes by the environment.
fn fault() -> Option<Arc<Fault>> {
    Fault::parse(&std::env::var("ASNG_WGPU_FAULT").ok()?).map(Arc::new)
}

impl Command {
    fn run(&self) -> Result<()> {
        match self {
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
        }
    }

    /// Refuses flags that cannot be, before any work. Commands whose flags need no more than their
    /// types have nothing to add.
    fn check(&self) -> Result<()> {
        match self {
            Command::Augment(command) => command.options()?.check(),
            Command::Demo(command) => command.check(),
            Command::Evaluate(command) => command.check(),
            Command::Plan(command) => command.options().map(drop),
            Command::Predict(command) => command.options()?.check(),
            Command::Train(command) => command.options().map(drop),
            _ => Ok(()),
        }
    }
}

/// The parser, for those who describe it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Whether a command line, the program's name first, would be carried out: it is parsed and its
/// flags are checked, which reads the files that flags name but writes nothing and opens no device.
///
/// # Errors
/// [`Error::Usage`] with the parser's text, or that of the command.
pub fn check_arguments(arguments: impl IntoIterator<Item = OsString>) -> Result<()> {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => check_threads(cli.threads).and_then(|()| cli.command.check()),
        // The help and the version are texts too.
        Err(e) if e.exit_code() == 0 => Ok(()),
        Err(e) => Err(Error::Usage(values::advised(e).to_string())),
    }
}

/// Parses the command line, runs it, prints errors and gives the exit code.
pub fn run() -> ExitCode {
    crash::install(env!("ASNG_WGPU_VERSION"), resume::this_command());
    let cli = match Cli::try_parse().map_err(values::advised) {
        Ok(cli) => cli,
        Err(text) => {
            // Nobody is left to be told when the output is closed.
            let _ = text.print();
            return ExitCode::from(u8::try_from(text.exit_code()).unwrap_or(2));
        }
    };
    QUIET.store(cli.quiet, Ordering::Relaxed);
    let outcome = start_threads(cli.threads)
        .and_then(|()| cli.command.check())
        .and_then(|()| cli.command.run());
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Most host threads: more would only take memory.
const MOST_THREADS: usize = 1024;

fn check_threads(threads: usize) -> Result<()> {
    match threads <= MOST_THREADS {
        true => Ok(()),
        false => Err(Error::Usage(format!(
            "--threads {threads} is too many; use 1 to {MOST_THREADS}, or leave it out for as many \
             as cores"
        ))),
    }
}

/// Makes the host threads that all parallel work shares.
fn start_threads(threads: usize) -> Result<()> {
    check_threads(threads)?;
    THREADS.store(threads, Ordering::Relaxed);
    if threads == 0 {
        return Ok(());
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build_global().map_err(|e| {
        Error::Usage(format!("cannot start {threads} threads ({e}); use fewer with --threads"))
    })
}

/// What `--threads` says; 0: as many as cores. Set once, before any command runs.
static THREADS: AtomicUsize = AtomicUsize::new(0);

fn threads() -> usize {
    THREADS.load(Ordering::Relaxed)
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

/// Warns by one line each, at most [`MOST_NAMED`] of them; of others it gives the number.
fn say_at_most(warnings: &[String]) {
    for warning in warnings.iter().take(MOST_NAMED) {
        say(&format!("warning: {warning}"));
    }
    if warnings.len() > MOST_NAMED {
        say(&format!("warning: and {} more such warnings", warnings.len() - MOST_NAMED));
    }
}

/// Writes a result that is printed already; what cannot be written is a matter of `-o`.
fn write_result(path: &Path, content: &[u8]) -> Result<()> {
    crate::files::replace(path, content).map_err(|error| match error {
        Error::Io { source, .. } => Error::Io {
            context: format!(
                "cannot write '{}', so the result is only in what was printed; name another file \
                 with -o",
                path.display()
            ),
            source,
        },
        other => other,
    })?;
    say(&format!("written to '{}'", path.display()));
    Ok(())
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
    complain(&format!("asng-wgpu: {error}"));
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        complain(&format!("    {inner}"));
        cause = inner.source();
    }
}
