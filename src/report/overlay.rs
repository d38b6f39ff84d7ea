//! Pictures of the worst validation cases: the contours of reference and prediction on the image.
//!
//! Each plane is the one in which the two differ most, cut to their surroundings and drawn in true
//! proportions. Of an image only this box is kept in memory.

use super::base64::base64;
use super::record::FoldRecord;
use super::results::{name_of, worst};
use crate::augment::sheet::limits;
use crate::data::Dataset;
use crate::data::nifti::{LabelVolume, for_each_chunk, read_labels};
use crate::infer::evaluate::leave_out;
use crate::metrics::Summary;
use crate::metrics::summary::CaseMetrics;
use crate::picture::canvas::{Canvas, LETTER, LINE};
use crate::picture::look::{Look, looks};
use crate::run::fold_folder;
use crate::{Error, Result};
use std::ops::Range;
use std::path::Path;

/// Cases that are shown.
const CASES: usize = 5;
/// Pixels of the longest edge of a plane.
const EDGE: f64 = 320.0;
/// What is shown around the labels: so many mm, or this share of their extent if that is more.
const MARGIN_MM: f64 = 20.0;
const MARGIN_SHARE: f64 = 0.35;
/// Width of a contour in pixels.
const CONTOUR: usize = 2;

/// Okabe and Ito's sky blue and orange, which every kind of colour vision tells apart by their hue
/// or lightness, on greys; white where the contours coincide.
pub(super) const REFERENCE: [u8; 3] = [86, 180, 233];
pub(super) const PREDICTION: [u8; 3] = [230, 159, 0];
pub(super) const BOTH: [u8; 3] = [255; 3];
const LETTERS: [u8; 3] = [255, 230, 150];

/// A plane as a picture.
pub(super) struct PlanePicture {
    pub name: &'static str,
    pub width: usize,
    pub height: usize,
    /// The PNG as a `data:` URI.
    pub uri: String,
}

/// A case in three planes.
pub(super) struct Overlay {
    pub case: String,
    pub dice: f64,
    pub planes: Vec<PlanePicture>,
}

/// Pictures of the worst cases, and a sentence for each that cannot be shown; one for all where the
/// data set cannot be opened. `data`: its folder, where it is not the one that the run names.
pub(super) fn overlays(
    record: &FoldRecord,
    summary: &Summary,
    data: Option<&Path>,
) -> (Vec<Overlay>, Vec<String>) {
    let (mut shown, mut faults) = (Vec::new(), Vec::new());
    let folder = data.map_or_else(|| record.config.find_data(&record.run), Path::to_owned);
    let dataset = match Dataset::open(&folder) {
        Ok(dataset) => dataset,
        Err(error) => {
            let names: Vec<String> =
                worst(summary, CASES).into_iter().map(|(case, _)| name_of(case)).collect();
            let verb = if names.len() == 1 { "is" } else { "are" };
            let names = names.join(", ");
            let fault = format!("{names} {verb} not shown: {error}; give its folder by --data");
            return (Vec::new(), vec![fault]);
        }
    };
    for (case, dice) in worst(summary, CASES) {
        let name = name_of(case);
        match planes(record, &dataset, case) {
            Ok(planes) => shown.push(Overlay { case: name, dice, planes }),
            Err(error) => faults.push(format!("{name} is not shown: {error}")),
        }
    }
    (shown, faults)
}

fn planes(record: &FoldRecord, dataset: &Dataset, case: &CaseMetrics) -> Result<Vec<PlanePicture>> {
    let name = name_of(case);
    let file = Path::new(&case.prediction_file).file_name().unwrap_or_default();
    let prediction = fold_folder(&record.run, record.fold).join("validation").join(file);
    let found = dataset.select(std::slice::from_ref(&name))?;
    let files = found.first().and_then(|c| Some((c.images.first()?, c.label.as_ref()?)));
    let Some((image, label)) = files else {
        return Err(Error::Input("the data set has no image and label map of it".into()));
    };
    let ignore = record.config.dataset.labels.ignore();
    let volumes = Volumes::read(&prediction, label, image, ignore)?;
    volumes.planes().into_iter().collect()
}

