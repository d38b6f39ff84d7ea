//! `asng-wgpu policy show FILE|RUN|default`.

use super::Source;
use crate::cli::print;
use crate::cli::table::table;
use crate::error::{Error, Result};
use crate::run::DEFAULT_POLICY;
use crate::search::distribution::Categorical;
use crate::search::file::PolicyFile;
use crate::search::policy::{Interval, Policy};
use crate::search::space::{Space, Variable};
use serde_json::json;
use std::io::IsTerminal;

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Example:
  asng-wgpu policy show runs/heart --fold 0

The first table is the most probable policy. In the second, a bar a value shows the distribution of
each variable, the tallest its most probable value; then this value, its share of the probability,
and the entropy: 100% where the search knows nothing yet, 0% where it is certain.")]
pub(super) struct Show {
    #[command(flatten)]
    source: Source,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Draw the bars with ASCII characters.
    #[arg(long)]
    ascii: bool,
}

impl Show {
    pub(super) fn run(&self) -> Result<()> {
        let (path, file) = self.source.read()?;
        if self.json {
            let text = serde_json::to_string_pretty(&as_json(&file))
                .map_err(|e| Error::Input(format!("the policy cannot be printed: {e}")))?;
            return print(&text);
        }
        // An empty NO_COLOR does not count (no-color.org).
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let style = Style { ascii: self.ascii, colour: !plain && std::io::stdout().is_terminal() };
        let head = match path.as_os_str() == DEFAULT_POLICY {
            true => "default: nnU-Net's policy".into(),
            false => format!("{}\ndata set {}, seed {}", path.display(), file.dataset, file.seed),
        };
        let mut parts = vec![head, table(&policy_rows(&file.policy))];
        match &file.theta {
            Some(theta) => {
                parts.push(entropy_line(theta));
                parts.push(distribution(&file.space, theta, style));
            }
            None => parts.push("a fixed policy: there is no distribution".into()),
        }
        print(&parts.join("\n\n"))
    }
}

#[derive(Clone, Copy)]
struct Style {
    ascii: bool,
    colour: bool,
}

pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.to_owned() }
}

fn policy_rows(policy: &Policy) -> Vec<Vec<String>> {
    let row = |name: &str, p: f64, interval: Interval, unit: &str| {
        let p = if p.is_nan() { String::new() } else { format!("{p:.2}") };
        let [low, high] = [interval.low, interval.high].map(number);
        vec![name.to_string(), p, low, high, unit.to_string()]
    };
    let head = ["transform", "probability", "from", "to", "unit"].map(String::from).to_vec();
    // Further numbers of the same transform have no probability of their own.
    let same = f64::NAN;
    let mut rows = vec![
        head,
        row("rotation x", policy.p_rotation, policy.rotation_x, "degrees"),
        row("rotation y", same, policy.rotation_y, "degrees"),
        row("rotation z", same, policy.rotation_z, "degrees"),
        row("scale", policy.p_scale, policy.scale, "factor"),
        row("elastic alpha", policy.p_elastic, policy.elastic_alpha, "voxels"),
        row("elastic sigma", same, policy.elastic_sigma, "voxels"),
        row("gamma", policy.p_gamma, policy.gamma, "exponent"),
    ];
    if policy.one_of {
        rows.push(vec!["exactly one transform a sample".into()]);
    }
    rows
}

fn entropy(row: &[f64]) -> f64 {
    row.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum()
}

/// Entropy of a row in units of that of a row that knows nothing; 0 for a single value.
fn share_of_uniform(row: &[f64]) -> f64 {
    if row.len() > 1 { entropy(row) / (row.len() as f64).ln() } else { 0.0 }
}

/// Mean entropy of a distribution that knows nothing.
fn uniform_entropy(theta: &Categorical) -> f64 {
    Categorical::uniform(&theta.counts()).mean_entropy()
}

fn entropy_line(theta: &Categorical) -> String {
    let (mean, most) = (theta.mean_entropy(), uniform_entropy(theta));
    let share = if most > 0.0 { mean / most * 100.0 } else { 0.0 };
    format!("mean entropy {mean:.3} nats, {share:.0}% of the uniform distribution's {most:.3}")
}

/// Bars of one row at most; more values share one.
const MOST_BARS: usize = 31;

/// A line a variable: range, bars, most probable value and its share, entropy.
fn distribution(space: &Space, theta: &Categorical, style: Style) -> String {
    let head = ["variable", "first", "last", "bars", "best", "share", "entropy"]
        .map(String::from)
        .to_vec();
    let mut rows = vec![head];
    for ((variable, row), &best) in
        space.variables.iter().zip(theta.rows()).zip(&theta.most_probable())
    {
        rows.push(vec![
            variable.name.name().to_owned(),
            number(variable.value(0)),
            number(variable.value(variable.count.saturating_sub(1))),
            bars(row, style.ascii),
            number(variable.value(best)),
            format!("{:.2}", row[best]),
            format!("{:.0}%", share_of_uniform(row) * 100.0),
        ]);
    }
    let text = table(&rows);
    if !style.colour {
        return text;
    }
    let cyan = |c: char| match c {
        '▁'..='█' => format!("\x1b[36m{c}\x1b[0m"),
        c => c.to_string(),
    };
    text.chars().map(cyan).collect()
}

fn bars(row: &[f64], ascii: bool) -> String {
    let levels: Vec<char> =
        if ascii { "_.:-=+*#".chars() } else { "▁▂▃▄▅▆▇█".chars() }.collect();
    let top = row.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let share = row.len().div_ceil(MOST_BARS).max(1);
    let bar = |values: &[f64]| {
        let tallest = values.iter().copied().fold(0.0, f64::max);
        let level = tallest / top * levels.len() as f64;
        levels[(level as usize).min(levels.len() - 1)]
    };
    row.chunks(share).map(bar).collect()
}

fn as_json(file: &PolicyFile) -> serde_json::Value {
    let variable = |v: &Variable, row: &Vec<f64>, best: usize| {
        json!({
            "name": v.name.name(),
            "unit": v.unit,
            "values": (0..v.count).map(|k| v.value(k)).collect::<Vec<_>>(),
            "probabilities": row,
            "most_probable": v.value(best),
            "entropy": entropy(row),
        })
    };
    let mut root = json!({
        "version": file.version,
        "dataset": file.dataset,
        "run": file.run,
        "seed": file.seed,
        "policy": file.policy,
    });
    if let Some(theta) = &file.theta {
        let best = theta.most_probable();
        let variables = file.space.variables.iter().zip(theta.rows()).zip(best);
        root["mean_entropy"] = json!(theta.mean_entropy());
        root["uniform_entropy"] = json!(uniform_entropy(theta));
        root["variables"] = variables.map(|((v, row), best)| variable(v, row, best)).collect();
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_relative_to_the_tallest_and_few() {
        assert_eq!(bars(&[0.5, 0.25, 0.0, 0.25], false), "█▅▁▅");
        assert_eq!(bars(&[0.5, 0.25, 0.0, 0.25], true), "#=_=");
        assert_eq!(bars(&[0.0; 3], false), "▁▁▁");
        assert!(bars(&[0.01; 100], false).chars().count() <= MOST_BARS);
        assert_eq!(number(-0.0001), "0");
        assert_eq!(number(12.50), "12.5");
    }
}
