//! A set of the axes of prepared cases.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const NAMES: [&str; 3] = ["d", "h", "w"];

/// Some of the axes D, H, W of prepared cases (D the coarsest, else the file's z), as for mirroring.
/// In files a list of the names `d`, `h`, `w`; `true` and `false` are read as all and none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Listed", into = "Vec<&'static str>")]
pub struct Axes(pub [bool; 3]);

impl Axes {
    /// All three.
    pub const ALL: Axes = Axes([true; 3]);
    /// None.
    pub const NONE: Axes = Axes([false; 3]);

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self == Axes::NONE
    }

    /// All subsets, as bits of D (1), H (2) and W (4); the first is none.
    pub fn subsets(self) -> Vec<usize> {
        let bits = (0..3).filter(|&axis| self.0[axis]).fold(0, |bits, axis| bits | 1 << axis);
        (0..8).filter(|subset| subset & !bits == 0).collect()
    }

    /// The axes of both.
    pub fn and(self, other: Axes) -> Axes {
        Axes([0, 1, 2].map(|i| self.0[i] && other.0[i]))
    }
}

/// An entry of a file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    All(bool),
    Names(Vec<String>),
}

impl TryFrom<Listed> for Axes {
    type Error = String;

    fn try_from(listed: Listed) -> std::result::Result<Self, String> {
        let names = match listed {
            Listed::All(all) => return Ok(Axes([all; 3])),
            Listed::Names(names) => names,
        };
        let mut axes = Axes::NONE;
        for name in names {
            let axis = NAMES.iter().position(|known| *known == name);
            axes.0[axis.ok_or(format!("'{name}' is no axis; there are d, h and w"))?] = true;
        }
        Ok(axes)
    }
}

impl From<Axes> for Vec<&'static str> {
    fn from(axes: Axes) -> Self {
        NAMES.into_iter().zip(axes.0).filter(|(_, on)| *on).map(|(name, _)| name).collect()
    }
}

impl fmt::Display for Axes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Vec::from(*self).join(","))
    }
}

impl FromStr for Axes {
    type Err = Error;

    /// Reads names joined by commas.
    ///
    /// # Errors
    /// [`Error::Usage`] for what is no axis.
    fn from_str(text: &str) -> Result<Self> {
        let names = text.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
        Axes::try_from(Listed::Names(names)).map_err(|why| {
            Error::Usage(format!("{why}; give some of them joined by commas, for example h,w"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_subsets() {
        let axes: Axes = "h, W".parse().unwrap();
        assert_eq!(axes, Axes([false, true, true]));
        assert_eq!(axes.to_string(), "h,w");
        assert_eq!(axes.subsets(), [0, 2, 4, 6]);
        assert_eq!(Axes::NONE.subsets(), [0]);
        assert_eq!(Axes::ALL.subsets(), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(serde_json::to_string(&axes).unwrap(), r#"["h","w"]"#);
        let read = |text: &str| serde_json::from_str::<Axes>(text);
        assert_eq!(read(r#"["w","h"]"#).unwrap(), axes);
        assert_eq!((read("true").unwrap(), read("[]").unwrap()), (Axes::ALL, Axes::NONE));
        assert!(read(r#"["x"]"#).is_err() && "x".parse::<Axes>().is_err());
    }
}
