//! Contact sheets: what draws do to a patch, at a glance, as a PNG.

use crate::error::{Error, Result};
use crate::files;
use std::path::Path;

/// One row of a sheet: a title and a volume.
#[derive(Clone, Debug)]
pub struct SheetRow<'a> {
    /// Numbers of the draw; letters, digits and `. - + : = /`, one line for each newline.
    pub title: String,
    /// Grey values, D,H,W.
    pub image: &'a [f32],
    /// Labels, D,H,W.
    pub labels: &'a [u32],
    /// Edges D, H, W.
    pub shape: [usize; 3],
}

/// Pixels of the longest edge of a plane.
const EDGE: f64 = 192.0;
/// Pixels between and around planes.
const GAP: usize = 8;
/// Pixels of one dot of the font.
const DOT: usize = 2;
/// Pixels from one line of text to the next.
const LINE: usize = 7 * DOT;
/// Contour colours of labels 1, 2, ... (repeated).
const COLOURS: [[u8; 3]; 8] = [
    [255, 80, 60],
    [70, 200, 90],
    [80, 150, 255],
    [250, 210, 60],
    [230, 100, 230],
    [80, 220, 220],
    [255, 150, 60],
    [170, 130, 255],
];

/// Glyphs of 3 x 5 dots, rows from the top, three bits each, the left dot the highest bit.
const FONT: &[(char, u16)] = &[
    ('0', 0o75557),
    ('1', 0o26227),
    ('2', 0o71747),
    ('3', 0o71717),
    ('4', 0o55711),
    ('5', 0o74717),
    ('6', 0o74757),
    ('7', 0o71222),
    ('8', 0o75757),
    ('9', 0o75717),
    ('a', 0o25755),
    ('b', 0o65656),
    ('c', 0o34443),
    ('d', 0o65556),
    ('e', 0o74647),
    ('f', 0o74644),
    ('g', 0o34553),
    ('h', 0o55755),
    ('i', 0o72227),
    ('j', 0o11152),
    ('k', 0o55655),
    ('l', 0o44447),
    ('m', 0o57755),
    ('n', 0o65555),
    ('o', 0o25552),
    ('p', 0o65644),
    ('q', 0o25563),
    ('r', 0o65655),
    ('s', 0o34216),
    ('t', 0o72222),
    ('u', 0o55557),
    ('v', 0o55552),
    ('w', 0o55775),
    ('x', 0o55255),
    ('y', 0o55222),
    ('z', 0o71247),
    ('.', 0o00002),
    (',', 0o00024),
    ('-', 0o00700),
    ('+', 0o02720),
    (':', 0o02020),
    ('=', 0o07070),
    ('/', 0o11244),
    ('_', 0o00007),
];

/// An RGB picture.
struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    fn set(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        if x < self.width && y < self.height {
            let at = (y * self.width + x) * 3;
            self.pixels[at..at + 3].copy_from_slice(&colour);
        }
    }

    fn text(&mut self, x: usize, y: usize, text: &str) {
        for (i, letter) in text.chars().enumerate() {
            let letter = letter.to_ascii_lowercase();
            let glyph = FONT.iter().find(|(c, _)| *c == letter).map_or(0, |(_, g)| *g);
            for dot in 0..15 * DOT * DOT {
                let (cell, sub) = (dot / (DOT * DOT), dot % (DOT * DOT));
                if glyph >> (14 - cell) & 1 == 1 {
                    let px = x + (i * 4 + cell % 3) * DOT + sub % DOT;
                    self.set(px, y + cell / 3 * DOT + sub / DOT, [235; 3]);
                }
            }
        }
    }
}

