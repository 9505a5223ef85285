//! Who runs the cells of a sweep: this machine, or Slurm with what is asked of it.

use std::ffi::OsString;
use std::num::NonZeroUsize;

use anyhow::ensure;

/// Options of `reproduce` for that.
#[derive(Default, clap::Args)]
pub(crate) struct Launcher {
    /// Who runs the cells [default: local].
    #[arg(long, value_enum)]
    launcher: Option<Name>,
    #[command(flatten)]
    slurm: Slurm,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// This machine.
    Local,
    /// A job array, a cell a task, and a job for the report after it.
    Slurm,
}

#[derive(Default, clap::Args)]
#[command(next_help_heading = "With --launcher slurm")]
struct Slurm {
    /// The partition.
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
    /// The longest that a job may run before it is put back into the queue; sbatch's `--time`.
    #[arg(long, value_name = "LIMIT")]
    time: Option<String>,
    /// Memory of a job, as in `8G`.
    #[arg(long, value_name = "SIZE")]
    mem: Option<String>,
    /// Processors of a job, and so its threads.
    #[arg(long, value_name = "N")]
    cpus_per_task: Option<NonZeroUsize>,
    /// Another argument for sbatch, as in `--sbatch=--account=vision`; may be given several times.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    sbatch: Vec<String>,
    /// Only show how sbatch would be called.
    #[arg(long)]
    dry_run: bool,
}

impl Launcher {
    /// The arguments of the `experiments` binary, checked before it is built.
    pub(crate) fn checked(&self) -> anyhow::Result<Vec<OsString>> {
        let slurm = self.slurm.args();
        if self.launcher != Some(Name::Slurm) {
            let first = slurm.first().and_then(|arg| arg.to_str()).unwrap_or_default();
            ensure!(slurm.is_empty(), "{first} is for Slurm; give --launcher slurm as well");
            return Ok(slurm);
        }
        ensure!(
            self.slurm.dry_run || is_program("sbatch"),
            "there is no `sbatch` in PATH: --launcher slurm needs a machine that submits to Slurm; \
             without it the cells are run here"
        );
        Ok([OsString::from("--launcher"), "slurm".into()].into_iter().chain(slurm).collect())
    }
}

impl Slurm {
    fn args(&self) -> Vec<OsString> {
        let mut args = Vec::new();
        let cpus = self.cpus_per_task.map(|cpus| cpus.to_string());
        let given = [
            ("--partition", self.partition.as_ref()),
            ("--time", self.time.as_ref()),
            ("--mem", self.mem.as_ref()),
            ("--cpus-per-task", cpus.as_ref()),
        ];
        let more = self.sbatch.iter().map(|arg| ("--sbatch", Some(arg)));
        for (name, value) in given.into_iter().chain(more) {
            if let Some(value) = value {
                args.extend([OsString::from(name), value.into()]);
            }
        }
        if self.dry_run {
            args.push("--dry-run".into());
        }
        args
    }
}

/// Whether a folder of PATH has a file of that name.
fn is_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}
