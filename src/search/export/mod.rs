//! A policy, or the distribution over policies, as a Python file for another library.
//!
//! Each library has a template beside this file; what they share (the numbers, the drawing, the
//! translation of the rotation) is included. The files follow `augment::draw`: the same
//! distribution of transforms, but not the same random numbers.

use crate::data::Axes;
use std::str::FromStr;

use minijinja::{Environment, UndefinedBehavior, Value, context};

use super::distribution::Categorical;
use super::file::PolicyFile;
use super::policy::Policy;
use super::space::{Field, Space};
use crate::ops::warp::{ImageInterpolation, Interpolation, LabelInterpolation};
use crate::{Error, Result};

/// The library that a Python file is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// batchgenerators, of nnU-Net v1.
    Batchgenerators,
    /// batchgeneratorsv2, of nnU-Net v2.
    Batchgeneratorsv2,
    /// MONAI.
    Monai,
    /// TorchIO.
    Torchio,
}

impl Library {
    /// All libraries.
    pub const ALL: [Library; 4] =
        [Library::Batchgenerators, Library::Batchgeneratorsv2, Library::Monai, Library::Torchio];

    /// The name of the Python package.
    pub fn name(self) -> &'static str {
        match self {
            Library::Batchgenerators => "batchgenerators",
            Library::Batchgeneratorsv2 => "batchgeneratorsv2",
            Library::Monai => "monai",
            Library::Torchio => "torchio",
        }
    }

    /// The releases that the template was checked against.
    fn versions(self) -> &'static str {
        match self {
            Library::Batchgenerators => "batchgenerators 0.25.5",
            Library::Batchgeneratorsv2 => "batchgeneratorsv2 0.3.6 and torch 2.15",
            Library::Monai => "monai 1.6.1 and torch 2.15",
            Library::Torchio => "torchio 1.2.1 and torch 2.15",
        }
    }
}

impl FromStr for Library {
    type Err = Error;

    /// # Errors
    /// [`Error::Usage`] for an unknown name.
    fn from_str(text: &str) -> Result<Self> {
        Library::ALL.into_iter().find(|library| library.name() == text).ok_or_else(|| {
            Error::Usage(format!(
                "'{text}' is not supported; give batchgenerators, batchgeneratorsv2, monai or torchio"
            ))
        })
    }
}

/// What a file says beside the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportOptions {
    /// Mirror these axes with probability 0.5 each.
    pub mirror: Axes,
    /// How the training read between voxels.
    pub interpolation: Interpolation,
    /// Set voxels outside the normalisation's mask back to 0 after gamma.
    pub keep_zero: bool,
    /// The file's axis (0, 1, 2: z, y, x) that each axis D, H, W of the training is.
    pub axes: [usize; 3],
    /// Whether the training turned volumes to RAS first.
    pub reorient: bool,
    /// The training augmented within the slices alone; the file only says that it does not.
    pub dummy_2d: bool,
}

const PARTS: [(&str, &str); 9] = [
    ("batchgenerators", include_str!("batchgenerators.py")),
    ("batchgeneratorsv2", include_str!("batchgeneratorsv2.py")),
    ("monai", include_str!("monai.py")),
    ("torchio", include_str!("torchio.py")),
    ("head.py", include_str!("head.py")),
    ("sampling.py", include_str!("sampling.py")),
    ("drawing.py", include_str!("drawing.py")),
    ("linear.py", include_str!("linear.py")),
    ("main.py", include_str!("main.py")),
];

/// A searched variable as Python text.
struct VariableText {
    name: &'static str,
    values: String,
    probabilities: String,
}

/// The text of a Python file that augments by policies drawn from the file's distribution, or by
/// its one policy where there is none.
///
/// # Errors
/// [`Error::Input`] if a template cannot be filled in.
pub fn python(file: &PolicyFile, library: Library, options: ExportOptions) -> Result<String> {
    let refuse = |e: minijinja::Error| {
        Error::Input(format!("the policy cannot be written for {}: {e}", library.name()))
    };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    for (name, text) in PARTS {
        environment.add_template(name, text).map_err(refuse)?;
    }
    let searched = file.theta.as_ref().map_or(Vec::new(), |theta| variables(&file.space, theta));
    // Numbers outside the searched space are nnU-Net's, as in `Policy::from_indices`.
    let base = if file.theta.is_some() { Policy::nnunet() } else { file.policy.clone() };
    let is_searched = |field: Field| searched.iter().any(|v| v.name == field.name());
    let fixed = Field::ALL.into_iter().filter(|&field| !is_searched(field)).map(|field| {
        context! { name => field.name(), value => format!("{:?}", base.get(field)) }
    });
    let fixed: Vec<Value> = fixed.collect();
    let searched = searched.iter().map(|v| {
        context! {
            name => v.name,
            values => v.values.as_str(),
            probabilities => v.probabilities.as_str(),
        }
    });
    let searched: Vec<Value> = searched.collect();
    let values = context! {
        library => library.name(),
        versions => library.versions(),
        program => env!("CARGO_PKG_VERSION"),
        origin => origin(file, options.dummy_2d),
        axes => options.axes.map(|axis| ["z", "y", "x"].get(axis).copied().unwrap_or("?")).join(", "),
        reorient => options.reorient,
        variables => searched,
        fixed => fixed,
        one_of => base.one_of,
        mirror => options.mirror.0,
        cubic => options.interpolation.image == ImageInterpolation::Cubic,
        nearest => options.interpolation.labels == LabelInterpolation::Nearest,
        keep_zero => options.keep_zero,
        sided => draws_below_one(file, &base),
    };
    let template = environment.get_template(library.name()).map_err(refuse)?;
    let text = template.render(values).map_err(refuse)?;
    Ok(format!("{}\n", text.trim_end()))
}

