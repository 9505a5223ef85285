//! What a trained network sees in photographs of one's own.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use image::{RgbImage, imageops};
use run_record::ClassFacts;
use scene_data::{
    Class, DatasetConfig, LabelFiles, LabelMap, Sample, Split, preview, read_upright,
};

use crate::config::EvaluationConfig;
use crate::data::{Inputs, View, pixels};
use crate::datasets::with_flag;
use crate::eval::{self, Trained};
use crate::evaluate::views::predict_views;
use crate::pictures;

/// What is to be predicted.
#[derive(Debug, Clone)]
pub struct Request {
    /// The network.
    pub network: eval::Request,
    /// Photographs.
    pub photographs: Vec<PathBuf>,
    /// Where the results go.
    pub out_dir: PathBuf,
    /// A place, column and row in pixels, whose attention is drawn.
    pub attend: Option<(u32, u32)>,
}

/// Writes for every photograph `NAME.png` (class indices), `NAME-overlay.png` (colours over the
/// photograph, with a legend) and, if asked for, `NAME-attention.png`; returns the classes' shares
/// as text.
///
/// # Errors
///
/// A network that cannot be loaded, a photograph that cannot be read or taken, a place outside it,
/// or a folder that cannot be written.
pub fn predict(request: &Request) -> anyhow::Result<String> {
    let trained = eval::load(&request.network)?;
    let classes = classes_of(&trained, request.network.data_root.as_deref())?;
    let out_dir = &request.out_dir;
    std::fs::create_dir_all(out_dir).with_context(|| out_dir.display().to_string())?;
    let mut text = String::new();
    for photograph in &request.photographs {
        let image = read_upright(photograph)?;
        let stem =
            photograph.file_stem().map_or("photograph".into(), |stem| stem.to_string_lossy());
        let save = |picture: &image::DynamicImage, ending: &str| -> anyhow::Result<()> {
            let file = out_dir.join(format!("{stem}{ending}.png"));
            // Written over its own photograph, a result could not be made again.
            ensure!(
                std::fs::canonicalize(&file).ok() != std::fs::canonicalize(photograph).ok()
                    || !file.exists(),
                "{} would be overwritten: name another --out-dir",
                file.display()
            );
            picture.save(&file).with_context(|| file.display().to_string())
        };
        let labels =
            labels_of(&trained, &image).with_context(|| photograph.display().to_string())?;
        let (width, height) = image.dimensions();
        let indices = image::GrayImage::from_raw(width, height, labels.data.clone());
        save(&indices.context("a class for every pixel")?.into(), "")?;
        let shares = shares_of(&labels, &classes);
        save(&with_legend(&image, &labels, &classes, &shares).into(), "-overlay")?;
        if let Some(at) = request.attend {
            let drawn = attention_at(&trained, &image, at)
                .with_context(|| photograph.display().to_string())?;
            save(&drawn.into(), "-attention")?;
        }
        let _ = writeln!(text, "{}", photograph.display());
        for (class, share) in &shares {
            let _ = writeln!(text, "  {:>5.1} % {}", 100.0 * share, class.name);
        }
    }
    Ok(text)
}

fn labels_of(trained: &Trained, image: &RgbImage) -> anyhow::Result<LabelMap> {
    let config: &EvaluationConfig = &trained.config.evaluation;
    let data = predict_views(&trained.parser, image, config)?;
    Ok(LabelMap { width: image.width() as usize, height: image.height() as usize, data })
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
