//! Device, slots, pipelines, recordings.
