//! The `experiments` binary; `cargo xtask` builds and calls it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser as _;
use experiments::config::CellConfig;
use experiments::device::{self, OnDevice};
use experiments::outputs::{OutputFile, Overwrite};
use experiments::plan::Settings;
use experiments::report;
use experiments::reproduce::Published;
use experiments::results::Results;
use experiments::{
    compare, compress, datasets, eval, identify, interrupt, jobs, predict, reproduce, score,
    threads, trial,
};
use run_record::{Arm, Record, Sweep};
use scene_data::Split;
use seg_metrics::Protocol;
use standard_streams::{READER_GONE, Results as Out, message, reader_is_gone};

#[global_allocator]
static ALLOCATOR: large_buffers::Allocator = large_buffers::Allocator::new();

/// Trains, evaluates and compares scene parsers.
#[derive(clap::Parser)]
enum Command {
    Reproduce(reproduce::Args),
    /// Run cells of a plan that `reproduce` wrote beside its results.
    Run {
        /// The plan's TOML file.
        plan: PathBuf,
        /// Only the cell of this index, from 0 [default: all that no other process is at].
        #[arg(long, value_name = "INDEX")]
        cell: Option<usize>,
        /// One of several processes; it ends when standard input does.
        #[arg(long, hide = true)]
        worker: bool,
    },
    /// Report what a plan has records of.
    Report {
        /// The plan's TOML file.
        plan: PathBuf,
        /// What made the records, for the report.
        #[arg(long, default_value = "")]
        command: String,
        #[command(flatten)]
        in_the_way: Overwrite,
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
        #[command(flatten)]
        in_the_way: Overwrite,
    },
    /// Train one network as a configuration says, and score it on test.
    #[command(
        after_help = "A configuration is the [config] of a sweep: the tables dataset, model, training, evaluation.

Examples:
  cargo xtask train my-config.toml --data-root DIR --out-dir run
  cargo xtask train my-config.toml --set training.epochs=3 --seed 1 --out-dir run
  cargo xtask train my-config.toml --data-root DIR --try 3"
    )]
    Train {
        /// The configuration's TOML file.
        config: PathBuf,
        /// Where record, checkpoint, report and pictures go.
        #[arg(long, value_name = "DIR", required_unless_present = "trial")]
        out_dir: Option<PathBuf>,
        /// Only take so many steps, on what there is of the training split, to see loss, time and
        /// memory; nothing is kept.
        #[arg(long = "try", id = "trial", value_name = "STEPS", conflicts_with = "out_dir")]
        trial: Option<usize>,
        /// Seed of the initial weights and of every draw.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// The root folder of the dataset.
        #[arg(long, value_name = "DIR")]
        data_root: Option<PathBuf>,
        /// A file of pretrained weights, or a folder that holds it.
        #[arg(long, value_name = "PATH")]
        weights: Option<PathBuf>,
        #[command(flatten)]
        on: OnDevice,
        /// Change a key of the configuration: `--set training.epochs=3`.
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        #[command(flatten)]
        published: Published,
        #[command(flatten)]
        in_the_way: Overwrite,
    },
    /// Score a trained network anew: on another split, in several sizes, saving its predictions.
    #[command(after_help = "Examples:
  cargo xtask eval target/reproduce/synthetic/cells/CELL.json
  cargo xtask eval CELL.json --data-root DIR --split val --set scales=[0.75,1,1.25] --set mirror=averaged
  cargo xtask eval CELL.json --data-root DIR --save-predictions mine")]
    Eval {
        #[command(flatten)]
        network: Network,
        /// Which images.
        #[arg(long, default_value = "test")]
        split: Split,
        /// Score other images than the record's as well, of the same classes; the output says so.
        #[arg(long)]
        other_images: bool,
        /// Change how images are seen, a key of `evaluation`; may be given several times.
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Write predictions to this folder, as PNGs in the dataset's own encoding.
        #[arg(long, value_name = "DIR")]
        save_predictions: Option<PathBuf>,
        #[command(flatten)]
        in_the_way: Overwrite,
    },
    /// Show what a trained network sees in photographs: classes, colours, where it looks.
    #[command(after_help = "Examples:
  cargo xtask predict CELL.json street.jpg beach.jpg --out-dir seen
  cargo xtask predict CELL.json holidays '2024/*.webp' --out-dir seen
  cargo xtask predict CELL.json street.jpg --out-dir seen --attend 240,180")]
    Predict {
        #[command(flatten)]
        network: Network,
        /// JPEGs, PNGs, WebPs or BMPs; folders of them, subfolders included; patterns in quotes.
        #[arg(required = true, value_name = "PHOTOGRAPH")]
        photographs: Vec<PathBuf>,
        /// Where the pictures go.
        #[arg(long, value_name = "DIR")]
        out_dir: PathBuf,
        /// Draw the attention of the place at this column and row, in pixels.
        #[arg(long, value_name = "X,Y", value_parser = place)]
        attend: Option<(u32, u32)>,
        /// Change how images are seen, a key of `evaluation`; may be given several times.
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        #[command(flatten)]
        in_the_way: Overwrite,
    },
    /// Take the hidden units that nothing reads out of a network trained with `training.unit_lasso`:
    /// the same outputs from a smaller checkpoint.
    #[command(after_help = "Examples:
  cargo xtask compress target/reproduce/companions/checkpoints/CELL.safetensors --out-dir smaller
  cargo xtask compress CELL.json --data-root DIR --weights PATH --out-dir smaller")]
    Compress {
        #[command(flatten)]
        network: Network,
        /// Where the smaller network's record and checkpoint go.
        #[arg(long, value_name = "DIR")]
        out_dir: PathBuf,
        #[command(flatten)]
        in_the_way: Overwrite,
    },
    /// Score a record's network again and say whether the record's numbers hold.
    Verify {
        #[command(flatten)]
        network: Network,
    },
    /// Say whether data and weights at hand are those of records; give records made before cells
    /// held their inputs what is shown.
    #[command(after_help = "Examples:
  cargo xtask identify CELL.json --data-root DIR --weights PATH
  cargo xtask identify crates/experiments/results/camvid --data-root DIR --weights PATH --out-dir new")]
    Identify {
        /// Records, folders of records or sweeps' output folders.
        #[arg(required = true, value_name = "RECORDS")]
        records: Vec<PathBuf>,
        /// The root folder of the dataset.
        #[arg(long, value_name = "DIR")]
        data_root: Option<PathBuf>,
        /// The pretrained weights that backbones began with, a file or a folder.
        #[arg(long, value_name = "PATH")]
        weights: Option<PathBuf>,
        /// Where records made before go, in today's form.
        #[arg(long, value_name = "DIR")]
        out_dir: Option<PathBuf>,
    },
    /// Score predictions that are saved as PNGs in the dataset's own encoding.
    #[command(
        after_help = "Encodings: cityscapes labelIds (with instanceIds beside the labels also the
