//! Golden files of what runs on the host: normalisation, overlap metrics, the policy search.

use super::{Golden, Outcome, all, except, nothing, text};
use asng_wgpu::data::preprocess::{Preprocessing, normalise};
use asng_wgpu::metrics::{overlaps, surface_metrics};
use asng_wgpu::search::asng::{Asng, AsngOptions};
use asng_wgpu::search::distribution::Categorical;
use serde::Deserialize;
use std::path::Path;

pub fn run_zscore(golden: &Golden) -> Outcome {
    if let Some(what) = golden.differs("eps", 1e-8).or(golden.differs("std", "population")) {
        return nothing(what);
    }
    let x = golden.get("x")?;
    let voxels = golden.edges("x")?.iter().product::<u32>() as usize;
    for (name, nonzero_mask) in [("all_voxels", false), ("nonzero_mask", true)] {
        if golden.has(name) {
            let mut values = x.f32s.clone();
            let by = Preprocessing {
                spacing_mm: [1.0; 3],
                reorient: false,
                axes: [0, 1, 2],
                nonzero_mask,
                ct: vec![],
                normalisation: vec![],
            };
            normalise(&mut values, voxels, &by);
            golden.check(name, &values)?;
        }
    }
    all()
}

/// Overlap of label maps: counts, Dice, IoU.
pub fn run_metrics(golden: &Golden) -> Outcome {
    let tol = golden.tolerance("all").unwrap_or(1e-5);
    let mut skipped = std::collections::BTreeSet::new();
    let labels = |name: String| -> Result<Vec<u16>, String> {
        Ok(golden.get(&name)?.i32s.iter().map(|&l| l as u16).collect())
    };
    let cases = golden.params["cases"].as_array().ok_or("no list 'cases' in params")?;
    for (i, case) in cases.iter().enumerate() {
        let (pred, reference) = (labels(format!("pred{i}"))?, labels(format!("ref{i}"))?);
        let shape = <[usize; 3]>::try_from(golden.get(&format!("pred{i}"))?.shape.as_slice())
            .map_err(text)?;
        let spacing: [f64; 3] = serde_json::from_value(case["spacing"].clone()).map_err(text)?;
        for (label, wanted) in case["labels"].as_object().ok_or("a case without 'labels'")? {
            let label: u16 = label.parse().map_err(text)?;
            let overlap = overlaps(&pred, &reference, &[label]).map_err(text)?[0];
            let surface = surface_metrics(&pred, &reference, shape, spacing, &[label], 1.0)[0];
            for (name, value) in wanted.as_object().ok_or("a label without values")? {
                let got = match name.as_str() {
                    "n_pred" => overlap.n_pred() as f64,
                    "n_ref" => overlap.n_ref() as f64,
                    "dice" => overlap.dice(),
                    "jaccard" | "iou" => overlap.iou(),
                    "hd" => surface.hd,
                    "hd95" => surface.hd95,
                    "assd" => surface.assd,
                    other => {
                        skipped.insert(other.to_string());
                        continue;
                    }
                };
                // JSON has no NaN: null stands where neither map has the label.
                let wanted = value.as_f64().unwrap_or(f64::NAN);
                let same = got == wanted || (got.is_nan() && wanted.is_nan());
                let near = (got - wanted).abs() <= tol * wanted.abs();
                if !same && !near {
                    return Err(format!("case {i}, label {label}: {name} {got} not {wanted}"));
                }
            }
        }
    }
    except(
        skipped
            .into_iter()
            .map(|name| format!("{name} (the engine puts both directions together)"))
            .collect(),
    )
}

/// A run of the search method's authors' code.
#[derive(Deserialize)]
struct Run {
    categories: Vec<usize>,
    lambda_: usize,
    alpha: f64,
    delta_init: f64,
    #[serde(rename = "Delta_max", default)]
    delta_max: Option<f64>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    samples: Vec<Vec<usize>>,
    losses: Vec<f64>,
    #[serde(rename = "Delta")]
    delta: f64,
    gamma: f64,
    s_norm2: f64,
    #[serde(default)]
    theta: Option<Vec<Vec<f64>>>,
}

/// Replays a JSON file in the format of `asng_*.json`; `Ok(None)`: it is of another format.
pub fn run_asng(path: &Path) -> Result<Option<()>, String> {
    let content = std::fs::read_to_string(path).map_err(text)?;
    let value: serde_json::Value = serde_json::from_str(&content).map_err(text)?;
    if value.get("categories").is_none() || value.get("steps").is_none() {
        return Ok(None);
    }
    let run: Run = serde_json::from_value(value).map_err(text)?;
    let options = AsngOptions {
        alpha: run.alpha,
        delta_init: run.delta_init,
        delta_max: run.delta_max,
        fixed_step: false,
    };
    let mut asng = Asng::new(Categorical::uniform(&run.categories), options);
    for (i, step) in run.steps.iter().enumerate() {
        if step.samples.len() != run.lambda_ || step.losses.len() != run.lambda_ {
            return Err(format!("step {i} has not {} samples and losses", run.lambda_));
        }
        asng.update(&step.samples, &step.losses);
        let mut pairs = vec![
            ("Delta", asng.delta(), step.delta),
            ("gamma", asng.gamma(), step.gamma),
            ("|s|^2", asng.s_norm2(), step.s_norm2),
        ];
        if let Some(theta) = &step.theta {
            let (ours, theirs) = (asng.theta().rows().concat(), theta.concat());
            if ours.len() != theirs.len() {
                return Err(format!("step {i}: theta has {} values", theirs.len()));
            }
            pairs.extend(ours.into_iter().zip(theirs).map(|(a, b)| ("theta", a, b)));
        }
        for (what, ours, theirs) in pairs {
            let near = (ours - theirs).abs() < 1e-9;
            if !near {
                return Err(format!("step {i}: {what} is {ours} instead of {theirs}"));
            }
        }
    }
    Ok(Some(()))
}
