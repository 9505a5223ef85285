//! Qualitative results: photographs, truths and predictions as small PNGs.

use std::path::{Path, PathBuf};

use anyhow::Context;
use image::{Rgb, RgbImage};
use run_record::DatasetFacts;
use scene_data::{Class, IGNORE, LabelMap, Sample, Split, UNDEFINED_DISTANCE_PX, png_of_image};
use serde_json::json;

use crate::config::{CellConfig, ModelConfig};
use crate::data::{Examples, Inputs};
use crate::evaluate::predict;
use crate::parser::Parser;
use crate::provenance;

/// Width of the frame around a unit that looks, in pixels.
const FRAME: u32 = 2;

/// How many test images are shown.
const SHOWN: usize = 4;

/// Attention is drawn at least this wide, so that single units can be seen.
const ATTENTION_WIDTH: u32 = 240;

/// Where the pictures of one test split are below a sweep's folder, whose arms may be scored on
/// several: `N-image.png` and `N-truth.png` for test image N, `N-CELL.png`, `errors/N-CELL.png` and
/// `attention/N-CELL.png` for a cell, by the stem of its record's file, so that no other
/// configuration's are taken for its own; `classes.json` for the colours.
///
/// The folder's name is of the test split and of the classes.
pub fn folder(dataset: &DatasetFacts) -> PathBuf {
    let of_test = dataset.fingerprints.get(&Split::Test.to_string());
    let both = format!("{of_test:?} {:?} {:?}", dataset.classes, dataset.class_table);
    Path::new("pictures").join(&provenance::sha256(both.as_bytes())[..12])
}

/// Which of so many test images are shown: a few, spread over all.
pub fn shown(images: usize) -> impl Iterator<Item = usize> {
    let count = images.min(SHOWN);
    (0..count).map(move |nth| nth * images / count)
}

/// What a finished cell has to show.
#[derive(Clone, Copy)]
pub struct Finished<'a> {
    /// The stem of its record's file.
    pub stem: &'a str,
    /// The network.
    pub parser: &'a Parser,
    /// What it was trained and is scored by.
    pub config: &'a CellConfig,
    /// The test split.
    pub test: &'a Examples,
    /// The classes of the dataset.
    pub classes: &'a [Class],
}

/// Draws the shown test images with their truth, what the network sees in them, where that is
/// wrong and, where it has attention, what it attends to.
///
/// # Errors
///
/// An image that cannot be read or taken, or a folder that cannot be written.
pub fn draw(folder: &Path, finished: &Finished<'_>) -> anyhow::Result<()> {
    let &Finished { stem, parser, config, test, classes } = finished;
    for index in shown(test.len()) {
        let sample = test.sample(index)?;
        let truth = &sample.labels;
        let size = (truth.width, truth.height);
        save(&sample.image, &folder.join(format!("{index}-image.png")))?;
        let picture = coloured(&truth.data, size, classes);
        save(&picture, &folder.join(format!("{index}-truth.png")))?;
        let prediction = predict(parser, test, index, &config.evaluation)?;
        let picture = coloured(&prediction, size, classes);
        save(&picture, &folder.join(format!("{index}-{stem}.png")))?;
        let picture = errors(truth, &prediction);
        save(&picture, &folder.join("errors").join(format!("{index}-{stem}.png")))?;
        if let Some(picture) = attention(finished, &sample, index)? {
            save(&picture, &folder.join("attention").join(format!("{index}-{stem}.png")))?;
        }
    }
    let colours = classes.iter().map(|class| json!({ "name": class.name, "color": class.color }));
    let file = folder.join("classes.json");
    Ok(whole_files::write(&file, serde_json::Value::from_iter(colours).to_string().as_bytes())?)
}

/// White where the prediction is right, dark red where it is wrong, grey where nothing is labelled.
fn errors(truth: &LabelMap, prediction: &[u8]) -> RgbImage {
    RgbImage::from_fn(truth.width as u32, truth.height as u32, |x, y| {
        let at = y as usize * truth.width + x as usize;
        Rgb(match truth.data[at] {
            IGNORE => [150, 150, 150],
            label if label == prediction[at] => [255, 255, 255],
            _ => [150, 20, 30],
        })
    })
}

/// What one place attends to: the one farthest from its evidence, where a set knows that, or the
/// middle of the image; `None` for a network without attention.
fn attention(
    finished: &Finished<'_>,
    sample: &Sample,
    index: usize,
) -> anyhow::Result<Option<RgbImage>> {
    let model = &finished.config.model;
    if model.context.cell.score().is_none() {
        return Ok(None);
    }
    let (width, height) = (sample.image.width() as usize, sample.image.height() as usize);
    let (x, y) = match &sample.beacon_distance_px {
        Some(distances) => {
            let known = |at: &usize| distances[*at] != UNDEFINED_DISTANCE_PX;
            let at = (0..distances.len()).filter(known).max_by_key(|at| distances[*at]);
            at.map_or((width / 2, height / 2), |at| (at % width, at / width))
        }
        None => (width / 2, height / 2),
    };
    let scale = ATTENTION_WIDTH.div_ceil(sample.image.width());
    let inputs = finished.test.inputs(index)?;
    attention_of(finished.parser, model, &inputs, &sample.image, ((x, y), scale))
}

