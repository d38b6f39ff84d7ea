//! `asng-wgpu completions SHELL`.

use super::{Cli, print};
use crate::error::Result;
use clap::CommandFactory;

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu completions bash > ~/.local/share/bash-completion/completions/asng-wgpu")]
pub(super) struct Completions {
    /// The shell.
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "asng-wgpu", &mut script);
        print(String::from_utf8_lossy(&script).trim_end())
    }
}
