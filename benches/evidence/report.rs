//! Tables of what was trained, as Markdown.

use super::Result;
use super::settings::{Budget, Cases, Setting};
use asng_wgpu::infer::compare::find_setting;
use asng_wgpu::metrics::comparison::{Comparison, NamedSummary, compare};
use serde::Deserialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Measures that are compared, and how many digits they are printed with.
const METRICS: [(&str, usize); 2] = [("Dice", 4), ("HD95", 2)];
/// Settings that all others are held against.
const BASELINES: [&str; 5] = ["none", "default", "trivial", "default long", "trivial long"];

/// Where a finished run has its summary.
pub fn summary_path(run: &Path) -> PathBuf {
    run.join("fold_0/validation/summary.json")
}

/// What the report reads of an epoch.
#[derive(Deserialize)]
struct Epoch {
    seconds: f64,
    augment_share: f64,
    policy_share: f64,
}

/// A setting with its finished runs.
struct Trained<'a> {
    setting: &'a Setting,
    seeds: Vec<u64>,
    /// Mean over the seeds.
    mean: NamedSummary,
    /// Mean foreground Dice of each seed.
    dice: Vec<f64>,
    /// Median over all epochs of the runs: seconds an epoch, shares of augmentation and policy step.
    cost: [f64; 3],
    epochs: usize,
}

impl<'a> Trained<'a> {
    fn find(out: &Path, setting: &'a Setting, most: u64) -> Result<Option<Self>> {
        let finished = |seed: &u64| summary_path(&setting.folder(out, *seed)).exists();
        let seeds: Vec<u64> = (0..setting.seeds(most)).filter(finished).collect();
        if seeds.is_empty() {
            return Ok(None);
        }
        let paths: Vec<String> =
            seeds.iter().map(|&seed| setting.folder(out, seed).display().to_string()).collect();
        let mean = find_setting(&format!("{}={}", setting.name, paths.join(",")))?;
        let mut dice = Vec::new();
        let mut epochs: Vec<Epoch> = Vec::new();
        for path in &paths {
            let one = find_setting(path)?;
            dice.push(one.summary.foreground_mean.get("Dice").map_or(f64::NAN, |d| d.value()));
            let log = Path::new(path).join("fold_0/metrics.jsonl");
            let text =
                std::fs::read_to_string(&log).map_err(|e| asng_wgpu::Error::io("read", &log, e))?;
            epochs.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
        }
        let median = |value: fn(&Epoch) -> f64| {
            let mut values: Vec<f64> = epochs.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let cost = [median(|e| e.seconds), median(|e| e.augment_share), median(|e| e.policy_share)];
        let epochs = epochs.len() / seeds.len();
        Ok(Some(Trained { setting, seeds, mean, dice, cost, epochs }))
    }
}

/// All tables.
pub fn report(out: &Path, settings: &[Setting], seeds: u64) -> Result<String> {
    let mut text = String::new();
    for cases in [Cases::Few, Cases::All] {
        let of_cases = settings.iter().filter(|s| s.cases == cases);
        let trained: Vec<Trained> = of_cases
            .filter_map(|s| Trained::find(out, s, seeds).transpose())
            .collect::<Result<_>>()?;
        if trained.is_empty() {
            continue;
        }
        let title = match cases {
            Cases::Few => "20 training cases",
            Cases::All => "All training cases",
        };
        let _ = writeln!(text, "## {title}\n");
        results(&mut text, &trained);
        for baseline in BASELINES {
            if let Some(base) = trained.iter().find(|t| t.setting.name == baseline) {
                differences(&mut text, base, &trained)?;
            }
        }
    }
    Ok(text)
}

/// Dice and HD95 per label, and the cost.
fn results(text: &mut String, trained: &[Trained]) {
    let labels: Vec<&String> =
        trained[0].mean.summary.mean.keys().filter(|label| *label != "0").collect();
    let mut head = vec!["setting".to_owned(), "epochs".into(), "seeds".into()];
    for (metric, _) in METRICS {
        head.extend(labels.iter().map(|label| format!("{metric} {label}")));
        head.push(format!("{metric} mean"));
    }
    head.extend(["Dice by seed", "s/epoch", "augment", "policy"].map(String::from));
    let rows: Vec<Vec<String>> = trained
        .iter()
        .map(|t| {
            let mut row =
                vec![t.setting.name.to_owned(), t.epochs.to_string(), t.seeds.len().to_string()];
            let summary = &t.mean.summary;
            for (metric, digits) in METRICS {
                let number = |value: Option<&asng_wgpu::metrics::Number>| {
                    value.map_or("-".into(), |v| format!("{:.digits$}", v.value()))
                };
                let of_label = |label: &&String| {
                    number(summary.mean.get(*label).and_then(|metrics| metrics.get(metric)))
                };
                row.extend(labels.iter().map(of_label));
                row.push(number(summary.foreground_mean.get(metric)));
            }
            row.push(t.dice.iter().map(|d| format!("{d:.4}")).collect::<Vec<_>>().join(" "));
            let [seconds, augment, policy] = t.cost;
            row.push(format!("{seconds:.1}"));
            row.extend([augment, policy].map(|share| format!("{:.1}%", share * 100.0)));
            row
        })
        .collect();
    markdown(text, &head, &rows);
}

/// Differences to a baseline of the same number of weight updates or the same time.
fn differences(text: &mut String, base: &Trained, trained: &[Trained]) -> Result<()> {
    let searches = |t: &&Trained| t.setting.name.starts_with("asng");
    let others: Vec<&Trained> = trained
        .iter()
        .filter(|t| t.setting.name != base.setting.name)
        .filter(|t| t.setting.budget == base.setting.budget || searches(t))
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    let runs: Vec<NamedSummary> =
        std::iter::once(base).chain(others.iter().copied()).map(|t| t.mean.clone()).collect();
    let metrics: Vec<String> = METRICS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let compared = compare(&runs, &metrics, 0)?;
    let budget = match base.setting.budget {
        Budget::Updates => "equal iterations",
        Budget::Time => "equal time",
    };
    let _ = writeln!(
        text,
        "Against `{}` ({budget}), mean over the labels, paired by case ({} cases):\n",
        base.setting.name,
        compared.cases.len()
    );
    let mut head = vec!["setting".to_owned()];
    for (metric, _) in METRICS {
        head.extend([format!("{metric} difference"), "95% interval".into(), "p".into()]);
    }
    let cells = |row: &Comparison, digits: usize| {
        let [low, high] = row.paired.interval;
        [
            format!("{:+.digits$}", row.paired.mean),
            format!("{low:+.digits$} .. {high:+.digits$}"),
            format!("{:.2e}", row.paired.p),
        ]
    };
    let rows: Vec<Vec<String>> = (1..runs.len())
        .map(|run| {
            let mut line = vec![runs[run].name.clone()];
            for (metric, digits) in METRICS {
                let row = compared
                    .rows
                    .iter()
                    .find(|r| r.run == run && r.metric == metric && r.label.is_none());
                line.extend(row.map_or(["-"; 3].map(String::from), |r| cells(r, digits)));
            }
            line
        })
        .collect();
    markdown(text, &head, &rows);
    Ok(())
}

fn markdown(text: &mut String, head: &[String], rows: &[Vec<String>]) {
    let _ = writeln!(text, "| {} |", head.join(" | "));
    let _ = writeln!(text, "|{}", " --- |".repeat(head.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text.push('\n');
}