/// The part of a case that is shown; arrays are D,H,W of it.
struct Volumes {
    shape: [usize; 3],
    spacing_mm: [f64; 3],
    /// See [`looks`].
    axes: [(usize, bool); 3],
    image: Vec<f32>,
    reference: Vec<u16>,
    prediction: Vec<u16>,
}

impl Volumes {
    fn read(
        prediction: &Path,
        reference: &Path,
        image: &Path,
        ignore: Option<u16>,
    ) -> Result<Self> {
        let mut found = read_labels(prediction)?;
        let mut truth = read_labels(reference)?;
        let differs = |path: &Path| {
            Error::Input(format!(
                "'{}' and '{}' have other shapes; evaluate the fold anew",
                path.display(),
                prediction.display()
            ))
        };
        if found.shape != truth.shape {
            return Err(differs(reference));
        }
        if let Some(ignore) = ignore {
            leave_out(&mut found.labels, &mut truth.labels, ignore);
        }
        let bounds = surroundings(&found, &truth);
        let shape = [0, 1, 2].map(|axis| bounds[axis].len());
        let cut = |volume: &LabelVolume| -> Vec<u16> {
            let [_, height, width] = volume.shape;
            let rows = bounds[0].clone().flat_map(|z| bounds[1].clone().map(move |y| (z, y)));
            let row = |(z, y): (usize, usize)| {
                let begin = (z * height + y) * width;
                &volume.labels[begin + bounds[2].start..begin + bounds[2].end]
            };
            rows.flat_map(row).copied().collect()
        };
        let (reference, prediction_cut) = (cut(&truth), cut(&found));
        let image = read_box(image, truth.shape, &bounds)?.ok_or_else(|| differs(image))?;
        Ok(Volumes {
            shape,
            spacing_mm: truth.spacing_mm,
            axes: truth.header.anatomical_axes(),
            image,
            reference,
            prediction: prediction_cut,
        })
    }

    fn planes(&self) -> [Result<PlanePicture>; 3] {
        let at = self.most_different();
        let limits = limits(&self.image);
        let edges = [0, 1, 2].map(|axis| self.shape[axis] as f64 * self.spacing_mm[axis]);
        let longest = edges.into_iter().fold(1e-9, f64::max);
        looks(self.axes).map(|look| self.plane(look, at, limits, EDGE / longest))
    }

    /// For each axis, of the planes that the reference is in, the one with most voxels that differ;
    /// the one with most labelled voxels where none does.
    fn most_different(&self) -> [usize; 3] {
        let mut counts = self.shape.map(|edge| vec![(false, 0usize, 0usize); edge]);
        let [_, height, width] = self.shape;
        for (i, (a, b)) in self.reference.iter().zip(&self.prediction).enumerate() {
            let at = [i / (height * width), i / width % height, i % width];
            let (different, labelled) = (usize::from(a != b), usize::from(*a > 0 || *b > 0));
            for (counts, at) in counts.iter_mut().zip(at) {
                counts[at].0 |= *a > 0;
                counts[at].1 += different;
                counts[at].2 += labelled;
            }
        }
        let most = |counts: &Vec<(bool, usize, usize)>| {
            (0..counts.len()).fold(0, |best, i| if counts[i] > counts[best] { i } else { best })
        };
        [most(&counts[0]), most(&counts[1]), most(&counts[2])]
    }

