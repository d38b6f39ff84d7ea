//! `report.html`: one file without scripts or references to others.

use super::overlay::{self, Overlay, overlays};
use super::record::FoldRecord;
use super::words::{duration, joined, measured, number};
use super::{Overlays, charts, results};
use crate::data::Axes;
use crate::metrics::summary::Metrics;
use crate::nn::unet::UNet;
use crate::numbers::edges;
use crate::search::log::PolicyLine;
use crate::search::plot::history_parts;
use crate::search::policy::Policy;
use crate::search::space::Field;
use crate::{Error, Result};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};
use std::path::Path;

/// Rows of the table of cases that are seen at once.
const MOST_ROWS: usize = 30;
/// Metrics of the table of means, with their titles and decimals.
const MEANS: [(&str, &str, usize); 5] = [
    ("Dice", "Dice", 3),
    ("IoU", "IoU", 3),
    ("HD95", "HD95, mm", 2),
    ("ASSD", "ASSD, mm", 2),
    ("NSD", "NSD", 3),
];

/// How the template begins the picture of a case.
const PICTURE: &str = "<figure class=\"case\">";

/// The page of a fold.
pub(super) struct Page {
    /// HTML.
    pub text: String,
    /// Cases that are shown.
    pub pictures: usize,
    /// Sentences about what could not be read or shown.
    pub faults: Vec<String>,
}

/// How many cases a page shows.
pub(super) fn pictures_in(text: &str) -> usize {
    text.matches(PICTURE).count()
}

/// The page of a fold. `data`: the data set's folder, where it is not the one that the run names.
///
/// # Errors
/// [`Error::Input`] if the template cannot be filled in.
pub(super) fn page(record: &FoldRecord, show: Overlays, data: Option<&Path>) -> Result<Page> {
    let refuse = |e: minijinja::Error| {
        Error::Input(format!("the report of '{}' cannot be made: {e}", record.run.display()))
    };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("page.html", include_str!("page.html")).map_err(refuse)?;
    let (pictures, overlay_faults) = match (&record.summary, show) {
        (Some(summary), Overlays::Shown) => overlays(record, summary, data),
        _ => (Vec::new(), Vec::new()),
    };
    let policies: Vec<PolicyLine> = record.policies.values().cloned().collect();
    let fold = format!("fold {}", record.fold);
    // A searcher without a distribution has no history; that is no fault.
    let has_theta = policies.iter().any(|line| line.theta.is_some());
    let mut warnings = warnings(record);
    let count = pictures.len();
    let mut faults = record.faults.clone();
    faults.extend(overlay_faults.iter().cloned());
    let policy = match &record.policy {
        Some(file) if has_theta => match history_parts(&fold, &file.space, &policies) {
            Ok(parts) => Some(parts),
            Err(error) => {
                warnings.push(error.to_string());
                None
            }
        },
        _ => None,
    };
    let policy = policy.map(|parts| {
        let rows = parts.rows.into_iter().map(|pair| Value::from(pair.map(safe).to_vec()));
        context! {
            latest => safe(parts.latest),
            rows => rows.collect::<Vec<Value>>(),
            top => format!("{:.2}", parts.top),
        }
    });
    let mut rows = case_rows(record);
    let more_rows = rows.split_off(rows.len().min(MOST_ROWS));
    let colour = |[r, g, b]: [u8; 3]| format!("#{r:02x}{g:02x}{b:02x}");
    let values = context! {
        title => format!("{}, fold {}", record.config.dataset.name, record.fold),
        css => safe(include_str!("page.css").into()),
        status => status(record),
        run => record.run.display().to_string(),
        time => jiff::ZonedDateTime::now().strftime("%Y-%m-%d %H:%M:%S").to_string(),
        done => record.trained,
        tiles => tiles(record),
        warnings => warnings,
        curves => charts::curves(record).into_iter().map(safe).collect::<Vec<Value>>(),
        stages => stages(record),
        mean_names => MEANS.map(|(_, title, _)| title).to_vec(),
        means => means(record),
        case_count => record.summary.as_ref().map_or(0, |s| s.metric_per_case.len()),
        rows => rows,
        more_rows => more_rows,
        no_results => no_results(record),
        overlays => pictures.into_iter().map(picture).collect::<Vec<Value>>(),
        overlay_faults => overlay_faults,
        colours => context! {
            reference => colour(overlay::REFERENCE),
            prediction => colour(overlay::PREDICTION),
            both => colour(overlay::BOTH),
        },
        policy => policy,
        no_policy => no_policy(record),
        intervals => policies.last().map(|line| intervals(&line.policy)).unwrap_or_default(),
        facts => facts(record),
        configuration => record.config_text.as_str(),
    };
    let template = environment.get_template("page.html").map_err(refuse)?;
    let text = template.render(values).map_err(refuse)?;
    Ok(Page { text, pictures: count, faults })
}

