//! Ctrl-C: the run ends at the next step, with a message instead of a half-written file.

use std::sync::atomic::{AtomicBool, Ordering};

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

/// Makes Ctrl-C (and a termination request) end the run at its next step.
///
/// # Errors
///
/// If the system refuses the handler.
pub fn listen() -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(now)?)
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
