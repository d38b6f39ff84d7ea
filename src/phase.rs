//! The parts of long work, each of which is shown by its own name.

/// A part of a command's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The device opens and computes a few small convolutions.
    Testing,
    /// Kernels are compiled and memory is allocated.
    Compiling,
    /// Tiles, or an iteration for a forecast, are timed.
    Timing,
    /// The weights are trained.
    Training,
    /// Validation cases are predicted and evaluated.
    Validating,
    /// Scans are predicted.
    Predicting,
}

impl Phase {
    /// What is being done, for a person.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Testing => "testing the device",
            Phase::Compiling => "compiling kernels",
            Phase::Timing => "timing",
            Phase::Training => "training",
            Phase::Validating => "validating",
            Phase::Predicting => "predicting",
        }
    }
}
