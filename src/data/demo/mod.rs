//! Synthetic data sets in MSD layout that behave like the paper's three tasks:
//! anatomy varies by smooth deformation and size, intensity by bias field,
//! contrast, gamma and Rician noise, so that a network trained on few cases
//! without augmentation does worse on new ones.

mod anatomy;
mod scan;

use super::nifti::{self, Header};
use crate::{Error, Result, files};
use anatomy::Anatomy;
use rayon::prelude::*;
use std::path::Path;

/// Which task to imitate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DemoKind {
    /// 1 channel, 1 label: a heart's left atrium with vessel stumps.
    Heart,
    /// 2 channels, 2 nested labels, voxels of 3.6 x 0.6 x 0.6 mm.
    Prostate,
    /// 4 channels, 3 nested irregular labels, exactly 0 outside the head.
    Brain,
}

/// How large the volumes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DemoSize {
    /// For trying out: about 40 voxels an axis.
    Small,
    /// As large as the real task's volumes.
    Full,
}

impl DemoKind {
    /// Name of the data set and prefix of its cases.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heart => "heart",
            Self::Prostate => "prostate",
            Self::Brain => "brain",
        }
    }

    /// A sensible number of cases.
    pub fn default_cases(self) -> usize {
        match self {
            Self::Heart => 12,
            Self::Prostate => 16,
            Self::Brain => 16,
        }
    }

    /// Names of the channels.
    pub fn channels(self) -> &'static [&'static str] {
        match self {
            Self::Heart => &["MRI"],
            Self::Prostate => &["T2", "ADC"],
            Self::Brain => &["FLAIR", "T1w", "T1gd", "T2w"],
        }
    }

    /// Names of the labels, background first.
    pub fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Heart => &["background", "left atrium"],
            Self::Prostate => &["background", "PZ", "TZ"],
            Self::Brain => &["background", "edema", "non-enhancing tumor", "enhancing tumour"],
        }
    }

    /// Shape (D, H, W) and spacing in mm.
    pub fn grid(self, size: DemoSize) -> ([usize; 3], [f64; 3]) {
        match (self, size) {
            (Self::Heart, DemoSize::Small) => ([40, 48, 40], [3.4, 3.4, 3.4]),
            (Self::Heart, DemoSize::Full) => ([112, 160, 144], [1.37, 1.25, 1.25]),
            (Self::Prostate, DemoSize::Small) => ([12, 64, 64], [3.6, 0.6, 0.6]),
            (Self::Prostate, DemoSize::Full) => ([20, 160, 160], [3.6, 0.6, 0.6]),
            (Self::Brain, DemoSize::Small) => ([40, 48, 40], [3.6, 3.6, 3.6]),
            (Self::Brain, DemoSize::Full) => ([120, 144, 120], [1.2, 1.2, 1.2]),
        }
    }
}

/// One synthetic case.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoCase {
    /// D, H, W.
    pub shape: [usize; 3],
    /// Voxel size D, H, W in mm.
    pub spacing_mm: [f64; 3],
    /// C, D, H, W intensities.
    pub image: Vec<i16>,
    /// D, H, W labels.
    pub labels: Vec<u16>,
}

/// Makes the case of a number: the same for the same arguments.
pub fn demo_case(kind: DemoKind, size: DemoSize, number: usize, seed: u64) -> DemoCase {
    let (shape, spacing_mm) = kind.grid(size);
    let anatomy = Anatomy::new(kind, seed, number as u64);
    let tissue = anatomy.tissues(shape, spacing_mm);
    let labels = tissue.iter().map(|&t| anatomy::label(kind, t)).collect();
    let image = scan::scan(kind, &tissue, shape, spacing_mm, seed, number as u64);
    DemoCase { shape, spacing_mm, image, labels }
}

/// Writes a data set of `cases` cases into `dir`, which is made if it is
/// missing. Deterministic by `seed`; in parallel over cases.
///
/// # Errors
/// No cases, a folder that is not empty, or a failure to write.
pub fn write_demo(
    dir: &Path,
    kind: DemoKind,
    size: DemoSize,
    cases: usize,
    seed: u64,
) -> Result<()> {
    if cases == 0 {
        return Err(Error::Usage("a demo data set needs at least one case; ask for more".into()));
    }
    let make =
        |p: &Path| std::fs::create_dir_all(p).map_err(|e| Error::io("make the folder", p, e));
    make(dir)?;
    let mut entries = std::fs::read_dir(dir).map_err(|e| Error::io("list", dir, e))?;
    if entries.next().is_some() {
        return Err(Error::Usage(format!(
            "the folder '{}' is not empty; name a new one",
            dir.display()
        )));
    }
    let (images, labels) = (dir.join("imagesTr"), dir.join("labelsTr"));
    make(&images)?;
    make(&labels)?;
    let file = |number: usize| format!("{}_{number:03}.nii.gz", kind.name());
    let written: Vec<Result<()>> = (1..cases + 1)
        .into_par_iter()
        .map(|number| {
            let case = demo_case(kind, size, number, seed);
            let header = Header::plain(case.shape, case.spacing_mm);
            let channels = kind.channels().len();
            let name = file(number);
            nifti::write_image_i16(
                &images.join(&name),
                &case.image,
                channels,
                case.shape,
                &header,
            )?;
            nifti::write_labels(&labels.join(&name), &case.labels, case.shape, &header)
        })
        .collect();
    written.into_iter().collect::<Result<()>>()?;
    let numbered = |names: &[&str]| -> serde_json::Map<String, serde_json::Value> {
        names.iter().enumerate().map(|(i, n)| (i.to_string(), (*n).into())).collect()
    };
    let training: Vec<serde_json::Value> = (1..cases + 1)
        .map(|n| serde_json::json!({"image": format!("./imagesTr/{}", file(n)), "label": format!("./labelsTr/{}", file(n))}))
        .collect();
    let json = serde_json::json!({
        "name": format!("demo-{}", kind.name()),
        "description": format!("Synthetic data set, seed {seed}"),
        "licence": "CC0",
        "tensorImageSize": if kind.channels().len() > 1 { "4D" } else { "3D" },
        "modality": numbered(kind.channels()),
        "labels": numbered(kind.labels()),
        "numTraining": cases,
        "numTest": 0,
        "training": training,
        "test": [],
    });
    let path = dir.join("dataset.json");
    files::replace(&path, format!("{json:#}\n").as_bytes())
}
