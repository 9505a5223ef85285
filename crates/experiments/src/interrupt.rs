//! Ctrl-C: the run ends at the next step, with a message instead of a half-written file. A second
//! one ends it at once, wherever it hangs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The run was interrupted by its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// The exit code after a second Ctrl-C: what shells show of a program that the signal ends.
const KILLED: i32 = 128 + 2;

/// Signals nearer to the first than this are the same one: `timeout` and terminals that close send it
/// to a process and then to its group.
const SAME: Duration = Duration::from_millis(200);

/// Makes Ctrl-C (and a termination request) end the run at its next step, and a second one end this
/// process there and then: files are written under temporary names, so none is left half-written.
///
/// # Errors
///
/// If the system refuses the handler.
pub fn listen() -> anyhow::Result<()> {
    let first: Mutex<Option<Instant>> = Mutex::new(None);
    Ok(ctrlc::set_handler(move || {
        let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.get_or_insert_with(Instant::now).elapsed() > SAME {
            std::process::exit(KILLED);
        }
        now();
    })?)
}

/// Ends the run at its next step.
pub fn now() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// To be asked between steps.
///
/// # Errors
///
/// [`Interrupted`] once Ctrl-C was pressed.
pub fn check() -> Result<(), Interrupted> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err(Interrupted) } else { Ok(()) }
}
