//! The history of a search as a picture: how the distribution and the most probable policy went.
//!
//! On the left a heat map a variable, epochs from left to right and values in natural units from
//! bottom to top; on the right the most probable interval, or probability, over the epochs. Many
//! epochs share a column, so the file stays small.

mod heat;
mod latest;

use super::log::PolicyLine;
use super::policy::Policy;
use super::space::{Field, Space, Variable};
use crate::picture::Rect;
use crate::picture::svg::{self, Svg};
use crate::{Error, Result};

/// Width of the picture; a font of 12 is still readable where it is shown at 400 pixels.
const WIDTH: f64 = 560.0;
/// Height of the head: title, three lines, and the scale of the colours.
const HEAD: f64 = 130.0;
/// Height of a row of panels with its title and the epochs below.
const ROW: f64 = 152.0;
/// Height of a panel.
const PANEL: f64 = 96.0;
/// Gap between the heat maps of a right and a left bound.
const GAP: f64 = 4.0;
/// Left edges and width of the two panels of a row.
const LEFT: f64 = 50.0;
const RIGHT: f64 = 336.0;
const PANEL_WIDTH: f64 = 214.0;
/// Width of a panel that stands alone.
const PART_WIDTH: f64 = LEFT + PANEL_WIDTH + 12.0;
/// Columns of a heat map at most; more epochs share one.
const MOST_COLUMNS: usize = 60;

/// Lines and fill of the most probable interval: Okabe and Ito's vermilion, which stands out from
/// the blue of the heat maps for every kind of colour vision.
const ACCENT: &str = "#d55e00";

/// What a row of panels shows: an interval or a probability.
struct Row {
    title: &'static str,
    unit: &'static str,
    low: Field,
    /// None for a probability.
    high: Option<Field>,
}

const fn interval(title: &'static str, unit: &'static str, low: Field, high: Field) -> Row {
    Row { title, unit, low, high: Some(high) }
}

const fn probability(title: &'static str, field: Field) -> Row {
    Row { title, unit: "probability", low: field, high: None }
}

const ROWS: [Row; 11] = [
    interval("elastic alpha", "voxels", Field::ElasticAlphaLow, Field::ElasticAlphaHigh),
    interval("elastic sigma", "voxels", Field::ElasticSigmaLow, Field::ElasticSigmaHigh),
    interval("scale", "factor", Field::ScaleLow, Field::ScaleHigh),
    interval("rotation x", "degrees", Field::RotationXLow, Field::RotationXHigh),
    interval("rotation y", "degrees", Field::RotationYLow, Field::RotationYHigh),
    interval("rotation z", "degrees", Field::RotationZLow, Field::RotationZHigh),
    interval("gamma", "exponent", Field::GammaLow, Field::GammaHigh),
    probability("elastic", Field::PElastic),
    probability("scale", Field::PScale),
    probability("rotation", Field::PRotation),
    probability("gamma", Field::PGamma),
];

/// An SVG of a search's history. `title`: the run; `lines`: its `policy.jsonl`.
///
/// # Errors
/// [`Error::Input`] when no epoch has a distribution, or one of another space than `space`.
pub fn history(title: &str, space: &Space, lines: &[PolicyLine]) -> Result<String> {
    let history = History::new(title, space, lines)?;
    let rows = rows(space);
    let mut svg = Svg::new(WIDTH, HEAD + ROW * rows.len() as f64);
    history.head(&mut svg, title);
    for (i, (row, variables)) in rows.into_iter().enumerate() {
        history.row(&mut svg, HEAD + ROW * i as f64, row, &variables);
    }
    Ok(svg.finish(&format!("Search of augmentation policies: {title}")))
}

/// The pictures of a search for a page of HTML: SVG elements that take its width and colours.
#[derive(Clone, Debug)]
pub struct HistoryParts {
    /// The distribution at the end: variables from top to bottom, values from left to right.
    pub latest: String,
    /// For each interval or probability the heat map over the epochs, and the most probable
    /// interval or value over them.
    pub rows: Vec<[String; 2]>,
    /// The probability that has the darkest colour in the maps over the epochs.
    pub top: f64,
}

