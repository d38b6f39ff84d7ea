//! A policy: from which intervals and how often each transform is drawn.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::space::{Field, Space};
use crate::ops::smooth::MAX_SIGMA;
use crate::{Error, Result};

/// A closed interval [low, high] from which a magnitude is drawn; in files `[low, high]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 2]", into = "[f64; 2]")]
pub struct Interval {
    /// Left bound (LB).
    pub low: f64,
    /// Right bound (RB).
    pub high: f64,
}

impl Interval {
    /// [low, high], not checked: [`Policy::check`] does.
    pub const fn new(low: f64, high: f64) -> Self {
        Interval { low, high }
    }
}

impl From<[f64; 2]> for Interval {
    fn from([low, high]: [f64; 2]) -> Self {
        Interval { low, high }
    }
}

impl From<Interval> for [f64; 2] {
    fn from(i: Interval) -> Self {
        [i.low, i.high]
    }
}

impl FromStr for Interval {
    type Err = Error;

    /// Reads `LOW:HIGH` or one number.
    ///
    /// # Errors
    /// [`Error::Usage`] if a part is no finite number or low exceeds high.
    fn from_str(text: &str) -> Result<Self> {
        let (low, high) = text.split_once(':').unwrap_or((text, text));
        match (low.trim().parse::<f64>(), high.trim().parse::<f64>()) {
            (Ok(low), Ok(high)) if low.is_finite() && high.is_finite() && low <= high => {
                Ok(Interval { low, high })
            }
            _ => Err(Error::Usage(format!(
                "'{text}' is not an interval; give LOW:HIGH with LOW <= HIGH, for example -15:15"
            ))),
        }
    }
}

/// Intervals and probabilities of the four transforms, natural units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Elastic displacement: factor on the smoothed noise, voxels.
    pub elastic_alpha: Interval,
    /// Elastic displacement: standard deviation of the smoothing, voxels.
    pub elastic_sigma: Interval,
    /// Factor on the sampling grid: above 1 the content shrinks.
    pub scale: Interval,
    /// Rotation in the plane of axes 1 and 2 (H, W), degrees.
    pub rotation_x: Interval,
    /// Rotation in the plane of axes 0 and 2 (D, W), degrees.
    pub rotation_y: Interval,
    /// Rotation in the plane of axes 0 and 1 (D, H), degrees.
    pub rotation_z: Interval,
    /// Exponent of the gamma correction.
    pub gamma: Interval,
    /// Probability of elastic displacement.
    pub p_elastic: f64,
    /// Probability of scaling.
    pub p_scale: f64,
    /// Probability of rotation.
    pub p_rotation: f64,
    /// Probability of gamma correction.
    pub p_gamma: f64,
    /// Exactly one transform a sample, chosen in proportion to the probabilities,
    /// with its magnitude uniform over the whole interval (TrivialAugment); false:
    /// each on its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_of: bool,
}

impl Policy {
    /// nnU-Net's hand-made policy (nnU-Net v1, 3D default augmentation).
    pub const fn nnunet() -> Self {
        let rotation = Interval::new(-15.0, 15.0);
        Policy {
            elastic_alpha: Interval::new(0.0, 900.0),
            elastic_sigma: Interval::new(9.0, 13.0),
            scale: Interval::new(0.85, 1.25),
            rotation_x: rotation,
            rotation_y: rotation,
            rotation_z: rotation,
            gamma: Interval::new(0.7, 1.5),
            p_elastic: 0.2,
            p_scale: 0.2,
            p_rotation: 0.2,
            p_gamma: 0.3,
            one_of: false,
        }
    }

    /// No augmentation: all probabilities 0.
    pub const fn none() -> Self {
        Policy { p_elastic: 0.0, p_scale: 0.0, p_rotation: 0.0, p_gamma: 0.0, ..Self::nnunet() }
    }

