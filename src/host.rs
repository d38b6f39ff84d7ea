//! The memory of the host: what a file or flag asks for is held against what is free before it is
//! taken, because a system that runs out of memory kills the process without a word.

use crate::{Error, Result};

/// Below this much nothing is asked of the system.
const SMALL: u64 = 64 << 20;

/// Bytes that the system has to give, within the limit of the process' control group; none where
/// the system does not tell.
pub fn free_bytes() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let free = system.available_memory();
    Some(system.cgroup_limits().map_or(free, |limits| free.min(limits.free_memory)))
}

/// Refuses to take more memory than is free. `whose` names the file or work that wants it.
///
/// # Errors
/// [`Error::Input`] with both sizes.
pub fn check(bytes: u64, whose: impl FnOnce() -> String) -> Result<()> {
    if bytes <= SMALL {
        return Ok(());
    }
    check_within(bytes, free_bytes(), whose)
}

fn check_within(bytes: u64, free: Option<u64>, whose: impl FnOnce() -> String) -> Result<()> {
    match free {
        Some(free) if bytes > free => Err(Error::Input(format!(
            "{} needs {} of memory, but {} are free; close other programs, crop or downsample the \
             volume, or use a machine with more memory",
            whose(),
            gibibytes(bytes),
            gibibytes(free)
        ))),
        _ => Ok(()),
    }
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_is_free_is_refused() {
        let whose = || "'x.nii.gz'".to_string();
        check_within(5 << 30, Some(5 << 30), whose).unwrap();
        check_within(5 << 30, None, whose).unwrap();
        let error = check_within(6 << 30, Some(5 << 30), whose).unwrap_err().to_string();
        assert!(error.starts_with("'x.nii.gz' needs 6.0 GiB of memory, but 5.0 GiB"), "{error}");
        assert!(check(u64::MAX, whose).is_err() || free_bytes().is_none());
    }
}
