//! Tells the version with the git revision it was built from, if it is built in its repository.

use std::path::Path;
use std::process::Command;

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    // A copy of the sources inside another repository has no revision of its own.
    let top = git(&["rev-parse", "--show-toplevel"]);
    let ours = top.is_some_and(|top| {
        let same = Path::new(&top).canonicalize().ok().zip(Path::new(&here).canonicalize().ok());
        same.is_some_and(|(a, b)| a == b)
    });
    let revision = if ours { git(&["rev-parse", "--short=10", "HEAD"]) } else { None };
    let Some(revision) = revision else {
        println!("cargo::rustc-env=ASNG_WGPU_VERSION={version}");
        return;
    };
    println!("cargo::rustc-env=ASNG_WGPU_VERSION={version} ({revision})");
    // A new revision moves HEAD, or the branch that HEAD names.
    let branch = git(&["symbolic-ref", "-q", "HEAD"]);
    let names = ["HEAD", "logs/HEAD", "packed-refs"].map(str::to_owned);
    for name in names.into_iter().chain(branch) {
        if let Some(path) =
            git(&["rev-parse", "--git-path", &name]).filter(|p| Path::new(p).exists())
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}
