//! Charts over epochs: lines, and stacked bars. Each series is named at the right end, beside a
//! sample of its line or bar.

use super::ticks::{texts, ticks};
use super::{Anchor, Ink, Mark, Rect, SERIES, shortened, text_width};

/// Most points of a line that are drawn; of more, the least and the largest of neighbours are.
const MOST_POINTS: usize = 400;
/// Points of a line up to which each has a dot.
const DOTTED: usize = 30;
/// Most bars of a stack that are drawn; of more, neighbours share one of their mean.
const MOST_BARS: usize = 60;
/// Values from here on are not drawn: differences of them must be finite.
const LARGEST: f64 = 1e100;
/// Parts of no bar that reach this share of the largest bar are left out.
const LEAST: f64 = 2e-3;
/// Share of the width that names may take.
const NAMES: f64 = 0.34;
/// From one name to the next, in font sizes.
const NAME_STEP: f64 = 1.25;

/// A line of a chart.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub name: String,
    /// Epoch and value, by epoch; a value that is not finite is a gap.
    pub points: Vec<(f64, f64)>,
    pub ink: Ink,
    /// Whether the line is dashed.
    pub dashed: bool,
}

/// A chart of lines.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// What is drawn, with its unit.
    pub title: String,
    pub series: Vec<Series>,
    /// The vertical axis; none: what the values need.
    pub range: Option<(f64, f64)>,
    /// What is said where there is no value.
    pub nothing: &'static str,
}

/// A chart of bars that consist of parts.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    /// What is drawn, with its unit.
    pub title: String,
    /// Names of the parts, the lowest first.
    pub names: Vec<&'static str>,
    /// Epoch and the size of each part, by epoch.
    pub bars: Vec<(f64, Vec<f64>)>,
    /// What is said where there is no bar.
    pub nothing: &'static str,
}

impl Series {
    /// A line in the colour of its number; numbers beyond the colours are dashed. Values too large
    /// to be drawn are gaps.
    pub fn new(number: usize, name: &str, points: Vec<(f64, f64)>) -> Self {
        let drawn = |(x, y): (f64, f64)| (x, if y.abs() < LARGEST { y } else { f64::NAN });
        let points = points.into_iter().map(drawn).collect();
        let dashed = number / SERIES.len() % 2 == 1;
        Series { name: name.to_owned(), points, ink: Ink::Series(number), dashed }
    }

    fn finite(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.points.iter().copied().filter(|(_, y)| y.is_finite())
    }
}

impl Chart {
    /// A height at which the names of all series find room.
    pub fn height(&self, least: f64, size: f64) -> f64 {
        least.max((self.series.len() as f64 + 4.0) * NAME_STEP * size)
    }

    /// The chart within a frame, in a font of `size`.
    pub fn marks(&self, frame: Rect, size: f64) -> Vec<Mark> {
        let points = || self.series.iter().flat_map(Series::finite);
        let epochs = span(points().map(|(x, _)| x));
        let shown: Vec<&Series> =
            self.series.iter().filter(|s| s.finite().next().is_some()).collect();
        let names: Vec<&str> = shown.iter().map(|s| s.name.as_str()).collect();
        let values = self.range.or_else(|| span(points().map(|(_, y)| y)).map(widened));
        let (Some(epochs), Some(values)) = (epochs, values) else {
            return nothing(&self.title, self.nothing, frame, size);
        };
        let mut axes = Axes::new(&self.title, frame, size, around(epochs), values, &names);
        let mut ends = Vec::new();
        for series in &shown {
            let dash = if series.dashed { 0.4 * size } else { 0.0 };
            let points = thinned(&series.points);
            let width = if points.len() <= DOTTED { 0.15 * size } else { 0.11 * size };
            for stretch in points.split(|(_, y)| !y.is_finite()).filter(|s| !s.is_empty()) {
                let places: Vec<(f64, f64)> = stretch.iter().map(|&p| axes.place(p)).collect();
                if places.len() == 1 || points.len() <= DOTTED {
                    let dot = |&at| Mark::Dot { at, radius: 0.2 * size, ink: series.ink };
                    axes.marks.extend(places.iter().map(dot));
                }
                axes.marks.push(Mark::Line { points: places, ink: series.ink, width, dash });
            }
            let last = series.finite().last().unwrap_or_default();
            ends.push(axes.place(last).1);
        }
        for (series, y) in shown.iter().zip(apart(&ends, NAME_STEP * size, axes.plot)) {
            let (left, length) = (axes.plot.right() + 0.4 * size, 1.2 * size);
            let points = vec![(left, y), (left + length, y)];
            let dash = if series.dashed { 0.3 * size } else { 0.0 };
            axes.marks.push(Mark::Line { points, ink: series.ink, width: 0.2 * size, dash });
            axes.name(&series.name, y);
        }
        axes.marks
    }
}

