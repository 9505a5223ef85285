//! The binary as a user calls it, on sweeps of a few tiny images.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod bad_input;
mod compare;
mod configs;
mod eval;
mod identity;
#[cfg(target_os = "linux")]
mod jobs;
mod kill;
mod limits;
#[cfg(unix)]
mod outputs;
#[cfg(target_os = "linux")]
mod read_only;
mod runs;
mod sizes;
mod slurm;
mod starts;
mod streams;
mod tiny;
