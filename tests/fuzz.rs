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

/// How many to try: what `ASNG_WGPU_FUZZ` says, or `usual`.
fn count(usual: u64) -> u64 {
    match std::env::var("ASNG_WGPU_FUZZ") {
        Ok(text) if !text.is_empty() => match text.parse() {
            Ok(count) if count >= 100 => count,
            _ => panic!("ASNG_WGPU_FUZZ={text}; give a whole number from 100"),
        },
        _ => usual,
    }
}
