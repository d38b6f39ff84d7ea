//! Work on many cases at a time, with its progress.

use crate::{Error, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

/// How far a preparation is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is done, for a person.
    pub what: &'static str,
    /// Cases done.
    pub done: usize,
    /// Cases in all.
    pub of: usize,
}

/// Threads and where they report.
pub(super) struct Workers<'a> {
    pool: rayon::ThreadPool,
    progress: &'a mut dyn FnMut(Progress),
}

impl<'a> Workers<'a> {
    /// Starts `threads` threads; 0: as many as cores.
    ///
    /// # Errors
    /// [`Error::Usage`] where the system has no more threads.
    pub fn start(threads: usize, progress: &'a mut dyn FnMut(Progress)) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| {
            Error::Usage(format!("cannot start {threads} threads ({e}); use fewer with --threads"))
        })?;
        Ok(Workers { pool, progress })
    }

    /// Does `work` for the numbers from 0 to `count`, as many at a time as there are threads.
    /// Results in order.
    ///
    /// # Errors
    /// The first in order.
    pub fn each<R: Send>(
        &mut self,
        what: &'static str,
        count: usize,
        work: impl Fn(usize) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        (self.progress)(Progress { what, done: 0, of: count });
        let (pool, next) = (&self.pool, AtomicUsize::new(0));
        let results: Mutex<Vec<(usize, Result<R>)>> = Mutex::new(Vec::new());
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..pool.current_num_threads().min(count) {
                let (sender, next, results, work) = (sender.clone(), &next, &results, &work);
                scope.spawn(move || {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return;
                        }
                        // Within the pool, so that parts of a case are done side by side too.
                        let result = pool.install(|| work(number));
                        let mut all = results.lock().unwrap_or_else(PoisonError::into_inner);
                        all.push((number, result));
                        // Nobody listens any more only if this thread's owner panicked.
                        let _ = sender.send(());
                    }
                });
            }
            drop(sender);
            for (done, ()) in receiver.iter().enumerate() {
                (self.progress)(Progress { what, done: done + 1, of: count });
            }
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(number, _)| *number);
        results.into_iter().map(|(_, result)| result).collect()
    }
}