/// Where the policy is from, as lines of the file's head.
fn origin(file: &PolicyFile, dummy_2d: bool) -> String {
    // Names come from files: nothing in them may end the docstring.
    let plain = |text: &str| -> String {
        text.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\\')).collect()
    };
    let what = match file.theta {
        Some(_) => "Draws a policy a sample from the distribution that the search left",
        None => "One fixed policy",
    };
    let mut text = format!("{what}: run '{}',\n", plain(&file.run));
    text.push_str(&format!("data set '{}', seed {}.", plain(&file.dataset), file.seed));
    if dummy_2d {
        text.push_str(
            "\n\nNot expressed: the slices of this data set lie so far apart that the training \
             turned, scaled and\ndisplaced within them alone; this file does so in all three \
             directions.",
        );
    }
    text
}

fn variables(space: &Space, theta: &Categorical) -> Vec<VariableText> {
    let text = |(variable, row): (&super::space::Variable, &Vec<f64>)| {
        let total: f64 = row.iter().sum();
        VariableText {
            name: variable.name.name(),
            values: list((0..row.len()).map(|k| variable.value(k))),
            probabilities: list(row.iter().map(|p| p / total)),
        }
    };
    space.variables.iter().zip(theta.rows()).map(text).collect()
}

/// A Python list as an element of a tuple, in lines of at most 99 characters.
fn list(numbers: impl Iterator<Item = f64>) -> String {
    let mut lines = vec![String::from("        [")];
    for (i, number) in numbers.enumerate() {
        let word = format!("{}{number:?}", if i == 0 { "" } else { ", " });
        match lines.last_mut() {
            Some(line) if line.len() + word.len() <= 97 => line.push_str(&word),
            Some(line) => {
                line.push(',');
                lines.push(format!("         {}", word.trim_start_matches(", ")));
            }
            None => {}
        }
    }
    lines.join("\n") + "],"
}

/// Whether a scale or exponent may be drawn uniformly over an interval that begins below 1.
fn draws_below_one(file: &PolicyFile, base: &Policy) -> bool {
    let smallest = |field: Field| {
        let variable = file.space.variables.iter().find(|v| v.name == field);
        match (&file.theta, variable) {
            (Some(_), Some(variable)) => variable.low,
            _ => base.get(field),
        }
    };
    let pairs = [(Field::ScaleLow, Field::ScaleHigh), (Field::GammaLow, Field::GammaHigh)];
    pairs
        .into_iter()
        .any(|(low, high)| smallest(low) < 1.0 && (base.one_of || smallest(high) < 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::file::VERSION;

    const OPTIONS: ExportOptions = ExportOptions {
        mirror: Axes::ALL,
        interpolation: Interpolation {
            image: ImageInterpolation::Linear,
            labels: LabelInterpolation::Linear,
        },
        keep_zero: false,
        axes: [0, 1, 2],
        reorient: false,
        dummy_2d: false,
    };

    fn file(theta: bool) -> PolicyFile {
        let space = Space::default();
        PolicyFile {
            version: VERSION,
            theta: theta.then(|| Categorical::uniform(&space.counts())),
            policy: Policy { scale: [0.7, 0.9].into(), ..Policy::nnunet() },
            space,
            dataset: "a \"\"\" b".into(),
            seed: 3,
            run: "run\n\\1".into(),
        }
    }

    #[test]
    fn lines_are_short_and_names_cannot_break_out() {
        for library in Library::ALL {
            for theta in [true, false] {
                let text = python(&file(theta), library, OPTIONS).unwrap();
                assert!(text.lines().all(|line| line.chars().count() <= 99), "{text}");
                assert!(text.contains("data set 'a  b'") && text.contains("run 'run1'"), "{text}");
                assert!(!text.contains("{{") && !text.contains("{%"), "{text}");
            }
        }
    }

    #[test]
    fn what_the_library_draws_otherwise_is_said() {
        let said = |file: &PolicyFile| {
            python(file, Library::Batchgenerators, OPTIONS).unwrap().contains("Not expressed")
        };
        assert!(!said(&file(true)));
        assert!(said(&file(false)));
        let trivial = Policy::trivial(&Space::default());
        assert!(said(&PolicyFile { policy: trivial, ..file(false) }));
        let usual = PolicyFile { policy: Policy::nnunet(), ..file(false) };
        assert!(!said(&usual));
        let flat = ExportOptions { dummy_2d: true, ..OPTIONS };
        assert!(python(&usual, Library::Monai, flat).unwrap().contains("all three directions"));
    }

    #[test]
    fn probabilities_sum_to_one() {
        let theta = Categorical::try_from(vec![vec![0.3, 0.7 + 5e-7]]).unwrap();
        let space = Space { variables: vec![Space::default().variables[0].clone()] };
        let text = &variables(&space, &theta)[0].probabilities;
        let numbers = text.trim().trim_start_matches('[').trim_end_matches("],");
        let sum: f64 = numbers.split(", ").map(|p| p.parse::<f64>().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{text}");
        let why = "numpy".parse::<Library>().unwrap_err().to_string();
        assert!(why.contains("not supported") && why.contains("torchio"), "{why}");
        assert_eq!("torchio".parse::<Library>().unwrap(), Library::Torchio);
    }
}