/// As [`history`], in parts that each can be read where 360 pixels are all there is.
///
/// # Errors
/// As [`history`].
pub fn history_parts(title: &str, space: &Space, lines: &[PolicyLine]) -> Result<HistoryParts> {
    let history = History::new(title, space, lines)?;
    let theta = history.lines.last().and_then(|line| line.theta.as_ref());
    let latest = theta.map(|theta| latest::map(space, theta)).unwrap_or_default();
    let part = |(row, variables): (&Row, Vec<(usize, &Variable)>)| {
        let mut maps = Svg::new(PART_WIDTH, ROW);
        history.maps(&mut maps, LEFT, 0.0, row, &variables);
        let mut courses = Svg::new(PART_WIDTH, ROW);
        courses.text(LEFT, 20.0, 14.0, "start", &format!("{}, most probable", row.title));
        history.courses(&mut courses, LEFT, 0.0, row, &variables);
        let title = |what| format!("{}: {what} over the epochs", row.title);
        [maps.inline(&title("probabilities")), courses.inline(&title("most probable"))]
    };
    let rows = rows(space).into_iter().map(part).collect();
    Ok(HistoryParts { latest, rows, top: history.top })
}

/// The rows of a space with their variables.
fn rows(space: &Space) -> Vec<(&'static Row, Vec<(usize, &Variable)>)> {
    let all = ROWS.iter().map(|row| (row, row.variables(space)));
    all.filter(|(_, variables)| !variables.is_empty()).collect()
}

impl Row {
    /// The searched variables of the row with their places in the space, the upper one first.
    fn variables<'a>(&self, space: &'a Space) -> Vec<(usize, &'a Variable)> {
        let find = |field| space.variables.iter().enumerate().find(|(_, v)| v.name == field);
        self.high.and_then(find).into_iter().chain(find(self.low)).collect()
    }
}

/// The epochs to draw; at least one.
struct History<'a> {
    lines: Vec<&'a PolicyLine>,
    /// First and last.
    epochs: (u64, u64),
    /// The largest probability of any value, which has the darkest colour.
    top: f64,
}

impl<'a> History<'a> {
    fn new(title: &str, space: &Space, lines: &'a [PolicyLine]) -> Result<Self> {
        let lines: Vec<&PolicyLine> = lines.iter().filter(|line| line.theta.is_some()).collect();
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
            return Err(Error::Input(format!(
                "'{title}' has no distribution to draw: give a run whose searcher learns one"
            )));
        };
        let counts = space.counts();
        if let Some(line) =
            lines.iter().find(|l| l.theta.as_ref().is_some_and(|t| t.counts() != counts))
        {
            return Err(Error::Input(format!(
                "epoch {} of '{title}' has a distribution of another search space than its \
                 policy.json; draw a run whose files belong together",
                line.epoch
            )));
        }
        Ok(History { epochs: (first.epoch, last.epoch), top: heat::largest(&lines), lines })
    }

    fn head(&self, svg: &mut Svg, title: &str) {
        svg.text(10.0, 26.0, 18.0, "start", "Search of augmentation policies");
        let (first, last) = self.epochs;
        svg.text(10.0, 46.0, 13.0, "start", &format!("{title}, epochs {first} to {last}"));
        if let Some(entropy) = self.lines.last().and_then(|l| l.mean_entropy) {
            let text = format!("mean entropy at the end {entropy:.3} nats");
            svg.text(10.0, 64.0, 13.0, "start", &text);
        }
        let text = "Of two maps, the upper is the right bound, the lower the left bound.";
        svg.text(10.0, 82.0, 13.0, "start", text);
        svg.text(LEFT, 106.0, 13.0, "start", "probability of a value");
        heat::scale(svg, Rect { x: LEFT, y: 112.0, width: 120.0, height: 10.0 });
        svg.text(LEFT - 5.0, 122.0, 12.0, "end", "0");
        svg.text(LEFT + 125.0, 122.0, 12.0, "start", &format!("{:.2}", self.top));
        svg.text(RIGHT, 106.0, 13.0, "start", "most probable value or interval");
        let band = Rect { x: RIGHT, y: 112.0, width: 120.0, height: 10.0 };
        svg.area(&band.corners(), ACCENT);
        svg.line(&[(band.x, band.y), (band.right(), band.y)], ACCENT, 2.0);
        svg.line(&[(band.x, band.bottom()), (band.right(), band.bottom())], ACCENT, 2.0);
    }

    fn row(&self, svg: &mut Svg, y: f64, row: &Row, variables: &[(usize, &Variable)]) {
        self.maps(svg, LEFT, y, row, variables);
        self.courses(svg, RIGHT, y, row, variables);
    }

    /// The heat maps of a row, with its title and the epochs below.
    fn maps(&self, svg: &mut Svg, x: f64, y: f64, row: &Row, variables: &[(usize, &Variable)]) {
        let title = match row.high {
            Some(_) => format!("{}, {}", row.title, row.unit),
            None => format!("probability of {}", row.title),
        };
        svg.text(x, y + 20.0, 14.0, "start", &title);
        let top = y + 27.0;
        let each = (PANEL - GAP * (variables.len() - 1) as f64) / variables.len() as f64;
        for (place, &(i, variable)) in variables.iter().enumerate() {
            let y = top + (each + GAP) * place as f64;
            let panel = Rect { x, y, width: PANEL_WIDTH, height: each };
            heat::map(svg, panel, &self.lines, i, self.top);
            svg.frame(panel);
            ends(svg, panel, variable.value(0), variable.value(variable.count.saturating_sub(1)));
        }
        self.axis(svg, x, top + PANEL + 14.0);
    }

    /// The most probable interval of a row over the epochs.
    fn courses(&self, svg: &mut Svg, x: f64, y: f64, row: &Row, variables: &[(usize, &Variable)]) {
        let panel = Rect { x, y: y + 27.0, width: PANEL_WIDTH, height: PANEL };
        self.course(svg, panel, row, variables);
        self.axis(svg, x, panel.bottom() + 14.0);
    }

    fn axis(&self, svg: &mut Svg, x: f64, y: f64) {
        svg.text(x, y, 12.0, "start", &self.epochs.0.to_string());
        svg.text(x + PANEL_WIDTH / 2.0, y, 12.0, "middle", "epoch");
        svg.text(x + PANEL_WIDTH, y, 12.0, "end", &self.epochs.1.to_string());
    }

    /// The most probable interval, or value, of each epoch.
    fn course(&self, svg: &mut Svg, panel: Rect, row: &Row, variables: &[(usize, &Variable)]) {
        let get = |policy: &Policy| (policy.get(row.low), policy.get(row.high.unwrap_or(row.low)));
        // The searched ranges, widened to bounds that are not searched.
        let ranges = variables.iter().map(|(_, v)| (v.low, v.high));
        let all = ranges.chain(self.lines.iter().map(|line| get(&line.policy)));
        let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (l, h)| {
            (low.min(l), high.max(h))
        });
        let count = heat::columns(self.lines.len());
        let step = panel.width / count as f64;
        let place = |value: f64| match high > low {
            true => panel.bottom() - (value - low) / (high - low) * panel.height,
            false => panel.bottom() - panel.height / 2.0,
        };
        let (mut lower, mut upper) = (Vec::new(), Vec::new());
        for column in 0..count {
            // The last epoch of the column.
            let end = heat::span(self.lines.len(), count, column).end;
            let Some(line) = self.lines.get(end - 1) else { continue };
            let (left, right) = get(&line.policy);
            let x = panel.x + step * column as f64;
            lower.extend([(x, place(left)), (x + step, place(left))]);
            upper.extend([(x, place(right)), (x + step, place(right))]);
        }
        if row.high.is_some() {
            let around: Vec<_> = lower.iter().chain(upper.iter().rev()).copied().collect();
            svg.area(&around, ACCENT);
            svg.line(&upper, ACCENT, 2.0);
        }
        svg.line(&lower, ACCENT, 2.0);
        svg.frame(panel);
        ends(svg, panel, low, high);
    }
}

