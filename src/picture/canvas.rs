//! A picture with text, written as PNG.

use crate::error::{Error, Result};
use crate::files;
use crate::picture::{Anchor, Ink, Mark, Rect, SERIES};
use std::collections::BTreeMap;
use std::path::Path;

/// Pixels of one dot of the font.
const DOT: usize = 2;
/// Pixels from one letter to the next.
pub(crate) const LETTER: usize = 6 * DOT;
/// Pixels from one line of text to the next.
pub(crate) const LINE: usize = 10 * DOT;

/// Glyphs of 5 x 8 dots (the last row for descenders), one byte a column, the lowest bit at the top.
#[rustfmt::skip]
const FONT: &[(char, [u8; 5])] = &[
    ('(', [0x00, 0x1c, 0x22, 0x41, 0x00]),
    (')', [0x00, 0x41, 0x22, 0x1c, 0x00]),
    ('+', [0x08, 0x08, 0x3e, 0x08, 0x08]),
    (',', [0x00, 0x50, 0x30, 0x00, 0x00]),
    ('-', [0x08, 0x08, 0x08, 0x08, 0x08]),
    ('.', [0x00, 0x60, 0x60, 0x00, 0x00]),
    ('/', [0x20, 0x10, 0x08, 0x04, 0x02]),
    ('0', [0x3e, 0x51, 0x49, 0x45, 0x3e]),
    ('1', [0x00, 0x42, 0x7f, 0x40, 0x00]),
    ('2', [0x42, 0x61, 0x51, 0x49, 0x46]),
    ('3', [0x21, 0x41, 0x45, 0x4b, 0x31]),
    ('4', [0x18, 0x14, 0x12, 0x7f, 0x10]),
    ('5', [0x27, 0x45, 0x45, 0x45, 0x39]),
    ('6', [0x3c, 0x4a, 0x49, 0x49, 0x30]),
    ('7', [0x01, 0x71, 0x09, 0x05, 0x03]),
    ('8', [0x36, 0x49, 0x49, 0x49, 0x36]),
    ('9', [0x06, 0x49, 0x49, 0x29, 0x1e]),
    (':', [0x00, 0x36, 0x36, 0x00, 0x00]),
    ('=', [0x14, 0x14, 0x14, 0x14, 0x14]),
    ('%', [0x23, 0x13, 0x08, 0x64, 0x62]),
    ('A', [0x7e, 0x11, 0x11, 0x11, 0x7e]),
    ('B', [0x7f, 0x49, 0x49, 0x49, 0x36]),
    ('C', [0x3e, 0x41, 0x41, 0x41, 0x22]),
    ('D', [0x7f, 0x41, 0x41, 0x22, 0x1c]),
    ('E', [0x7f, 0x49, 0x49, 0x49, 0x41]),
    ('F', [0x7f, 0x09, 0x09, 0x09, 0x01]),
    ('G', [0x3e, 0x41, 0x49, 0x49, 0x7a]),
    ('H', [0x7f, 0x08, 0x08, 0x08, 0x7f]),
    ('I', [0x00, 0x41, 0x7f, 0x41, 0x00]),
    ('J', [0x20, 0x40, 0x41, 0x3f, 0x01]),
    ('K', [0x7f, 0x08, 0x14, 0x22, 0x41]),
    ('L', [0x7f, 0x40, 0x40, 0x40, 0x40]),
    ('M', [0x7f, 0x02, 0x0c, 0x02, 0x7f]),
    ('N', [0x7f, 0x04, 0x08, 0x10, 0x7f]),
    ('O', [0x3e, 0x41, 0x41, 0x41, 0x3e]),
    ('P', [0x7f, 0x09, 0x09, 0x09, 0x06]),
    ('Q', [0x3e, 0x41, 0x51, 0x21, 0x5e]),
    ('R', [0x7f, 0x09, 0x19, 0x29, 0x46]),
    ('S', [0x46, 0x49, 0x49, 0x49, 0x31]),
    ('T', [0x01, 0x01, 0x7f, 0x01, 0x01]),
    ('U', [0x3f, 0x40, 0x40, 0x40, 0x3f]),
    ('V', [0x1f, 0x20, 0x40, 0x20, 0x1f]),
    ('W', [0x3f, 0x40, 0x38, 0x40, 0x3f]),
    ('X', [0x63, 0x14, 0x08, 0x14, 0x63]),
    ('Y', [0x07, 0x08, 0x70, 0x08, 0x07]),
    ('Z', [0x61, 0x51, 0x49, 0x45, 0x43]),
    ('_', [0x40, 0x40, 0x40, 0x40, 0x40]),
    ('a', [0x20, 0x54, 0x54, 0x54, 0x78]),
    ('b', [0x7f, 0x48, 0x44, 0x44, 0x38]),
    ('c', [0x38, 0x44, 0x44, 0x44, 0x20]),
    ('d', [0x38, 0x44, 0x44, 0x48, 0x7f]),
    ('e', [0x38, 0x54, 0x54, 0x54, 0x18]),
    ('f', [0x08, 0x7e, 0x09, 0x01, 0x02]),
    ('g', [0x18, 0xa4, 0xa4, 0xa4, 0x7c]),
    ('h', [0x7f, 0x08, 0x04, 0x04, 0x78]),
    ('i', [0x00, 0x44, 0x7d, 0x40, 0x00]),
    ('j', [0x40, 0x80, 0x84, 0x7d, 0x00]),
    ('k', [0x7f, 0x10, 0x28, 0x44, 0x00]),
    ('l', [0x00, 0x41, 0x7f, 0x40, 0x00]),
    ('m', [0x7c, 0x04, 0x18, 0x04, 0x78]),
    ('n', [0x7c, 0x08, 0x04, 0x04, 0x78]),
    ('o', [0x38, 0x44, 0x44, 0x44, 0x38]),
    ('p', [0xfc, 0x44, 0x44, 0x44, 0x38]),
    ('q', [0x38, 0x44, 0x44, 0x44, 0xfc]),
    ('r', [0x7c, 0x08, 0x04, 0x04, 0x08]),
    ('s', [0x48, 0x54, 0x54, 0x54, 0x20]),
    ('t', [0x04, 0x3f, 0x44, 0x40, 0x20]),
    ('u', [0x3c, 0x40, 0x40, 0x20, 0x7c]),
    ('v', [0x1c, 0x20, 0x40, 0x20, 0x1c]),
    ('w', [0x3c, 0x40, 0x30, 0x40, 0x3c]),
    ('x', [0x44, 0x28, 0x10, 0x28, 0x44]),
    ('y', [0x1c, 0xa0, 0xa0, 0xa0, 0x7c]),
    ('z', [0x44, 0x64, 0x54, 0x4c, 0x44]),
];

