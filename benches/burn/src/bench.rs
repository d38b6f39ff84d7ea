//! The device, the rows with their JSON lines, and how a case is timed.

use crate::adapter;
use crate::flags::Flags;
use burn::prelude::*;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::{Duration, Instant};

/// Errors are texts for the user.
pub type Result<T> = std::result::Result<T, String>;

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

/// Runs before the timed ones, at least and at most.
const WARM_UP: (usize, usize) = (3, 12);

/// The bench at work on one case.
pub struct Bench {
    pub device: Device,
    quick: bool,
    json: Option<File>,
}

impl Bench {
    /// Opens the device, and the file of JSON lines to append to.
    pub fn open(flags: &Flags) -> Result<Bench> {
        let open = |path| OpenOptions::new().append(true).create(true).open(path);
        let json = match &flags.json {
            Some(path) => {
                Some(open(path).map_err(|e| format!("cannot open '{}': {e}", path.display()))?)
            }
            None => None,
        };
        Ok(Bench { device: adapter::open(flags.adapter)?, quick: flags.quick, json })
    }

    /// Times `run`, which says how long the part of it that counts took.
    pub fn row(&mut self, case: &Case, mut run: impl FnMut() -> Duration) -> Result<()> {
        warm_up(&mut run);
        let rounds = if self.quick { 3 } else { 7 };
        let mut times: Vec<f64> = (0..rounds).map(|_| run().as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        self.print(case, &times)
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

/// Runs until Burn has compiled and tuned its kernels: until a run takes no less than nine tenths
/// of the one before.
fn warm_up(run: &mut impl FnMut() -> Duration) {
    let mut last = Duration::MAX;
    for count in 1..=WARM_UP.1 {
        let now = run();
        if count >= WARM_UP.0 && now >= last.mul_f64(0.9) {
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