impl Stack {
    /// The chart within a frame, in a font of `size`.
    pub fn marks(&self, frame: Rect, size: f64) -> Vec<Mark> {
        let bars = merged(&self.bars);
        let top = bars.iter().map(|bar| bar.parts.iter().sum()).fold(0.0, f64::max);
        let part = |number: usize| {
            bars.iter().any(|bar| bar.parts.get(number).is_some_and(|part| *part > LEAST * top))
        };
        let shown: Vec<usize> = (0..self.names.len()).filter(|&number| part(number)).collect();
        let (Some(first), Some(last)) = (bars.first(), bars.last()) else {
            return nothing(&self.title, self.nothing, frame, size);
        };
        if shown.is_empty() || top >= LARGEST {
            return nothing(&self.title, self.nothing, frame, size);
        }
        let names: Vec<&str> = shown.iter().map(|&number| self.names[number]).collect();
        let epochs = (first.from - 0.5, last.to + 0.5);
        let mut axes = Axes::new(&self.title, frame, size, epochs, (0.0, 1.05 * top), &names);
        for bar in &bars {
            let mut sum = 0.0;
            for &number in &shown {
                let low = sum;
                sum += bar.parts[number];
                let (left, bottom) = axes.place((bar.from - 0.5, low));
                let (right, top) = axes.place((bar.to + 0.5, sum));
                let gap = 0.1 * (right - left);
                let (x, width) = (left + gap / 2.0, right - left - gap);
                let rect = Rect { x, y: top, width, height: bottom - top };
                axes.marks.push(Mark::Bar { rect, ink: Ink::Series(number) });
            }
        }
        // Named from top to bottom, as they are stacked.
        for (place, &number) in shown.iter().rev().enumerate() {
            let y = axes.plot.y + (place as f64 + 0.8) * NAME_STEP * size;
            let edge = 0.8 * size;
            let x = axes.plot.right() + 0.6 * size;
            let rect = Rect { x, y: y - edge / 2.0, width: edge, height: edge };
            axes.marks.push(Mark::Bar { rect, ink: Ink::Series(number) });
            axes.name(self.names[number], y);
        }
        axes.marks
    }
}

/// A plot with its axes, and the marks so far.
struct Axes {
    plot: Rect,
    epochs: (f64, f64),
    values: (f64, f64),
    size: f64,
    /// Right end of the names.
    right: f64,
    marks: Vec<Mark>,
}

