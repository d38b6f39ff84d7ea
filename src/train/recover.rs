//! Trains a fold to its end, on a fresh device where one is lost.

use super::event::Event;
use super::job::{Trained, attempt};
use super::options::TrainOptions;
use crate::error::{Error, Result};
use crate::gpu::list_adapters;
use crate::run::state_paths;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

/// How long a driver is given to bring a device back.
const RESET: Duration = Duration::from_secs(2);

/// Trains a fold. `report` gets what happens; `stop` is looked at after every iteration. Where the
/// device is lost, the training goes on from its last state on a fresh one, once: a second loss
/// ends it unless a state was written in between.
///
/// # Errors
/// As its parts; [`Error::Interrupted`] after a state was written when `stop` was set or the time
/// is over; [`Error::NonFinite`] when gradients stay non-finite; [`Error::DeviceLost`].
pub fn train(
    options: &TrainOptions,
    stop: &AtomicBool,
    report: &mut dyn FnMut(Event),
) -> Result<Trained> {
    let mut options = options.clone();
    let mut device = None;
    // The state that stood when a device was lost last.
    let mut lost_at: Option<Option<SystemTime>> = None;
    loop {
        let lost = match attempt(&options, stop, &mut device, report) {
            Err(Error::DeviceLost(lost)) => lost,
            outcome => return outcome,
        };
        let state = latest_state(&options);
        if lost_at == Some(state) {
            return Err(Error::DeviceLost(format!(
                "{lost}; it was lost twice without a state written in between"
            )));
        }
        lost_at = Some(state);
        std::thread::sleep(RESET);
        if let Some(name) = &device {
            if !list_adapters(&options.adapter.backend)?.iter().any(|a| a.name == *name) {
                return Err(Error::DeviceLost(format!("{lost}; it has not come back")));
            }
            // Not another one, which could be a hundred times slower.
            options.adapter.device.clone_from(name);
        }
        report(Event::Note(&format!(
            "warning: {lost}; trying once more on a fresh device, from the last state"
        )));
        options.resume = true;
    }
}

/// When the latest state of a training was written; none where there is none.
fn latest_state(options: &TrainOptions) -> Option<SystemTime> {
    let [last, _] = state_paths(&options.out, options.fold);
    std::fs::metadata(last).and_then(|file| file.modified()).ok()
}
