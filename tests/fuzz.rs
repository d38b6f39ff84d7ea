//! Damaged files and mangled command lines: never a panic, never a hang, never more memory than the
//! file announces, always a sentence. `ASNG_WGPU_FUZZ=N` tries N files and N command lines.

#[path = "fuzz/commands.rs"]
mod commands;
mod common_cli;
#[path = "fuzz/files.rs"]
mod files;
#[path = "fuzz/memory.rs"]
mod memory;
#[path = "fuzz/mutate.rs"]
mod mutate;

/// How many to try, where it usually is `usual`.
fn count(usual: u64) -> u64 {
    std::env::var("ASNG_WGPU_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}