/// An RGB picture.
pub(crate) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    /// All pixels of one grey.
    pub(crate) fn new(width: usize, height: usize, grey: u8) -> Self {
        Canvas { width, height, pixels: vec![grey; width * height * 3] }
    }

    /// Colours a pixel; one outside is left out.
    pub(crate) fn set(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        if x < self.width && y < self.height {
            let at = (y * self.width + x) * 3;
            self.pixels[at..at + 3].copy_from_slice(&colour);
        }
    }

    /// Fills a square.
    pub(crate) fn square(&mut self, x: usize, y: usize, edge: usize, colour: [u8; 3]) {
        for i in 0..edge * edge {
            self.set(x + i % edge, y + i / edge, colour);
        }
    }

    /// Writes a line; letters without a glyph leave a gap.
    pub(crate) fn text(&mut self, x: usize, y: usize, text: &str, colour: [u8; 3]) {
        for (i, letter) in text.chars().enumerate() {
            let Some((_, columns)) = FONT.iter().find(|(c, _)| *c == letter) else { continue };
            for (column, bits) in columns.iter().enumerate() {
                for row in (0..8).filter(|row| bits >> row & 1 == 1) {
                    self.square(x + i * LETTER + column * DOT, y + row * DOT, DOT, colour);
                }
            }
        }
    }

    /// Draws marks; letters without a glyph leave a gap.
    pub(crate) fn draw(&mut self, marks: &[Mark]) {
        for mark in marks {
            match mark {
                Mark::Line { points, ink, width, dash } => {
                    for stretch in dashes(points, *dash) {
                        self.line(&stretch, *width, colour(*ink));
                    }
                }
                Mark::Dot { at, radius, ink } => self.line(&[*at], 2.0 * radius, colour(*ink)),
                Mark::Bar { rect, ink } => self.bar(rect, colour(*ink)),
                Mark::Text { at: (x, y), anchor, text, .. } => {
                    let text = text.replace('…', "..");
                    let width = (text.chars().count() * LETTER) as f64;
                    let share = match anchor {
                        Anchor::Start => 0.0,
                        Anchor::Middle => 0.5,
                        Anchor::End => 1.0,
                    };
                    let left = (x - share * width).max(0.0).round() as usize;
                    // Seven of the eight rows of dots stand on the base line.
                    let top = (y - (7 * DOT) as f64).max(0.0).round() as usize;
                    self.text(left, top, &text, colour(Ink::Text));
                }
            }
        }
    }

    /// Paints a line through points, with round ends and smooth edges: a pixel takes as much of
    /// the colour as it lies within half the width of the line.
    fn line(&mut self, points: &[(f64, f64)], width: f64, colour: [u8; 3]) {
        if points.is_empty() {
            return;
        }
        let half = width / 2.0;
        let mut covered: BTreeMap<(usize, usize), f64> = BTreeMap::new();
        let ends = |i: usize| (points[i], points[(i + 1).min(points.len() - 1)]);
        for ((x0, y0), (x1, y1)) in (0..points.len().max(2) - 1).map(ends) {
            let range = |a: f64, b: f64, end: usize| {
                let low = (a.min(b) - half - 1.0).clamp(0.0, end as f64) as usize;
                low..((a.max(b) + half + 2.0).clamp(0.0, end as f64) as usize)
            };
            let (dx, dy) = (x1 - x0, y1 - y0);
            let length2 = dx * dx + dy * dy;
            for y in range(y0, y1, self.height) {
                for x in range(x0, x1, self.width) {
                    // From the pixel's middle.
                    let (px, py) = (x as f64 + 0.5 - x0, y as f64 + 0.5 - y0);
                    let along = if length2 > 0.0 { (px * dx + py * dy) / length2 } else { 0.0 };
                    let along = along.clamp(0.0, 1.0);
                    let distance = (px - along * dx).hypot(py - along * dy);
                    let share = (half + 0.5 - distance).clamp(0.0, 1.0);
                    if share > 0.0 {
                        let most = covered.entry((x, y)).or_default();
                        *most = most.max(share);
                    }
                }
            }
        }
        for ((x, y), share) in covered {
            self.blend(x, y, colour, share);
        }
    }

    /// Fills a rectangle; pixels at its edges take their share of the colour.
    fn bar(&mut self, rect: &Rect, colour: [u8; 3]) {
        let share = |i: usize, from: f64, to: f64| {
            (to.min((i + 1) as f64) - from.max(i as f64)).clamp(0.0, 1.0)
        };
        let range = |from: f64, to: f64, end: usize| {
            from.clamp(0.0, end as f64) as usize..to.ceil().clamp(0.0, end as f64) as usize
        };
        for y in range(rect.y, rect.bottom(), self.height) {
            for x in range(rect.x, rect.right(), self.width) {
                let area = share(x, rect.x, rect.right()) * share(y, rect.y, rect.bottom());
                self.blend(x, y, colour, area);
            }
        }
    }

    /// Mixes a colour into a pixel of the canvas.
    fn blend(&mut self, x: usize, y: usize, colour: [u8; 3], share: f64) {
        let at = (y * self.width + x) * 3;
        for (old, new) in self.pixels[at..at + 3].iter_mut().zip(colour) {
            *old = (f64::from(*old) * (1.0 - share) + f64::from(new) * share).round() as u8;
        }
    }

    /// Writes the PNG file.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        files::replace(path, &self.png()?)
    }

    /// The content of a PNG file.
    pub(crate) fn png(&self) -> Result<Vec<u8>> {
        let wrong = |e: png::EncodingError| Error::Io {
            context: "cannot encode a picture as PNG".into(),
            source: std::io::Error::other(e),
        };
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(wrong)?;
        writer.write_image_data(&self.pixels).map_err(wrong)?;
        writer.finish().map_err(wrong)?;
        Ok(bytes)
    }
}