/// Markup that is not escaped.
fn safe(markup: String) -> Value {
    Value::from_safe_string(markup)
}

fn pair(name: &str, value: String) -> Value {
    context! { name => name, value => value }
}

/// How far the training is, in a sentence.
fn status(record: &FoldRecord) -> String {
    let done = record.epochs.last().map_or(0, |e| e.epoch);
    if record.trained && !record.validates() {
        return format!("Trained for {done} epoch(s) on all of its cases, without validation.");
    }
    match (&record.summary, record.trained, done, record.planned_epochs()) {
        (Some(_), true, ..) => format!("Trained for {done} epoch(s) and validated."),
        (None, true, ..) => {
            format!("Trained for {done} epoch(s); its validation cases are not evaluated.")
        }
        (_, false, 0, _) => "The training has begun; no epoch is done yet.".into(),
        (_, false, _, Some(all)) => format!("In training: {done} of {all} epochs are done."),
        (_, false, _, None) => format!("In training: {done} epoch(s) are done."),
    }
}

fn tiles(record: &FoldRecord) -> Vec<Value> {
    let tile = |name: &str, value: String, note: String| {
        context! { name => name, value => value, note => note }
    };
    let mut tiles = Vec::new();
    if let Some(summary) = &record.summary {
        let cases = format!("{} validation case(s)", summary.metric_per_case.len());
        let mean = |name: &str| results::value(&summary.foreground_mean, name);
        tiles.push(tile("Mean Dice", number(mean("Dice"), 3), cases));
        tiles.push(tile(
            "HD95",
            format!("{} mm", number(mean("HD95"), 2)),
            "mean over cases and labels".into(),
        ));
    }
    let Some(last) = record.epochs.last() else { return tiles };
    let of = match record.planned_epochs() {
        Some(all) if record.trained && last.epoch < all => format!("the last; {all} were planned"),
        Some(all) => format!("of {all}"),
        None => String::new(),
    };
    tiles.push(tile("Epoch", last.epoch.to_string(), of));
    if record.summary.is_none() && record.validates() {
        let note = "moving mean over validation patches".into();
        tiles.push(tile("Dice", measured(last.dice_average, 3), note));
    }
    let latest = record.epochs.iter().rev().find_map(|e| Some((e.epoch, e.val_loss?)));
    let note = match latest {
        Some((epoch, loss)) => format!("validation {loss:.4} in epoch {epoch}"),
        None => record.no_validation().into(),
    };
    tiles.push(tile("Training loss", measured(last.loss, 4), note));
    let spent: f64 = record.epochs.iter().map(|e| e.seconds).sum();
    let recent = &record.epochs[record.epochs.len().saturating_sub(5)..];
    let each = recent.iter().map(|e| e.seconds).sum::<f64>() / recent.len() as f64;
    let note = format!("{} an epoch", duration(each));
    tiles.push(tile("Time", duration(spent), note));
    let left = record.planned_epochs().map(|all| all.saturating_sub(last.epoch));
    if let Some(left) = left.filter(|&left| left > 0 && !record.trained) {
        let most = match record.option(&["schedule"]).as_str() {
            Some("plateau") => "at most; ",
            _ => "",
        };
        let note = format!("{most}by the last epochs, without the validation at the end");
        tiles.push(tile("Left", duration(left as f64 * each), note));
    }
    tiles
}

