//! Contact sheets: what draws do to a case, at a glance, as a PNG.

use crate::error::{Error, Result};
use crate::picture::canvas::{Canvas, LETTER, LINE};
use crate::picture::look::{PlaneVoxels, looks};
use std::path::Path;

/// Pixels of the longest edge of a plane.
const EDGE: f64 = 192.0;
/// Pixels between and around planes.
const GAP: usize = 10;
const WHITE: [u8; 3] = [240; 3];
const DIM: [u8; 3] = [150; 3];
const MARK: [u8; 3] = [255, 220, 120];
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

fn colour_of(label: u32) -> [u8; 3] {
    COLOURS[(label as usize).wrapping_sub(1) % COLOURS.len()]
}

/// How a grid is looked at.
#[derive(Clone, Debug)]
pub struct View {
    /// For right, anterior, superior: the array axis (0, 1, 2 = D, H, W) along it, and whether
    /// its index grows towards it.
    pub axes: [(usize, bool); 3],
    /// Voxel size D, H, W in mm.
    pub spacing_mm: [f64; 3],
    /// Grey values that become black and white.
    pub limits: (f32, f32),
}

/// A plane through a volume as it is shown: rows from the top, columns from the left.
#[derive(Clone, Debug)]
struct Plane {
    height: usize,
    width: usize,
    size_mm: [f64; 2],
    image: Vec<f32>,
    labels: Vec<u32>,
}

/// One row of a sheet: lines of text and the three planes through a voxel.
#[derive(Clone, Debug)]
pub struct SheetRow {
    text: Vec<String>,
    planes: [Plane; 3],
}

/// A sheet: a heading, a legend of the labels' colours, rows; the first is usually the original.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// Lines above everything.
    pub title: Vec<String>,
    /// Labels and their names.
    pub legend: Vec<(u32, String)>,
    /// The rows.
    pub rows: Vec<SheetRow>,
}

/// Grey values that become black and white: the 0.5 and 99.5 percentiles.
pub fn limits(image: &[f32]) -> (f32, f32) {
    let mut sorted: Vec<f32> = image.iter().copied().filter(|v| v.is_finite()).collect();
    if sorted.is_empty() {
        return (0.0, 1.0);
    }
    sorted.sort_unstable_by(f32::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
    let (low, high) = (at(0.005), at(0.995));
    (low, if high > low { high } else { low + 1.0 })
}

impl SheetRow {
    /// Cuts the planes through voxel `at` out of an image and its labels (D,H,W).
    ///
    /// # Errors
    /// [`Error::Usage`] when the arrays do not match the shape.
    pub fn new(
        text: Vec<String>,
        image: &[f32],
        labels: &[u32],
        shape: [usize; 3],
        at: [usize; 3],
        view: &View,
    ) -> Result<Self> {
        let voxels: usize = shape.iter().product();
        if voxels == 0 || image.len() != voxels || labels.len() != voxels {
            return Err(Error::Usage(format!(
                "a row of a contact sheet holds {} values and {} labels for {shape:?} voxels",
                image.len(),
                labels.len()
            )));
        }
        let planes = looks(view.axes).map(|look| {
            let PlaneVoxels { height, width, size_mm, indices } =
                look.plane(shape, at, view.spacing_mm);
            Plane {
                height,
                width,
                size_mm,
                image: indices.iter().map(|&i| image[i]).collect(),
                labels: indices.iter().map(|&i| labels[i]).collect(),
            }
        });
        Ok(SheetRow { text, planes })
    }
}

impl Sheet {
    /// Writes the sheet: true proportions, one scale and one grey window for all rows.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn save(&self, path: &Path, view: &View) -> Result<()> {
        self.draw(view).save(path)
    }

    fn draw(&self, view: &View) -> Canvas {
        let planes = || self.rows.iter().flat_map(|r| &r.planes);
        let longest = planes().flat_map(|p| p.size_mm).fold(1e-9, f64::max);
        let pixels = |mm: f64| ((mm / longest * EDGE).round() as usize).max(1);
        let widths: [usize; 3] = std::array::from_fn(|i| {
            self.rows.iter().map(|r| pixels(r.planes[i].size_mm[1])).max().unwrap_or(1)
        });
        let heights: Vec<usize> = self
            .rows
            .iter()
            .map(|r| {
                let planes = r.planes.iter().map(|p| pixels(p.size_mm[0])).max().unwrap_or(1);
                planes.max(r.text.len() * LINE)
            })
            .collect();
        let letters =
            |lines: &[String]| lines.iter().map(|l| l.chars().count()).max().unwrap_or(0) * LETTER;
        let column = self.rows.iter().map(|r| letters(&r.text)).max().unwrap_or(0);
        let entry = |name: &str| (name.chars().count() + 4) * LETTER;
        let legend: usize = self.legend.iter().map(|(_, name)| entry(name)).sum();
        let body = column + widths.iter().map(|w| GAP + w).sum::<usize>();
        let width = body.max(letters(&self.title)).max(legend) + 2 * GAP;
        let above = self.title.len() + usize::from(!self.legend.is_empty());
        let head = GAP + above * LINE + GAP + LINE;
        let height = head + heights.iter().map(|h| h + GAP).sum::<usize>() + GAP;
        let mut canvas = Canvas::new(width, height, 24);
        let mut top = GAP;
        for line in &self.title {
            canvas.text(GAP, top, line, WHITE);
            top += LINE;
        }
        let mut left = GAP;
        for (label, name) in &self.legend {
            canvas.square(left, top, LETTER, colour_of(*label));
            canvas.text(left + LETTER + LETTER / 2, top, name, DIM);
            left += entry(name);
        }
        let mut left = GAP + column;
        for (look, width) in looks(view.axes).iter().zip(widths) {
            canvas.text(left + GAP, head - LINE, look.name, WHITE);
            left += GAP + width;
        }
        let mut top = head;
        for (number, (row, height)) in self.rows.iter().zip(heights).enumerate() {
            for (i, line) in row.text.iter().enumerate() {
                canvas.text(GAP, top + i * LINE, line, if i == 0 { WHITE } else { DIM });
            }
            let mut left = GAP + column;
            for (i, plane) in row.planes.iter().enumerate() {
                let size = plane.size_mm.map(pixels);
                let corner = [top, left + GAP];
                plane.draw(&mut canvas, corner, size, view.limits);
                if number == 0 {
                    let [at_left, at_top] = looks(view.axes)[i].letters;
                    canvas.text(corner[1] + 2, top + size[0] / 2 - LINE / 2, at_left, MARK);
                    canvas.text(corner[1] + size[1] / 2 - LETTER / 2, top + 2, at_top, MARK);
                }
                left += GAP + widths[i];
            }
            top += height + GAP;
        }
        canvas
    }
}

