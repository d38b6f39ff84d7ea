//! A process a case.

use crate::adapter;
use crate::bench::Result;
use crate::flags::Flags;
use std::fs::File;
use std::process::{Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A case that takes longer, tuning included, is given up.
const LONGEST: Duration = Duration::from_secs(600);

/// Prints the table's head and empties the file of JSON lines.
pub fn head(flags: &Flags) -> Result<()> {
    if let Some(path) = &flags.json {
        File::create(path).map_err(|e| format!("cannot create '{}': {e}", path.display()))?;
    }
    println!("burn: {}", adapter::name(flags.adapter)?);
    println!("{:52} {:>10} {:>10} {:>9}", "case", "median ms", "best ms", "rate");
    Ok(())
}

/// Runs a case, which prints its row; says why where there is none.
pub fn run(flags: &Flags, case: &str) -> Result<()> {
    match wait(&mut command(flags, case)?).map_err(|e| format!("cannot run '{case}': {e}"))? {
        Some(status) if status.success() => {}
        Some(status) => println!("{case}: left out, failed as told above ({status})"),
        // What was tuned is remembered, so that another run comes further.
        None => {
            println!("{case}: left out, not done after {} s; run it again", LONGEST.as_secs());
        }
    }
    Ok(())
}

fn command(flags: &Flags, case: &str) -> Result<Command> {
    let this = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    let mut command = Command::new(this);
    command.args(["--case", case, "--adapter", &flags.adapter.to_string()]);
    if flags.quick {
        command.arg("--quick");
    }
    if let Some(path) = &flags.json {
        command.arg("--json").arg(path);
    }
    Ok(command)
}

/// How a process ended, `None` where it had to be ended.
fn wait(command: &mut Command) -> std::io::Result<Option<ExitStatus>> {
    let (begin, mut child) = (Instant::now(), command.spawn()?);
    while begin.elapsed() < LONGEST {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}
