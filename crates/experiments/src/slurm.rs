//! A plan as jobs of Slurm: an array with one cell a task, and the report after it.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, anyhow, bail};
use whole_files::InTheWay;

use crate::plan::Plan;
use crate::provenance;

/// What every job runs: the command behind it, asked to end and put back into the queue when Slurm
/// says that it is about to take the node away.
const TASK: &str = include_str!("slurm/task.sh");

/// What is asked of Slurm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jobs {
    /// The most tasks that run at once; as many as there is room for if absent.
    pub at_once: Option<NonZeroUsize>,
    /// What else.
    pub options: Options,
}

/// What the user wants of every job.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "With --launcher slurm")]
pub struct Options {
    /// The partition.
    #[arg(long, value_name = "NAME")]
    pub partition: Option<String>,
    /// The longest that a job may run before it is put back into the queue; sbatch's `--time`.
    #[arg(long, value_name = "LIMIT")]
    pub time: Option<String>,
    /// Memory of a job, as in `8G`.
    #[arg(long, value_name = "SIZE")]
    pub mem: Option<String>,
    /// Processors of a job, and so its threads.
    #[arg(long, value_name = "N")]
    pub cpus_per_task: Option<NonZeroUsize>,
    /// Another argument for sbatch, as in `--sbatch=--account=vision`; may be given several times.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub sbatch: Vec<String>,
    /// Only show how sbatch would be called.
    #[arg(long)]
    pub dry_run: bool,
}

/// Submits the cells of these indices of `plan`, which is in `file`, and a job that reports once they
/// have ended; says to `out` which jobs these are. `command` is what the user typed.
///
/// The jobs run a copy of this program as it is now, whatever is built before their turn comes.
///
/// # Errors
///
/// Slurm if it is not there or refuses, with what was submitted before, or a folder that cannot be
/// written.
pub fn submit(
    plan: &Plan,
    file: &Path,
    indices: &[usize],
    command: &str,
    jobs: &Jobs,
    in_the_way: InTheWay,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let absolute =
        |path: &Path| std::path::absolute(path).with_context(|| path.display().to_string());
    let folder = absolute(&plan.out_dir)?.join("slurm");
    let (file, script) = (absolute(file)?, folder.join("task.sh"));
    let hash = provenance::program_sha256().context("the hash of this program")?;
    let program = folder.join(format!("experiments-{}", &hash[..12]));
    let options = &jobs.options;

    let mut array = sbatch(&plan.sweep.name, &folder, "%A_%a", options);
    array.arg(format!("--array={}", ranges(indices, jobs.at_once)));
    array.arg(&script).arg(&program).arg("run").arg(&file).arg("--cell");
    let report = |array: &str| {
        let mut report = sbatch(&format!("{}-report", plan.sweep.name), &folder, "%j", options);
        report.arg(format!("--dependency=afterany:{array}"));
        report.arg(&script).arg(&program).arg("report").arg(&file);
        report.args(["--command", command]);
        if in_the_way == InTheWay::Replaced {
            report.arg("--overwrite");
        }
        report
    };
    if options.dry_run {
        writeln!(out, "{array:?}\n{:?}", report("ARRAY"))?;
        return Ok(());
    }
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    whole_files::write(&script, TASK.as_bytes())?;
    keep_program(&program)?;
    let array = id(array).context("nothing was submitted")?;
    let shown = folder.display();
    // Before its report is submitted, but whoever reads it.
    let said = writeln!(
        out,
        "job {array}: {} cells of {}, one a task; logs in {shown}/{array}_INDEX.log",
        indices.len(),
        file.display()
    );
    let report = id(report(&array)).with_context(|| {
        format!(
            "job {array} is submitted, but not the one for its report: give the same command again \
             once it has ended"
        )
    })?;
    said?;
    writeln!(out, "job {report}: the report, once they have ended; log in {shown}/{report}.log")?;
    Ok(())
}

/// What both jobs have in common; what the user says comes later, so that it holds.
fn sbatch(name: &str, folder: &Path, log: &str, options: &Options) -> Command {
    let mut sbatch = Command::new("sbatch");
    // The notice: a minute before the end, to the script alone.
    sbatch.args(["--parsable", "--requeue", "--signal=B:USR1@60", "--open-mode=append"]);
    let folder = folder.display().to_string().replace('%', "%%");
    sbatch.args([format!("--job-name={name}"), format!("--output={folder}/{log}.log")]);
    let cpus = options.cpus_per_task.map(|cpus| cpus.to_string());
    for (name, value) in [
        ("--partition", &options.partition),
        ("--time", &options.time),
        ("--mem", &options.mem),
        ("--cpus-per-task", &cpus),
    ] {
        if let Some(value) = value {
            sbatch.arg(format!("{name}={value}"));
        }
    }
    sbatch.args(&options.sbatch);
    sbatch
}

/// Calls sbatch and returns the id of the job it made.
fn id(mut sbatch: Command) -> anyhow::Result<String> {
    let output = sbatch.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => anyhow!(
            "there is no `sbatch` in PATH: --launcher slurm needs a machine that submits to Slurm"
        ),
        _ => anyhow!("starting sbatch: {error}"),
    })?;
    let (said, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        let lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
        bail!("sbatch refuses: {}", lines.collect::<Vec<_>>().join("; "));
    }
    // `ID` or, among several clusters, `ID;CLUSTER`.
    let id = said.trim().split(';').next().unwrap_or("");
    if id.is_empty() || !id.chars().all(|c| c.is_ascii_digit()) {
        bail!("sbatch answers {:?} instead of a job's id", said.trim());
    }
    Ok(id.to_owned())
}

/// Copies this program to a place that a build does not touch.
fn keep_program(kept: &Path) -> anyhow::Result<()> {
    if kept.exists() {
        return Ok(());
    }
    let program = std::env::current_exe().context("the path of this program")?;
    whole_files::copy(&program, kept)
        .with_context(|| format!("copying this program to {}", kept.display()))
}

/// Rising indices as sbatch's `--array` has them: `0,2-5%2`.
fn ranges(indices: &[usize], at_once: Option<NonZeroUsize>) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &index in indices {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => ranges.push((index, index)),
        }
    }
    let shown = ranges.iter().map(|&(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    let at_once = at_once.map_or(String::new(), |at_once| format!("%{at_once}"));
    shown.collect::<Vec<_>>().join(",") + &at_once
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_shortened_to_ranges() {
        let two = NonZeroUsize::new(2);
        assert_eq!(ranges(&[0, 1, 2], None), "0-2");
        assert_eq!(ranges(&[3], two), "3%2");
        assert_eq!(ranges(&[0, 2, 3, 4, 7, 9, 10], two), "0,2-4,7,9-10%2");
    }
}