instance scores), ade20k 1 to 150, camvid 0 to 10, pascal-context 0 to 59, 0 being background;
folder as the dataset.toml says that lies above the labels.

Examples:
  cargo xtask score --protocol cityscapes --labels gtFine/val --predictions mine
  cargo xtask score --protocol ade20k --labels annotations/validation --predictions mine --json s.json
  cargo xtask score --protocol folder --labels my-set/val/labels --predictions mine"
    )]
    Score {
        /// camvid, ade20k, cityscapes, pascal-context-59, pascal-context-60 or folder.
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
        #[command(flatten)]
        in_the_way: Overwrite,
    },
    /// Print the Markdown tables of a folder of records.
    Table {
        /// The folder that holds the records.
        #[arg(long)]
        records: PathBuf,
        /// The sweep's TOML file.
        #[arg(long)]
        sweep: PathBuf,
        /// Write the whole report of these records here, with the pictures that are here.
        #[arg(long, value_name = "DIR")]
        out_dir: Option<PathBuf>,
        #[command(flatten)]
        published: Published,
        #[command(flatten)]
        in_the_way: Overwrite,
    },
}

/// A trained network and what it needs.
#[derive(clap::Args)]
struct Network {
    /// Its record, in the `cells` of a sweep's output folder.
    record: PathBuf,
    /// Its checkpoint [default: the record's own].
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// The root folder of the dataset.
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
    /// The pretrained weights that the backbone began with.
    #[arg(long, value_name = "PATH")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    on: OnDevice,
}