/// What the place at column and row `(x, y)` of an image attends to, its four directions summed,
/// drawn over the image `scale` times as large; `None` without a context module.
///
/// # Errors
///
/// A place outside the grid, or inputs that the network cannot take.
pub fn attention_of(
    parser: &Parser,
    model: &ModelConfig,
    inputs: &Inputs,
    image: &RgbImage,
    ((x, y), scale): ((usize, usize), u32),
) -> anyhow::Result<Option<RgbImage>> {
    let unit = (y / model.context_stride, x / model.context_stride);
    let Some(weights) = parser.attention_at(inputs, unit)? else { return Ok(None) };
    let (_, _, h, w) = weights.dims4()?;
    let joined = weights.sum(1)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(Some(attention_over(image, &joined, (h, w), unit, scale)))
}

/// Attention over an image, `scale` times as large: the more a place is looked at, the more of the
/// image is left; the unit that looks is framed.
///
/// `weights` are those of the grid's `h × w` units, any scale.
fn attention_over(
    image: &RgbImage,
    weights: &[f32],
    (h, w): (usize, usize),
    unit: (usize, usize),
    scale: u32,
) -> RgbImage {
    let top = weights.iter().fold(f32::MIN_POSITIVE, |top, &x| top.max(x));
    let (width, height) = (image.width() * scale, image.height() * scale);
    let unit_of = |x: u32, y: u32| {
        let column = x as usize * w / width as usize;
        (y as usize * h / height as usize, column)
    };
    RgbImage::from_fn(width, height, |x, y| {
        let (row, column) = unit_of(x, y);
        // Square roots, so that small weights can be seen beside the largest.
        let share = (weights[row * w + column] / top).max(0.0).sqrt();
        let Rgb(pixel) = *image.get_pixel(x / scale, y / scale);
        // The image's own edge ends a unit as well.
        let is_inside = |dx: u32, dy: u32| {
            x >= dx
                && y >= dy
                && x + dx < width
                && y + dy < height
                && unit_of(x - dx, y - dy) == unit
                && unit_of(x + dx, y + dy) == unit
        };
        if (row, column) == unit && !(is_inside(FRAME, 0) && is_inside(0, FRAME)) {
            return Rgb([255, 255, 255]);
        }
        let light = |channel: u8| (f32::from(channel) * (0.2 + 0.8 * share)) as u8;
        let warm = |channel: u8| light(channel).saturating_add((90.0 * share) as u8);
        Rgb([warm(pixel[0]), light(pixel[1]), light(pixel[2])])
    })
}

/// Class indices as colours; black for ignored pixels.
fn coloured(labels: &[u8], (w, h): (usize, usize), classes: &[Class]) -> RgbImage {
    RgbImage::from_fn(w as u32, h as u32, |x, y| {
        let label = labels[y as usize * w + x as usize];
        Rgb(classes.get(usize::from(label)).map_or([0, 0, 0], |class| class.color))
    })
}

fn save(picture: &RgbImage, path: &Path) -> anyhow::Result<()> {
    let parent = path.parent().context("a picture needs a folder")?;
    std::fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    Ok(whole_files::write(path, &png_of_image(picture)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_images_are_spread_over_all() {
        assert_eq!(shown(233).collect::<Vec<_>>(), [0, 58, 116, 174]);
        assert_eq!(shown(3).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(shown(0).count(), 0);
    }

    #[test]
    fn errors_are_told_from_what_is_right_and_what_is_not_labelled() {
        let truth = LabelMap { width: 3, height: 1, data: vec![0, 1, IGNORE] };
        let picture = errors(&truth, &[0, 0, 0]);
        let pixels: Vec<_> = picture.pixels().map(|pixel| pixel.0).collect();
        assert_eq!(pixels, [[255, 255, 255], [150, 20, 30], [150, 150, 150]]);
    }

    #[test]
    fn the_unit_that_looks_is_framed_and_what_it_looks_at_is_bright() {
        let image = RgbImage::from_pixel(8, 8, Rgb([100, 100, 100]));
        // 2×2 units of 4 pixels, drawn three times as large: 12 pixels a unit.
        for (unit, inner) in [((0, 0), (6, 6)), ((1, 1), (18, 18))] {
            let picture = attention_over(&image, &[0.0, 1.0, 0.0, 0.0], (2, 2), unit, 3);
            assert_eq!(picture.dimensions(), (24, 24));
            let white = |x, y| *picture.get_pixel(x, y) == Rgb([255, 255, 255]);
            let corner = (unit.1 as u32 * 12, unit.0 as u32 * 12);
            assert!(white(corner.0, corner.1) && white(corner.0 + 11, corner.1 + 11));
            assert!(white(corner.0 + 1, corner.1 + 6) && !white(inner.0, inner.1));
            assert_eq!(*picture.get_pixel(18, 6), Rgb([190, 100, 100]));
            assert_eq!(*picture.get_pixel(6, 18), Rgb([20, 20, 20]));
        }
    }
}
