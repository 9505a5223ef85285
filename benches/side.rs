//! Our side of a comparison: times cases on request, one line of JSON each way.
//!
//! The first line that it prints lists all cases, those that are compared and those that grow. Every line that it reads names a case, a pass and
//! for how long to repeat it; the answer is the median time and this process's peak memory.
#![allow(clippy::print_stdout, reason = "standard output is how it answers")]

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use anyhow::Context;
use benches::{Case, Pass, Task, cases, growth};

#[global_allocator]
static ALLOCATOR: large_buffers::Allocator = large_buffers::Allocator::new();

#[derive(serde::Deserialize)]
struct Request {
    case: Case,
    pass: Pass,
    seconds: f64,
}

#[derive(serde::Serialize)]
struct Answer {
    milliseconds: f64,
    peak_mib: f64,
}

fn main() -> anyhow::Result<()> {
    // As training does it: operations called from outside the pool are handed over one by one.
    rayon::scope(|_| run())
}

fn run() -> anyhow::Result<()> {
    say(&serde_json::json!({ "cases": cases(), "growth": growth() }))?;
    let mut prepared: Option<(String, Pass, Task)> = None;
    for line in std::io::stdin().lock().lines() {
        let Request { case, pass, seconds } = serde_json::from_str(&line?)?;
        let fits = |(name, of, _): &(String, Pass, Task)| *name == case.name && *of == pass;
        let mut task = match prepared.take().filter(fits) {
            Some((_, _, task)) => task,
            None => {
                let mut task = case.prepare(pass).with_context(|| case.name.clone())?;
                task()?; // Warm up.
                task
            }
        };
        let milliseconds = median(&mut task, Duration::from_secs_f64(seconds))?;
        prepared = Some((case.name, pass, task));
        say(&Answer { milliseconds, peak_mib: peak_mib() })?;
    }
    Ok(())
}

fn say(answer: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, answer)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Repeats the task for `time`, at least three times.
fn median(task: &mut Task, time: Duration) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || start.elapsed() < time {
        let each = Instant::now();
        task()?;
        times.push(each.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// The largest resident memory of this process so far; NaN where the system does not say.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib / 1024.0)
}
