//! The text of the contact sheet.

use super::MOST_ROWS;
use super::listing::Listing;
use super::source::Source;
use crate::augment::draw::Draw;
use crate::augment::sheet::View;
use std::path::Path;

/// Case, policy, seed and what the numbers of the rows are.
pub(super) fn title(listing: &Listing) -> Vec<String> {
    let note = &listing.policy;
    let name = Path::new(&note.source).file_name();
    let name = name.map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let changed = if note.changed_by_flags { ", changed by flags" } else { "" };
    let policy = match (note.sampled, note.source.as_str()) {
        (false, "default") => format!("policy of nnU-Net{changed}"),
        (true, _) => format!("policies sampled from {name}{changed}"),
        (false, _) => format!("policy of {name}{changed}"),
    };
    let mut lines = vec![listing.case.clone(), format!("{policy}, seed {}", listing.seed)];
    lines.push("rotation x y z in degrees, elastic alpha / sigma in voxels".into());
    if listing.draws.len() > MOST_ROWS {
        lines.push(format!("the first {MOST_ROWS} of {} draws", listing.draws.len()));
    }
    lines
}

/// The labels that occur, with their names where they are known.
pub(super) fn legend(source: &Source) -> Vec<(u32, String)> {
    let mut labels: Vec<u32> = source.labels.iter().copied().filter(|&l| l > 0).collect();
    labels.sort_unstable();
    labels.dedup();
    let name = |&l: &u32| match source.known.name_of(&l.to_string()) {
        Some(name) => (l, name),
        None => (l, format!("label {l}")),
    };
    labels.iter().take(8).map(name).collect()
}
/// The draw in words and numbers, a line a transform.
pub(super) fn describe(number: usize, draw: &Draw, view: &View, dummy_2d: bool) -> Vec<String> {
    let mut lines = vec![format!("draw {number}")];
    match draw.rotation {
        // Only the angle within the slices is applied.
        Some([x, _, _]) if dummy_2d => lines.push(format!("rotation x {x:.1}")),
        Some([x, y, z]) => lines.push(format!("rotation {x:.1} {y:.1} {z:.1}")),
        None => {}
    }
    if let Some(factor) = draw.scale {
        lines.push(format!("scale {factor:.2}"));
    }
    if let Some(elastic) = &draw.elastic {
        lines.push(format!("elastic {:.0} / {:.1}", elastic.alpha, elastic.sigma));
    }
    if let Some(exponents) = &draw.gamma {
        let list: Vec<String> = exponents.iter().map(|e| format!("{e:.2}")).collect();
        lines.push(format!("gamma {}", list.join(" ")));
    }
    let names = ["left-right", "front-back", "up-down"];
    for (name, (axis, _)) in names.iter().zip(view.axes) {
        if draw.mirror[axis] {
            lines.push(format!("mirrored {name}"));
        }
    }
    if lines.len() == 1 {
        lines.push("unchanged".into());
    }
    lines
}
