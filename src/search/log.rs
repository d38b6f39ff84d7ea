//! `policy.jsonl`: the search's history, one line an epoch.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::distribution::Categorical;
use super::policy::Policy;
use crate::{Error, Result, files};

/// One epoch of a search. A number that is not finite is written as null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyLine {
    /// Epoch, from 1.
    pub epoch: u64,
    /// The distribution (18 x 11 in the built-in space), if the searcher has one.
    pub theta: Option<Categorical>,
    /// Delta of ASNG.
    pub delta: Option<f64>,
    /// |s|^2 of ASNG.
    pub s_norm2: Option<f64>,
    /// Mean entropy of theta, nats.
    pub mean_entropy: Option<f64>,
    /// The most probable policy, natural units.
    pub policy: Policy,
    /// Mean of the candidates' validation losses over the epoch.
    pub val_loss_mean: Option<f64>,
    /// Mean difference of the candidates' validation losses over the epoch.
    pub val_loss_difference: Option<f64>,
    /// Share of the epoch's updates that were skipped, 0..1.
    pub skipped_share: f64,
    /// Milliseconds in weight steps.
    pub weight_ms: f64,
    /// Milliseconds in policy steps.
    pub policy_ms: f64,
    /// Milliseconds in augmentation.
    pub augment_ms: f64,
}

/// A line as the file has it. Earlier versions counted epochs from 0 and did not say so.
#[derive(Serialize, Deserialize)]
pub struct LoggedLine {
    /// The number of the first epoch: 1, or 0 where it is missing.
    #[serde(default)]
    first_epoch: u64,
    #[serde(flatten)]
    line: PolicyLine,
}

impl LoggedLine {
    /// The line, its epoch counted from 1.
    pub fn into_line(self) -> PolicyLine {
        let epoch = from_one(self.line.epoch, self.first_epoch);
        PolicyLine { epoch, ..self.line }
    }
}

/// The number, from 1, of an epoch that is counted from `first`.
fn from_one(epoch: u64, first: u64) -> u64 {
    epoch.saturating_add(1).saturating_sub(first)
}

/// Appends lines to `policy.jsonl`.
#[derive(Debug)]
pub struct PolicyLog {
    path: PathBuf,
    file: File,
}

impl PolicyLog {
    /// Opens the log to go on after `done` epochs (0 for a new run): lines of later epochs, and a
    /// line cut off by a killed process, are removed.
    ///
    /// # Errors
    /// [`Error::Io`] naming the path.
    pub fn open(path: &Path, done: u64) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            epoch: u64,
            #[serde(default)]
            first_epoch: u64,
        }
        let io = |e| Error::io("open the policy log", path, e);
        files::keep_lines(path, |line| {
            serde_json::from_slice::<Head>(line)
                .is_ok_and(|head| from_one(head.epoch, head.first_epoch) <= done)
        })?;
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
        Ok(PolicyLog { path: path.to_owned(), file })
    }

    /// Appends one line, safely on the disk.
    ///
    /// # Errors
    /// [`Error::Io`] naming the path.
    pub fn append(&mut self, line: &PolicyLine) -> Result<()> {
        let written = serde_json::to_string(&LoggedLine { first_epoch: 1, line: line.clone() })
            .map_err(std::io::Error::other)
            .and_then(|text| self.file.write_all(format!("{text}\n").as_bytes()))
            .and_then(|()| self.file.sync_data());
        written.map_err(|e| files::unwritten(&self.path, e))
    }
}

/// Reads a log's whole lines, epochs counted from 1; a last line cut off by a killed process is left out.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Input`] naming the line that is no epoch.
pub fn read(path: &Path) -> Result<Vec<PolicyLine>> {
    let text =
        crate::files::read_text(path).map_err(|e| Error::io("read the policy log", path, e))?;
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let parse = |(i, line): (usize, &str)| {
        serde_json::from_str(line).map(LoggedLine::into_line).map_err(|e| {
            Error::Input(format!(
                "line {} of '{}' is not an epoch of a search ({e}); remove the line",
                i + 1,
                path.display()
            ))
        })
    };
    whole.enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(epoch: u64) -> PolicyLine {
        PolicyLine {
            epoch,
            theta: Some(Categorical::uniform(&[2, 2])),
            delta: Some(1.0),
            s_norm2: Some(0.5),
            mean_entropy: Some(2f64.ln()),
            policy: Policy::nnunet(),
            val_loss_mean: Some(f64::NAN),
            val_loss_difference: None,
            skipped_share: 0.0,
            weight_ms: 1.0,
            policy_ms: 2.0,
            augment_ms: 3.0,
        }
    }

    #[test]
    fn resuming_drops_later_and_torn_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.jsonl");
        let mut log = PolicyLog::open(&path, 0).unwrap();
        (1..=4).for_each(|e| log.append(&line(e)).unwrap());
        drop(log);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"epoch\":1,\"th").unwrap();
        assert_eq!(read(&path).unwrap().len(), 4);
        let mut log = PolicyLog::open(&path, 2).unwrap();
        log.append(&line(3)).unwrap();
        let lines = read(&path).unwrap();
        assert_eq!(lines.iter().map(|l| l.epoch).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(lines[0].val_loss_mean, None);
    }

    #[test]
    fn a_log_that_counted_from_0_reads_and_goes_on_from_1() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.jsonl");
        let earlier = |e| serde_json::to_string(&line(e)).unwrap() + "\n";
        std::fs::write(&path, (0..4).map(earlier).collect::<String>()).unwrap();
        let epochs = || read(&path).unwrap().iter().map(|l| l.epoch).collect::<Vec<_>>();
        assert_eq!(epochs(), [1, 2, 3, 4]);
        let mut log = PolicyLog::open(&path, 2).unwrap();
        log.append(&line(3)).unwrap();
        assert_eq!(epochs(), [1, 2, 3]);
        drop(PolicyLog::open(&path, 3).unwrap());
        assert_eq!(epochs(), [1, 2, 3]);
    }
}
