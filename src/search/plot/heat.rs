//! Heat maps: the probability of each value over the epochs.

use super::MOST_COLUMNS;
use crate::picture::Rect;
use crate::picture::svg::Svg;
use crate::search::log::PolicyLine;
use std::ops::Range;

/// Values of a heat map at most; more values share a cell by their sum.
const MOST_CELLS: usize = 31;

/// Shades from probability 0 to the largest one.
const SHADES: usize = 24;

/// The ends and middles of the shades: ColorBrewer's sequential Blues, whose lightness alone
/// tells them apart.
const STOPS: [[f64; 3]; 5] = [
    [247.0, 251.0, 255.0],
    [198.0, 219.0, 239.0],
    [107.0, 174.0, 214.0],
    [33.0, 113.0, 181.0],
    [8.0, 48.0, 107.0],
];

/// The colour of a share 0..1 of the largest probability.
fn colour(share: f64) -> String {
    let place = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let low = (place as usize).min(STOPS.len() - 2);
    let t = place - low as f64;
    let channel = |i: usize| (STOPS[low][i] * (1.0 - t) + STOPS[low + 1][i] * t).round() as u8;
    format!("#{:02x}{:02x}{:02x}", channel(0), channel(1), channel(2))
}

/// Columns of a heat map of so many epochs.
pub(super) fn columns(epochs: usize) -> usize {
    epochs.clamp(1, MOST_COLUMNS)
}

/// The part of `0..length` that cell `number` of `count` cells stands for.
pub(super) fn span(length: usize, count: usize, number: usize) -> Range<usize> {
    number * length / count..(number + 1) * length / count
}

/// The probabilities of a variable's cells in a column: mean over its epochs, sum over the values
/// of a cell.
fn cells(lines: &[&PolicyLine], variable: usize) -> Vec<f64> {
    let mut sums = Vec::new();
    for row in lines.iter().filter_map(|l| l.theta.as_ref()?.rows().get(variable)) {
        let cells = merged(row);
        sums.resize(cells.len(), 0.0);
        sums.iter_mut().zip(cells).for_each(|(sum, cell)| *sum += cell);
    }
    sums.iter().map(|sum| sum / lines.len() as f64).collect()
}

/// The largest probability of a cell in all columns and variables.
pub(super) fn largest(lines: &[&PolicyLine]) -> f64 {
    let count = columns(lines.len());
    let variables = lines.first().and_then(|l| l.theta.as_ref()).map_or(0, |t| t.rows().len());
    let mut top = f64::MIN_POSITIVE;
    for column in 0..count {
        for variable in 0..variables {
            let cells = cells(&lines[span(lines.len(), count, column)], variable);
            top = cells.into_iter().fold(top, f64::max);
        }
    }
    top
}

/// Draws the map of a variable; `top` has the darkest shade. Neighbours of one shade in a row are
/// one rectangle.
pub(super) fn map(svg: &mut Svg, panel: Rect, lines: &[&PolicyLine], variable: usize, top: f64) {
    let count = columns(lines.len());
    let width = panel.width / count as f64;
    let table: Vec<Vec<f64>> =
        (0..count).map(|c| cells(&lines[span(lines.len(), count, c)], variable)).collect();
    let rows = table.first().map_or(0, Vec::len);
    let height = panel.height / rows.max(1) as f64;
    let shade = |column: usize, row: usize| {
        let probability = table.get(column).and_then(|cells| cells.get(row)).copied();
        let share = probability.unwrap_or(0.0) / top;
        ((share * SHADES as f64).round() as usize).min(SHADES)
    };
    let mut shades = vec![Vec::new(); SHADES + 1];
    for row in 0..rows {
        let y = panel.bottom() - height * (row + 1) as f64;
        let mut begin = 0;
        for end in 1..=count {
            if end < count && shade(end, row) == shade(begin, row) {
                continue;
            }
            let x = panel.x + width * begin as f64;
            let width = width * (end - begin) as f64;
            shades[shade(begin, row)].push(Rect { x, y, width, height });
            begin = end;
        }
    }
    for (shade, cells) in shades.iter().enumerate() {
        svg.cells(cells, &colour(shade as f64 / SHADES as f64));
    }
}

/// The probabilities of a row of a distribution's cells: the sum over the values of a cell.
pub(super) fn merged(row: &[f64]) -> Vec<f64> {
    let count = row.len().clamp(1, MOST_CELLS);
    (0..count).map(|number| row[span(row.len(), count, number)].iter().sum()).collect()
}

/// Draws cells of these probabilities beside each other; `top` has the darkest shade.
pub(super) fn strip(svg: &mut Svg, panel: Rect, cells: &[f64], top: f64) {
    let width = panel.width / cells.len().max(1) as f64;
    for (number, probability) in cells.iter().enumerate() {
        let cell = Rect { x: panel.x + width * number as f64, width, ..panel };
        svg.cells(&[cell], &colour(probability / top));
    }
}

/// Draws the scale of the colours.
pub(super) fn scale(svg: &mut Svg, panel: Rect) {
    let width = panel.width / (SHADES + 1) as f64;
    for shade in 0..=SHADES {
        let cell = Rect { x: panel.x + width * shade as f64, width, ..panel };
        svg.cells(&[cell], &colour(shade as f64 / SHADES as f64));
    }
    svg.frame(panel);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_darken() {
        let light = |share: f64| {
            let text = colour(share);
            let part = |i: usize| i32::from_str_radix(&text[i..i + 2], 16).unwrap();
            part(1) + part(3) + part(5)
        };
        for step in 0..SHADES {
            let share = |n: usize| n as f64 / SHADES as f64;
            assert!(light(share(step)) > light(share(step + 1)), "{step}");
        }
        assert_eq!(colour(-1.0), "#f7fbff");
        assert_eq!(colour(2.0), "#08306b");
    }

    #[test]
    fn spans_cover_everything_once() {
        for (length, count) in [(1, 1), (60, 60), (61, 60), (1000, 60), (7, 3)] {
            let all: Vec<usize> = (0..count).flat_map(|n| span(length, count, n)).collect();
            assert_eq!(all, (0..length).collect::<Vec<_>>());
            assert!((0..count).all(|n| !span(length, count, n).is_empty()));
        }
    }
}
