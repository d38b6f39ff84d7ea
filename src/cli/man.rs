//! `asng-wgpu man DIR`.

use super::{Cli, print};
use crate::error::{Error, Result};
use crate::files;
use clap::CommandFactory;
use std::path::{Path, PathBuf};

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu man ~/.local/share/man/man1
  man asng-wgpu-train

Writes one page a command, and prints their paths.")]
pub(super) struct Man {
    /// Folder to write to, named man1 where `man` is to find the pages.
    dir: PathBuf,
}

impl Man {
    pub(super) fn run(&self) -> Result<()> {
        files::create_folder(&self.dir)?;
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        write_pages(&command, &self.dir)
    }
}

/// Writes the page of a command and those of its subcommands.
fn write_pages(command: &clap::Command, folder: &Path) -> Result<()> {
    let man = clap_mangen::Man::new(command.clone())
        .source(concat!("asng-wgpu ", env!("CARGO_PKG_VERSION")));
    let path = folder.join(man.get_filename());
    let mut page = Vec::new();
    man.render(&mut page).map_err(|e| Error::io("make", &path, e))?;
    files::replace(&path, &page)?;
    print(&path.display().to_string())?;
    command.get_subcommands().try_for_each(|inner| write_pages(inner, folder))
}
