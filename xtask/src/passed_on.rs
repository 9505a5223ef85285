//! Commands that the `experiments` binary reads itself: datasets, comparisons, scores.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::experiments::Experiments;
use crate::project::Project;

/// What the binary takes after the command's name.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    options: Vec<OsString>,
}

/// Runs `experiments COMMAND OPTIONS` in the user's own folder.
pub(crate) fn run(project: &Project, command: &str, args: &Args) -> anyhow::Result<ExitCode> {
    let mut words = vec![OsString::from(command)];
    words.extend(args.options.iter().cloned());
    Experiments::build(project)?.run_here(&words)
}