impl Axes {
    /// Draws title, grid, ticks and frame; leaves room for names at the right.
    fn new(
        title: &str,
        frame: Rect,
        size: f64,
        epochs: (f64, f64),
        values: (f64, f64),
        names: &[&str],
    ) -> Self {
        let widest = |texts: &mut dyn Iterator<Item = f64>| texts.fold(0.0, f64::max);
        let rows = ((frame.height / size / 3.0) as usize).clamp(2, 8);
        let heights = ticks(values.0, values.1, rows, 0.0);
        let labels = texts(&heights);
        let left = widest(&mut labels.iter().map(|text| text_width(text, size))) + 0.5 * size;
        let name = widest(&mut names.iter().map(|name| text_width(name, size)));
        let right = name.min(NAMES * frame.width) + 2.2 * size;
        let (above, below) = (1.9 * size, 2.8 * size);
        let plot = Rect {
            x: frame.x + left,
            y: frame.y + above,
            width: (frame.width - left - right).max(size),
            height: (frame.height - above - below).max(size),
        };
        let mut axes = Axes { plot, epochs, values, size, right: frame.right(), marks: Vec::new() };
        axes.text((frame.x, frame.y + size), Anchor::Start, title);
        for (value, label) in heights.into_iter().zip(labels) {
            let (_, y) = axes.place((epochs.0, value));
            axes.rule(vec![(plot.x, y), (plot.right(), y)]);
            axes.text((plot.x - 0.3 * size, y + 0.35 * size), Anchor::End, &label);
        }
        let columns = ((plot.width / size / 4.0) as usize).clamp(2, 10);
        let numbers = ticks(epochs.0, epochs.1, columns, 1.0);
        for (&number, label) in numbers.iter().zip(texts(&numbers)) {
            let (x, _) = axes.place((number, values.0));
            axes.rule(vec![(x, plot.y), (x, plot.bottom())]);
            axes.text((x, plot.bottom() + 1.2 * size), Anchor::Middle, &label);
        }
        let middle = plot.x + plot.width / 2.0;
        axes.text((middle, plot.bottom() + 2.4 * size), Anchor::Middle, "epoch");
        let points = vec![(plot.x, plot.y), (plot.x, plot.bottom()), (plot.right(), plot.bottom())];
        axes.marks.push(Mark::Line { points, ink: Ink::Text, width: 1.0, dash: 0.0 });
        axes
    }

    /// Where an epoch and a value are; a value outside of the axis is at its end.
    fn place(&self, (epoch, value): (f64, f64)) -> (f64, f64) {
        let share = |v: f64, (low, high): (f64, f64)| ((v - low) / (high - low)).clamp(0.0, 1.0);
        let (x, y) = (share(epoch, self.epochs), share(value, self.values));
        (self.plot.x + x * self.plot.width, self.plot.bottom() - y * self.plot.height)
    }

    fn text(&mut self, at: (f64, f64), anchor: Anchor, text: &str) {
        self.marks.push(Mark::Text { at, size: self.size, anchor, text: text.to_owned() });
    }

    fn rule(&mut self, points: Vec<(f64, f64)>) {
        self.marks.push(Mark::Line { points, ink: Ink::Faint, width: 1.0, dash: 0.0 });
    }

    /// Writes the name of a series whose sample is at height `y`.
    fn name(&mut self, name: &str, y: f64) {
        let left = self.plot.right() + 1.9 * self.size;
        let name = shortened(name, self.size, self.right - left);
        self.text((left, y + 0.35 * self.size), Anchor::Start, &name);
    }
}

/// A title, and a sentence in place of a plot.
fn nothing(title: &str, sentence: &str, frame: Rect, size: f64) -> Vec<Mark> {
    let text = |at, anchor, text: &str| Mark::Text { at, size, anchor, text: text.to_owned() };
    let plot = Rect { y: frame.y + 1.9 * size, height: frame.height - 1.9 * size, ..frame };
    let mut points = plot.corners().to_vec();
    points.extend(points.first().copied());
    let middle = (plot.x + plot.width / 2.0, plot.y + plot.height / 2.0);
    vec![
        text((frame.x, frame.y + size), Anchor::Start, title),
        Mark::Line { points, ink: Ink::Faint, width: 1.0, dash: 0.0 },
        text(middle, Anchor::Middle, sentence),
    ]
}

