//! Where the policies of a preview come from.

use super::PreviewOptions;
use super::listing::PolicyNote;
use crate::error::{Error, Result};
use crate::run::open_policy;
use crate::search::file::PolicyFile;
use crate::search::policy::Policy;
use crate::search::space::Field;

/// nnU-Net's policy or a file's, with numbers replaced by flags.
pub(super) struct Policies {
    source: String,
    file: Option<PolicyFile>,
    values: Vec<(Field, f64)>,
}

impl Policies {
    pub(super) fn open(options: &PreviewOptions) -> Result<Self> {
        let (source, file) = match &options.policy {
            None if options.fold.is_some() => {
                return Err(Error::Usage("--fold goes with --policy RUN; give both".into()));
            }
            None => ("default".to_string(), None),
            Some(path) => {
                let (path, file) = open_policy(path, options.fold)?;
                (path.display().to_string(), Some(file))
            }
        };
        Ok(Policies { source, file, values: options.values.clone() })
    }

    /// Whether each draw has a policy of its own.
    pub(super) fn sampled(&self) -> bool {
        self.file.as_ref().is_some_and(|f| f.theta.is_some())
    }

    /// The policy of a draw, checked.
    pub(super) fn policy(&self, seed: u64, number: usize) -> Result<Policy> {
        let mut policy = match &self.file {
            None => Policy::nnunet(),
            Some(file) => file.sample(seed, number as u64),
        };
        self.values.iter().for_each(|&(field, value)| policy.set(field, value));
        policy.check()?;
        Ok(policy)
    }

    /// Note for the listing.
    ///
    /// # Errors
    /// As [`Policies::policy`].
    pub(super) fn note(&self, seed: u64) -> Result<PolicyNote> {
        let fixed = if self.sampled() { None } else { Some(self.policy(seed, 0)?) };
        Ok(PolicyNote {
            source: self.source.clone(),
            sampled: self.sampled(),
            changed_by_flags: !self.values.is_empty(),
            policy: fixed,
        })
    }
}
