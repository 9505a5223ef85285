//! `cargo xtask reproduce`: train and compare the arms of a sweep.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use run_record::{DeviceChoice, Sweep};

use crate::experiments::Experiments;
use crate::launcher::Launcher;
use crate::project::Project;

/// Train and compare the arms of a sweep; cells that are finished already are used again.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask reproduce
  cargo xtask reproduce camvid --data-root PATH/TO/camvid --weights PATH/TO/weights
  cargo xtask reproduce --arms fcn,dense-attention --seeds 0 --set training.epochs=3
  cargo xtask reproduce my-sweep.toml --out-dir my-results --jobs 4
  cargo xtask reproduce --launcher slurm --partition cpu --cpus-per-task 4 --mem 8G --time 2:00:00")]
pub(crate) struct Args {
    /// Name of a sweep in crates/experiments/sweeps, or the path of a TOML file of your own.
    #[arg(value_name = "SWEEP|PATH.toml", default_value = "synthetic")]
    pub(crate) sweep: String,
    /// Root folder of the dataset, for sweeps on a dataset that is not embedded.
    #[arg(long, value_name = "PATH")]
    pub(crate) data_root: Option<PathBuf>,
    /// File of pretrained weights, or a folder that holds it.
    #[arg(long, value_name = "PATH")]
    pub(crate) weights: Option<PathBuf>,
    /// Where networks run: auto, cpu or cuda:N, for which the program is built anew with CUDA
    /// [default: auto, the CPU unless it was built so].
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<DeviceChoice>,
    /// Keep a frozen backbone's features in files in this folder instead of in memory.
    #[arg(long, value_name = "DIR")]
    pub(crate) features: Option<PathBuf>,
    /// The most that the features of one split may take in files [default: 50].
    #[arg(long, value_name = "GIB")]
    pub(crate) features_limit: Option<u64>,
    /// Only these arms.
    #[arg(long, value_name = "ARM,…", value_delimiter = ',')]
    pub(crate) arms: Vec<String>,
    /// These seeds instead of the sweep's own.
    #[arg(long, value_name = "SEED,…", value_delimiter = ',')]
    pub(crate) seeds: Vec<u64>,
    /// Change a key of every arm's configuration; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Run finished cells again that another revision or other dependencies made.
    #[arg(long)]
    pub(crate) refresh: bool,
    /// Replace files in the way that are no report of this sweep.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Cells that are run at once: here 1 by default, each by a process of its own with its share of
    /// the threads; under Slurm as many as there is room for.
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// Seconds from one state of training on disk to the next [default: 60].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) state_every: Option<u64>,
    /// Leave photographs out of the report, for sets whose licence forbids publishing them.
    #[arg(long)]
    pub(crate) no_images: bool,
    /// Where records, report and pictures go [default: target/reproduce/SWEEP].
    #[arg(long, value_name = "DIR")]
    pub(crate) out_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) launcher: Launcher,
}

/// Checks what can be checked without tensors, then builds and runs.
pub(crate) fn run(project: &Project, args: &Args) -> anyhow::Result<ExitCode> {
    let plan = plan(project, args)?;
    Experiments::build(project, args.device.unwrap_or_default())?.run(&plan)
}

/// The arguments of the `experiments` binary.
fn plan(project: &Project, args: &Args) -> anyhow::Result<Vec<OsString>> {
    let path = project.sweep(&args.sweep)?;
    let sweep = narrowed(&path, args)?;
    let mut plan: Vec<OsString> = vec!["reproduce".into()];
    let mut option = |name: &str, value: OsString| plan.extend([OsString::from(name), value]);
    option("--sweep", absolute(&path)?);
    if let Some(root) = &args.data_root {
        check_data_root(root)?;
        option("--data-root", absolute(root)?);
    }
    if let Some(weights) = &args.weights {
        let found = weights.exists();
        ensure!(found, "--weights {}: there is no such file or folder", weights.display());
        option("--weights", absolute(weights)?);
    }
    if let Some(device) = args.device {
        option("--device", device.to_string().into());
    }
    if let Some(folder) = &args.features {
        option("--features", absolute(folder)?);
    }
    if let Some(limit) = args.features_limit {
        option("--features-limit", limit.to_string().into());
    }
    for (name, list) in [("--arms", args.arms.join(",")), ("--seeds", join(&args.seeds))] {
        if !list.is_empty() {
            option(name, list.into());
        }
    }
    for change in &args.set {
        option("--set", change.into());
    }
    let out_dir = match &args.out_dir {
        Some(dir) => dir.clone(),
        None => project.root.join("target/reproduce").join(&sweep.name),
    };
    check_out_dir(&out_dir)?;
    option("--out-dir", absolute(&out_dir)?);
    if let Some(jobs) = args.jobs {
        option("--jobs", jobs.to_string().into());
    }
    if let Some(seconds) = args.state_every {
        option("--state-every", seconds.to_string().into());
    }
    option("--command", as_typed().into());
    plan.extend(args.launcher.checked()?);
    if args.refresh {
        plan.push("--refresh".into());
    }
    if args.overwrite {
        plan.push("--overwrite".into());
    }
    if args.no_images {
        plan.push("--no-images".into());
    }
    Ok(plan)
}

/// Names and keys are checked here as well, so that a mistake is answered before a build.
fn narrowed(path: &Path, args: &Args) -> anyhow::Result<Sweep> {
    let mut sweep = Sweep::load(path)?;
    if !args.arms.is_empty() {
        sweep.keep_arms(&args.arms)?;
    }
    if !args.seeds.is_empty() {
        sweep.keep_seeds(&args.seeds)?;
    }
    for change in &args.set {
        sweep.set(change)?;
    }
    Ok(sweep)
}

fn check_data_root(root: &Path) -> anyhow::Result<()> {
    let shown = root.display();
    ensure!(root.exists(), "--data-root {shown}: there is no such folder");
    let mut entries = root.read_dir().with_context(|| format!("--data-root {shown}"))?;
    ensure!(entries.next().is_some(), "--data-root {shown}: the folder is empty");
    Ok(())
}

fn check_out_dir(dir: &Path) -> anyhow::Result<()> {
    let failed = || format!("the output folder {} cannot be written", dir.display());
    std::fs::create_dir_all(dir).with_context(failed)?;
    // Called as what `whole_files` leaves behind when it is killed, which the next start clears.
    let probe = dir.join(format!(".probe.{}.tmp", std::process::id()));
    std::fs::write(&probe, "").with_context(failed)?;
    std::fs::remove_file(&probe).with_context(failed)
}

/// The binary runs in the root of the checkout, the user may be elsewhere.
fn absolute(path: &Path) -> anyhow::Result<OsString> {
    let absolute = std::path::absolute(path).with_context(|| path.display().to_string())?;
    let here = std::env::current_dir().context("the current folder")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    // Short in messages wherever both mean the same.
    let short = absolute.strip_prefix(&here).ok().filter(|_| root == Some(&here));
    Ok(short.map_or(absolute.clone(), Path::to_owned).into())
}

fn join(seeds: &[u64]) -> String {
    seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

/// The command line, for the report.
fn as_typed() -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=,:+@%".contains(c);
    let quoted = std::env::args_os().skip(1).map(|arg| {
        let arg = arg.to_string_lossy().into_owned();
        if !arg.is_empty() && arg.chars().all(plain) {
            arg
        } else {
            format!("'{}'", arg.replace('\'', r"'\''"))
        }
    });
    std::iter::once("cargo xtask".to_owned()).chain(quoted).collect::<Vec<_>>().join(" ")
}
