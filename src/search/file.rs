//! `policy.json`: what a search leaves, and what `--policy` and `--search-init` read.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::distribution::Categorical;
use super::policy::Policy;
use super::space::Space;
use crate::data::rng::{self, Purpose};
use crate::{Error, Result, files};

/// Version of the file's layout that is written and read.
pub const VERSION: u32 = 1;

/// Content of `policy.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyFile {
    /// Layout, [`VERSION`].
    pub version: u32,
    /// The searched space.
    pub space: Space,
    /// The distribution; none for searchers without one.
    pub theta: Option<Categorical>,
    /// The most probable policy, natural units.
    pub policy: Policy,
    /// Name of the data set.
    pub dataset: String,
    /// The run's seed.
    pub seed: u64,
    /// The run's name.
    pub run: String,
}

impl PolicyFile {
    /// nnU-Net's policy, as the content of a file.
    pub fn nnunet() -> Self {
        PolicyFile {
            version: VERSION,
            space: Space::default(),
            theta: None,
            policy: Policy::nnunet(),
            dataset: String::new(),
            seed: 0,
            run: "default".into(),
        }
    }

    /// Policy `number` of a seed: a sample of the distribution, or the one policy where there is
    /// no distribution. Not checked: see [`Policy::check`].
    pub fn sample(&self, seed: u64, number: u64) -> Policy {
        match &self.theta {
            Some(theta) => {
                let mut stream = rng::stream(seed, Purpose::Search, &[number]);
                Policy::from_indices(&self.space, &theta.sample(&mut stream))
            }
            None => self.policy.clone(),
        }
    }

    /// Writes the file whole or not at all: a temporary file in the same folder,
    /// synced and then renamed.
    ///
    /// # Errors
    /// [`Error::Io`] naming the path; an earlier file stays intact.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::io("encode the policy file", path, std::io::Error::other(e)))?;
        files::replace(path, format!("{text}\n").as_bytes())
    }

    /// Reads and checks a policy file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::Input`] naming the path and the
    /// wrong entry if it is not a policy file of this version.
    pub fn read(path: &Path) -> Result<Self> {
        let text = crate::files::read_text(path)
            .map_err(|e| Error::io("read the policy file", path, e))?;
        let refuse = |why: String| {
            Error::Input(format!("cannot use '{}' as a policy file: {why}", path.display()))
        };
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head = serde_json::from_str(&text)
            .map_err(|e| refuse(format!("{e}; give the policy.json of a run")))?;
        if head.version != VERSION {
            return Err(refuse(format!(
                "it has version {}, this program reads {VERSION}; use the program that wrote it",
                head.version
            )));
        }
        let mut de = serde_json::Deserializer::from_str(&text);
        let file: PolicyFile =
            serde_path_to_error::deserialize(&mut de).map_err(|e| refuse(e.to_string()))?;
        file.space.check().map_err(refuse)?;
        file.policy.check().map_err(|e| refuse(e.to_string()))?;
        if let Some(theta) = &file.theta
            && theta.counts() != file.space.counts()
        {
            return Err(refuse("theta and space differ in size; take an unedited file".into()));
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> PolicyFile {
        let space = Space::default();
        PolicyFile {
            version: VERSION,
            theta: Some(Categorical::uniform(&space.counts())),
            policy: Policy::nnunet(),
            space,
            dataset: "demo".into(),
            seed: u64::MAX,
            run: "demo-1".into(),
        }
    }

    #[test]
    fn reads_what_it_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.json");
        example().write(&path).unwrap();
        example().write(&path).unwrap();
        let read = PolicyFile::read(&path).unwrap();
        assert_eq!(
            (read.policy, read.space, read.seed),
            (Policy::nnunet(), Space::default(), u64::MAX)
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn refuses_what_is_not_a_policy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.json");
        assert!(matches!(PolicyFile::read(&path), Err(Error::Io { .. })));
        let good = serde_json::to_value(example()).unwrap();
        let with = |at: &str, value: serde_json::Value| {
            let mut json = good.clone();
            *json.pointer_mut(at).unwrap() = value;
            json.to_string()
        };
        for text in [
            "{".to_string(),
            "{}".to_string(),
            with("/version", 2.into()),
            with("/theta/0/0", 0.7.into()),
            with("/theta/0/0", serde_json::Value::Null),
            with("/theta/0", serde_json::json!([1.0])),
            with("/policy/p_gamma", 2.into()),
            with("/policy/scale", serde_json::json!([1.5, 1.0])),
            with("/space/variables/3/count", 0.into()),
            with("/seed", (-1).into()),
        ] {
            std::fs::write(&path, &text).unwrap();
            let error = PolicyFile::read(&path).unwrap_err();
            assert!(matches!(error, Error::Input(_)), "{error}");
            assert!(error.to_string().contains("policy.json"));
        }
    }
}
