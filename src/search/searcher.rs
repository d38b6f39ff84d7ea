//! Searchers behind one trait: ask for policies, tell their losses.

use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::asng::{Asng, AsngOptions, AsngState, UpdateOutcome};
use super::distribution::Categorical;
use super::file::PolicyFile;
use super::policy::Policy;
use super::space::Space;
use crate::{Error, Result};

/// A policy to try.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Value index of each variable; empty where the searcher has none.
    pub indices: Vec<usize>,
    /// The policy in natural units.
    pub policy: Policy,
}

/// What telling losses did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The distribution moved.
    Updated,
    /// Nothing to learn: equal losses or equal policies.
    SkippedEqual,
    /// No loss was finite; to be logged.
    SkippedNonFinite,
    /// This searcher does not learn.
    NotLearning,
}

impl From<UpdateOutcome> for Outcome {
    fn from(outcome: UpdateOutcome) -> Self {
        match outcome {
            UpdateOutcome::Updated => Outcome::Updated,
            UpdateOutcome::SkippedEqual => Outcome::SkippedEqual,
            UpdateOutcome::SkippedNonFinite => Outcome::SkippedNonFinite,
        }
    }
}

/// Step size adaptation, for the log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adaptation {
    /// Delta, the step being `delta_init / Delta`.
    pub delta: f64,
    /// Accumulated weight of s.
    pub gamma: f64,
    /// |s|^2.
    pub s_norm2: f64,
}

/// Proposes policies and learns from their validation losses.
pub trait Searcher: Send {
    /// Name as in `--searcher`.
    fn name(&self) -> &'static str;

    /// Draws `lambda` policies.
    fn ask(&mut self, rng: &mut ChaCha8Rng, lambda: usize) -> Vec<Candidate>;

    /// Takes the losses (lower is better) of candidates from [`Searcher::ask`], one each.
    fn tell(&mut self, candidates: &[Candidate], losses: &[f64]) -> Outcome;

    /// True if losses change anything; otherwise policy steps can be left out.
    fn learns(&self) -> bool {
        false
    }

    /// The distribution, where there is one.
    fn theta(&self) -> Option<&Categorical> {
        None
    }

    /// The most probable policy.
    fn policy(&self) -> Policy;

    /// Step size adaptation, where there is one.
    fn adaptation(&self) -> Option<Adaptation> {
        None
    }

    /// What a checkpoint needs for an identical continuation; null if nothing changes.
    fn state(&self) -> Value {
        Value::Null
    }

    /// Takes up a checkpoint's state.
    ///
    /// # Errors
    /// [`Error::Input`] if the state is not one of this searcher and space.
    fn restore(&mut self, state: &Value) -> Result<()> {
        if state.is_null() { Ok(()) } else { Err(foreign_state(self.name(), "it has none")) }
    }
}

pub(super) fn foreign_state(name: &str, why: &str) -> Error {
    Error::Input(format!(
        "the checkpoint's search state does not fit the searcher '{name}' ({why}); \
         resume with the searcher and space that the run started with"
    ))
}

/// Start of a search, `--search-init`.
#[derive(Debug, Clone, PartialEq)]
pub enum SearchInit {
    /// The paper's.
    Uniform,
    /// Half of each variable's mass on the value nearest to nnU-Net's policy.
    Default,
    /// Nine tenths of it.
    Near,
    /// The theta of an earlier run's `policy.json`.
    File(std::path::PathBuf),
}

impl SearchInit {
    /// `uniform`, `default`, `near`, or a path.
    pub fn parse(text: &str) -> Self {
        match text {
            "uniform" => SearchInit::Uniform,
            "default" => SearchInit::Default,
            "near" => SearchInit::Near,
            path => SearchInit::File(path.into()),
        }
    }

    /// The starting distribution over `space`.
    ///
    /// # Errors
    /// As [`PolicyFile::read`]; [`Error::Input`] if the file has no theta or is of another space.
    pub fn theta(&self, space: &Space) -> Result<Categorical> {
        match self {
            SearchInit::Uniform => Ok(Categorical::uniform(&space.counts())),
            SearchInit::Default => Ok(around_nnunet(space, 0.5)),
            SearchInit::Near => Ok(around_nnunet(space, 0.9)),
            SearchInit::File(path) => {
                let file = PolicyFile::read(path)?;
                let refuse = |why: &str| {
                    Error::Input(format!(
                        "cannot start the search from '{}': {why}, or start with --search-init uniform",
                        path.display()
                    ))
                };
                let same = file.space.variables.len() == space.variables.len()
                    && file.space.variables.iter().zip(&space.variables).all(|(a, b)| {
                        (a.name, a.low, a.high, a.count) == (b.name, b.low, b.high, b.count)
                    });
                if !same {
                    return Err(refuse("it is of another space; give the same --space"));
                }
                file.theta.ok_or_else(|| refuse("it has no theta; give a searched policy"))
            }
        }
    }
}

/// So much of each variable's mass (0..1) on the value nearest to nnU-Net's policy.
fn around_nnunet(space: &Space, mass: f64) -> Categorical {
    Categorical::centred(&space.counts(), &space.nearest(&Policy::nnunet()), mass)
}

/// Draws from a distribution over a space.
pub(super) fn draw(
    theta: &Categorical,
    space: &Space,
    rng: &mut ChaCha8Rng,
    lambda: usize,
) -> Vec<Candidate> {
    let one = |_| {
        let indices = theta.sample(rng);
        Candidate { policy: Policy::from_indices(space, &indices), indices }
    };
    (0..lambda).map(one).collect()
}

