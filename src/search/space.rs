//! The policy space: which numbers of a policy are searched and over which values.
//!
//! The built-in space is the paper's (Xu, Li, Zhu, MICCAI 2020, section 3), 18
//! categorical variables of 11 evenly spaced values in the order of the authors'
//! code; a file may give other ranges, more values or fewer variables.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::policy::Policy;
use crate::{Error, Result};

/// One number of a [`Policy`]: a left or right bound of an interval or a probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Field {
    ElasticAlphaLow,
    ElasticAlphaHigh,
    ElasticSigmaLow,
    ElasticSigmaHigh,
    ScaleLow,
    ScaleHigh,
    RotationXLow,
    RotationXHigh,
    RotationYLow,
    RotationYHigh,
    RotationZLow,
    RotationZHigh,
    GammaLow,
    GammaHigh,
    PElastic,
    PScale,
    PRotation,
    PGamma,
}

impl Field {
    /// All fields in the order of the authors' code.
    pub const ALL: [Field; 18] = [
        Field::ElasticAlphaLow,
        Field::ElasticAlphaHigh,
        Field::ElasticSigmaLow,
        Field::ElasticSigmaHigh,
        Field::ScaleLow,
        Field::ScaleHigh,
        Field::RotationXLow,
        Field::RotationXHigh,
        Field::RotationYLow,
        Field::RotationYHigh,
        Field::RotationZLow,
        Field::RotationZHigh,
        Field::GammaLow,
        Field::GammaHigh,
        Field::PElastic,
        Field::PScale,
        Field::PRotation,
        Field::PGamma,
    ];

    /// The name used in files, for example `rotation_x_low`.
    pub fn name(self) -> &'static str {
        match self {
            Field::ElasticAlphaLow => "elastic_alpha_low",
            Field::ElasticAlphaHigh => "elastic_alpha_high",
            Field::ElasticSigmaLow => "elastic_sigma_low",
            Field::ElasticSigmaHigh => "elastic_sigma_high",
            Field::ScaleLow => "scale_low",
            Field::ScaleHigh => "scale_high",
            Field::RotationXLow => "rotation_x_low",
            Field::RotationXHigh => "rotation_x_high",
            Field::RotationYLow => "rotation_y_low",
            Field::RotationYHigh => "rotation_y_high",
            Field::RotationZLow => "rotation_z_low",
            Field::RotationZHigh => "rotation_z_high",
            Field::GammaLow => "gamma_low",
            Field::GammaHigh => "gamma_high",
            Field::PElastic => "p_elastic",
            Field::PScale => "p_scale",
            Field::PRotation => "p_rotation",
            Field::PGamma => "p_gamma",
        }
    }

    /// True for the four probabilities.
    pub fn is_probability(self) -> bool {
        matches!(self, Field::PElastic | Field::PScale | Field::PRotation | Field::PGamma)
    }

    /// The natural unit: voxels, degrees, factor, exponent or probability.
    pub fn unit(self) -> &'static str {
        use Field::*;
        match self {
            ElasticAlphaLow | ElasticAlphaHigh | ElasticSigmaLow | ElasticSigmaHigh => "voxels",
            ScaleLow | ScaleHigh => "factor",
            RotationXLow | RotationXHigh | RotationYLow | RotationYHigh | RotationZLow
            | RotationZHigh => "degrees",
            GammaLow | GammaHigh => "exponent",
            PElastic | PScale | PRotation | PGamma => "probability",
        }
    }

    /// Range of the built-in space, natural units (the paper's table).
    fn default_range(self) -> (f64, f64) {
        use Field::*;
        match self {
            ElasticAlphaLow => (0.0, 450.0),
            ElasticAlphaHigh => (450.0, 900.0),
            ElasticSigmaLow => (0.0, 7.0),
            ElasticSigmaHigh => (7.0, 14.0),
            ScaleLow | GammaLow => (0.5, 1.0),
            ScaleHigh | GammaHigh => (1.0, 1.5),
            RotationXLow | RotationYLow | RotationZLow => (-30.0, 0.0),
            RotationXHigh | RotationYHigh | RotationZHigh => (0.0, 30.0),
            PElastic | PScale | PRotation | PGamma => (0.0, 1.0),
        }
    }
}

