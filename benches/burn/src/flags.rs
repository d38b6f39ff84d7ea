//! What the command line asks for.

use clap::Parser;
use std::path::PathBuf;

/// Times Burn on the training step and the convolutions of asng-wgpu's benches.
#[derive(Parser)]
pub struct Flags {
    /// Fewer repetitions, and only what takes less than two minutes on a slow device.
    #[arg(long)]
    pub quick: bool,
    /// Write one JSON line a row to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Number of the adapter, as 'asng-wgpu devices' lists them.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub adapter: usize,
    /// Only cases whose name contains this text.
    pub filter: Option<String>,
    /// Runs the case of exactly this name in this process.
    #[arg(long, hide = true)]
    pub case: Option<String>,
}