/// The values at the lower and upper end of a panel.
fn ends(svg: &mut Svg, panel: Rect, low: f64, high: f64) {
    svg.text(panel.x - 5.0, panel.y + 10.0, 12.0, "end", &svg::short(high));
    svg.text(panel.x - 5.0, panel.bottom(), 12.0, "end", &svg::short(low));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::distribution::Categorical;

    fn line(epoch: u64, theta: Option<Categorical>) -> PolicyLine {
        PolicyLine {
            epoch,
            theta,
            delta: None,
            s_norm2: None,
            mean_entropy: Some(1.0),
            policy: Policy::nnunet(),
            val_loss_mean: None,
            val_loss_difference: None,
            skipped_share: 0.0,
            weight_ms: 0.0,
            policy_ms: 0.0,
            augment_ms: 0.0,
        }
    }

    #[test]
    fn size_does_not_grow_with_epochs_or_values() {
        let size = |epochs: u64, count: usize| {
            let mut space = Space::default();
            space.variables.iter_mut().for_each(|v| v.count = count);
            let theta = Categorical::uniform(&space.counts());
            let lines: Vec<_> = (0..epochs).map(|e| line(e, Some(theta.clone()))).collect();
            history("run", &space, &lines).unwrap().len()
        };
        assert!(size(1000, 200) < 2 * size(60, 11));
        assert!(size(1000, 200) < 100_000);
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let space = Space::default();
        let refused = |lines: &[PolicyLine]| history("run", &space, lines).unwrap_err().to_string();
        assert!(refused(&[]).contains("no distribution"));
        assert!(refused(&[line(0, None)]).contains("no distribution"));
        let other = Categorical::uniform(&[2, 2]);
        assert!(refused(&[line(4, Some(other))]).contains("epoch 4"));
    }
}
