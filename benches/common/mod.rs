//! What the bench binaries share: flags, the table with its JSON lines, timing against the limits
//! of the device at hand.

#![allow(dead_code, reason = "no bench binary uses all of it")]

mod limits;
mod rig;

use asng_wgpu::Error;
use asng_wgpu::gpu::{AdapterChoice, Gpu};
use clap::Parser;
use limits::Limits;
use std::io::Write;
use std::time::Instant;

pub use rig::{Ready, Rig};

pub type Result<T> = std::result::Result<T, Error>;

/// Measures kernels and whole steps as a share of this device's own limits.
#[derive(Parser)]
struct Flags {
    /// Fewer repetitions, and only what takes less than two minutes on a slow device.
    #[arg(long)]
    quick: bool,
    /// Write one JSON line a row to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
    /// Number or name of the adapter, as 'asng-wgpu devices' lists them.
    #[arg(long, value_name = "N", default_value = "auto")]
    adapter: String,
    /// Only cases whose name contains this text.
    filter: Option<String>,
    /// Given by cargo bench; says nothing.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Which limit a row is held against.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// GFLOP/s of multiply-adds without memory.
    MultiplyAdd,
    /// GB/s of a vec4 copy.
    Copy,
}

impl Against {
    fn unit(self) -> &'static str {
        match self {
            Against::MultiplyAdd => "GFLOP/s",
            Against::Copy => "GB/s",
        }
    }
}

#[derive(serde::Serialize)]
struct Row<'a> {
    bench: &'a str,
    case: &'a str,
    ms: f64,
    rate: f64,
    unit: &'static str,
    share: f64,
    limit: f64,
}

/// A bench binary at work.
pub struct Bench {
    pub gpu: Gpu,
    pub quick: bool,
    name: &'static str,
    filter: Option<String>,
    json: Option<std::fs::File>,
    limits: Limits,
}

impl Bench {
    /// Reads the flags, opens the device, measures its limits and prints the table's head.
    pub fn start(name: &'static str) -> Result<Bench> {
        let flags = Flags::parse();
        let choice = AdapterChoice { device: flags.adapter, ..AdapterChoice::default() };
        let gpu = Gpu::open(&choice, false)?;
        let json = match &flags.json {
            Some(path) => {
                Some(std::fs::File::create(path).map_err(|e| Error::io("create", path, e))?)
            }
            None => None,
        };
        let limits = Limits::new(&gpu)?;
        println!("{name}: {} ({})", gpu.name(), gpu.driver());
        println!(
            "limits: {:.1} GFLOP/s of multiply-adds, {:.1} GB/s of copies",
            limits.rate(&gpu, Against::MultiplyAdd)?,
            limits.rate(&gpu, Against::Copy)?
        );
        println!("{:52} {:>10} {:>9} {:7} {:>6}", "case", "ms", "rate", "", "share");
        Ok(Bench { gpu, quick: flags.quick, name, filter: flags.filter, json, limits })
    }

    /// True where the flags ask for this case.
    pub fn wants(&self, case: &str) -> bool {
        self.filter.as_deref().is_none_or(|text| case.contains(text))
    }

    /// Times a program in turns with the limit it is held against (a machine's speed drifts), and
    /// reports the best of each.
    pub fn row(&mut self, case: &str, against: Against, subject: &Ready) -> Result<f64> {
        let rounds = if self.quick { 3 } else { 7 };
        let limit = self.limits.of(against);
        let (mut ms, mut limit_ms) = (f64::INFINITY, f64::INFINITY);
        milliseconds(&self.gpu, subject)?;
        for _ in 0..rounds {
            limit_ms = limit_ms.min(milliseconds(&self.gpu, limit)?);
            ms = ms.min(milliseconds(&self.gpu, subject)?);
        }
        let (rate, limit) = (subject.rate(against, ms), limit.rate(against, limit_ms));
        let (unit, share) = (against.unit(), rate / limit);
        println!("{case:52} {ms:10.2} {rate:9.2} {unit:7} {share:6.3}");
        if let Some(file) = &mut self.json {
            let row = Row { bench: self.name, case, ms, rate, unit, share, limit };
            let line = serde_json::to_string(&row).map_err(|e| Error::Input(e.to_string()))?;
            writeln!(file, "{line}").map_err(|e| Error::Input(e.to_string()))?;
        }
        Ok(ms)
    }
}

/// Wall time of one run, from submission until the device is done.
pub fn milliseconds(gpu: &Gpu, subject: &Ready) -> Result<f64> {
    let begin = Instant::now();
    subject.program.submit(gpu)?;
    gpu.wait()?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}