/// The least and the largest of finite values.
fn span(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let finite = values.filter(|v| v.is_finite());
    finite.fold(None, |span, v| {
        let (low, high) = span.unwrap_or((v, v));
        Some((v.min(low), v.max(high)))
    })
}

/// A little more than a span of values, so that lines do not touch the frame.
fn widened((low, high): (f64, f64)) -> (f64, f64) {
    let more = match high - low {
        size if size > 0.0 => 0.05 * size,
        _ if low == 0.0 => 1.0,
        _ => 0.1 * low.abs(),
    };
    (low - more, high + more)
}

/// A span of epochs that is no point.
fn around((first, last): (f64, f64)) -> (f64, f64) {
    if last > first { (first, last) } else { (first - 0.5, last + 0.5) }
}

/// Moves heights apart by at least `step`, within a plot as far as they find room there. The order
/// of the results is that of the heights.
fn apart(heights: &[f64], step: f64, plot: Rect) -> Vec<f64> {
    let mut order: Vec<usize> = (0..heights.len()).collect();
    order.sort_by(|&a, &b| heights[a].total_cmp(&heights[b]));
    let mut placed: Vec<f64> = Vec::with_capacity(heights.len());
    for &i in &order {
        let above = placed.last().map_or(plot.y + step / 2.0, |y| y + step);
        placed.push(heights[i].max(above));
    }
    // Back up from the bottom.
    let mut below = plot.bottom();
    for y in placed.iter_mut().rev() {
        *y = y.min(below);
        below = *y - step;
    }
    let mut all = vec![0.0; heights.len()];
    order.into_iter().zip(placed).for_each(|(i, y)| all[i] = y);
    all
}

/// A line of at most [`MOST_POINTS`] points that keeps its peaks.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let group = points.len().div_ceil(MOST_POINTS / 2);
    let ends = |group: &[(f64, f64)]| {
        let finite = || group.iter().copied().filter(|(_, y)| y.is_finite());
        let low = finite().min_by(|a, b| a.1.total_cmp(&b.1));
        let high = finite().max_by(|a, b| a.1.total_cmp(&b.1));
        let mut ends: Vec<(f64, f64)> = low.into_iter().chain(high).collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends.dedup();
        ends
    };
    points.chunks(group).flat_map(ends).collect()
}

/// A bar of a stack: epochs from..=to, and the mean of its parts.
struct Bar {
    from: f64,
    to: f64,
    parts: Vec<f64>,
}

