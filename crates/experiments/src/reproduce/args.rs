//! `experiments reproduce` as it is typed.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::ensure;
use clap::value_parser;
use run_record::Sweep;

use super::{Launcher, Request};
use crate::device::OnDevice;
use crate::feature_files::FeatureFolder;
use crate::outputs::Overwrite;
use crate::plan::{Settings, Stale};
use crate::report::Photographs;
use crate::slurm;

/// The most processes at once on one machine.
const JOBS: usize = 256;

const YEAR_S: u64 = 365 * 24 * 3600;

/// Run the cells of a sweep that have no record yet, then print and write its table.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The sweep's TOML file.
    #[arg(long)]
    sweep: PathBuf,
    /// Where records, report and pictures go.
    #[arg(long)]
    out_dir: PathBuf,
    /// The root folder of the dataset.
    #[arg(long)]
    data_root: Option<PathBuf>,
    /// A file of pretrained weights, or a folder that holds it.
    #[arg(long)]
    weights: Option<PathBuf>,
    #[command(flatten)]
    on: OnDevice,
    /// Keep a frozen backbone's features in files in this folder instead of in memory; runs that ask
    /// for the same features use them again.
    #[arg(long, value_name = "DIR")]
    features: Option<PathBuf>,
    /// The most that the features of one split may take in files.
    #[arg(long, value_name = "GIB", default_value_t = 50, value_parser = value_parser!(u64).range(..=1 << 20))]
    features_limit: u64,
    /// Only these arms, separated by commas.
    #[arg(long, value_delimiter = ',')]
    arms: Vec<String>,
    /// These seeds instead of the sweep's, separated by commas.
    #[arg(long, value_delimiter = ',')]
    seeds: Vec<u64>,
    /// Change a key of the configuration: `--set training.epochs=3`.
    #[arg(long)]
    set: Vec<String>,
    /// Run finished cells again that another revision or other dependencies made.
    #[arg(long)]
    refresh: bool,
    #[command(flatten)]
    in_the_way: Overwrite,
    /// Seconds from one state of training on disk to the next.
    #[arg(long, value_name = "SECONDS", default_value_t = Settings::default().state_every_s, value_parser = value_parser!(u64).range(..=YEAR_S))]
    state_every: u64,
    /// Cells that are run at once: here one by default, each by a process of its own with its share
    /// of the threads; under Slurm as many as there is room for.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Who runs the cells.
    #[arg(long, value_enum, default_value = "local")]
    launcher: Name,
    #[command(flatten)]
    slurm: slurm::Options,
    #[command(flatten)]
    published: Published,
    /// The command as it was typed, for the report.
    #[arg(long, default_value = "")]
    command: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// This machine.
    Local,
    /// A job array, a cell a task, and a job for the report after it.
    Slurm,
}

/// What a report may show.
#[derive(Debug, Clone, clap::Args)]
pub struct Published {
    /// Leave photographs out of the report, for sets whose licence forbids publishing them.
    #[arg(long)]
    no_images: bool,
}

impl Published {
    /// What it does with photographs.
    pub fn photographs(&self) -> Photographs {
        if self.no_images { Photographs::LeftOut } else { Photographs::Shown }
    }
}

impl Args {
    /// What they mean.
    ///
    /// # Errors
    ///
    /// A sweep that cannot be read, or more processes than a machine takes.
    pub fn request(self) -> anyhow::Result<Request> {
        let Self { sweep: origin, out_dir, data_root, weights, command, slurm, jobs, .. } = self;
        let limit_bytes = self.features_limit.saturating_mul(1 << 30);
        let settings = Settings {
            data_root,
            weights,
            stale: if self.refresh { Stale::Rerun } else { Stale::Used },
            state_every_s: self.state_every,
            photographs: self.published.photographs(),
            device: self.on.device,
            features: self.features.map(|path| FeatureFolder { path, limit_bytes }),
        };
        if let (Name::Local, Some(jobs)) = (self.launcher, jobs) {
            ensure!(jobs.get() <= JOBS, "--jobs {jobs}: expected 1 to {JOBS} processes here");
        }
        let launcher = match self.launcher {
            Name::Local => Launcher::Local(jobs.unwrap_or(NonZeroUsize::MIN)),
            Name::Slurm => Launcher::Slurm(slurm::Jobs { at_once: jobs, options: slurm }),
        };
        let (arms, seeds, set) = (self.arms, self.seeds, self.set);
        let sweep = Sweep::load(&origin)?;
        let in_the_way = self.in_the_way.in_the_way();
        Ok(Request {
            sweep,
            origin,
            out_dir,
            arms,
            seeds,
            set,
            settings,
            in_the_way,
            launcher,
            command,
        })
    }
}
