//! `asng-wgpu policy plot RUN`.

use super::Source;
use crate::cli::print;
use crate::error::{Error, Result};
use crate::files;
use crate::run::DEFAULT_POLICY;
use crate::search::file::PolicyFile;
use crate::search::log::read;
use crate::search::plot::history;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu policy plot runs/heart --fold 0 -o heart.svg

On the left the probability of each value over the epochs, on the right the most probable interval,
in natural units.")]
pub(super) struct Plot {
    #[command(flatten)]
    source: Source,
    /// Picture to write, .svg [default: policy.svg beside the run's policy.json].
    #[arg(short, long, value_name = "FILE.svg")]
    output: Option<PathBuf>,
}

impl Plot {
    pub(super) fn run(&self) -> Result<()> {
        if let Some(path) = &self.output
            && !path.extension().is_some_and(|e| e.eq_ignore_ascii_case("svg"))
        {
            return Err(Error::Usage(format!(
                "--output '{}' must end in .svg; give a name such as policy.svg",
                path.display()
            )));
        }
        let (path, PolicyFile { space, run, .. }) = self.source.read()?;
        if path.as_os_str() == DEFAULT_POLICY {
            return Err(Error::Usage(
                "'default' has no history to plot; give the folder of a run that searched".into(),
            ));
        }
        let log = path.with_file_name("policy.jsonl");
        if !log.is_file() {
            return Err(Error::Input(format!(
                "there is no policy.jsonl beside '{}'; give the folder of a run that searched",
                path.display()
            )));
        }
        let fold = path.parent().and_then(|p| p.file_name()).map(|n| n.to_string_lossy());
        let fold = fold.as_deref().and_then(|name| name.strip_prefix("fold_"));
        let title = match fold {
            Some(fold) => format!("{run}, fold {fold}"),
            None => run,
        };
        let svg = history(&title, &space, &read(&log)?)?;
        let output = self.output.clone().unwrap_or_else(|| path.with_file_name("policy.svg"));
        files::replace(&output, svg.as_bytes())?;
        print(&output.display().to_string())
    }
}
