//! The signals that stop a training cleanly: Ctrl-C, termination, a terminal that goes away.

use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that the first signal sets; the second one ends the process at once.
///
/// # Errors
/// [`Error::Device`] where the system refuses.
pub(super) fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let handler = stop.clone();
    let hangup = Hangup::look();
    ctrlc::set_handler(move || {
        if handler.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .map_err(|e| Error::Device(format!("signals cannot be handled: {e}")))?;
    hangup.keep();
    Ok(stop)
}

/// What the process was told to do when its terminal goes away. Under `nohup` it ignores that, and
/// the handler, which takes all signals, must not undo it.
#[cfg(unix)]
struct Hangup(Option<nix::sys::signal::SigAction>);

#[cfg(unix)]
impl Hangup {
    fn look() -> Self {
        use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        // SAFETY: ignoring a signal runs no code, and nothing else handles this one yet.
        #[allow(unsafe_code)]
        let before = unsafe { sigaction(Signal::SIGHUP, &ignore) };
        Hangup(before.ok().filter(|action| matches!(action.handler(), SigHandler::SigIgn)))
    }

    fn keep(self) {
        if let Some(ignored) = self.0 {
            // SAFETY: the action ignores the signal, so it runs no code.
            #[allow(unsafe_code)]
            let set =
                unsafe { nix::sys::signal::sigaction(nix::sys::signal::Signal::SIGHUP, &ignored) };
            // Where it cannot be ignored, it stops the training cleanly.
            let _ = set;
        }
    }
}

#[cfg(not(unix))]
struct Hangup;

#[cfg(not(unix))]
impl Hangup {
    fn look() -> Self {
        Hangup
    }

    fn keep(self) {}
}