impl Plane {
    /// Nearest voxel a pixel; contours lie on the label's side of its edge.
    fn draw(
        &self,
        canvas: &mut Canvas,
        [top, left]: [usize; 2],
        [height, width]: [usize; 2],
        (low, high): (f32, f32),
    ) {
        let voxel =
            |y: usize, x: usize| y * self.height / height * self.width + x * self.width / width;
        for y in 0..height {
            for x in 0..width {
                let grey = (self.image[voxel(y, x)] - low) / (high - low) * 255.0;
                let grey = grey.clamp(0.0, 255.0) as u8;
                let label = self.labels[voxel(y, x)];
                let other = |dy: usize, dx: usize| {
                    let (y, x) = ((y + dy).wrapping_sub(1), (x + dx).wrapping_sub(1));
                    y < height && x < width && self.labels[voxel(y, x)] != label
                };
                let edge = label > 0 && (other(0, 1) || other(2, 1) || other(1, 0) || other(1, 2));
                let colour = if edge { colour_of(label) } else { [grey; 3] };
                canvas.set(left + x, top + y, colour);
            }
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
        let view = View {
            axes: [(2, true), (1, true), (0, true)],
            spacing_mm: [3.0, 1.0, 1.0],
            limits: limits(&image),
        };
        let text = vec!["draw 1".to_string(), "rotate 10.5".into()];
        let row = |shape| SheetRow::new(text.clone(), &image, &labels, shape, [5, 10, 15], &view);
        let sheet = Sheet {
            title: vec!["case".into()],
            legend: vec![(1, "heart".into())],
            rows: vec![row(shape).unwrap(), row(shape).unwrap()],
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sheet.png");
        sheet.save(&path, &view).unwrap();
        let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert!(pixels.chunks(3).filter(|p| *p == COLOURS[0]).count() > 300);
        assert!(row([1, 2, 3]).is_err());
    }

    #[test]
    fn planes_are_seen_as_radiologists_see_them() {
        // A voxel at the right, front and top of a patient, in a grid that runs left, back, down.
        let shape = [4, 5, 6];
        let mut image = vec![0f32; 120];
        image[0] = 1.0;
        let view = View {
            axes: [(2, false), (1, false), (0, false)],
            spacing_mm: [1.0; 3],
            limits: (0.0, 1.0),
        };
        let row = SheetRow::new(Vec::new(), &image, &[0; 120], shape, [0; 3], &view).unwrap();
        assert!(row.planes.iter().all(|p| p.image[0] == 1.0));
        assert_eq!(row.planes[0].width * row.planes[0].height, 30);
        // The same voxel in a grid that runs right, front, up is at the other end of every axis.
        image.reverse();
        let view = View { axes: [(2, true), (1, true), (0, true)], ..view };
        let row = SheetRow::new(Vec::new(), &image, &[0; 120], shape, [3, 4, 5], &view).unwrap();
        assert!(row.planes.iter().all(|p| p.image[0] == 1.0));
    }
}
