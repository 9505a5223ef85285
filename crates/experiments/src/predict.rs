//! What a trained network sees in photographs of one's own.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use image::{RgbImage, imageops};
use run_record::ClassFacts;
use scene_data::{
    Class, DatasetConfig, LabelFiles, LabelMap, Sample, Split, png_of_classes, png_of_image,
    preview, read_upright,
};
use standard_streams::message;
use whole_files::{InTheWay, Outputs};

use crate::data::{Inputs, View, pixels};
use crate::datasets::with_flag;
use crate::eval::{self, Trained};
use crate::evaluate::parts::Parts;
use crate::outputs::Target;
use crate::photographs::{self, Found, Photograph};
use crate::{interrupt, pictures};

/// What is to be predicted.
#[derive(Debug, Clone)]
pub struct Request {
    /// The network.
    pub network: eval::Request,
    /// Photographs, folders of them, or patterns.
    pub photographs: Vec<PathBuf>,
    /// Where the results go.
    pub out_dir: PathBuf,
    /// A place, column and row in pixels, whose attention is drawn.
    pub attend: Option<(u32, u32)>,
    /// What becomes of files in the way.
    pub in_the_way: InTheWay,
}

/// Writes for every photograph `NAME.png` (class indices, in the classes' colours),
/// `NAME-overlay.png` (colours over the photograph, with a legend) and, if asked for,
/// `NAME-attention.png`; the classes' shares go to `out` as text. Photographs of several folders keep
/// their paths relative to what these have in common.
///
/// # Errors
///
/// A network that cannot be loaded, two photographs for one name, files in the way, or a folder that
/// cannot be written. A photograph that cannot be read or taken is named, the others go on, and the
/// error comes at the end.
pub fn predict(request: &Request, out: &mut dyn Write) -> anyhow::Result<()> {
    let Request { network, out_dir, attend, .. } = request;
    let Found { photographs, left_out } = photographs::find(&request.photographs, out_dir)?;
    if left_out > 0 {
        message(format_args!(
            "{left_out} files left out that are hidden or no pictures by their ending"
        ));
    }
    let trained = eval::load(network)?;
    let classes = classes_of(&trained, network.data_root.as_deref())?;
    let mut outputs = claim(request, &trained.record.cell.file_stem(), &photographs)?;
    let (mut failed, mut said) = (Vec::new(), Ok(()));
    for Photograph { file, name } in &photographs {
        interrupt::check()?;
        let seen = match see(&trained, &classes, file, *attend) {
            Ok(seen) => seen,
            Err(error) => {
                message(format_args!("{error:#}"));
                failed.push(file.display().to_string());
                continue;
            }
        };
        for (ending, bytes) in &seen.pictures {
            outputs.write(with_ending(name, ending), bytes)?;
        }
        // The pictures of the others are wanted even where nobody reads this.
        if said.is_ok() {
            said = write!(out, "{}\n{}", file.display(), seen.shares);
        }
    }
    ensure!(
        failed.is_empty(),
        "{} of {} photographs are not shown, see above: {}",
        failed.len(),
        photographs.len(),
        failed.join(", ")
    );
    Ok(said?)
}

/// Claims the files of all photographs before any of them is read.
fn claim(request: &Request, stem: &str, photographs: &[Photograph]) -> anyhow::Result<Outputs> {
    let endings = ["", "-overlay", "-attention"];
    let endings = &endings[..if request.attend.is_some() { 3 } else { 2 }];
    let mut files = Vec::new();
    for Photograph { file, name } in photographs {
        let of = std::path::absolute(file)?.display().to_string();
        files.extend(endings.iter().map(|ending| (with_ending(name, ending), of.clone())));
    }
    let target = Target {
        folder: &request.out_dir,
        in_the_way: request.in_the_way,
        data_root: request.network.data_root.as_deref(),
        inputs: photographs.iter().map(|photograph| &*photograph.file).collect(),
    };
    target.claim(format!("predict with {stem}"), files)
}

/// The file of a photograph's name.
fn with_ending(name: &Path, ending: &str) -> PathBuf {
    let mut file = name.as_os_str().to_owned();
    file.push(ending);
    file.push(".png");
    file.into()
}