fn warnings(record: &FoldRecord) -> Vec<String> {
    let mut warnings = record.faults.clone();
    if record.optimistic() {
        warnings.push(
            "The search judged its candidates on the fold's validation cases \
             (validation_used_in_search), so their metrics are optimistic."
                .into(),
        );
    }
    let skipped: u64 = record.epochs.iter().map(|e| e.skipped).sum();
    if skipped > 0 {
        let epochs = record.epochs.iter().filter(|e| e.skipped > 0).count();
        warnings.push(format!(
            "{skipped} step(s) in {epochs} epoch(s) were skipped for non-finite gradients; if they \
             go on, lower --lr or check the intensities of the data."
        ));
    }
    let lossless: Vec<u64> =
        record.epochs.iter().filter(|e| e.loss.is_none()).map(|e| e.epoch).collect();
    if !lossless.is_empty() {
        warnings.push(format!("No loss was finite in epoch(s) {}.", joined(&lossless, ", ")));
    }
    let updates: Vec<String> = record
        .policies
        .iter()
        .filter(|(_, line)| line.skipped_share > 0.0)
        .map(|(epoch, line)| format!("{epoch} ({:.0}%)", 100.0 * line.skipped_share))
        .collect();
    if !updates.is_empty() {
        let few: Vec<&String> = updates.iter().take(10).collect();
        let more = if updates.len() > few.len() { " and later ones" } else { "" };
        warnings.push(format!(
            "Updates of the policy were skipped in epoch(s) {}{more}, for losses that were equal \
             or not finite.",
            joined(&few, ", ")
        ));
    }
    warnings
}

/// Time and share of each part of the training; empty before the first epoch.
fn stages(record: &FoldRecord) -> Vec<Value> {
    let mut sums = [0.0; charts::STAGES.len()];
    for epoch in &record.epochs {
        let stages = charts::stages(record, epoch);
        sums.iter_mut().zip(stages).for_each(|(sum, seconds)| *sum += seconds);
    }
    let all: f64 = sums.iter().sum();
    if all <= 0.0 {
        return Vec::new();
    }
    let row = |(name, seconds): (&str, f64)| {
        context! {
            name => name,
            time => duration(seconds),
            share => format!("{:.1}%", 100.0 * seconds / all),
        }
    };
    charts::STAGES.into_iter().zip(sums).map(row).collect()
}

/// The mean over labels, then each label.
fn means(record: &FoldRecord) -> Vec<Value> {
    let Some(summary) = &record.summary else { return Vec::new() };
    let cells = |metrics: &Metrics| -> Vec<String> {
        MEANS.map(|(name, _, decimals)| number(results::value(metrics, name), decimals)).to_vec()
    };
    let mut rows = vec![
        context! { label => "all labels", all => true, cells => cells(&summary.foreground_mean) },
    ];
    for label in results::labels(summary) {
        if let Some(metrics) = summary.mean.get(label) {
            let label = label_name(record, label);
            rows.push(context! { label => label, all => false, cells => cells(metrics) });
        }
    }
    rows
}

fn case_rows(record: &FoldRecord) -> Vec<Value> {
    let Some(summary) = &record.summary else { return Vec::new() };
    let row = |row: results::CaseRow| {
        context! {
            case => row.case,
            label => label_name(record, row.label),
            dice => number(results::value(row.metrics, "Dice"), 3),
            hd95 => number(results::value(row.metrics, "HD95"), 2),
        }
    };
    results::rows(summary).into_iter().map(row).collect()
}

fn label_name(record: &FoldRecord, label: &str) -> String {
    record.label(label)
}

fn no_results(record: &FoldRecord) -> &'static str {
    if !record.validates() {
        return "The fold has no validation cases.";
    }
    match record.trained {
        true => {
            "They are not evaluated: --no-validate was given, or the validation is under way or \
             was interrupted."
        }
        false => {
            "They are predicted and evaluated once the training ends; until then the curves \
                  tell the Dice of random patches of them."
        }
    }
}

fn no_policy(record: &FoldRecord) -> String {
    match record.option(&["search", "searcher"]).as_str() {
        _ if record.epochs.is_empty() => "No epoch is done yet.".into(),
        Some(name) => format!("The searcher {name} has no distribution to draw."),
        None => "There is no distribution to draw.".into(),
    }
}

