//! `cargo xtask data`: what a person does with a dataset before training on it.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::experiments::Experiments;
use crate::project::Project;

/// List, check, prepare, count, make and show datasets; `data --help` says how.
#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  cargo xtask data list
  cargo xtask data verify camvid --data-root PATH/TO/camvid
  cargo xtask data preview ade20k --data-root PATH/TO/ade20k --count 12"
)]
pub(crate) struct Args {
    /// What the `experiments` binary takes after `data`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn run(project: &Project, args: &Args) -> anyhow::Result<ExitCode> {
    let mut command = vec![OsString::from("data")];
    command.extend(args.command.iter().cloned());
    Experiments::build(project)?.run_here(&command)
}
