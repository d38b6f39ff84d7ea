//! Tables of what was trained, as Markdown.

use super::Result;
use super::results::{Finished, METRICS, Results};
use super::settings::{Budget, Cases, Setting};
use asng_wgpu::metrics::comparison::{Comparison, NamedSummary, average, compare};
use std::fmt::Write;

/// Settings that all others are held against.
const BASELINES: [&str; 5] = ["none", "default", "trivial", "default long", "trivial long"];

/// A setting with its finished runs.
struct Trained<'a> {
    setting: &'a Setting,
    runs: Vec<&'a Finished>,
    /// Mean over the seeds.
    mean: NamedSummary,
    /// Mean foreground Dice of each seed.
    dice: Vec<f64>,
}

impl<'a> Trained<'a> {
    fn find(results: &'a Results, setting: &'a Setting) -> Result<Option<Self>> {
        let runs: Vec<&Finished> = results.runs.iter().filter(|r| r.is_of(setting)).collect();
        if runs.is_empty() {
            return Ok(None);
        }
        let summaries: Vec<NamedSummary> = runs.iter().map(|run| run.summary()).collect();
        let mean = average(setting.name, &summaries)?;
        let dice_of = |run: &NamedSummary| {
            run.summary.foreground_mean.get("Dice").map_or(f64::NAN, |d| d.value())
        };
        let dice = summaries.iter().map(dice_of).collect();
        Ok(Some(Trained { setting, runs, mean, dice }))
    }

    /// Mean over the seeds.
    fn mean_of(&self, value: fn(&Finished) -> f64) -> f64 {
        self.runs.iter().map(|run| value(run)).sum::<f64>() / self.runs.len() as f64
    }
}

/// All tables.
pub fn report(results: &Results, settings: &[Setting]) -> Result<String> {
    let mut text = String::new();
    for cases in [Cases::Few, Cases::All] {
        let of_cases = settings.iter().filter(|s| s.cases == cases);
        let trained: Vec<Trained> = of_cases
            .filter_map(|s| Trained::find(results, s).transpose())
            .collect::<Result<_>>()?;
        if trained.is_empty() {
            continue;
        }
        let title = match cases {
            Cases::Few => "20 training cases",
            Cases::All => "All training cases",
        };
        let _ = writeln!(text, "## {title}\n");
        values(&mut text, &trained);
        for baseline in BASELINES {
            if let Some(base) = trained.iter().find(|t| t.setting.name == baseline) {
                differences(&mut text, base, &trained)?;
            }
        }
    }
    Ok(text)
}

/// Dice and HD95 per label, and the cost.
fn values(text: &mut String, trained: &[Trained]) {
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
            let mut row = vec![
                t.setting.name.to_owned(),
                format!("{:.0}", t.mean_of(|run| run.epochs as f64)),
                t.runs.len().to_string(),
            ];
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
            row.push(format!("{:.1}", t.mean_of(|run| run.seconds)));
            let shares = [t.mean_of(|run| run.augment_share), t.mean_of(|run| run.policy_share)];
            row.extend(shares.map(|share| format!("{:.1}%", share * 100.0)));
            row
        })
        .collect();
    markdown(text, &head, &rows);
}

/// Differences to a baseline of the same number of weight updates or the same time, over the seeds that
/// both have.
fn differences(text: &mut String, base: &Trained, trained: &[Trained]) -> Result<()> {
    let others: Vec<&Trained> = trained
        .iter()
        .filter(|t| t.setting.name != base.setting.name)
        .filter(|t| t.setting.budget.meets(base.setting.budget))
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    let metrics: Vec<String> = METRICS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let budget = match base.setting.budget {
        Budget::Updates => "equal weight steps",
        Budget::Time | Budget::Both => "equal time",
    };
    let _ = writeln!(
        text,
        "Against `{}` ({budget}), mean over the labels, paired by case:\n",
        base.setting.name
    );
    let mut head = vec!["setting".to_owned(), "seeds".into()];
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
    let mut rows = Vec::new();
    for other in others {
        let both = |of: &Trained, with: &Trained| -> Vec<NamedSummary> {
            let shared = |run: &&&Finished| with.runs.iter().any(|r| r.seed == run.seed);
            of.runs.iter().filter(shared).map(|run| run.summary()).collect()
        };
        let (before, now) = (both(base, other), both(other, base));
        if before.is_empty() {
            continue;
        }
        let pair = [average("base", &before)?, average("other", &now)?];
        let compared = compare(&pair, &metrics, 0)?;
        let mut line = vec![other.setting.name.to_owned(), before.len().to_string()];
        for (metric, digits) in METRICS {
            let row = compared.rows.iter().find(|r| r.metric == metric && r.label.is_none());
            line.extend(row.map_or(["-"; 3].map(String::from), |r| cells(r, digits)));
        }
        rows.push(line);
    }
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