/// One categorical variable: `count` evenly spaced values of [low, high], both ends included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Which number of a policy it sets.
    pub name: Field,
    /// Value of index 0, natural units.
    pub low: f64,
    /// Value of index `count - 1`, natural units.
    pub high: f64,
    /// Number of values K, at least 1 (with 1 the value is `low`).
    #[serde(default = "default_count")]
    pub count: usize,
    /// Natural unit, for people; left out means the field's own.
    #[serde(default)]
    pub unit: String,
}

fn default_count() -> usize {
    11
}

/// Most values that a variable of a file may have.
const MAX_COUNT: usize = 1001;

impl Variable {
    /// Natural value of index k: `low + (high - low) k / (count - 1)`; an index
    /// beyond the last gives the last value.
    pub fn value(&self, k: usize) -> f64 {
        if self.count <= 1 {
            return self.low;
        }
        let last = self.count - 1;
        if k >= last {
            return self.high;
        }
        self.low + (self.high - self.low) * k as f64 / last as f64
    }

    /// Index whose value is nearest to `value`, the lowest on ties.
    pub fn nearest(&self, value: f64) -> usize {
        let mut best = (0, f64::INFINITY);
        for k in 0..self.count {
            let distance = (self.value(k) - value).abs();
            if distance < best.1 {
                best = (k, distance);
            }
        }
        best.0
    }
}

/// The searched variables in order; fields without a variable keep the value of
/// nnU-Net's default policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Space {
    /// The variables, at most one for each field.
    pub variables: Vec<Variable>,
}

impl Default for Space {
    fn default() -> Self {
        let variable = |field: Field| {
            let (low, high) = field.default_range();
            Variable { name: field, low, high, count: 11, unit: field.unit().into() }
        };
        Space { variables: Field::ALL.into_iter().map(variable).collect() }
    }
}

impl Space {
    /// Number of values K_i of each variable.
    pub fn counts(&self) -> Vec<usize> {
        self.variables.iter().map(|v| v.count).collect()
    }

    /// The same space with the four probabilities only.
    pub fn probabilities(&self) -> Space {
        let keep = self.variables.iter().filter(|v| v.name.is_probability());
        Space { variables: keep.cloned().collect() }
    }

    /// For each variable the index nearest to the policy's value.
    pub fn nearest(&self, policy: &Policy) -> Vec<usize> {
        self.variables.iter().map(|v| v.nearest(policy.get(v.name))).collect()
    }

    /// Checks counts, ranges and that every choice of values gives a valid policy.
    ///
    /// # Errors
    /// One clause (no file name) saying which variable is wrong and what is allowed.
    pub fn check(&self) -> std::result::Result<(), String> {
        if self.variables.is_empty() {
            return Err("it has no variables; give at least one, for example p_rotation".into());
        }
        let mut extremes = [Policy::nnunet(), Policy::nnunet()];
        for (i, v) in self.variables.iter().enumerate() {
            let name = v.name.name();
            if self.variables[..i].iter().any(|w| w.name == v.name) {
                return Err(format!("variable {name} appears twice; leave one"));
            }
            if v.count == 0 || v.count > MAX_COUNT {
                return Err(format!("variable {name} has count {}; give 1..{MAX_COUNT}", v.count));
            }
            if !(v.low.is_finite() && v.high.is_finite() && v.low <= v.high) {
                return Err(format!(
                    "variable {name} has the range {} .. {}; low must not exceed high",
                    v.low, v.high
                ));
            }
            // Nearest bounds: the largest left bound against the smallest right bound,
            // and the other way round for the limits of the values themselves.
            extremes[0].set(v.name, v.low);
            extremes[1].set(v.name, v.value(v.count - 1));
        }
        for policy in &extremes {
            policy.check_limits()?;
        }
        let mut tightest = extremes[1].clone();
        for v in self.variables.iter().filter(|v| v.name.name().ends_with("_high")) {
            tightest.set(v.name, v.low);
        }
        tightest.check_order().map_err(|e| {
            format!("some of its left bounds exceed their right bounds ({e}); narrow the ranges")
        })
    }

