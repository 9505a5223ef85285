//! Several cells at once: as many processes, each with its share of the threads, that take cells of
//! a plan one by one.

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::interrupt;

/// Says to a process that it is one of several.
pub const WORKER: &str = "--worker";

/// Starts `jobs` processes that run the plan in `file` and waits for all of them; says how those ended
/// that did not end well.
///
/// Their standard input is a pipe that says when to stop: by being closed, which a kill of this
/// process does as well.
///
/// # Errors
///
/// A process that cannot be started, or an interrupt, after which all have ended.
pub fn run(file: &Path, jobs: NonZeroUsize) -> anyhow::Result<Vec<ExitStatus>> {
    let program = std::env::current_exe().context("the path of this program")?;
    let threads = (rayon::current_num_threads() / jobs).max(1).to_string();
    let start = |_| {
        let mut command = Command::new(&program);
        command.arg("run").arg(file).arg(WORKER);
        command.env("RAYON_NUM_THREADS", &threads).stdin(Stdio::piped()).stdout(Stdio::null());
        command.spawn().with_context(|| format!("starting {}", program.display()))
    };
    let workers = (0..jobs.get()).map(start).collect::<anyhow::Result<Vec<Child>>>()?;
    let mut workers = Workers(workers);
    while workers.some_run()? {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    let ended = workers.end()?.into_iter();
    Ok(ended.filter(|status| !status.success()).collect())
}

/// Makes the end of standard input an interrupt.
pub fn stop_with_parent() {
    std::thread::spawn(|| {
        // Nothing is ever sent.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        interrupt::now();
    });
}

/// Processes that end when this does.
struct Workers(Vec<Child>);

impl Workers {
    fn some_run(&mut self) -> anyhow::Result<bool> {
        for worker in &mut self.0 {
            if worker.try_wait()?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Asks those that still run to end, and waits for it.
    fn end(&mut self) -> std::io::Result<Vec<ExitStatus>> {
        self.0.iter_mut().for_each(|worker| drop(worker.stdin.take()));
        self.0.iter_mut().map(Child::wait).collect()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Whatever they say, they have ended.
        let _ = self.end();
    }
}
