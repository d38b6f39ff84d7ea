//! Flags, the table with its JSON lines, and how a case is timed.

use crate::adapter;
use burn::prelude::*;
use clap::Parser;
use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Errors are texts for the user.
pub type Result<T> = std::result::Result<T, String>;

/// Times Burn on the training step and the convolutions of asng-wgpu's benches.
#[derive(Parser)]
struct Flags {
    /// Fewer repetitions, and only what takes less than two minutes on a slow device.
    #[arg(long)]
    quick: bool,
    /// Write one JSON line a row to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Number of the adapter, as 'asng-wgpu devices' lists them.
    #[arg(long, value_name = "N", default_value_t = 0)]
    adapter: usize,
    /// Only cases whose name contains this text.
    filter: Option<String>,
}

/// The fields of the main package's rows. Limits are its kernels' to measure, not Burn's.
#[derive(serde::Serialize)]
struct Row<'a> {
    bench: &'a str,
    case: &'a str,
    /// Median.
    ms: f64,
    /// The least, which is what the main package reports.
    best_ms: f64,
    rate: f64,
    unit: &'static str,
    share: Option<f64>,
    limit: Option<f64>,
}

/// What is measured of a case.
pub struct Case<'a> {
    /// The bench of the main package that has it.
    pub bench: &'a str,
    pub name: &'a str,
    /// Operations of its convolutions.
    pub flops: f64,
}

/// A case that takes longer is given up.
const LONGEST: Duration = Duration::from_secs(600);
/// Runs before the timed ones, at least and at most.
const WARM_UP: (usize, usize) = (3, 12);

/// The bench at work.
pub struct Bench {
    pub device: Device,
    pub quick: bool,
    filter: Option<String>,
    json: Option<File>,
}

impl Bench {
    /// Reads the flags, opens the device and prints the table's head.
    pub fn start() -> Result<Bench> {
        let flags = Flags::parse();
        let json = match &flags.json {
            Some(path) => Some(
                File::create(path)
                    .map_err(|e| format!("cannot create '{}': {e}", path.display()))?,
            ),
            None => None,
        };
        let (device, name) = adapter::open(flags.adapter)?;
        println!("burn: {name}");
        println!("{:52} {:>10} {:>10} {:>9}", "case", "median ms", "best ms", "rate");
        Ok(Bench { device, quick: flags.quick, filter: flags.filter, json })
    }

    /// True where the flags ask for this case.
    pub fn wants(&self, case: &str) -> bool {
        self.filter.as_deref().is_none_or(|text| case.contains(text))
    }

    /// Times `run`, which says how long the part of it that counts took. What Burn cannot do on
    /// this device ends the case, not the bench.
    pub fn row(&mut self, case: &Case, run: impl FnMut() -> Duration) -> Result<()> {
        let rounds = if self.quick { 3 } else { 7 };
        // Burn panics where a kernel cannot be built or memory ends.
        match catch_unwind(AssertUnwindSafe(|| time(rounds, run))) {
            Ok(Some(times)) => self.print(case, &times),
            Ok(None) => {
                println!("{}: left out, more than {} s", case.name, LONGEST.as_secs());
                Ok(())
            }
            Err(_) => {
                println!("{}: left out, Burn panicked (see above)", case.name);
                Ok(())
            }
        }
    }

    fn print(&mut self, case: &Case, times: &[f64]) -> Result<()> {
        let (ms, best_ms) = (times[times.len() / 2], times[0]);
        let rate = case.flops / ms * 1e-6;
        println!("{:52} {ms:10.2} {best_ms:10.2} {rate:9.2} GFLOP/s", case.name);
        let Some(file) = &mut self.json else { return Ok(()) };
        let (bench, case) = (case.bench, case.name);
        let (unit, share, limit) = ("GFLOP/s", None, None);
        let row = Row { bench, case, ms, best_ms, rate, unit, share, limit };
        let line = serde_json::to_string(&row).map_err(|e| e.to_string())?;
        writeln!(file, "{line}").map_err(|e| format!("cannot write the JSON lines: {e}"))
    }
}

/// Milliseconds of `rounds` runs, sorted; fewer where they take too long, `None` where not even
/// the warm-up ends in time.
fn time(rounds: usize, mut run: impl FnMut() -> Duration) -> Option<Vec<f64>> {
    let begin = Instant::now();
    warm_up(&mut run);
    if begin.elapsed() > LONGEST {
        return None;
    }
    let mut times = Vec::new();
    while times.len() < rounds && (times.is_empty() || begin.elapsed() < LONGEST) {
        times.push(run().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Some(times)
}

/// Runs until Burn has compiled and tuned its kernels: until a run takes no less than nine tenths
/// of the one before.
fn warm_up(run: &mut impl FnMut() -> Duration) {
    let (begin, mut last) = (Instant::now(), Duration::MAX);
    for count in 1..=WARM_UP.1 {
        let now = run();
        let settled = count >= WARM_UP.0 && now >= last.mul_f64(0.9);
        if settled || begin.elapsed() > LONGEST {
            return;
        }
        last = now;
    }
}

/// How long some work takes until the device is done.
pub fn timed<T>(device: &Device, work: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let result = work();
    device.sync().expect("the device ends its work");
    (result, begin.elapsed())
}
