//! Pictures: plain marks, which are written as SVG or painted as PNG; charts; planes of volumes.
//!
//! A picture's x goes right and its y down. In PNG a unit is a pixel.

pub(crate) mod canvas;
pub(crate) mod chart;
pub(crate) mod look;
pub(crate) mod svg;
mod ticks;

/// A rectangle; y goes down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rect {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Rect {
    pub fn right(&self) -> f64 {
        self.x + self.width
    }

    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }

    pub fn corners(&self) -> [(f64, f64); 4] {
        let (right, bottom) = (self.right(), self.bottom());
        [(self.x, self.y), (right, self.y), (right, bottom), (self.x, bottom)]
    }
}

/// What a mark is drawn in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    /// Text and axes.
    Text,
    /// What must not stand out.
    Faint,
    /// The colour of a series: its number, which [`SERIES`] repeats after.
    Series(usize),
}

/// Colours of series on white: Okabe and Ito's, told apart by the colour-blind too (without the
/// yellow, which white swallows).
pub(crate) const SERIES: [[u8; 3]; 7] = [
    [0, 114, 178],
    [213, 94, 0],
    [0, 158, 115],
    [204, 121, 167],
    [230, 159, 0],
    [86, 180, 233],
    [100, 100, 100],
];

/// Where a text's position is: at its left, middle or right end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// One thing to draw.
#[derive(Clone, Debug)]
pub(crate) enum Mark {
    /// A line through points; `dash` is the length of its dashes and gaps, 0 for none.
    Line { points: Vec<(f64, f64)>, ink: Ink, width: f64, dash: f64 },
    /// A filled circle.
    Dot { at: (f64, f64), radius: f64, ink: Ink },
    /// A filled rectangle.
    Bar { rect: Rect, ink: Ink },
    /// Text at its base line; `size` is the height of the font.
    Text { at: (f64, f64), size: f64, anchor: Anchor, text: String },
}

/// About how wide a text is in a sans-serif font: no letters are narrower on the whole.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    let ems = |c: char| if c.is_ascii() { 0.58 } else { 1.0 };
    text.chars().map(ems).sum::<f64>() * size
}

/// A text cut to a width, with an ellipsis where letters are missing.
pub(crate) fn shortened(text: &str, size: f64, width: f64) -> String {
    if text_width(text, size) <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        short.push(c);
        if text_width(&short, size) + size > width {
            short.pop();
            break;
        }
    }
    short + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(shortened("anterior", 10.0, 100.0), "anterior");
        let short = shortened("a very long name of a structure", 10.0, 60.0);
        assert!(short.starts_with("a very") && short.ends_with('…'), "{short}");
        assert!(text_width(&short, 10.0) <= 60.0);
        assert_eq!(shortened("name", 10.0, 0.0), "…");
    }
}
