//! The `experiments` binary; `cargo xtask` builds and calls it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser as _;
use experiments::{compare, datasets, interrupt, reproduce, score, table};
use run_record::{Record, Sweep};
use seg_metrics::Protocol;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains, evaluates and compares scene parsers.
#[derive(clap::Parser)]
enum Command {
    /// Run the cells of a sweep that have no record yet, then print and write its table.
    Reproduce {
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
        /// Only these arms, separated by commas.
        #[arg(long, value_delimiter = ',')]
        arms: Vec<String>,
        /// These seeds instead of the sweep's, separated by commas.
        #[arg(long, value_delimiter = ',')]
        seeds: Vec<u64>,
        /// Change a key of the configuration: `--set training.epochs=3`.
        #[arg(long)]
        set: Vec<String>,
        /// The command as it was typed, for the report.
        #[arg(long, default_value = "")]
        command: String,
    },
    /// List, check, prepare, count, make and show datasets.
    Data(datasets::Args),
    /// Compare arms by their records: differences of mIoU and of classes, with 95 % intervals.
    #[command(after_help = "Examples:
  cargo xtask compare target/reproduce/synthetic --to fcn
  cargo xtask compare target/reproduce/camvid my-results --arms dense-attention")]
    Compare {
        /// A sweep's output folder, a folder of records or a record; or two of them.
        #[arg(required = true, num_args = 1..=2, value_name = "RECORDS")]
        records: Vec<PathBuf>,
        /// Compare every arm with this one instead of every pair.
        #[arg(long, value_name = "ARM")]
        to: Option<String>,
        /// Only these arms, separated by commas.
        #[arg(long, value_name = "ARM,…", value_delimiter = ',')]
        arms: Vec<String>,
        /// Write the comparison to this file as well.
        #[arg(long, value_name = "FILE.md")]
        out: Option<PathBuf>,
    },
    /// Score predictions that are saved as PNGs in the dataset's own encoding.
    #[command(
        after_help = "Encodings: cityscapes labelIds (with instanceIds beside the labels also the
instance scores), ade20k 1 to 150, camvid 0 to 10, pascal-context 0 to 59, 0 being background.

Examples:
  cargo xtask score --protocol cityscapes --labels gtFine/val --predictions mine
  cargo xtask score --protocol ade20k --labels annotations/validation --predictions mine --json s.json"
    )]
    Score {
        /// camvid, ade20k, cityscapes, pascal-context-59 or pascal-context-60.
        #[arg(long)]
        protocol: Protocol,
        /// Folder of label files, subfolders included.
        #[arg(long, value_name = "DIR")]
        labels: PathBuf,
        /// Folder of predictions, subfolders included.
        #[arg(long, value_name = "DIR")]
        predictions: PathBuf,
        /// Write every number to this file as well.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Print the Markdown tables of a folder of records.
    Table {
        /// The folder that holds the records.
        #[arg(long)]
        records: PathBuf,
        /// The sweep's TOML file.
        #[arg(long)]
        sweep: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the table is this program's output")]
fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Reproduce { sweep, out_dir, data_root, weights, arms, seeds, set, command } => {
            interrupt::listen()?;
            let request = reproduce::Request {
                sweep,
                out_dir,
                data_root,
                weights,
                arms,
                seeds,
                set,
                command,
            };
            reproduce::reproduce(&request, &mut std::io::stdout())
        }
        Command::Data(args) => datasets::run(&args, &mut std::io::stdout()),
        Command::Compare { records, to, arms, out } => {
            let text = compare::markdown(&compare::Request { records, to, arms })?;
            if let Some(file) = out {
                std::fs::write(&file, &text).with_context(|| file.display().to_string())?;
            }
            print!("{text}");
            Ok(())
        }
        Command::Score { protocol, labels, predictions, json } => {
            let scored = score::score(&score::Request { protocol, labels, predictions })?;
            if let Some(file) = json {
                let text = serde_json::to_string_pretty(&scored.json)?;
                std::fs::write(&file, text + "\n").with_context(|| file.display().to_string())?;
            }
            print!("{}", scored.text);
            Ok(())
        }
        Command::Table { records, sweep } => {
            let (sweep, records) = (Sweep::load(&sweep)?, Record::read_dir(&records)?);
            println!("{}\n{}", table::markdown(&sweep, &records), table::caption(&sweep, &records));
            Ok(())
        }
    }
}
