//! What is worth a warning before anything is predicted.

use crate::data::dataset::Case;
use crate::data::nifti::read_header;
use crate::error::Result;
use crate::numbers::{MOST_NAMED, counted, named};
use crate::run::RunConfig;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A warning for each scan that is stored in an orientation in which no training scan was, for at
/// most [`MOST_NAMED`] scans, then one with the number of the others. Runs that turn all scans to
/// RAS, and those of versions that did not note orientations, have nothing to say.
///
/// # Errors
/// As [`RunConfig::read`].
pub(super) fn orientations(runs: &[PathBuf], cases: &[Case]) -> Result<Vec<String>> {
    let configs = runs.iter().map(|run| RunConfig::read(run)).collect::<Result<Vec<_>>>()?;
    let known: Vec<&BTreeMap<String, usize>> = configs
        .iter()
        .filter(|config| !config.preprocessing.reorient && !config.orientations.is_empty())
        .map(|config| &config.orientations)
        .collect();
    let mut warnings = Vec::new();
    let mut others = 0;
    for case in cases {
        // What cannot be read is named when its turn comes.
        let header = case.images.first().and_then(|path| read_header(path).ok());
        let Some(orientation) = header.map(|header| header.orientation().to_string()) else {
            continue;
        };
        let Some(trained) = known.iter().find(|known| !known.contains_key(&orientation)) else {
            continue;
        };
        if warnings.len() == MOST_NAMED {
            others += 1;
            continue;
        }
        let trained = trained.keys().cloned().collect::<Vec<_>>().join(" and ");
        warnings.push(format!(
            "'{}' is stored as {orientation}, but the training scans are {trained}: its label map \
             may be wrong, sides exchanged; bring it to one of these orientations, or train with \
             --reorient ras, which turns every scan to the same one",
            case.name
        ));
    }
    if others > 0 {
        warnings.push(format!(
            "{} stored in an orientation that the training scans do not have (--reorient ras)",
            match others {
                1 => "1 more scan is".into(),
                n => format!("{n} more scans are"),
            }
        ));
    }
    Ok(warnings)
}

/// A warning about predictions that are there already (`kept`) and older than a network.
pub(super) fn outdated(networks: &[PathBuf], kept: &[&Path]) -> Option<String> {
    let time = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let newest = networks.iter().filter_map(|path| time(path)).max()?;
    let old: Vec<String> = kept
        .iter()
        .filter(|path| time(path).is_some_and(|then| then < newest))
        .map(|path| crate::data::names::case_name(path))
        .collect();
    (!old.is_empty()).then(|| {
        let verb = if old.len() == 1 { "is" } else { "are" };
        format!(
            "{} {verb} older than the network and kept because of --continue: {}; remove what \
             another network made",
            counted(old.len(), "label map"),
            named(&old)
        )
    })
}