/// What a network sees in one photograph.
struct Seen {
    /// Pictures as PNGs, by the ending of their names.
    pictures: Vec<(&'static str, Vec<u8>)>,
    /// The shares of the classes in view, a line each.
    shares: String,
}

fn see(
    trained: &Trained,
    classes: &[Class],
    file: &Path,
    attend: Option<(u32, u32)>,
) -> anyhow::Result<Seen> {
    let named = || file.display().to_string();
    let image = read_upright(file)?;
    let labels = labels_of(trained, &image, file).with_context(named)?;
    let shares = shares_of(&labels, classes);
    let overlay = with_legend(&image, &labels, classes, &shares);
    let mut pictures = vec![
        ("", png_of_classes(&labels, classes).with_context(named)?),
        ("-overlay", png_of_image(&overlay).with_context(named)?),
    ];
    if let Some(at) = attend {
        let drawn = attention_at(trained, &image, at).with_context(named)?;
        pictures.push(("-attention", png_of_image(&drawn).with_context(named)?));
    }
    let mut text = String::new();
    for (class, share) in &shares {
        let _ = writeln!(text, "  {:>5.1} % {}", 100.0 * share, class.name);
    }
    Ok(Seen { pictures, shares: text })
}

fn labels_of(trained: &Trained, image: &RgbImage, name: &Path) -> anyhow::Result<LabelMap> {
    let (parts, width, height) = parts_of(trained, image);
    if !parts.is_whole() {
        message(format_args!("{}: {}", name.display(), parts.in_words()));
    }
    let data = parts.predict(&trained.parser, image, &trained.config.evaluation)?;
    Ok(LabelMap { width, height, data })
}

/// How a photograph is seen, its width and height.
fn parts_of(trained: &Trained, image: &RgbImage) -> (Parts, usize, usize) {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let config = &trained.config.evaluation;
    (Parts::of(&trained.parser, config, [width, height]), width, height)
}

/// The classes in view and their shares, the largest first.
fn shares_of<'c>(labels: &LabelMap, classes: &'c [Class]) -> Vec<(&'c Class, f64)> {
    let mut counts = vec![0u64; classes.len()];
    for &label in &labels.data {
        counts[usize::from(label)] += 1;
    }
    let total = (labels.data.len() as f64).max(1.0);
    let seen = classes.iter().zip(counts).filter(|(_, count)| *count > 0);
    let mut shares: Vec<(&Class, f64)> =
        seen.map(|(class, count)| (class, count as f64 / total)).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares
}

fn with_legend(
    image: &RgbImage,
    labels: &LabelMap,
    classes: &[Class],
    shares: &[(&Class, f64)],
) -> RgbImage {
    let overlay = preview::overlay(image, labels, classes);
    let legend = preview::legend(shares, overlay.width() as usize);
    let mut out = RgbImage::new(overlay.width(), overlay.height() + legend.height());
    imageops::replace(&mut out, &overlay, 0, 0);
    imageops::replace(&mut out, &legend, 0, overlay.height().into());
    out
}

fn attention_at(trained: &Trained, image: &RgbImage, at: (u32, u32)) -> anyhow::Result<RgbImage> {
    let (x, y) = at;
    let (width, height) = image.dimensions();
    ensure!(x < width && y < height, "--attend {x},{y}: the photograph is {width}×{height} pixels");
    let (parts, ..) = parts_of(trained, image);
    ensure!(parts.is_whole(), "--attend needs the whole photograph, but {}", parts.in_words());
    let sample = Sample {
        id: String::new(),
        image: image.clone(),
        labels: LabelMap { width: 0, height: 0, data: Vec::new() },
        beacon_distance_px: None,
    };
    let inputs = Inputs::Pixels(pixels(&sample, View::Plain)?);
    let place = ((x as usize, y as usize), 1);
    let drawn =
        pictures::attention_of(&trained.parser, &trained.config.model, &inputs, image, place)?;
    drawn.context("--attend: the network has no context module")
}

/// The classes that a network tells apart: its record's own, or, of a record from before these were
/// kept, the dataset's.
fn classes_of(trained: &Trained, root: Option<&Path>) -> anyhow::Result<Vec<Class>> {
    let Trained { record, config, .. } = trained;
    if let Some(table) = &record.dataset.class_table {
        let class = |of: &ClassFacts| Class { name: of.name.clone(), color: of.color };
        return Ok(table.classes.iter().map(class).collect());
    }
    let classes = match &config.dataset {
        DatasetConfig::Beacons(_) => config.dataset.open(None, Split::Test)?.classes().to_vec(),
        dataset => {
            let files = LabelFiles::of(dataset, root).map_err(with_flag);
            files
                .context("the record is from before records kept the colours of classes")?
                .classes()
                .to_vec()
        }
    };
    let names: Vec<&str> = classes.iter().map(|class| class.name.as_str()).collect();
    let known = &record.dataset.classes;
    ensure!(
        names == *known,
        "the dataset's classes are {}, those that the network was trained on {}",
        names.join(", "),
        known.join(", ")
    );
    Ok(classes)
}
