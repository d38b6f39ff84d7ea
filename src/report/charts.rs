//! The curves of a fold.

use super::record::{EpochRecord, FoldRecord};
use crate::Result;
use crate::picture::canvas::Canvas;
use crate::picture::chart::{Chart, Series, Stack};
use crate::picture::svg::Svg;
use crate::picture::{Anchor, Ink, Mark, Rect};

/// Parts of an epoch's time, the lowest first.
pub(super) const STAGES: [&str; 5] =
    ["weight step", "policy step", "augmentation", "validation", "rest"];

/// Width of a curve on the page, as narrow as a phone, least height, and size of its font.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 230.0;
const FONT: f64 = 12.0;

/// The same of the four panels of `progress.png`, in pixels; the canvas' letters are 12 wide.
const PANEL: (f64, f64) = (760.0, 420.0);
const LETTERS: f64 = 20.7;
const MARGIN: f64 = 20.0;

/// A curve of every kind.
enum Curve {
    Lines(Chart),
    Bars(Stack),
}

/// A number of each epoch as a line.
fn course(record: &FoldRecord, value: impl Fn(&EpochRecord) -> Option<f64>) -> Vec<(f64, f64)> {
    let point = |e: &EpochRecord| (e.epoch as f64, value(e).unwrap_or(f64::NAN));
    record.epochs.iter().map(point).collect()
}

/// Points that were measured: epochs without a validation are no gaps.
fn without_gaps(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points.into_iter().filter(|(_, y)| y.is_finite()).collect()
}

fn loss(record: &FoldRecord) -> Chart {
    let mut series = vec![
        Series::new(0, "training", course(record, |e| e.loss)),
        Series::new(1, "validation", without_gaps(course(record, |e| e.val_loss))),
    ];
    let search = without_gaps(course(record, |e| e.search_loss));
    if !search.is_empty() {
        series.push(Series { dashed: true, ..Series::new(2, "search", search) });
    }
    let title = "Loss (lower is better)".into();
    Chart { title, series, range: None, nothing: "no epoch is done yet" }
}

fn dice(record: &FoldRecord) -> Chart {
    let classes = record.epochs.iter().map(|e| e.dice.len()).max().unwrap_or(0);
    let names = record.targets();
    let of_class = |class: usize| {
        let points = course(record, |e| e.dice.get(class).copied().flatten());
        let name = names.get(class).map_or("", String::as_str);
        Series::new(class, name, without_gaps(points))
    };
    let mut series: Vec<Series> = (0..classes).map(of_class).collect();
    let points = without_gaps(course(record, |e| e.dice_average));
    series.push(Series { ink: Ink::Text, dashed: true, ..Series::new(0, "moving mean", points) });
    let title = "Dice of validation patches (0 to 1)".into();
    Chart { title, series, range: Some((0.0, 1.0)), nothing: record.no_validation() }
}

fn learning_rate(record: &FoldRecord) -> Chart {
    let points = course(record, |e| e.learning_rate);
    let top = points.iter().map(|(_, y)| *y).filter(|y| y.is_finite()).fold(0.0, f64::max);
    let series = vec![Series::new(0, "rate", points)];
    let range = (top > 0.0).then_some((0.0, 1.05 * top));
    Chart { title: "Learning rate".into(), series, range, nothing: "no epoch is done yet" }
}

/// Seconds of each of [`STAGES`] in an epoch.
pub(super) fn stages(record: &FoldRecord, epoch: &EpochRecord) -> [f64; 5] {
    let line = record.policies.get(&epoch.epoch);
    let seconds = |ms: Option<f64>| ms.filter(|ms| ms.is_finite()).unwrap_or(0.0).max(0.0) / 1e3;
    let weights = seconds(line.map(|l| l.weight_ms));
    let policy = seconds(line.map(|l| l.policy_ms));
    let augment = seconds(line.map(|l| l.augment_ms));
    let validation = epoch.validation_seconds.unwrap_or(0.0).max(0.0);
    let rest = (epoch.seconds - weights - policy - augment - validation).max(0.0);
    [weights, policy, augment, validation, rest]
}