impl Network {
    /// Its evaluation on test, as in its record.
    fn request(self) -> eval::Request {
        let Self { record, checkpoint, data_root, weights, on: OnDevice { device } } = self;
        let (split, set, save_predictions) = (Split::Test, Vec::new(), None);
        let other_images = false;
        eval::Request {
            record,
            checkpoint,
            data_root,
            weights,
            device,
            split,
            other_images,
            set,
            save_predictions,
        }
    }
}

/// Of the threads that everything runs on, as large as a main thread's.
const STACK: usize = 8 << 20;

/// Runs a command on a thread of rayon's pool: called from any other, every operation of a network
/// would be handed over to the pool and back, which is a tenth of a small one's time.
fn run_in_pool(command: Command) -> anyhow::Result<()> {
    let threads = threads::asked()?;
    let pool = rayon::ThreadPoolBuilder::new().stack_size(STACK).num_threads(threads);
    pool.build_global().context("starting the threads")?;
    rayon::scope(|_| run(command))
}

fn main() -> ExitCode {
    match run_in_pool(Command::parse()).and_then(|()| Ok(Out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if reader_is_gone(error.as_ref()) => READER_GONE.into(),
        Err(error) => {
            message(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let mut out = Out;
    match command {
        Command::Reproduce(args) => {
            interrupt::listen()?;
            reproduce::reproduce(&args.request()?, &mut out)
        }
        Command::Run { plan, cell, worker } => {
            interrupt::listen()?;
            if worker {
                jobs::stop_with_parent();
            }
            reproduce::run_plan(&plan, cell)
        }
        Command::Report { plan, command, in_the_way } => {
            let way = in_the_way.in_the_way();
            reproduce::report_plan(&plan, &command, way, &mut out)
        }
        Command::Train {
            config,
            out_dir,
            trial,
            seed,
            data_root,
            weights,
            on,
            set,
            published,
            in_the_way,
        } => {
            let mut sweep = one_cell(&config, seed)?;
            let Some(out_dir) = out_dir else {
                set.iter().try_for_each(|change| sweep.set(change))?;
                let cell = sweep.cells().remove(0);
                let config = CellConfig::from_value(&cell.config)
                    .with_context(|| config.display().to_string())?;
                let (root, weights) = (data_root.as_deref(), weights.as_deref());
                let device = device::open(on.device)?;
                let steps = trial.unwrap_or(1);
                return trial::run(&config, seed, root, weights, &device, steps, &mut out);
            };
            interrupt::listen()?;
            let typed: Vec<String> = std::env::args().skip(1).collect();
            let command = format!("cargo xtask {}", typed.join(" "));
            let cell = reproduce::Request::of(sweep, config, out_dir);
            let photographs = published.photographs();
            let device = on.device;
            let settings =
                Settings { data_root, weights, photographs, device, ..Settings::default() };
            let in_the_way = in_the_way.in_the_way();
            let request = reproduce::Request { set, settings, command, in_the_way, ..cell };
            reproduce::reproduce(&request, &mut out)
        }
        Command::Data(args) => datasets::run(&args, &mut out),
        Command::Compare { records, to, arms, out: file, in_the_way } => {
            let way = in_the_way.in_the_way();
            let file = file.map(|file| OutputFile::claim(&file, way, "compare", "records"));
            let file = file.transpose()?;
            let text = compare::markdown(&compare::Request { records, to, arms })?;
            file.map_or(Ok(()), |file| file.write(&text))?;
            Ok(write!(out, "{text}")?)
        }
        Command::Eval { network, split, other_images, set, save_predictions, in_the_way } => {
            interrupt::listen()?;
            let (network, in_the_way) = (network.request(), in_the_way.in_the_way());
            let save_predictions =
                save_predictions.map(|folder| eval::Saved { folder, in_the_way });
            let request = eval::Request { split, other_images, set, save_predictions, ..network };
            Ok(write!(out, "{}", eval::eval(&request)?)?)
        }
        Command::Predict { network, photographs, out_dir, attend, set, in_the_way } => {
            let network = eval::Request { set, ..network.request() };
            let in_the_way = in_the_way.in_the_way();
            let request = predict::Request { network, photographs, out_dir, attend, in_the_way };
            predict::predict(&request, &mut out)
        }
        Command::Compress { network, out_dir, in_the_way } => {
            interrupt::listen()?;
            let (network, in_the_way) = (network.request(), in_the_way.in_the_way());
            let request = compress::Request { network, out_dir, in_the_way };
            Ok(write!(out, "{}", compress::compress(&request)?)?)
        }
        Command::Verify { network } => {
            interrupt::listen()?;
            Ok(write!(out, "{}", eval::verify(&network.request())?)?)
        }
        Command::Identify { records, data_root, weights, out_dir } => {
            interrupt::listen()?;
            let request = identify::Request { records, data_root, weights, out_dir };
            Ok(write!(out, "{}", identify::identify(&request)?)?)
        }
        Command::Score { protocol, labels, predictions, json, in_the_way } => {
            let way = in_the_way.in_the_way();
            let file = json.map(|file| OutputFile::claim(&file, way, "score", "predictions"));
            let file = file.transpose()?;
            let scored = score::score(&score::Request { protocol, labels, predictions })?;
            let text = serde_json::to_string_pretty(&scored.json)? + "\n";
            file.map_or(Ok(()), |file| file.write(&text))?;
            Ok(write!(out, "{}", scored.text)?)
        }
        Command::Table { records, sweep, out_dir, published, in_the_way } => {
            let (sweep, records) = (Sweep::load(&sweep)?, Record::read_dir(&records)?);
            let results = Results::of(&sweep, &records);
            if let Some(dir) = out_dir {
                let mut outputs = report::claim(&dir, &sweep.name, in_the_way.in_the_way())?;
                report::write(&mut outputs, &dir, &results, "", published.photographs())?;
            }
            Ok(writeln!(out, "{}", report::tables(&results))?)
        }
    }
}

/// A sweep of one arm, called after the configuration's file, and one seed.
fn one_cell(file: &Path, seed: u64) -> anyhow::Result<Sweep> {
    let text = whole_files::read_to_string(file, run_record::FILE_BYTES)?;
    let config: toml::Table = run_record::from_toml(&text, &file.display().to_string())?;
    let stem = file.file_stem().map_or("config".into(), |stem| stem.to_string_lossy());
    let fit = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = stem.chars().map(fit).collect();
    let (about, compare_to, expected) = (String::new(), Vec::new(), None);
    let arm =
        Arm { name: name.clone(), about: about.clone(), config: toml::Table::new(), expected };
    let seeds = Vec::new();
    let mut sweep = Sweep { name, about, seeds, compare_to, config, arms: vec![arm] };
    sweep.keep_seeds(&[seed])?;
    Ok(sweep)
}

/// A place such as `240,180`.
fn place(text: &str) -> Result<(u32, u32), String> {
    let numbers = text.split_once(',').and_then(|(x, y)| Some((x.parse().ok()?, y.parse().ok()?)));
    numbers.ok_or_else(|| "expected column and row in pixels, such as 240,180".to_owned())
}
