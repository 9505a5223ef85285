//! A bar with the time left on a terminal, plain lines otherwise.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use standard_streams::message;

/// Progress over a known number of steps, on standard error.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Progress over `steps`; hidden where standard error is not a terminal.
    pub fn new(steps: u64) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(steps), target);
        let template = "{elapsed_precise} {bar:30} {percent:>3}% ETA {eta_precise}  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_secs(1));
        Self { bar }
    }

    /// A plain line above the bar.
    pub fn line(&self, text: &str) {
        self.bar.suspend(|| message(text));
    }

    /// What the bar says it is doing.
    pub fn doing(&self, text: impl Into<String>) {
        self.bar.set_message(text.into());
    }

    /// `steps` more are done.
    pub fn advance(&self, steps: u64) {
        self.bar.inc(steps);
    }

    /// `steps` were done before this process, which says nothing of the time left.
    pub fn skip(&self, steps: u64) {
        self.bar.inc(steps);
        self.bar.reset_eta();
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
