//! `data`: what a person does with a dataset before training on it.

mod fetch;
mod show;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, bail, ensure};
use scene_data::beacons::BeaconsConfig;
use scene_data::verify::{Extent, verify};
use scene_data::{
    DatasetConfig, Layout, SceneDataset, Split, convert_pascal_context, png_of_image, preview,
    synth,
};
use standard_streams::message;

use crate::outputs::{Overwrite, Target, check_open};
use crate::progress::Progress;

/// Lists, checks, prepares, counts, makes and shows datasets.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Say which datasets there are, how large they are and how to get them.
    List,
    /// Check a whole dataset and list every problem; exit code 1 if there is any.
    #[command(after_help = "Examples:
  cargo xtask data verify camvid --data-root PATH/TO/CamVid
  cargo xtask data verify ade20k --data-root PATH/TO/a/few/images --partial")]
    Verify {
        #[command(flatten)]
        set: Named,
        /// Accept a part of the dataset, and say what is missing.
        #[arg(long)]
        partial: bool,
    },
    /// Make a dataset ready: download ADE20K, or convert PASCAL-Context's .mat files to PNGs.
    #[command(after_help = "Examples:
  cargo xtask data prepare ade20k --data-root DIR
  cargo xtask data prepare ade20k --data-root DIR --archive ADEChallengeData2016.zip
  cargo xtask data prepare pascal-context-mat --data-root DIR")]
    Prepare {
        /// ade20k or pascal-context-mat; the others say where they are to be had.
        dataset: String,
        /// Where the dataset is, or will be.
        #[arg(long, value_name = "DIR")]
        data_root: PathBuf,
        /// The archive, where it has been downloaded already.
        #[arg(long, value_name = "FILE", conflicts_with = "url")]
        archive: Option<PathBuf>,
        /// Another place to download the same archive from (http).
        #[arg(long)]
        url: Option<String>,
    },
    /// Count classes, sizes and colours, and print the class weights they give.
    Stats {
        #[command(flatten)]
        set: Named,
        /// Which split.
        #[arg(long, default_value = "train")]
        split: Split,
    },
    /// Write the synthetic set in a dataset's genuine layout.
    Synth {
        /// A layout, as `data list` names them.
        layout: String,
        /// A new or empty folder.
        dir: PathBuf,
        /// Images of train; val and test get a quarter each.
        #[arg(long, default_value_t = 16)]
        images: usize,
        /// Width and height of every image.
        #[arg(long, default_value_t = 96)]
        size_px: usize,
        /// Seed of the images.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Draw labels over photographs, and a contact sheet with a legend.
    Preview {
        #[command(flatten)]
        set: Named,
        /// Which split.
        #[arg(long, default_value = "train")]
        split: Split,
        /// How many images, spread evenly over the split.
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=400))]
        count: u64,
        /// Where the pictures go.
        #[arg(long, value_name = "DIR", default_value = "preview")]
        out_dir: PathBuf,
        #[command(flatten)]
        in_the_way: Overwrite,
    },
}

/// A dataset on the command line.
#[derive(clap::Args)]
struct Named {
    /// A dataset, as `data list` names them.
    dataset: String,
    /// Its root folder; the synthetic set needs none.
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
    /// An option of the dataset, such as classes=60 or order=official; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Runs the command and writes to `out`.
///
/// # Errors
///
/// A mistake in the arguments, a dataset that cannot be read, or, of `verify`, any problem.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    match &args.command {
        Command::List => show::list(out),
        Command::Verify { set, partial } => {
            let extent = if *partial { Extent::Partial } else { Extent::Whole };
            check(set, extent, out)
        }
        Command::Prepare { dataset, data_root, archive, url } => {
            prepare(dataset, data_root, archive.as_deref(), url.as_deref(), out)
        }
        Command::Stats { set, split } => {
            let dataset = open(&set.config()?, set.data_root.as_deref(), *split)?;
            let progress = Progress::new(dataset.len() as u64);
            let counted = scene_data::Statistics::of(&*dataset, &|| progress.advance(1));
            progress.finish();
            show::statistics(&*dataset, *split, &counted?, out)
        }
        Command::Synth { layout, dir, images, size_px, seed } => {
            let layout = layout_named(layout)?;
            let config = BeaconsConfig {
                size_px: *size_px,
                train_images: *images,
                val_images: images.div_ceil(4),
                test_images: images.div_ceil(4),
                seed: *seed,
                ..BeaconsConfig::default()
            };
            check_open(dir, None)?;
            synth::write(layout, &config, dir)?;
            writeln!(out, "wrote {} to {}", layout.title(), dir.display())?;
            Ok(())
        }
        Command::Preview { set, split, count, out_dir, in_the_way } => {
            let way = in_the_way.in_the_way();
            let target =
                Target { data_root: set.data_root.as_deref(), ..Target::new(out_dir, way) };
            draw(set, *split, *count as usize, &target, out)
        }
    }
}

