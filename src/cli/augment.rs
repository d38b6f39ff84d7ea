//! `asng-wgpu augment IN -o DIR`.

use super::interpolation::InterpolationFlags;
use super::mirroring::MirrorFlags;
use super::{DeviceFlags, checked_shaders, edges, print, say};
use crate::error::Result;
use crate::preview::{PreviewOptions, preview};
use crate::run::FoldId;
use crate::search::policy::Interval;
use crate::search::space::Field;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  asng-wgpu augment heart -o look
  asng-wgpu augment image.nii.gz --label label.nii.gz -o look --rotation-x -15:15 --p-rotation 1
  asng-wgpu augment heart --case la_003 --policy runs/heart -o look --count 12
  asng-wgpu augment heart --case la_003 --replay look/draws.json -o again

Writes <case>_00.nii.gz, <case>_00_label.nii.gz... (intensities normalised, as training sees
them), draws.json and sheet.png. The same seed gives the same files.")]
pub(super) struct Augment {
    /// A volume, an image of a data set, or the folder of a data set.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Folder to write.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Label map of the volume [default: the data set's].
    #[arg(long, value_name = "FILE")]
    label: Option<PathBuf>,
    /// Case of the data set [default: the first].
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    /// Repeat the draws of an earlier draws.json, voxel by voxel.
    #[arg(
        long,
        value_name = "DRAWS",
        conflicts_with_all = [
            "count", "seed", "policy", "fold", "patch", "no_mirror", "mirror_axes", "interpolation",
            "label_interpolation", "Values",
        ]
    )]
    replay: Option<PathBuf>,
    /// Number of draws.
    #[arg(long, default_value_t = 6)]
    count: usize,
    /// Seed of the draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A policy.json, a run (its learned policy), or default: nnU-Net's. A file with a
    /// distribution is sampled, one policy per draw.
    #[arg(long, value_name = "FILE|RUN|default", default_value = "default")]
    policy: PathBuf,
    /// Fold of the run: a number, or full [default: the first with a policy].
    #[arg(long)]
    fold: Option<FoldId>,
    /// Edges D,H,W in voxels of a patch about the labels [default: the whole case].
    #[arg(long)]
    patch: Option<String>,
    /// Channel that the sheet shows.
    #[arg(long, default_value_t = 0)]
    channel: usize,
    #[command(flatten)]
    mirror: MirrorFlags,
    #[command(flatten)]
    interpolation: InterpolationFlags,
    #[command(flatten, next_help_heading = "Override the policy")]
    values: Values,
    #[command(flatten)]
    device: DeviceFlags,
}

#[derive(clap::Args, Debug)]
struct Values {
    /// Degrees in the plane of H and W, LOW:HIGH or one number.
    #[arg(long, value_name = "LOW:HIGH", allow_hyphen_values = true)]
    rotation_x: Option<Interval>,
    /// Degrees in the plane of D and W.
    #[arg(long, value_name = "LOW:HIGH", allow_hyphen_values = true)]
    rotation_y: Option<Interval>,
    /// Degrees in the plane of D and H.
    #[arg(long, value_name = "LOW:HIGH", allow_hyphen_values = true)]
    rotation_z: Option<Interval>,
    /// Factor on the sampling grid: above 1 the content shrinks.
    #[arg(long, value_name = "LOW:HIGH", allow_hyphen_values = true)]
    scale: Option<Interval>,
    /// Exponent of the gamma correction.
    #[arg(long, value_name = "LOW:HIGH", allow_hyphen_values = true)]
    gamma: Option<Interval>,
    /// Strength of the elastic displacement, voxels.
    #[arg(long, value_name = "LOW:HIGH", allow_hyphen_values = true)]
    elastic_alpha: Option<Interval>,
    /// Smoothness of the elastic displacement, voxels.
    #[arg(long, value_name = "LOW:HIGH", allow_hyphen_values = true)]
    elastic_sigma: Option<Interval>,
    /// Probability of rotation.
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    p_rotation: Option<f64>,
    /// Probability of scaling.
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    p_scale: Option<f64>,
    /// Probability of gamma correction.
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    p_gamma: Option<f64>,
    /// Probability of elastic displacement.
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    p_elastic: Option<f64>,
}

impl Values {
    fn fields(&self) -> Vec<(Field, f64)> {
        let intervals = [
            (self.rotation_x, Field::RotationXLow, Field::RotationXHigh),
            (self.rotation_y, Field::RotationYLow, Field::RotationYHigh),
            (self.rotation_z, Field::RotationZLow, Field::RotationZHigh),
            (self.scale, Field::ScaleLow, Field::ScaleHigh),
            (self.gamma, Field::GammaLow, Field::GammaHigh),
            (self.elastic_alpha, Field::ElasticAlphaLow, Field::ElasticAlphaHigh),
            (self.elastic_sigma, Field::ElasticSigmaLow, Field::ElasticSigmaHigh),
        ];
        let probabilities = [
            (self.p_rotation, Field::PRotation),
            (self.p_scale, Field::PScale),
            (self.p_gamma, Field::PGamma),
            (self.p_elastic, Field::PElastic),
        ];
        let mut fields = Vec::new();
        for (interval, low, high) in intervals {
            fields.extend(interval.iter().flat_map(|i| [(low, i.low), (high, i.high)]));
        }
        for (probability, field) in probabilities {
            fields.extend(probability.map(|p| (field, p)));
        }
        fields
    }
}

impl Augment {
    /// The flags, resolved.
    pub(super) fn options(&self) -> Result<PreviewOptions> {
        Ok(PreviewOptions {
            input: self.input.clone(),
            case: self.case.clone(),
            label: self.label.clone(),
            output: self.output.clone(),
            replay: self.replay.clone(),
            count: self.count,
            seed: self.seed,
            policy: (self.policy.as_os_str() != "default").then(|| self.policy.clone()),
            fold: self.fold,
            values: self.values.fields(),
            patch: self.patch.as_deref().map(|text| edges("--patch", text)).transpose()?,
            mirror: self.mirror.axes(),
            interpolation: self.interpolation.interpolation,
            label_interpolation: self.interpolation.label_interpolation,
            channel: self.channel,
            adapter: self.device.choice(),
            checked_shaders: checked_shaders(),
        })
    }

    pub(super) fn run(&self) -> Result<()> {
        let sheet = preview(&self.options()?, &mut say)?;
        print(&sheet.display().to_string())
    }
}