    /// Reads a space from a TOML file (`[[variables]]` tables) or, by the ending
    /// `.json`, a JSON file; `unit` and `count` (11) may be left out.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Input`] if it is not a space.
    pub fn from_file(path: &Path) -> Result<Space> {
        let text = crate::files::read_text(path)
            .map_err(|e| Error::io("read the search space", path, e))?;
        let refuse = |why: String| {
            Error::Input(format!("cannot use '{}' as a search space: {why}", path.display()))
        };
        let json = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
        let mut space: Space = if json {
            let mut de = serde_json::Deserializer::from_str(&text);
            serde_path_to_error::deserialize(&mut de).map_err(|e| refuse(e.to_string()))?
        } else {
            let de = toml::Deserializer::parse(&text).map_err(|e| refuse(one_line(&e)))?;
            serde_path_to_error::deserialize(de)
                .map_err(|e| refuse(format!("{}: {}", e.path(), e.inner().message())))?
        };
        space.check().map_err(refuse)?;
        for v in &mut space.variables {
            if v.unit.is_empty() {
                v.unit = v.name.unit().into();
            }
        }
        Ok(space)
    }
}

/// A TOML syntax error without the quoted source lines.
fn one_line(e: &toml::de::Error) -> String {
    e.message().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_paper() {
        let space = Space::default();
        assert_eq!(space.counts(), vec![11; 18]);
        let table: [(&str, f64, f64, f64); 18] = [
            ("elastic_alpha_low", 0.0, 225.0, 450.0),
            ("elastic_alpha_high", 450.0, 675.0, 900.0),
            ("elastic_sigma_low", 0.0, 3.5, 7.0),
            ("elastic_sigma_high", 7.0, 10.5, 14.0),
            ("scale_low", 0.5, 0.75, 1.0),
            ("scale_high", 1.0, 1.25, 1.5),
            ("rotation_x_low", -30.0, -15.0, 0.0),
            ("rotation_x_high", 0.0, 15.0, 30.0),
            ("rotation_y_low", -30.0, -15.0, 0.0),
            ("rotation_y_high", 0.0, 15.0, 30.0),
            ("rotation_z_low", -30.0, -15.0, 0.0),
            ("rotation_z_high", 0.0, 15.0, 30.0),
            ("gamma_low", 0.5, 0.75, 1.0),
            ("gamma_high", 1.0, 1.25, 1.5),
            ("p_elastic", 0.0, 0.5, 1.0),
            ("p_scale", 0.0, 0.5, 1.0),
            ("p_rotation", 0.0, 0.5, 1.0),
            ("p_gamma", 0.0, 0.5, 1.0),
        ];
        for (v, (name, first, middle, last)) in space.variables.iter().zip(table) {
            assert_eq!(v.name.name(), name);
            assert_eq!(serde_json::to_value(v.name).unwrap(), name);
            assert_eq!((v.value(0), v.value(5), v.value(10)), (first, middle, last), "{name}");
        }
        space.check().unwrap();
    }

    #[test]
    fn files_are_read_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("space.toml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("[[variables]]\nname = 'scale_high'\nlow = 1\nhigh = 2\ncount = 3\n");
        let space = Space::from_file(&path).unwrap();
        assert_eq!((space.counts(), space.variables[0].value(1)), (vec![3], 1.5));
        assert_eq!(space.variables[0].unit, "factor");
        for (text, part) in [
            ("[[variables]]\nname = 'zoom'\nlow = 1\nhigh = 2\n", "zoom"),
            ("[[variables]]\nname = 'p_gamma'\nlow = 0\nhigh = 2\n", "p_gamma"),
            ("[[variables]]\nname = 'p_gamma'\nlow = 1\nhigh = 0\n", "must not exceed"),
            ("[[variables]]\nname = 'p_gamma'\nlow = 0\nhigh = nan\n", "p_gamma"),
            ("[[variables]]\nname = 'p_gamma'\nlow = 0\nhigh = 1\ncount = 0\n", "count 0"),
            ("[[variables]]\nname = 'scale_high'\nlow = 0.5\nhigh = 2\n", "scale"),
            ("variables = []", "no variables"),
            ("variables = [", "space.toml"),
        ] {
            write(text);
            let error = Space::from_file(&path).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("space.toml"), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
