//! The few elements of SVG that the pictures need.

use crate::picture::{Anchor, Ink, Mark, Rect, SERIES};
use std::fmt::Write;

/// A picture in the making; it scales to the width that it is given.
pub(crate) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

impl Svg {
    pub fn new(width: f64, height: f64) -> Self {
        Svg { width, height, body: String::new() }
    }

    /// Text at its base line; `anchor`: start, middle or end.
    pub fn text(&mut self, x: f64, y: f64, size: f64, anchor: &str, text: &str) {
        let (x, y, size, text) = (short(x), short(y), short(size), escape(text));
        self.push(format!(
            "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    /// Filled rectangles of one colour, without seams.
    pub fn cells(&mut self, cells: &[Rect], colour: &str) {
        let mut path = String::new();
        for c in cells {
            let (x, y, width, height) = (short(c.x), short(c.y), short(c.width), short(c.height));
            path.push_str(&format!("M{x} {y}h{width}v{height}h-{width}z"));
        }
        if !cells.is_empty() {
            self.push(format!(
                "<path fill=\"{colour}\" shape-rendering=\"crispEdges\" d=\"{path}\"/>"
            ));
        }
    }

    /// A line through points.
    pub fn line(&mut self, points: &[(f64, f64)], colour: &str, width: f64) {
        let (points, width) = (list(points), short(width));
        self.push(format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" \
             points=\"{points}\"/>"
        ));
    }

    /// A translucent area within points.
    pub fn area(&mut self, points: &[(f64, f64)], colour: &str) {
        let points = list(points);
        self.push(format!("<polygon fill=\"{colour}\" fill-opacity=\"0.2\" points=\"{points}\"/>"));
    }

    /// The outline of a panel.
    pub fn frame(&mut self, r: Rect) {
        let [x, y, width, height] = [r.x, r.y, r.width, r.height].map(short);
        self.push(format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"none\" \
             stroke=\"currentColor\" stroke-opacity=\"0.7\"/>"
        ));
    }

    /// Marks. Lines and dots of a series have its class, `s0`, `s1`..., whose colour is the page's
    /// to choose; other inks are shades of the page's text colour.
    pub fn draw(&mut self, marks: &[Mark]) {
        for mark in marks {
            match mark {
                Mark::Line { points, ink, width, dash } => {
                    let (points, width) = (list(points), short(*width));
                    let dash = match *dash > 0.0 {
                        true => format!(" stroke-dasharray=\"{}\"", short(*dash)),
                        false => String::new(),
                    };
                    self.push(format!(
                        "<polyline{} fill=\"none\" stroke-width=\"{width}\"{dash} \
                         points=\"{points}\"/>",
                        ink_of(*ink, "stroke", "line")
                    ));
                }
                Mark::Dot { at, radius, ink } => {
                    let (x, y, radius) = (short(at.0), short(at.1), short(*radius));
                    self.push(format!(
                        "<circle{} cx=\"{x}\" cy=\"{y}\" r=\"{radius}\"/>",
                        ink_of(*ink, "fill", "fill")
                    ));
                }
                Mark::Bar { rect, ink } => {
                    let [x, y, width, height] =
                        [rect.x, rect.y, rect.width, rect.height].map(short);
                    self.push(format!(
                        "<rect{} x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>",
                        ink_of(*ink, "fill", "fill")
                    ));
                }
                Mark::Text { at, size, anchor, text } => {
                    let anchor = match anchor {
                        Anchor::Start => "start",
                        Anchor::Middle => "middle",
                        Anchor::End => "end",
                    };
                    self.text(at.0, at.1, *size, anchor, text);
                }
            }
        }
    }

    /// The whole document, black on white; `title` is what a screen reader says.
    pub fn finish(self, title: &str) -> String {
        let [width, height] = [self.width, self.height].map(short);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\" font-family=\"sans-serif\" \
             color=\"#1a1a1a\" fill=\"currentColor\">\n\
             <title>{}</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
             {}</svg>\n",
            escape(title),
            self.body
        )
    }

    /// An element for a page of HTML, whose text colour and width it takes.
    pub fn inline(self, title: &str) -> String {
        let [width, height] = [self.width, self.height].map(short);
        format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"sans-serif\" \
             fill=\"currentColor\">\n<title>{}</title>\n{}</svg>\n",
            escape(title),
            self.body
        )
    }

    fn push(&mut self, element: String) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.body, "{element}");
    }
}

/// A number with at most two decimals.
pub(crate) fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.to_owned() }
}

/// The attributes that give a mark its ink: the class of a series, else the property `paint` as a
/// shade of the text colour.
fn ink_of(ink: Ink, paint: &str, class: &str) -> String {
    match ink {
        Ink::Text => format!(" {paint}=\"currentColor\""),
        Ink::Faint => format!(" {paint}=\"currentColor\" {paint}-opacity=\"0.15\""),
        Ink::Series(number) => format!(" class=\"{class} s{}\"", number % SERIES.len()),
    }
}

fn list(points: &[(f64, f64)]) -> String {
    let pairs: Vec<String> =
        points.iter().map(|&(x, y)| format!("{},{}", short(x), short(y))).collect();
    pairs.join(" ")
}

/// Text as XML may hold it: no markup, and none of the control characters that XML forbids.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_the_markup() {
        assert_eq!(escape("a<b & \"c\"\u{1}\n\u{ffff}>"), "a&lt;b &amp; &quot;c&quot;   &gt;");
        assert_eq!(short(-0.001), "0");
        assert_eq!(short(12.50), "12.5");
        assert_eq!(short(100.0), "100");
    }
}
