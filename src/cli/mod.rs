//! The command line: parse, call, print. No logic.

mod demo;
mod devices;
mod evaluate;
mod progress;
mod train;

use crate::error::Error;
use crate::gpu::AdapterChoice;
use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;

/// Trains 3D U-Nets for medical image segmentation on any vendor's GPU.
#[derive(Parser, Debug)]
#[command(name = "asng-wgpu", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Lists the adapters and which one is taken.
    Devices(devices::Devices),
    /// Writes a synthetic data set in the layout of the Medical Segmentation Decathlon.
    Demo(demo::Demo),
    /// Dice, IoU and counts of predictions against references.
    Evaluate(evaluate::Evaluate),
    /// Trains a U-Net on one fold of a data set.
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

/// Whether shaders keep their bounds checks: always in debug builds, else where the environment
/// variable `ASNG_WGPU_CHECKED_SHADERS` is 1.
fn checked_shaders() -> bool {
    cfg!(debug_assertions)
        || std::env::var_os("ASNG_WGPU_CHECKED_SHADERS").is_some_and(|v| v == "1")
}

/// Parses the command line, runs it, prints errors and gives the exit code.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Devices(command) => command.run(),
        Command::Demo(command) => command.run(),
        Command::Evaluate(command) => command.run(),
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

fn print_error(error: &Error) {
    eprintln!("asng-wgpu: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        eprintln!("    {inner}");
        cause = inner.source();
    }
}