fn seconds(record: &FoldRecord) -> Stack {
    let bar = |e: &EpochRecord| (e.epoch as f64, stages(record, e).to_vec());
    Stack {
        title: "Seconds an epoch".into(),
        names: STAGES.to_vec(),
        bars: record.epochs.iter().map(bar).collect(),
        nothing: "no epoch is done yet",
    }
}

/// Entropy and step of the search; none without one.
fn search(record: &FoldRecord) -> Vec<Chart> {
    let one = |title: &str, name, value: &dyn Fn(&EpochRecord) -> Option<f64>| {
        let points = without_gaps(course(record, value));
        let series = vec![Series::new(0, name, points)];
        Chart { title: title.into(), series, range: None, nothing: "" }
    };
    let charts = [
        one("Mean entropy of the distribution, nats", "entropy", &|e| e.mean_entropy),
        one("Delta, the step size of ASNG", "delta", &|e| e.delta),
    ];
    charts.into_iter().filter(|c| c.series.iter().any(|s| !s.points.is_empty())).collect()
}

/// The curves of the page as SVG elements.
pub(super) fn curves(record: &FoldRecord) -> Vec<String> {
    let four = [
        Curve::Lines(loss(record)),
        Curve::Lines(dice(record)),
        Curve::Lines(learning_rate(record)),
        Curve::Bars(seconds(record)),
    ];
    four.into_iter().chain(search(record).into_iter().map(Curve::Lines)).map(element).collect()
}

fn element(curve: Curve) -> String {
    let (title, height, marks): (String, f64, Vec<Mark>) = match curve {
        Curve::Lines(chart) => {
            let height = chart.height(HEIGHT, FONT);
            let frame = Rect { x: 0.0, y: 0.0, width: WIDTH, height };
            let marks = chart.marks(frame, FONT);
            (chart.title, height, marks)
        }
        Curve::Bars(stack) => {
            let frame = Rect { x: 0.0, y: 0.0, width: WIDTH, height: HEIGHT };
            let marks = stack.marks(frame, FONT);
            (stack.title, HEIGHT, marks)
        }
    };
    let mut svg = Svg::new(WIDTH, height);
    svg.draw(&marks);
    svg.inline(&title)
}

/// The content of `progress.png`: loss, Dice, learning rate and seconds.
pub(super) fn progress(record: &FoldRecord) -> Result<Vec<u8>> {
    let dice = dice(record);
    let (width, first) = (PANEL.0, dice.height(PANEL.1, LETTERS));
    let head = MARGIN + 2.0 * LETTERS;
    let frame = |column: f64, y: f64, height: f64| Rect {
        x: MARGIN + column * (width + 2.0 * MARGIN),
        y,
        width,
        height,
    };
    let below = head + first + 2.0 * MARGIN;
    let mut marks = vec![Mark::Text {
        at: (MARGIN, MARGIN + LETTERS),
        size: LETTERS,
        anchor: Anchor::Start,
        text: title(record),
    }];
    marks.extend(loss(record).marks(frame(0.0, head, first), LETTERS));
    marks.extend(dice.marks(frame(1.0, head, first), LETTERS));
    marks.extend(learning_rate(record).marks(frame(0.0, below, PANEL.1), LETTERS));
    marks.extend(seconds(record).marks(frame(1.0, below, PANEL.1), LETTERS));
    let (width, height) = (2.0 * width + 4.0 * MARGIN, below + PANEL.1 + MARGIN);
    let mut canvas = Canvas::new(width as usize, height as usize, 255);
    canvas.draw(&marks);
    canvas.png()
}

fn title(record: &FoldRecord) -> String {
    let done = record.epochs.last().map_or(0, |e| e.epoch);
    // A schedule may end a training early.
    let planned = record.planned_epochs().filter(|_| !record.trained);
    let of = planned.map(|all| format!(" of {all}")).unwrap_or_default();
    format!("{}, fold {}, epoch {done}{of}", record.config.dataset.name, record.fold)
}
