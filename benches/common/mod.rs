//! What the bench binaries share: flags, the table with its JSON lines, timing against the limits
//! of the device at hand.

#![allow(dead_code, reason = "no bench binary uses all of it")]

pub mod cases;
mod clock;
pub mod least;
mod limits;
pub mod rig;

use asng_wgpu::Error;
use asng_wgpu::gpu::{AdapterChoice, Gpu};
use clap::Parser;
use clock::Clock;
use limits::Limits;
use std::io::Write;

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
    /// Time by this process's processor seconds (software adapters on Linux): a machine's other
    /// load disturbs them less.
    #[arg(long)]
    cpu_time: bool,
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
    /// The adapter as the flags name it.
    pub adapter: String,
    name: &'static str,
    filter: Option<String>,
    json: Option<std::fs::File>,
    limits: Limits,
    clock: Clock,
}

type Run<'a> = dyn FnMut(&Gpu) -> Result<()> + 'a;

/// Work that is more than one program: so many FLOPs or bytes.
pub struct Work<'a> {
    pub case: String,
    pub work: u64,
    pub run: Box<Run<'a>>,
}

impl Bench {
    /// Reads the flags, opens the device, measures its limits and prints the table's head.
    pub fn start(name: &'static str) -> Result<Bench> {
        let flags = Flags::parse();
        let adapter = flags.adapter;
        let choice = AdapterChoice { device: adapter.clone(), ..AdapterChoice::default() };
        let gpu = Gpu::open(&choice, false)?;
        let json = match &flags.json {
            Some(path) => {
                Some(std::fs::File::create(path).map_err(|e| Error::io("create", path, e))?)
            }
            None => None,
        };
        let clock = if flags.cpu_time { Clock::Processor } else { Clock::Wall };
        let limits = Limits::new(&gpu, clock)?;
        println!("{name}: {} ({})", gpu.name(), gpu.driver());
        println!(
            "limits: {:.1} GFLOP/s of multiply-adds, {:.1} GB/s of copies",
            limits.rate(&gpu, clock, Against::MultiplyAdd)?,
            limits.rate(&gpu, clock, Against::Copy)?
        );
        println!("{:52} {:>10} {:>9} {:7} {:>6}", "case", "ms", "rate", "", "share");
        Ok(Bench {
            gpu,
            quick: flags.quick,
            adapter,
            name,
            filter: flags.filter,
            json,
            limits,
            clock,
        })
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
        self.clock.milliseconds(&self.gpu, subject)?;
        for _ in 0..rounds {
            limit_ms = limit_ms.min(self.clock.milliseconds(&self.gpu, limit)?);
            ms = ms.min(self.clock.milliseconds(&self.gpu, subject)?);
        }
        let (rate, limit) = (subject.rate(against, ms), limit.rate(against, limit_ms));
        self.print(case, ms, rate, against, limit)?;
        Ok(ms)
    }

    /// As [`Bench::row`], of work that is more than one program: `work` FLOPs or bytes, done by
    /// `run`. Wall time, whatever the flags say.
    pub fn work(
        &mut self,
        case: &str,
        against: Against,
        work: u64,
        rounds: usize,
        run: &mut Run,
    ) -> Result<f64> {
        let mut one = [Work { case: case.to_owned(), work, run: Box::new(run) }];
        Ok(self.works(against, rounds, &mut one)?[0])
    }

    /// As [`Bench::work`], of several works in turn, which are compared with each other.
    pub fn works(
        &mut self,
        against: Against,
        rounds: usize,
        works: &mut [Work],
    ) -> Result<Vec<f64>> {
        let limit = self.limits.of(against);
        let (mut ms, mut limit_ms) = (vec![f64::INFINITY; works.len()], f64::INFINITY);
        for _ in 0..rounds {
            limit_ms = limit_ms.min(Clock::Wall.milliseconds(&self.gpu, limit)?);
            for (one, ms) in works.iter_mut().zip(&mut ms) {
                let begin = std::time::Instant::now();
                (one.run)(&self.gpu)?;
                *ms = ms.min(begin.elapsed().as_secs_f64() * 1e3);
            }
        }
        let limit = limit.rate(against, limit_ms);
        for (one, &ms) in works.iter().zip(&ms) {
            self.print(&one.case, ms, one.work as f64 / ms * 1e-6, against, limit)?;
        }
        Ok(ms)
    }

    fn print(
        &mut self,
        case: &str,
        ms: f64,
        rate: f64,
        against: Against,
        limit: f64,
    ) -> Result<()> {
        let (unit, share) = (against.unit(), rate / limit);
        println!("{case:52} {ms:10.2} {rate:9.2} {unit:7} {share:6.3}");
        if let Some(file) = &mut self.json {
            let row = Row { bench: self.name, case, ms, rate, unit, share, limit };
            let line = serde_json::to_string(&row).map_err(|e| Error::Input(e.to_string()))?;
            writeln!(file, "{line}").map_err(|e| Error::Input(e.to_string()))?;
        }
        Ok(())
    }
}
