//! How many threads the environment asks for.

use std::env;

use anyhow::{Context, ensure};

/// More than any machine has; each takes memory before it does anything.
const MOST: usize = 1024;

/// What rayon and candle read.
const VARIABLES: [&str; 3] = ["RAYON_NUM_THREADS", "RAYON_RS_NUM_CPUS", "CANDLE_NUM_THREADS"];

/// The threads that `RAYON_NUM_THREADS` asks for; 0, as many as there are processors, if it is not
/// set.
///
/// # Errors
///
/// A variable of threads that is no number, or more than 1024: the libraries that read them
/// would pass over the one without a word, and try to start the other.
pub fn asked() -> anyhow::Result<usize> {
    for name in VARIABLES {
        checked(name)?;
    }
    checked(VARIABLES[0])
}

fn checked(name: &str) -> anyhow::Result<usize> {
    let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(0) };
    let shown = value.to_string_lossy();
    let wrong =
        || format!("{name}={shown}: expected a number of threads, 1 to {MOST}, or 0 for all");
    let threads: usize = shown.trim().parse().with_context(wrong)?;
    ensure!(threads <= MOST, wrong());
    Ok(threads)
}
