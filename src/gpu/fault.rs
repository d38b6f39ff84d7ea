//! Faults that a test provokes: what a broken driver or device does, at a given submission.

use std::sync::atomic::{AtomicU64, Ordering};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failing {
    /// The device is lost.
    Lost,
    /// The driver reports, too late for anyone to ask, that memory ran out.
    Memory,
    /// The program itself panics.
    Panic,
}

/// A fault, and after which submissions of work it happens.
#[derive(Debug)]
pub struct Fault {
    failing: Failing,
    at: Vec<u64>,
    submissions: AtomicU64,
}

impl Fault {
    /// From `lost@120,150`, `memory@50` or `panic@50`: submissions are counted over all devices of
    /// the process, from 1.
    pub fn parse(text: &str) -> Option<Self> {
        let (what, numbers) = text.split_once('@')?;
        let failing = match what {
            "lost" => Failing::Lost,
            "memory" => Failing::Memory,
            "panic" => Failing::Panic,
            _ => return None,
        };
        let at = numbers.split(',').map(|n| n.parse().ok()).collect::<Option<Vec<u64>>>()?;
        Some(Fault { failing, at, submissions: AtomicU64::new(0) })
    }

    /// Counts a submission; gives what happens after it.
    pub(super) fn count(&self) -> Option<Failing> {
        let number = self.submissions.fetch_add(1, Ordering::Relaxed) + 1;
        self.at.contains(&number).then_some(self.failing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_happen_when_they_are_due() {
        let fault = Fault::parse("lost@2,3").unwrap();
        let happened: Vec<bool> = (0..4).map(|_| fault.count() == Some(Failing::Lost)).collect();
        assert_eq!(happened, [false, true, true, false]);
        for wrong in ["", "lost", "lost@", "lost@x", "fire@3", "lost@1,"] {
            assert!(Fault::parse(wrong).is_none(), "{wrong}");
        }
    }
}
