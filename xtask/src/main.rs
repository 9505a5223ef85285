//! The commands a person types: `cargo xtask <command>`.
//!
//! Commands that need tensors build the `experiments` binary and call it; this one only depends on
//! `run-record`, so that it answers mistakes within a second.

mod bench;
mod ci;
mod experiments;
mod launcher;
mod passed_on;
mod project;
mod reproduce;
mod tables;
mod tidy;

use std::process::ExitCode;

use clap::Parser as _;
use standard_streams::{READER_GONE, message, reader_is_gone};

use crate::project::Project;

/// Scene parsing with dense recurrent networks: everything a person types.
#[derive(clap::Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "Examples:
  cargo xtask reproduce                      train and compare all arms on the synthetic set
  cargo xtask reproduce camvid --data-root PATH/TO/camvid --weights PATH/TO/weights
  cargo xtask data list                      which datasets there are and how to get them
  cargo xtask compare target/reproduce/synthetic --to fcn
  cargo xtask ci                             everything a change must pass"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Reproduce(Box<reproduce::Args>),
    /// List, check, prepare, count, make and show datasets; `data --help` says how.
    Data(passed_on::Args),
    /// Compare arms by their records, with 95 % intervals; `compare --help` says how.
    Compare(passed_on::Args),
    /// Train one network as a configuration says; `train --help` says how.
    Train(passed_on::Args),
    /// Score a trained network anew, and save its predictions; `eval --help` says how.
    Eval(passed_on::Args),
    /// Show what a trained network sees in photographs; `predict --help` says how.
    Predict(passed_on::Args),
    /// Take dead hidden units out of a trained network; `compress --help` says how.
    Compress(passed_on::Args),
    /// Say whether a record's numbers hold; `verify --help` says how.
    Verify(passed_on::Args),
    /// Say whether data at hand are those of records; `identify --help` says how.
    Identify(passed_on::Args),
    /// Score predictions saved as PNGs; `score --help` says how.
    Score(passed_on::Args),
    Tables(tables::Args),
    Bench(bench::Args),
    /// Check the house rules: who depends on whom, file heads and lengths, manifests.
    Tidy,
    /// Run everything a change must pass, cheapest first.
    Ci,
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    match Project::locate().and_then(|project| run(&project, &command)) {
        Ok(code) => code,
        Err(error) if reader_is_gone(error.as_ref()) => READER_GONE.into(),
        Err(error) => {
            // One line whatever RUST_BACKTRACE says.
            message(format!("error: {}", format!("{error:#}").trim_end().replace('\n', " ")));
            ExitCode::FAILURE
        }
    }
}

fn run(project: &Project, command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Reproduce(args) => return reproduce::run(project, args),
        Command::Data(args) => return passed_on::run(project, "data", args),
        Command::Compare(args) => return passed_on::run(project, "compare", args),
        Command::Train(args) => return passed_on::run(project, "train", args),
        Command::Eval(args) => return passed_on::run(project, "eval", args),
        Command::Predict(args) => return passed_on::run(project, "predict", args),
        Command::Compress(args) => return passed_on::run(project, "compress", args),
        Command::Verify(args) => return passed_on::run(project, "verify", args),
        Command::Identify(args) => return passed_on::run(project, "identify", args),
        Command::Score(args) => return passed_on::run(project, "score", args),
        Command::Tables(args) => tables::run(project, args)?,
        Command::Bench(args) => bench::run(project, args)?,
        Command::Tidy => tidy::run(project)?,
        Command::Ci => ci::run(project)?,
    }
    Ok(ExitCode::SUCCESS)
}
