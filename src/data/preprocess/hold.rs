//! Voxels of prepared cases: in memory where they fit, else read from the cache as they are
//! needed.

use super::cache;
use crate::Result;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Image and labels of a prepared case.
#[derive(Clone, Debug, PartialEq)]
pub struct Voxels {
    /// C, D, H, W values.
    pub image: Vec<f32>,
    /// D, H, W label indices; [`crate::data::labels::IGNORED`] where the label is unknown.
    pub labels: Vec<u8>,
}

impl Voxels {
    fn bytes(&self) -> u64 {
        (self.image.len() * 4 + self.labels.len()) as u64
    }
}

/// Where a case's voxels are.
#[derive(Clone, Debug)]
pub(super) enum Held {
    /// In memory, for good.
    Always(Arc<Voxels>),
    /// In a file, and in memory while the pool has room.
    Cached {
        /// The file.
        file: PathBuf,
        /// Shared by all cases.
        pool: Arc<Pool>,
    },
}

impl Held {
    pub fn get(&self) -> Result<Arc<Voxels>> {
        match self {
            Held::Always(voxels) => Ok(voxels.clone()),
            Held::Cached { file, pool } => pool.get(file),
        }
    }
}

/// The cases in memory; those unused for longest make room.
#[derive(Debug)]
pub(super) struct Pool {
    most_bytes: u64,
    held: Mutex<VecDeque<(PathBuf, Arc<Voxels>)>>,
}

impl Pool {
    pub fn new(most_bytes: u64) -> Self {
        Pool { most_bytes, held: Mutex::new(VecDeque::new()) }
    }

    /// Locks the list; it is whole even if another thread panicked while it held it.
    fn lock(&self) -> MutexGuard<'_, VecDeque<(PathBuf, Arc<Voxels>)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, file: &PathBuf) -> Result<Arc<Voxels>> {
        {
            let mut held = self.lock();
            if let Some(at) = held.iter().position(|(known, _)| known == file)
                && let Some(entry) = held.remove(at)
            {
                let voxels = entry.1.clone();
                held.push_back(entry);
                return Ok(voxels);
            }
        }
        let voxels = Arc::new(cache::read_voxels(file)?);
        self.add(file.clone(), voxels.clone());
        Ok(voxels)
    }

    /// Keeps voxels, and drops what was unused for longest beyond the bound.
    pub fn add(&self, file: PathBuf, voxels: Arc<Voxels>) {
        let mut held = self.lock();
        // Two threads may have read it at once.
        if held.iter().any(|(known, _)| *known == file) {
            return;
        }
        held.push_back((file, voxels));
        let mut bytes: u64 = held.iter().map(|(_, v)| v.bytes()).sum();
        while bytes > self.most_bytes {
            match held.pop_front() {
                Some((_, dropped)) => bytes -= dropped.bytes(),
                None => break,
            }
        }
    }
}