    /// TrivialAugment (Müller and Hutter, ICCV 2021) carried to a space: exactly
    /// one of the four transforms a sample, uniform from the lowest left bound to
    /// the highest right bound. Fields outside the space keep nnU-Net's bounds.
    pub fn trivial(space: &Space) -> Self {
        let mut policy = Policy::nnunet();
        for v in space.variables.iter().filter(|v| !v.name.is_probability()) {
            let widest = if v.name.name().ends_with("_low") { 0 } else { v.count - 1 };
            policy.set(v.name, v.value(widest));
        }
        for p in [Field::PElastic, Field::PScale, Field::PRotation, Field::PGamma] {
            policy.set(p, 0.25);
        }
        policy.one_of = true;
        policy
    }

    /// The policy of one value index a variable; fields without a variable keep
    /// nnU-Net's value.
    pub fn from_indices(space: &Space, indices: &[usize]) -> Self {
        let mut policy = Policy::nnunet();
        for (variable, &k) in space.variables.iter().zip(indices) {
            policy.set(variable.name, variable.value(k));
        }
        policy
    }

    /// One number of the policy.
    pub fn get(&self, field: Field) -> f64 {
        *self.clone().slot(field)
    }

    /// Sets one number, unchecked: see [`Policy::check`].
    pub fn set(&mut self, field: Field, value: f64) {
        *self.slot(field) = value;
    }

    fn slot(&mut self, field: Field) -> &mut f64 {
        match field {
            Field::ElasticAlphaLow => &mut self.elastic_alpha.low,
            Field::ElasticAlphaHigh => &mut self.elastic_alpha.high,
            Field::ElasticSigmaLow => &mut self.elastic_sigma.low,
            Field::ElasticSigmaHigh => &mut self.elastic_sigma.high,
            Field::ScaleLow => &mut self.scale.low,
            Field::ScaleHigh => &mut self.scale.high,
            Field::RotationXLow => &mut self.rotation_x.low,
            Field::RotationXHigh => &mut self.rotation_x.high,
            Field::RotationYLow => &mut self.rotation_y.low,
            Field::RotationYHigh => &mut self.rotation_y.high,
            Field::RotationZLow => &mut self.rotation_z.low,
            Field::RotationZHigh => &mut self.rotation_z.high,
            Field::GammaLow => &mut self.gamma.low,
            Field::GammaHigh => &mut self.gamma.high,
            Field::PElastic => &mut self.p_elastic,
            Field::PScale => &mut self.p_scale,
            Field::PRotation => &mut self.p_rotation,
            Field::PGamma => &mut self.p_gamma,
        }
    }

