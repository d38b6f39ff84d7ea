//! How long a run takes.

use super::{Ready, Result};
use asng_wgpu::Error;
use asng_wgpu::gpu::Gpu;
use std::time::Instant;

/// What counts as time.
#[derive(Clone, Copy)]
pub enum Clock {
    Wall,
    /// Processor seconds of all threads of this process over the number of processors.
    Processor,
}

impl Clock {
    /// Time of one run, from submission until the device is done.
    pub fn milliseconds(self, gpu: &Gpu, subject: &Ready) -> Result<f64> {
        let begin = Instant::now();
        let used = match self {
            Clock::Wall => 0.0,
            Clock::Processor => processor_milliseconds()?,
        };
        subject.program.submit(gpu)?;
        gpu.wait()?;
        match self {
            Clock::Wall => Ok(begin.elapsed().as_secs_f64() * 1e3),
            Clock::Processor => {
                let processors = std::thread::available_parallelism().map_or(1, usize::from);
                Ok((processor_milliseconds()? - used) / processors as f64)
            }
        }
    }
}

/// Linux counts nanoseconds on a processor a thread.
fn processor_milliseconds() -> Result<f64> {
    let tasks = std::path::Path::new("/proc/self/task");
    let failed = |e| Error::io("read", tasks, e);
    let mut sum = 0.0;
    for task in std::fs::read_dir(tasks).map_err(failed)? {
        let path = task.map_err(failed)?.path().join("schedstat");
        // A thread may end between listing and reading.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        sum += text.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    }
    Ok(sum * 1e-6)
}