/// `asng` (the paper) and `sng` (fixed step).
#[derive(Debug, Clone)]
pub struct AsngSearcher {
    space: Space,
    asng: Asng,
    fixed_step: bool,
}

impl AsngSearcher {
    /// Starts at `theta`, which must be of `space` ([`SearchInit::theta`]).
    pub fn new(space: Space, theta: Categorical, options: AsngOptions) -> Self {
        AsngSearcher { space, asng: Asng::new(theta, options), fixed_step: options.fixed_step }
    }
}

impl Searcher for AsngSearcher {
    fn name(&self) -> &'static str {
        if self.fixed_step { "sng" } else { "asng" }
    }

    fn ask(&mut self, rng: &mut ChaCha8Rng, lambda: usize) -> Vec<Candidate> {
        draw(self.asng.theta(), &self.space, rng, lambda)
    }

    fn tell(&mut self, candidates: &[Candidate], losses: &[f64]) -> Outcome {
        let samples: Vec<_> = candidates.iter().map(|c| c.indices.clone()).collect();
        self.asng.update(&samples, losses).into()
    }

    fn learns(&self) -> bool {
        true
    }

    fn theta(&self) -> Option<&Categorical> {
        Some(self.asng.theta())
    }

    fn policy(&self) -> Policy {
        Policy::from_indices(&self.space, &self.asng.theta().most_probable())
    }

    fn adaptation(&self) -> Option<Adaptation> {
        let (delta, gamma) = (self.asng.delta(), self.asng.gamma());
        Some(Adaptation { delta, gamma, s_norm2: self.asng.s_norm2() })
    }

    fn state(&self) -> Value {
        serde_json::to_value(self.asng.state()).unwrap_or(Value::Null)
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        let refuse = |why: String| foreign_state(self.name(), &why);
        let state: AsngState =
            serde_path_to_error::deserialize(state).map_err(|e| refuse(e.to_string()))?;
        let asng = Asng::from_state(&state).map_err(refuse)?;
        if asng.theta().counts() != self.space.counts() {
            return Err(refuse("theta is of another space".into()));
        }
        if asng.options().fixed_step != self.fixed_step {
            return Err(refuse("one of asng and sng adapts its step, the other does not".into()));
        }
        self.asng = asng;
        Ok(())
    }
}

/// A searcher that always proposes the same policy: `default`, `none`, `trivial`,
/// and `fixed` with a policy.
#[derive(Debug, Clone)]
pub struct Constant {
    name: &'static str,
    policy: Policy,
}

impl Constant {
    /// `default`: nnU-Net's policy.
    pub fn nnunet() -> Self {
        Constant { name: "default", policy: Policy::nnunet() }
    }

    /// `none`: no augmentation (the caller also switches mirroring off).
    pub fn none() -> Self {
        Constant { name: "none", policy: Policy::none() }
    }

    /// `trivial`: TrivialAugment over the space.
    pub fn trivial(space: &Space) -> Self {
        Constant { name: "trivial", policy: Policy::trivial(space) }
    }

    /// `fixed`: this policy.
    pub fn fixed(policy: Policy) -> Self {
        Constant { name: "fixed", policy }
    }
}

impl Searcher for Constant {
    fn name(&self) -> &'static str {
        self.name
    }

    fn ask(&mut self, _rng: &mut ChaCha8Rng, lambda: usize) -> Vec<Candidate> {
        vec![Candidate { indices: Vec::new(), policy: self.policy.clone() }; lambda]
    }

    fn tell(&mut self, _candidates: &[Candidate], _losses: &[f64]) -> Outcome {
        Outcome::NotLearning
    }

    fn policy(&self) -> Policy {
        self.policy.clone()
    }
}

/// A searcher that samples a distribution that never changes: `random`, and
/// `fixed` with a distribution.
#[derive(Debug, Clone)]
pub struct Frozen {
    name: &'static str,
    space: Space,
    theta: Categorical,
}

impl Frozen {
    /// `random`: uniform over the space.
    pub fn random(space: Space) -> Self {
        Frozen { name: "random", theta: Categorical::uniform(&space.counts()), space }
    }
}

impl Searcher for Frozen {
    fn name(&self) -> &'static str {
        self.name
    }

    fn ask(&mut self, rng: &mut ChaCha8Rng, lambda: usize) -> Vec<Candidate> {
        draw(&self.theta, &self.space, rng, lambda)
    }

    fn tell(&mut self, _candidates: &[Candidate], _losses: &[f64]) -> Outcome {
        Outcome::NotLearning
    }

    fn theta(&self) -> Option<&Categorical> {
        Some(&self.theta)
    }

    fn policy(&self) -> Policy {
        Policy::from_indices(&self.space, &self.theta.most_probable())
    }
}

/// `fixed`: the distribution of a policy file, or its policy if it has none; and the file's space.
pub fn fixed_from(file: PolicyFile) -> (Box<dyn Searcher>, Space) {
    let PolicyFile { space, theta, policy, .. } = file;
    let searcher: Box<dyn Searcher> = match theta {
        Some(theta) => Box::new(Frozen { name: "fixed", space: space.clone(), theta }),
        None => Box::new(Constant::fixed(policy)),
    };
    (searcher, space)
}
