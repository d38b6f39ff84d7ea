//! `asng-wgpu policy export FILE|RUN|default --format LIBRARY`.

use super::Source;
use crate::augment::record::is_dummy_2d;
use crate::cli::interpolation::InterpolationFlags;
use crate::cli::mirroring::MirrorFlags;
use crate::cli::{print, say};
use crate::data::Axes;
use crate::error::Result;
use crate::files;
use crate::ops::warp::Interpolation;
use crate::run::policy_config;
use crate::search::export::{ExportOptions, Library, python};
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use std::ffi::OsStr;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu policy export runs/heart --format monai -o heart_augmentation.py

The file has a function augment(image, label, rng) that draws a policy from the learned
distribution and applies it by the library's own transforms; run as a script it augments a random
volume. What the library cannot express is said in the file at its place.")]
pub(super) struct Export {
    #[command(flatten)]
    source: Source,
    /// Library that the file uses.
    #[arg(long, value_name = "LIBRARY", value_parser = LibraryParser)]
    format: Library,
    /// File to write [default: print it].
    #[arg(short, long, value_name = "FILE.py")]
    output: Option<PathBuf>,
    /// Export the most probable policy in place of the distribution.
    #[arg(long)]
    most_probable: bool,
    #[command(flatten)]
    mirror: MirrorFlags,
    #[command(flatten)]
    interpolation: InterpolationFlags,
}

/// Reads the name of a library, and offers those that are supported to help and completion.
#[derive(Clone)]
struct LibraryParser;

impl TypedValueParser for LibraryParser {
    type Value = Library;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> std::result::Result<Library, clap::Error> {
        let parser = StringValueParser::new().try_map(|name| name.parse::<Library>());
        parser.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Library::ALL.iter().map(|library| PossibleValue::new(library.name()))))
    }
}

impl Export {
    pub(super) fn run(&self) -> Result<()> {
        let (path, mut file) = self.source.read()?;
        if self.most_probable {
            file.theta = None;
        }
        // A run knows more than its policy.json; a file alone stands for the usual training.
        let config = match self.source.source.is_dir() {
            true => Some(policy_config(&self.source.source, &path)?),
            false => None,
        };
        let preprocessing = config.as_ref().map(|c| &c.preprocessing);
        let trained = config.as_ref().map_or(Interpolation::default(), |c| c.interpolation);
        let options = ExportOptions {
            interpolation: self.interpolation.or(trained),
            mirror: self.mirror.axes().unwrap_or(config.as_ref().map_or(Axes::ALL, |c| c.mirror)),
            keep_zero: preprocessing.is_some_and(|p| p.nonzero_mask),
            axes: preprocessing.map_or([0, 1, 2], |p| p.axes),
            reorient: preprocessing.is_some_and(|p| p.reorient),
            dummy_2d: preprocessing.is_some_and(|p| is_dummy_2d(p.spacing_mm)),
        };
        if options.dummy_2d {
            say("the training augmented within the slices alone, which the file does not: see \
                 what it says at its head");
        }
        let text = python(&file, self.format, options)?;
        match &self.output {
            None => print(text.trim_end()),
            Some(path) => {
                files::replace(path, text.as_bytes())?;
                print(&path.display().to_string())
            }
        }
    }
}