    /// Draws a plane: nearest voxel a pixel, contours on the inner side of their edges.
    fn plane(
        &self,
        look: Look,
        at: [usize; 3],
        (low, high): (f32, f32),
        pixels_per_mm: f64,
    ) -> Result<PlanePicture> {
        let plane = look.plane(self.shape, at, self.spacing_mm);
        let pixels = |mm: f64| ((mm * pixels_per_mm).round() as usize).max(1);
        let [height, width] = plane.size_mm.map(pixels);
        // Room for the letters, where the plane is a thin one.
        let (canvas_width, canvas_height) = (width.max(2 * LETTER), height.max(2 * LINE));
        let mut canvas = Canvas::new(canvas_width, canvas_height, 0);
        let voxel = |y: usize, x: usize| {
            plane.indices[y * plane.height / height * plane.width + x * plane.width / width]
        };
        let edge = |labels: &[u16], y: usize, x: usize| {
            let label = labels[voxel(y, x)];
            // Outside of the picture there is no label.
            let differs = |y: Option<usize>, x: Option<usize>| match (y, x) {
                (Some(y), Some(x)) if y < height && x < width => labels[voxel(y, x)] != label,
                _ => true,
            };
            label > 0
                && (1..=CONTOUR).any(|step| {
                    differs(y.checked_sub(step), Some(x))
                        || differs(Some(y + step), Some(x))
                        || differs(Some(y), x.checked_sub(step))
                        || differs(Some(y), Some(x + step))
                })
        };
        for y in 0..height {
            for x in 0..width {
                let grey = (self.image[voxel(y, x)] - low) / (high - low) * 255.0;
                let contours = (edge(&self.reference, y, x), edge(&self.prediction, y, x));
                let colour = match contours {
                    (true, true) => BOTH,
                    (true, false) => REFERENCE,
                    (false, true) => PREDICTION,
                    // A NaN becomes 0.
                    (false, false) => [grey.clamp(0.0, 255.0) as u8; 3],
                };
                canvas.set(x, y, colour);
            }
        }
        let [left, top] = look.letters;
        let (beside, above) = ((canvas_height - LINE) / 2, (canvas_width - LETTER) / 2);
        // In the middle of a dark rim, so that they are seen on bright images too.
        for (dx, dy) in [(1, 1), (3, 1), (1, 3), (3, 3), (2, 2)] {
            let colour = if (dx, dy) == (2, 2) { LETTERS } else { [0; 3] };
            canvas.text(dx, beside + dy, left, colour);
            canvas.text(above + dx, dy, top, colour);
        }
        let uri = format!("data:image/png;base64,{}", base64(&canvas.png()?));
        Ok(PlanePicture { name: look.name, width: canvas_width, height: canvas_height, uri })
    }
}

/// The box (D,H,W) around the labels of both maps with a margin; all voxels without labels.
fn surroundings(a: &LabelVolume, b: &LabelVolume) -> [Range<usize>; 3] {
    let [depth, height, width] = a.shape;
    let (mut first, mut last) = ([usize::MAX; 3], [0; 3]);
    for (i, (a, b)) in a.labels.iter().zip(&b.labels).enumerate() {
        if *a > 0 || *b > 0 {
            let at = [i / (height * width), i / width % height, i % width];
            for axis in 0..3 {
                first[axis] = first[axis].min(at[axis]);
                last[axis] = last[axis].max(at[axis]);
            }
        }
    }
    if first[0] == usize::MAX {
        return [0..depth, 0..height, 0..width];
    }
    [0, 1, 2].map(|axis| {
        let (edge, mm) = (a.shape[axis], a.spacing_mm[axis]);
        let extent = (last[axis] + 1 - first[axis]) as f64;
        let margin = (MARGIN_MM / mm).max(MARGIN_SHARE * extent).ceil() as usize;
        first[axis].saturating_sub(margin)..last[axis].saturating_add(margin + 1).min(edge)
    })
}