impl Named {
    fn config(&self) -> anyhow::Result<DatasetConfig> {
        let config = match Layout::ALL.into_iter().find(|layout| layout.name() == self.dataset) {
            Some(layout) => layout.config(),
            None => DatasetConfig::named(&self.dataset)
                .map_err(|error| anyhow::anyhow!(run_record::with_nearest(&error.to_string())))?,
        };
        let mut value = toml::Table::try_from(&config)?;
        for change in &self.set {
            let (key, text) = change.split_once('=').with_context(|| {
                format!("cannot set `{change}`: expected KEY=VALUE, for example classes=60")
            })?;
            let line = format!("{key} = {text}");
            let parsed = line.parse::<toml::Table>();
            // A word needs no quotes.
            let parsed = parsed.or_else(|_| format!("{key} = {text:?}").parse::<toml::Table>());
            value.extend(parsed.ok().with_context(|| format!("cannot set `{change}`"))?);
        }
        let config = value.try_into::<DatasetConfig>();
        config.map_err(|e| anyhow::anyhow!(run_record::with_nearest(&e.to_string())))
    }

    fn root(&self) -> anyhow::Result<&Path> {
        self.data_root
            .as_deref()
            .with_context(|| format!("{} is read from disk: pass --data-root DIR", self.dataset))
    }
}

/// Says how a data root is given where none was.
pub fn with_flag(error: scene_data::Error) -> anyhow::Error {
    match error {
        scene_data::Error::NoDataRoot { .. } => anyhow::anyhow!("{error}: pass --data-root PATH"),
        other => other.into(),
    }
}

/// Opens a split, and says what lies in its folders and is not among its samples.
///
/// # Errors
///
/// Those of opening it; where no data root was given, how one is.
pub fn open(
    config: &DatasetConfig,
    data_root: Option<&Path>,
    split: Split,
) -> anyhow::Result<Box<dyn SceneDataset>> {
    let dataset = config.open(data_root, split).map_err(with_flag)?;
    if let Some(left_out) = dataset.left_out() {
        message(format_args!("{} {split}: left out: {left_out}", dataset.name()));
    }
    Ok(dataset)
}

fn layout_named(name: &str) -> anyhow::Result<Layout> {
    let names = Layout::ALL.map(Layout::name);
    Layout::ALL.into_iter().find(|layout| layout.name() == name).with_context(|| {
        let near = run_record::nearest(name, names);
        let near = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
        format!("no layout is called `{name}`{near}; the layouts are {}", names.join(", "))
    })
}

fn check(set: &Named, extent: Extent, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = set.config()?;
    if config.layout().is_none() {
        bail!("{} is generated in memory: there is nothing to verify", set.dataset);
    }
    // Made when the number of files is known.
    let progress: OnceLock<Progress> = OnceLock::new();
    let found = verify(&config, set.root()?, extent, &|total| {
        progress.get_or_init(|| Progress::new(total as u64)).advance(1);
    });
    if let Some(progress) = progress.get() {
        progress.finish();
    }
    let found = found?;
    show::verification(&found, out)?;
    let problems = found.problems.len();
    ensure!(
        problems == 0,
        "{problems} {} found",
        if problems == 1 { "problem" } else { "problems" }
    );
    Ok(())
}

fn prepare(
    dataset: &str,
    data_root: &Path,
    archive: Option<&Path>,
    url: Option<&str>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    match dataset {
        "ade20k" => {
            let archive = match archive {
                Some(file) => fetch::check(file, &fetch::ADE20K)?,
                None => fetch::download(&fetch::ADE20K, url, data_root)?,
            };
            let files = fetch::unpack(&archive, data_root)?;
            writeln!(out, "unpacked {files} files to {}", data_root.display())?;
            writeln!(
                out,
                "next: cargo xtask data verify ade20k --data-root {}",
                data_root.display()
            )?;
        }
        "pascal-context-mat" | "pascal-context" => {
            let progress: OnceLock<Progress> = OnceLock::new();
            let done = convert_pascal_context(data_root, &|total| {
                progress.get_or_init(|| Progress::new(total as u64)).advance(1);
            });
            if let Some(progress) = progress.get() {
                progress.finish();
            }
            let done = done?;
            writeln!(out, "{} label maps written, {} were there already", done.written, done.kept)?;
        }
        other => {
            let layout = layout_named(other)?;
            bail!("{}: {}", layout.title(), show::how_to_obtain(layout));
        }
    }
    Ok(())
}

fn draw(
    set: &Named,
    split: Split,
    count: usize,
    target: &Target<'_>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let dataset = open(&set.config()?, set.data_root.as_deref(), split)?;
    ensure!(!dataset.is_empty(), "{split} holds no images");
    let count = count.min(dataset.len());
    let shown: Vec<usize> = (0..count).map(|place| place * dataset.len() / count).collect();
    let name = |id: &str| {
        let fit = |c: char| if c.is_alphanumeric() || c == '-' { c } else { '_' };
        PathBuf::from(format!("{split}-{}.png", id.chars().map(fit).collect::<String>()))
    };
    let sheet = (PathBuf::from(format!("{split}-sheet.png")), format!("all of {split}"));
    let files = shown.iter().map(|&index| (name(dataset.id(index)), dataset.id(index).to_owned()));
    let by = format!("data preview {}", set.dataset);
    let mut outputs = target.claim(by, files.chain([sheet.clone()]))?;
    for index in shown {
        let sample = dataset.sample(index)?;
        let picture = preview::overlay(&sample.image, &sample.labels, dataset.classes());
        outputs.write(name(&sample.id), &png_of_image(&picture)?)?;
    }
    let picture = preview::contact_sheet(&*dataset, count)?;
    let sheet = outputs.write(&sheet.0, &png_of_image(&picture)?)?;
    writeln!(out, "{count} overlays and the contact sheet {}", sheet.display())?;
    Ok(())
}
