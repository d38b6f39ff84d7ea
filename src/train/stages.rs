//! Where the time of an iteration goes.
//!
//! Stages run on the device while the host goes on; to time one, the host must wait for it. So
//! only some iterations are timed, and their shares stand for all.

use crate::error::Result;
use crate::gpu::Gpu;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// A part of an iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Making augmented batches.
    Augment,
    /// Gradients and the weight step.
    Weights,
    /// Trial steps, their validation losses, and in mode `paper` the gradients made for them.
    Policy,
}

/// Seconds of each stage over the timed iterations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct StageTimes {
    seconds: [f64; 3],
}

impl StageTimes {
    /// The share of a stage, 0..1; 0 before anything was timed.
    pub fn share(&self, stage: Stage) -> f64 {
        let sum: f64 = self.seconds.iter().sum();
        if sum > 0.0 { self.seconds[stage as usize] / sum } else { 0.0 }
    }
}

/// Times the stages of one iteration, or does nothing.
pub(super) struct StageClock<'a> {
    times: Option<&'a mut StageTimes>,
    begin: Instant,
}

impl<'a> StageClock<'a> {
    /// A clock that adds to `times`; `None` times nothing and never waits.
    pub fn start(gpu: &Gpu, times: Option<&'a mut StageTimes>) -> Result<Self> {
        if times.is_some() {
            gpu.wait()?;
        }
        Ok(StageClock { times, begin: Instant::now() })
    }

    /// What was submitted since the last lap belongs to `stage`.
    pub fn lap(&mut self, gpu: &Gpu, stage: Stage) -> Result<()> {
        if let Some(times) = &mut self.times {
            gpu.wait()?;
            let now = Instant::now();
            times.seconds[stage as usize] += (now - self.begin).as_secs_f64();
            self.begin = now;
        }
        Ok(())
    }
}