    /// The seven intervals with their names.
    pub fn intervals(&self) -> [(&'static str, Interval); 7] {
        [
            ("elastic_alpha", self.elastic_alpha),
            ("elastic_sigma", self.elastic_sigma),
            ("scale", self.scale),
            ("rotation_x", self.rotation_x),
            ("rotation_y", self.rotation_y),
            ("rotation_z", self.rotation_z),
            ("gamma", self.gamma),
        ]
    }

    /// Checks a policy made from explicit values.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the number that is not finite, out of its limits or
    /// in the wrong order.
    pub fn check(&self) -> Result<()> {
        let sound = self.check_limits().and_then(|()| self.check_order());
        sound.map_err(|why| Error::Usage(format!("this policy cannot be used: {why}")))
    }

    /// Probabilities in 0..1, alpha and sigma at least 0, sigma no larger than the kernels smooth
    /// by ([`MAX_SIGMA`]), factors and exponents
    /// above 0, everything finite.
    pub(super) fn check_limits(&self) -> std::result::Result<(), String> {
        for field in Field::ALL {
            let (value, name) = (self.get(field), field.name());
            if matches!(field, Field::ElasticSigmaLow | Field::ElasticSigmaHigh)
                && value > MAX_SIGMA
            {
                return Err(format!("{name} is {value}; give at most {MAX_SIGMA}"));
            }
            let allowed = match field.unit() {
                "probability" => {
                    (0.0..=1.0).contains(&value).then_some(()).ok_or("a number from 0 to 1")
                }
                "voxels" => (value >= 0.0).then_some(()).ok_or("a number from 0"),
                "degrees" => {
                    (value.abs() <= 180.0).then_some(()).ok_or("a number from -180 to 180")
                }
                _ => (value > 0.0).then_some(()).ok_or("a number above 0"),
            };
            if !value.is_finite() {
                return Err(format!("{name} is {value}; give a finite number"));
            }
            allowed.map_err(|what| format!("{name} is {value}; give {what}"))?;
        }
        if self.one_of && self.p_elastic + self.p_scale + self.p_rotation + self.p_gamma <= 0.0 {
            return Err("one_of needs a probability above 0".into());
        }
        Ok(())
    }

    /// No left bound above its right bound.
    pub(super) fn check_order(&self) -> std::result::Result<(), String> {
        match self.intervals().into_iter().find(|(_, i)| i.low > i.high) {
            Some((name, i)) => {
                Err(format!("{name} goes from {} to {}; swap or change them", i.low, i.high))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_become_natural_values() {
        let space = Space::default();
        let p =
            Policy::from_indices(&space, &[2, 10, 10, 5, 0, 3, 5, 5, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(p.elastic_alpha, Interval::new(90.0, 900.0));
        assert_eq!(p.elastic_sigma, Interval::new(7.0, 10.5));
        assert_eq!(p.scale, Interval::new(0.5, 1.15));
        assert_eq!(p.rotation_x, Interval::new(-15.0, 15.0));
        assert_eq!(p.rotation_y, Interval::new(-30.0, 3.0));
        assert_eq!(p.rotation_z, Interval::new(-24.0, 9.0));
        assert_eq!(p.gamma, Interval::new(0.7, 1.25));
        assert_eq!((p.p_elastic, p.p_scale, p.p_rotation, p.p_gamma), (0.6, 0.7, 0.8, 0.9));
        p.check().unwrap();
        let few = Policy::from_indices(&space.probabilities(), &[10, 0, 0, 0]);
        assert_eq!(few.scale, Policy::nnunet().scale);
        assert_eq!(few.p_elastic, 1.0);
    }

    #[test]
    fn nearest_to_the_default_policy() {
        let nearest = Space::default().nearest(&Policy::nnunet());
        assert_eq!(nearest, [0, 10, 10, 9, 7, 5, 5, 5, 5, 5, 5, 5, 4, 10, 2, 2, 2, 3]);
    }

    #[test]
    fn wrong_values_are_refused() {
        let ok = Policy::nnunet();
        let wrong = [
            Policy { p_gamma: 1.1, ..ok.clone() },
            Policy { p_gamma: f64::NAN, ..ok.clone() },
            Policy { scale: Interval::new(1.2, 0.9), ..ok.clone() },
            Policy { scale: Interval::new(0.0, 0.9), ..ok.clone() },
            Policy { gamma: Interval::new(0.5, f64::INFINITY), ..ok.clone() },
            Policy { elastic_sigma: Interval::new(-1.0, 2.0), ..ok.clone() },
            Policy { elastic_sigma: Interval::new(1.0, 64.0), ..ok.clone() },
            Policy { one_of: true, ..Policy::none() },
        ];
        for policy in wrong {
            assert_eq!(policy.check().unwrap_err().exit_code(), 2, "{policy:?}");
        }
        for policy in [ok, Policy::none(), Policy::trivial(&Space::default())] {
            policy.check().unwrap();
        }
        assert_eq!("-15:15".parse::<Interval>().unwrap(), Interval::new(-15.0, 15.0));
        assert_eq!("2".parse::<Interval>().unwrap(), Interval::new(2.0, 2.0));
        for text in ["", "a:b", "2:1", "nan", "1:inf", "1:2:3"] {
            let why = text.parse::<Interval>().unwrap_err().to_string();
            assert!(why.contains("is not an interval"), "{why}");
        }
    }
}