/// At most [`MOST_BARS`] bars.
fn merged(bars: &[(f64, Vec<f64>)]) -> Vec<Bar> {
    let group = bars.len().div_ceil(MOST_BARS).max(1);
    let one = |group: &[(f64, Vec<f64>)]| {
        let (first, last) = (group.first()?, group.last()?);
        let mean = |part: usize| {
            let sum: f64 = group.iter().filter_map(|(_, parts)| parts.get(part)).sum();
            sum / group.len() as f64
        };
        let parts = (0..first.1.len()).map(mean).collect();
        Some(Bar { from: first.0, to: last.0, parts })
    };
    bars.chunks(group).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Rect = Rect { x: 0.0, y: 0.0, width: 360.0, height: 200.0 };

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        let series = vec![Series::new(0, "training", points)];
        Chart { title: "loss".into(), series, range: None, nothing: "nothing yet" }
    }

    fn texts_of(marks: &[Mark]) -> Vec<&str> {
        let mut texts = Vec::new();
        for mark in marks {
            if let Mark::Text { text, .. } = mark {
                texts.push(text.as_str());
            }
        }
        texts
    }

    fn inside(marks: &[Mark]) -> bool {
        marks.iter().all(|mark| match mark {
            Mark::Line { points, .. } => points.iter().all(|&(x, y)| {
                (FRAME.x..=FRAME.right()).contains(&x) && (FRAME.y..=FRAME.bottom()).contains(&y)
            }),
            Mark::Text { at: (x, _), size, anchor, text } => {
                let width = text_width(text, *size);
                let left = match anchor {
                    Anchor::Start => *x,
                    Anchor::Middle => x - width / 2.0,
                    Anchor::End => x - width,
                };
                left >= -1e-9 && left + width <= FRAME.right() + 1e-9
            }
            _ => true,
        })
    }

    #[test]
    fn charts_stay_in_their_frame_whatever_the_values() {
        let cases = [
            vec![(1.0, 0.5)],
            vec![(1.0, -3.0), (2.0, f64::NAN), (3.0, 7e8)],
            (0..5000).map(|i| (f64::from(i), 1e-7 * f64::from(i % 17))).collect(),
            vec![(1.0, 2.0), (2.0, 2.0)],
        ];
        for points in cases {
            let marks = chart(points).marks(FRAME, 12.0);
            assert!(inside(&marks), "{marks:?}");
            let texts = texts_of(&marks);
            assert!(texts.contains(&"training") && texts.contains(&"epoch"), "{texts:?}");
        }
        let mut long = chart(vec![(1.0, 1.0)]);
        long.series[0].name = "a structure of a very long name indeed".into();
        assert!(inside(&long.marks(FRAME, 12.0)));
        assert!(
            texts_of(&chart(vec![(1.0, f64::NAN)]).marks(FRAME, 12.0)).contains(&"nothing yet")
        );
    }

    #[test]
    fn a_gap_parts_a_line_and_many_points_keep_their_peak() {
        let points = vec![(1.0, 1.0), (2.0, 2.0), (3.0, f64::NAN), (4.0, 1.0), (5.0, 3.0)];
        let lines = |marks: &[Mark]| {
            let blue = |m: &&Mark| matches!(m, Mark::Line { ink: Ink::Series(0), .. });
            marks.iter().filter(blue).count()
        };
        // Two stretches, and the sample beside the name.
        assert_eq!(lines(&chart(points).marks(FRAME, 12.0)), 3);
        let many: Vec<(f64, f64)> =
            (0..3000).map(|i| (f64::from(i), if i == 1234 { 9.0 } else { 0.0 })).collect();
        let thin = thinned(&many);
        assert!(thin.len() <= MOST_POINTS && thin.contains(&(1234.0, 9.0)));
    }

    #[test]
    fn names_do_not_overlap() {
        let plot = Rect { x: 0.0, y: 10.0, width: 100.0, height: 100.0 };
        let heights = [100.0, 99.0, 12.0, 110.0, 98.0];
        let placed = apart(&heights, 15.0, plot);
        let mut sorted = placed.clone();
        sorted.sort_by(f64::total_cmp);
        assert!(sorted.windows(2).all(|w| w[1] - w[0] >= 15.0 - 1e-9), "{placed:?}");
        assert!(sorted[4] <= 110.0 && placed[3] == sorted[4] && placed[2] == sorted[0]);
    }

    #[test]
    fn bars_hold_the_sum_of_their_parts() {
        let bars: Vec<_> = (1..=150).map(|e| (f64::from(e), vec![1.0, 0.0, 2.0])).collect();
        let names = vec!["one", "none", "two"];
        let stack = Stack { title: "seconds".into(), names, bars, nothing: "nothing yet" };
        let marks = stack.marks(FRAME, 12.0);
        let texts = texts_of(&marks);
        assert!(texts.contains(&"two") && !texts.contains(&"none"), "{texts:?}");
        let area = |number: usize| -> f64 {
            let part = |m: &Mark| match m {
                Mark::Bar { rect, ink: Ink::Series(n) } if *n == number => rect.height,
                _ => 0.0,
            };
            marks.iter().map(part).fold(0.0, f64::max)
        };
        assert!((area(2) - 2.0 * area(0)).abs() < 1e-6);
        assert!(
            marks.iter().filter(|m| matches!(m, Mark::Bar { .. })).count() <= 2 * MOST_BARS + 2
        );
    }
}