/// The intervals and probabilities of a policy in natural units.
fn intervals(policy: &Policy) -> Vec<Value> {
    let (fields, chances) = Field::ALL.split_at(14);
    let bounds = fields.chunks(2).map(|bounds| {
        let name = bounds[0].name().trim_end_matches("_low").replace('_', " ");
        let [low, high] = [bounds[0], bounds[1]].map(|field| policy.get(field));
        let text = format!("{} to {}, {}", rounded(low), rounded(high), bounds[0].unit());
        pair(&name, text)
    });
    let chances = chances.iter().map(|field| {
        let name = field.name().trim_start_matches("p_");
        pair(&format!("probability of {name}"), rounded(policy.get(*field)))
    });
    bounds.chain(chances).collect()
}

/// A number with at most three decimals.
fn rounded(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn picture(overlay: Overlay) -> Value {
    let plane = |plane: overlay::PlanePicture| {
        context! {
            name => plane.name,
            width => plane.width,
            height => plane.height,
            uri => safe(plane.uri),
        }
    };
    context! {
        case => overlay.case,
        dice => number(overlay.dice, 3),
        planes => overlay.planes.into_iter().map(plane).collect::<Vec<Value>>(),
    }
}

/// What was trained, on what and where.
fn facts(record: &FoldRecord) -> Vec<Value> {
    let config = &record.config;
    let (dataset, plan, how) = (&config.dataset, &config.plan, &config.preprocessing);
    let mut facts = Vec::new();
    let mut add = |name: &str, value: String| facts.push(pair(name, value));
    let folder = config.data_folder.as_ref().unwrap_or(&dataset.dir);
    add("data set", format!("{}, in {}", dataset.name, folder.display()));
    add("channels", dataset.channels.join(", "));
    let what = if dataset.labels.regions().is_empty() { "labels" } else { "regions" };
    add(what, record.targets().join(", "));
    if let Some(fold) = config.fold(record.fold) {
        let (train, val) = (fold.train.len(), fold.val.len());
        add("cases", format!("{train} for training, {val} for validation"));
    }
    add("voxels", format!("{} mm", edges(how.spacing_mm)));
    let axes = how.axes.map(|axis| ["z", "y", "x"].get(axis).copied().unwrap_or("?"));
    let turned = if how.reorient { ", after turning to RAS" } else { "" };
    add("axes", format!("{} of the files{turned}", joined(&axes, ", ")));
    add("patch", format!("{} voxels, {} a batch", joined(&plan.patch, " x "), plan.batch));
    let features: Vec<u32> = (0..plan.levels()).map(|level| plan.features(level)).collect();
    add("features", format!("{} ({} levels)", joined(&features, ", "), plan.levels()));
    let edges = |all: &[[u32; 3]]| -> String {
        all.iter().map(|one| joined(one, "x")).collect::<Vec<_>>().join(", ")
    };
    add("kernels", edges(&plan.kernels));
    add("strides", edges(&plan.pools));
    add("parameters", UNet::new(plan.clone()).parameters.count().to_string());
    let mirrored = match config.mirror {
        Axes::NONE => "none".into(),
        axes => axes.to_string(),
    };
    add("mirrored axes", mirrored);
    for (name, path) in [
        ("searcher", &["search", "searcher"][..]),
        ("search mode", &["search", "mode"]),
        ("candidates judged on", &["search", "validation"]),
        ("optimizer", &["optimizer"]),
        ("learning rate", &["learning_rate"]),
        ("iterations an epoch", &["iterations"]),
        ("seed", &["seed"]),
    ] {
        match record.option(path) {
            serde_json::Value::Null => {}
            serde_json::Value::String(text) => add(name, text.clone()),
            value => add(name, value.to_string()),
        }
    }
    add("adapter", config.adapter.clone());
    add("driver", config.driver.clone());
    add("trained by", format!("asng-wgpu {}", config.program));
    add("page written by", format!("asng-wgpu {}", crate::VERSION));
    facts
}
