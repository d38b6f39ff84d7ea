//! The distribution of one epoch: variables from top to bottom, values from left to right.

use super::heat;
use crate::picture::Rect;
use crate::picture::svg::{Svg, short};
use crate::search::distribution::Categorical;
use crate::search::space::Space;

/// Width of the picture, as narrow as a phone.
const WIDTH: f64 = 360.0;
/// Height of the scale above the map.
const HEAD: f64 = 34.0;
/// From one variable to the next, and how much of it its cells fill.
const ROW: f64 = 18.0;
const CELL: f64 = 16.0;
/// Left and right edge of the cells.
const LEFT: f64 = 176.0;
const RIGHT: f64 = 326.0;

/// The map of a distribution over a space.
pub(super) fn map(space: &Space, theta: &Categorical) -> String {
    let rows: Vec<Vec<f64>> = theta.rows().iter().map(|row| heat::merged(row)).collect();
    let top = rows.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
    let mut svg = Svg::new(WIDTH, HEAD + ROW * rows.len() as f64 + 2.0);
    svg.text(0.0, 16.0, 12.0, "start", "probability");
    svg.text(LEFT - 5.0, 16.0, 12.0, "end", "0");
    heat::scale(&mut svg, Rect { x: LEFT, y: 6.0, width: RIGHT - LEFT, height: 11.0 });
    svg.text(RIGHT + 5.0, 16.0, 12.0, "start", &short(top));
    for (number, (variable, cells)) in space.variables.iter().zip(&rows).enumerate() {
        let y = HEAD + ROW * number as f64;
        let base = y + 12.5;
        let last = variable.value(variable.count.saturating_sub(1));
        let name = match variable.name.name().strip_prefix("p_") {
            Some(transform) => format!("probability of {transform}"),
            None => variable.name.name().replace('_', " "),
        };
        svg.text(0.0, base, 12.0, "start", &name);
        svg.text(LEFT - 5.0, base, 12.0, "end", &short(variable.value(0)));
        let panel = Rect { x: LEFT, y, width: RIGHT - LEFT, height: CELL };
        heat::strip(&mut svg, panel, cells, top);
        svg.text(RIGHT + 5.0, base, 12.0, "start", &short(last));
    }
    svg.inline("Probability of each value of each variable after the last epoch")
}
