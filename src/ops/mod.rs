//! Kernels: shapes in, dispatches out.
