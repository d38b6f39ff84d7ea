//! Policy space, distribution, ASNG and the other searchers.

pub mod asng;
pub mod distribution;
pub mod export;
pub mod file;
pub mod log;
pub mod plot;
pub mod policy;
pub mod reinforce;
pub mod searcher;
pub mod space;
