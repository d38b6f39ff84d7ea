//! The one error type of the crate: a sentence for the user, with the way out.

use std::path::Path;

/// Result with the crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong, by what the user can do about it. Every message is one
/// sentence that names the file or flag and the way out; causes follow by
/// [`std::error::Error::source`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A flag or a combination of flags is wrong: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// A file or data set is not what it should be.
    #[error("{0}")]
    Input(String),
    /// Reading or writing failed; the message carries the path.
    #[error("{context}")]
    Io {
        /// What was being done, with the path.
        context: String,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// No suitable adapter, a missing feature, too little memory.
    #[error("{0}")]
    Device(String),
    /// The device was lost: the driver reset it, or it was unplugged.
    #[error("{0}")]
    DeviceLost(String),
    /// Non-finite loss or gradients that did not go away.
    #[error("{0}")]
    NonFinite(String),
    /// The user asked to stop and a checkpoint was written: exit code 130.
    #[error("{0}")]
    Interrupted(String),
}

impl Error {
    /// An [`Error::Io`] that says what was done to which path.
    pub fn io(doing: &str, path: &Path, source: std::io::Error) -> Self {
        Error::Io { context: format!("cannot {doing} '{}'", path.display()), source }
    }

    /// An [`Error::Device`] that also says what to do; other errors as they are. The engine knows what a
    /// device does not allow, its callers know the flags.
    pub fn advise(self, advice: &str) -> Self {
        match self {
            Error::Device(text) => Error::Device(format!("{text}; {advice}")),
            other => other,
        }
    }

    /// The message with its causes, in one line.
    pub fn sentence(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        text
    }

    /// The process exit code of this error: 2 wrong usage, 130 interrupted, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            Error::Interrupted(_) => 130,
            _ => 1,
        }
    }
}
