//! `asng-wgpu demo DIR`.

use super::print;
use crate::data::demo::{DemoKind, DemoSize, write_demo};
use crate::error::{Error, Result};
use std::path::PathBuf;

/// Most cases; their numbers have at most five digits.
const MOST_CASES: usize = 99_999;

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu demo prostate --kind prostate --size full --cases 20

The layout is that of the Medical Segmentation Decathlon, ready for `train`.")]
pub(super) struct Demo {
    /// Folder to write, new or empty.
    dir: PathBuf,
    /// What to imitate.
    #[arg(long, value_enum, default_value = "heart")]
    kind: Kind,
    /// Size of the volumes: small takes seconds.
    #[arg(long, value_enum, default_value = "small")]
    size: Size,
    /// Number of cases [default: as the kind suggests].
    #[arg(long)]
    cases: Option<usize>,
    /// Seed: the same seed writes the same files.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Kind {
    Heart,
    Prostate,
    Brain,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Size {
    Small,
    Full,
}

impl Demo {
    /// Refuses flags that cannot be.
    pub(super) fn check(&self) -> Result<()> {
        match self.cases {
            Some(cases) if !(1..=MOST_CASES).contains(&cases) => {
                Err(Error::Usage(format!("--cases {cases} is out of range; use 1 to {MOST_CASES}")))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn run(&self) -> Result<()> {
        let kind = match self.kind {
            Kind::Heart => DemoKind::Heart,
            Kind::Prostate => DemoKind::Prostate,
            Kind::Brain => DemoKind::Brain,
        };
        let size = match self.size {
            Size::Small => DemoSize::Small,
            Size::Full => DemoSize::Full,
        };
        let cases = self.cases.unwrap_or(kind.default_cases());
        write_demo(&self.dir, kind, size, cases, self.seed)?;
        print(&format!("{cases} cases in {}", self.dir.display()))
    }
}
