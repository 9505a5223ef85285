//! Commands that the `experiments` binary reads itself: datasets, comparisons, scores.

use std::ffi::OsString;
use std::process::ExitCode;

use run_record::DeviceChoice;

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
    Experiments::build(project, device(&args.options)?)?.run_here(&words)
}

/// The device that the options name, since it decides what is built.
fn device(options: &[OsString]) -> anyhow::Result<DeviceChoice> {
    let words: Vec<&str> = options.iter().filter_map(|option| option.to_str()).collect();
    let apart = words.windows(2).find(|pair| pair[0] == "--device").map(|pair| pair[1]);
    let joined = || words.iter().find_map(|word| word.strip_prefix("--device="));
    let named = apart.or_else(joined).map(str::parse).transpose()?;
    Ok(named.unwrap_or_default())
}
