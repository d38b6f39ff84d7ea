//! The training step and the convolutions of the main package's benches, as a user of Burn would
//! write them, under the same names: `benches/compare` sets both side by side.
//!
//! Each case has a process of its own, so that one which Burn cannot do on the device at hand, or not
//! in time, costs no other.

mod adapter;
mod bench;
#[path = "../../common/cases.rs"]
mod cases;
mod child;
mod flags;
mod layers;
mod loss;
mod random;
mod step;
mod unet;

use bench::{Bench, Result};
use clap::Parser;
use flags::Flags;
use std::process::ExitCode;

/// Does a case and prints its row, given its name.
type Run = dyn Fn(&mut Bench, &str) -> Result<()>;

/// One case.
pub struct Job {
    name: String,
    /// Left out by --quick.
    long: bool,
    run: Box<Run>,
}

fn run() -> Result<()> {
    let (flags, jobs) = (Flags::parse(), step::jobs().into_iter().chain(layers::jobs()));
    if let Some(name) = &flags.case {
        let job = jobs.into_iter().find(|job| job.name == *name);
        let job = job.ok_or_else(|| format!("there is no case '{name}'"))?;
        return (job.run)(&mut Bench::open(&flags)?, name);
    }
    child::head(&flags)?;
    let wanted = |name: &str| flags.filter.as_deref().is_none_or(|text| name.contains(text));
    for job in jobs.filter(|job| wanted(&job.name) && !(flags.quick && job.long)) {
        child::run(&flags, &job.name)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("error: {text}");
            ExitCode::FAILURE
        }
    }
}
