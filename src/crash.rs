//! What is said after a panic: which program, on which device, by which command, and how to go on.
//!
//! A panic is a fault of this program, whatever the user asked for. The facts are kept for the
//! whole process, because a panic may come from any thread.

use std::cell::Cell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is known of the work under way.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Version and revision.
    pub version: String,
    /// The command line, quoted for a shell.
    pub command: String,
    /// Adapter and driver, once a device is open.
    pub adapter: Option<String>,
    /// Files that a training goes on from, the latest first; they may not be there yet.
    pub states: Vec<PathBuf>,
    /// The command that goes on with the training.
    pub resume: Option<String>,
}

static FACTS: Mutex<Option<Facts>> = Mutex::new(None);
/// Set once the report is printed: threads that fail after the first one add nothing.
static TOLD: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether a panic of this thread is expected and handled.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

fn facts() -> MutexGuard<'static, Option<Facts>> {
    FACTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds to what is known.
pub fn note(change: impl FnOnce(&mut Facts)) {
    change(facts().get_or_insert_default());
}

/// Lets every panic print, after its usual message, what [`Facts`] tell. The exit code of a panic
/// stays 101.
pub fn install(version: &str, command: String) {
    note(|facts| (facts.version, facts.command) = (version.to_owned(), command));
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if CONTAINED.get() {
            return;
        }
        usual(panic);
        if !TOLD.swap(true, Ordering::Relaxed) {
            // A panic while the facts are being changed must not wait for itself.
            let facts = FACTS.try_lock().ok().and_then(|facts| facts.clone());
            let text = report(&facts.unwrap_or_default());
            // Nobody is left to be told when stderr is closed.
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }));
}

/// Runs work that is known to panic where it should return an error; gives the panic's message.
///
/// # Errors
/// The message of the panic.
pub fn contain<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let before = CONTAINED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(before);
    outcome.map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
    })
}

/// The text that follows a panic's message.
pub fn report(facts: &Facts) -> String {
    let mut lines = vec![
        String::new(),
        "This is a fault of asng-wgpu. Please report it to whoever gave you the program, with the"
            .into(),
        "message above and these lines; RUST_BACKTRACE=1 adds where it happened.".into(),
        format!("  version     {}", facts.version),
        format!("  system      {} {}", std::env::consts::OS, std::env::consts::ARCH),
        format!("  adapter     {}", facts.adapter.as_deref().unwrap_or("none was open")),
        format!("  command     {}", facts.command),
    ];
    if let Some(folder) = facts.states.first().and_then(|path| path.parent()) {
        lines.push(format!("  run         {}", folder.display()));
        lines.push(match facts.states.iter().find(|path| path.exists()) {
            Some(path) => format!("  checkpoint  {}", path.display()),
            None => "  checkpoint  none was written yet".into(),
        });
    }
    if let Some(resume) = &facts.resume {
        lines.push(format!("Go on with: {resume}"));
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_tells_what_is_known_and_how_to_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let states = ["last", "previous"].map(|name| folder.path().join(name));
        let facts = Facts {
            version: "1.2.3 (abc)".into(),
            command: "asng-wgpu train heart".into(),
            adapter: Some("Some GPU (Vulkan 1)".into()),
            states: states.to_vec(),
            resume: Some("asng-wgpu train --resume heart".into()),
        };
        let text = report(&facts);
        let path = |path: &PathBuf| path.display().to_string();
        for word in ["1.2.3 (abc)", "train heart", "Some GPU (Vulkan 1)", "none was written yet"] {
            assert!(text.contains(word), "{word} in {text}");
        }
        assert!(text.ends_with("Go on with: asng-wgpu train --resume heart\n"), "{text}");
        std::fs::write(&states[1], "").unwrap();
        assert!(report(&facts).contains(&path(&states[1])));
        std::fs::write(&states[0], "").unwrap();
        let text = report(&facts);
        assert!(text.contains(&path(&states[0])) && !text.contains(&path(&states[1])), "{text}");
        let bare = report(&Facts::default());
        assert!(bare.contains("none was open") && !bare.contains("checkpoint"), "{bare}");
    }

    #[test]
    fn a_contained_panic_is_a_message() {
        assert_eq!(contain(|| 3), Ok(3));
        assert_eq!(contain(|| panic!("lost {}", 7)), Err::<(), _>("lost 7".into()));
    }
}