/// Grey values that become black and white: the 0.5 and 99.5 percentiles.
fn window(image: &[f32]) -> (f32, f32) {
    let mut sorted: Vec<f32> = image.iter().copied().filter(|v| v.is_finite()).collect();
    if sorted.is_empty() {
        return (0.0, 1.0);
    }
    sorted.sort_unstable_by(f32::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
    let (low, high) = (at(0.005), at(0.995));
    (low, if high > low { high } else { low + 1.0 })
}

/// Writes a sheet: per row the axial, coronal and sagittal mid planes in true proportions
/// (`spacing_mm` along D, H, W), grey within the row's 0.5 and 99.5 percentiles, contours of the
/// labels in colour, the title below. The first row is usually the original.
///
/// # Errors
/// [`Error::Usage`] for a row whose arrays do not match its shape, [`Error::Io`] when the file
/// cannot be written.
pub fn contact_sheet(path: &Path, rows: &[SheetRow], spacing_mm: [f64; 3]) -> Result<()> {
    let picture = draw(rows, spacing_mm)?;
    let wrong = |e: png::EncodingError| Error::io("encode", path, std::io::Error::other(e));
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width as u32, picture.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(wrong)?;
    writer.write_image_data(&picture.pixels).map_err(wrong)?;
    writer.finish().map_err(wrong)?;
    files::replace(path, &bytes)
}

fn draw(rows: &[SheetRow], spacing: [f64; 3]) -> Result<Canvas> {
    for row in rows {
        let voxels: usize = row.shape.iter().product();
        if voxels == 0 || row.image.len() != voxels || row.labels.len() != voxels {
            return Err(Error::Usage(format!(
                "a row of a contact sheet holds {} values and {} labels for {:?} voxels",
                row.image.len(),
                row.labels.len(),
                row.shape
            )));
        }
    }
    // One scale for all rows, so that they can be compared.
    let longest = rows
        .iter()
        .flat_map(|r| (0..3).map(|i| r.shape[i] as f64 * spacing[i]))
        .fold(1e-9, f64::max);
    let pixels = |row: &SheetRow, axis: usize| {
        ((row.shape[axis] as f64 * spacing[axis] / longest * EDGE).round() as usize).max(1)
    };
    let height = |row: &SheetRow| {
        pixels(row, 0).max(pixels(row, 1)) + GAP + row.title.lines().count() * LINE
    };
    let letters = rows.iter().flat_map(|r| r.title.lines()).map(str::len).max().unwrap_or(0);
    let planes = rows.iter().map(|r| 2 * pixels(r, 2) + pixels(r, 1) + 2 * GAP).max().unwrap_or(0);
    let width = planes.max(letters * 4 * DOT) + 2 * GAP;
    let total = rows.iter().map(|r| height(r) + GAP).sum::<usize>() + GAP;
    let mut canvas = Canvas { width, height: total, pixels: vec![24; width * total * 3] };
    let mut top = GAP;
    for row in rows {
        let limits = window(row.image);
        let mut left = GAP;
        // Axial, coronal, sagittal: (fixed axis, axis downwards, axis to the right).
        for axes in [[0, 1, 2], [1, 0, 2], [2, 0, 1]] {
            let size = [pixels(row, axes[1]), pixels(row, axes[2])];
            plane(&mut canvas, row, axes, size, [top, left], limits);
            left += size[1] + GAP;
        }
        let text = top + pixels(row, 0).max(pixels(row, 1)) + GAP / 2;
        for (i, line) in row.title.lines().enumerate() {
            canvas.text(GAP, text + i * LINE, line);
        }
        top += height(row) + GAP;
    }
    Ok(canvas)
}

/// Draws one mid plane, nearest voxel a pixel.
fn plane(
    canvas: &mut Canvas,
    row: &SheetRow,
    [fixed, down, right]: [usize; 3],
    [height, width]: [usize; 2],
    [top, left]: [usize; 2],
    (low, high): (f32, f32),
) {
    let index = |y: usize, x: usize| {
        let mut at = [0; 3];
        at[fixed] = row.shape[fixed] / 2;
        // Coronal and sagittal planes show the last slice, the head end, at the top.
        let y = if down == 0 { height - 1 - y } else { y };
        at[down] = y * row.shape[down] / height;
        at[right] = x * row.shape[right] / width;
        (at[0] * row.shape[1] + at[1]) * row.shape[2] + at[2]
    };
    for y in 0..height {
        for x in 0..width {
            let v = index(y, x);
            let grey = ((row.image[v] - low) / (high - low) * 255.0).clamp(0.0, 255.0) as u8;
            let label = row.labels[v];
            let other = |dy: usize, dx: usize| {
                let (y, x) = ((y + dy).wrapping_sub(1), (x + dx).wrapping_sub(1));
                y < height && x < width && row.labels[index(y, x)] != label
            };
            let contour = label > 0 && (other(0, 1) || other(2, 1) || other(1, 0) || other(1, 2));
            let colour = COLOURS[(label as usize).wrapping_sub(1) % COLOURS.len()];
            canvas.set(left + x, top + y, if contour { colour } else { [grey; 3] });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_has_contours_and_refuses_wrong_shapes() {
        let shape = [10usize, 20, 30];
        let image: Vec<f32> = (0..6000).map(|v| (v % 30) as f32).collect();
        let labels: Vec<u32> = (0..6000).map(|v| u32::from((8..20).contains(&(v % 30)))).collect();
        let row = SheetRow {
            title: "rot 10.5 -3.0 +2\nscale 0.91".into(),
            image: &image,
            labels: &labels,
            shape,
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sheet.png");
        contact_sheet(&path, &[row.clone(), row.clone()], [3.0, 1.0, 1.0]).unwrap();
        let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert!(pixels.chunks(3).filter(|p| *p == COLOURS[0]).count() > 300);
        let bad = SheetRow { shape: [1, 2, 3], ..row };
        assert!(contact_sheet(&path, &[bad], [1.0; 3]).is_err());
    }
}