/// The voxels of a box (D,H,W) of an image's first channel; none where its shape is not `shape`.
fn read_box(
    path: &Path,
    shape: [usize; 3],
    bounds: &[Range<usize>; 3],
) -> Result<Option<Vec<f32>>> {
    let [depth, height, width] = shape;
    let mut voxels = Vec::with_capacity(bounds.iter().map(Range::len).product());
    let header = for_each_chunk(
        path,
        |_| Ok(()),
        |header, first, values| {
            if header.shape() != shape {
                return Ok(());
            }
            for (i, value) in values.iter().enumerate() {
                let i = first + i;
                let inside = i < depth * height * width
                    && bounds[0].contains(&(i / (height * width)))
                    && bounds[1].contains(&(i / width % height))
                    && bounds[2].contains(&(i % width));
                if inside {
                    voxels.push(*value as f32);
                }
            }
            Ok(())
        },
    )?;
    Ok((header.shape() == shape).then_some(voxels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::nifti::{Header, write_image, write_labels};

    /// Labels 1 in a box, one voxel further in the prediction, in an image that grows along x.
    fn volumes(folder: &Path) -> Volumes {
        let shape = [12, 20, 30];
        let header = Header::plain(shape, [2.0, 1.0, 1.0]);
        let inside = |i: usize, shift: usize| {
            let (z, y, x) = (i / 600, i / 30 % 20, i % 30);
            (4..8).contains(&z) && (6..12).contains(&y) && (8 + shift..20 + shift).contains(&x)
        };
        let labels = |shift| (0..7200).map(|i| u16::from(inside(i, shift))).collect::<Vec<_>>();
        let image: Vec<f32> = (0..14400).map(|i| (i % 30) as f32).collect();
        let path = |name: &str| folder.join(name);
        write_labels(&path("p.nii.gz"), &labels(3), shape, &header).unwrap();
        write_labels(&path("r.nii.gz"), &labels(0), shape, &header).unwrap();
        write_image(&path("i.nii.gz"), &image, 2, shape, &header).unwrap();
        Volumes::read(&path("p.nii.gz"), &path("r.nii.gz"), &path("i.nii.gz"), None).unwrap()
    }

    #[test]
    fn the_box_and_the_planes_are_those_of_the_labels() {
        let folder = tempfile::tempdir().unwrap();
        let volumes = volumes(folder.path());
        // 10 voxels of 2 mm or 20 of 1 mm around, within the volume.
        assert_eq!(volumes.shape, [12, 20, 30]);
        let at = volumes.most_different();
        assert!((4..8).contains(&at[0]) && (6..12).contains(&at[1]), "{at:?}");
        assert!((8..11).contains(&at[2]) || (20..23).contains(&at[2]), "{at:?}");
        let sizes: Vec<(usize, usize)> = volumes
            .planes()
            .into_iter()
            .map(|plane| plane.map(|p| (p.width, p.height)).unwrap())
            .collect();
        // 30, 20 and 24 mm along x, y and z.
        let px = |mm: f64| (mm * EDGE / 30.0).round() as usize;
        assert_eq!(sizes, [(px(30.0), px(20.0)), (px(30.0), px(24.0)), (px(20.0), px(24.0))]);
    }

    #[test]
    fn files_of_other_shapes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        volumes(folder.path());
        let header = Header::plain([2, 2, 2], [1.0; 3]);
        let small = folder.path().join("small.nii.gz");
        write_labels(&small, &[1u16; 8], [2, 2, 2], &header).unwrap();
        let path = |name: &str| folder.path().join(name);
        for (p, r, i, wrong) in [
            ("small.nii.gz", "r.nii.gz", "i.nii.gz", "small.nii.gz"),
            ("p.nii.gz", "r.nii.gz", "small.nii.gz", "small.nii.gz"),
            ("none.nii.gz", "r.nii.gz", "i.nii.gz", "none.nii.gz"),
        ] {
            let why = Volumes::read(&path(p), &path(r), &path(i), None).err().expect("a refusal");
            assert!(why.to_string().contains(wrong), "{why}");
        }
    }
}