/// The colour of an ink on white.
fn colour(ink: Ink) -> [u8; 3] {
    match ink {
        Ink::Text => [30; 3],
        Ink::Faint => [222; 3],
        Ink::Series(number) => SERIES[number % SERIES.len()],
    }
}

/// Cuts a line into dashes as long as the gaps between them; a length of 0 leaves it whole.
fn dashes(points: &[(f64, f64)], length: f64) -> Vec<Vec<(f64, f64)>> {
    if length <= 0.0 {
        return vec![points.to_vec()];
    }
    let (mut all, mut dash) = (Vec::new(), points.first().copied().into_iter().collect::<Vec<_>>());
    let (mut drawing, mut left) = (true, length);
    for (mut from, to) in points.iter().copied().zip(points.iter().copied().skip(1)) {
        loop {
            let rest = (to.0 - from.0).hypot(to.1 - from.1);
            if rest <= left {
                left -= rest;
                if drawing {
                    dash.push(to);
                }
                break;
            }
            let t = left / rest;
            from = (from.0 + (to.0 - from.0) * t, from.1 + (to.1 - from.1) * t);
            dash.push(from);
            if drawing {
                all.push(std::mem::take(&mut dash));
            } else {
                dash = vec![from];
            }
            (drawing, left) = (!drawing, length);
        }
    }
    if drawing && !dash.is_empty() {
        all.push(dash);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_bars_are_smooth_and_stay_inside() {
        let mut canvas = Canvas::new(20, 10, 255);
        let line = |points: &[(f64, f64)]| Mark::Line {
            points: points.to_vec(),
            ink: Ink::Text,
            width: 2.0,
            dash: 0.0,
        };
        canvas.draw(&[line(&[(-50.0, 5.0), (50.0, 5.0)]), line(&[]), line(&[(1e9, -1e9)])]);
        let grey = |canvas: &Canvas, x: usize, y: usize| canvas.pixels[(y * 20 + x) * 3];
        assert_eq!([3, 4, 5, 6].map(|y| grey(&canvas, 10, y)), [255, 30, 30, 255]);
        let rect = Rect { x: 2.5, y: 0.0, width: 2.0, height: 1.0 };
        canvas.draw(&[Mark::Bar { rect, ink: Ink::Series(0) }]);
        let half = (255 + i32::from(SERIES[0][0])) / 2;
        assert!((i32::from(grey(&canvas, 2, 0)) - half).abs() <= 1);
        assert_eq!(grey(&canvas, 3, 0), SERIES[0][0]);
        assert_eq!(grey(&canvas, 1, 0), 255);
    }

    #[test]
    fn dashes_are_half_of_a_line() {
        let points = [(0.0, 0.0), (7.0, 0.0), (7.0, 13.0)];
        let dashes = dashes(&points, 2.0);
        let length = |line: &[(f64, f64)]| -> f64 {
            line.windows(2).map(|w| (w[1].0 - w[0].0).hypot(w[1].1 - w[0].1)).sum()
        };
        assert_eq!(dashes.len(), 5);
        assert!(dashes.iter().all(|dash| (length(dash) - 2.0).abs() < 1e-9));
    }
}
