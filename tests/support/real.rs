//! Real data sets, which lie outside the project.

use super::require::need;
use std::path::PathBuf;

/// A data set of the folder that `ASNG_WGPU_DATA` names, as an absolute path; nothing if it names
/// none, or if the set is not in it.
///
/// # Panics
/// If the folder does not exist, and if `ASNG_WGPU_REQUIRE` lists `real` and the set is missing.
pub fn data_set(name: &str) -> Option<PathBuf> {
    let base = std::env::var_os("ASNG_WGPU_DATA").filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(base) = &base {
        assert!(base.is_dir(), "ASNG_WGPU_DATA={} is not a folder", base.display());
    }
    need("real", base.and_then(|base| base.join(name).canonicalize().ok()))
}
