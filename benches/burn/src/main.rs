//! The training step and the convolutions of the main package's benches, as a user of Burn would
//! write them, under the same names: `benches/compare` sets both side by side.

mod adapter;
mod bench;
mod layers;
mod loss;
mod random;
mod step;
mod unet;

use bench::{Bench, Result};
use std::process::ExitCode;

fn run() -> Result<()> {
    let mut bench = Bench::start()?;
    step::cases(&mut bench)?;
    layers::cases(&mut bench)
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
