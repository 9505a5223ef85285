//! Samples as pictures for people: labels over photographs, contact sheets, legends.

use image::{Rgb, RgbImage, imageops};

use crate::text::{LINE_PX, write_text};
use crate::{Class, Error, IGNORE, LabelMap, SceneDataset, resized};

/// A contact sheet shows images at this size at most, however large they are.
const TILE_PX: usize = 288;
const GAP_PX: usize = 6;
const COLUMNS: usize = 4;
const BACKGROUND: Rgb<u8> = Rgb([24; 3]);
/// Where nothing is labelled.
const IGNORED: Rgb<u8> = Rgb([255; 3]);

/// Labels in their classes' colours; white where they are ignored.
pub fn colored(labels: &LabelMap, classes: &[Class]) -> RgbImage {
    RgbImage::from_fn(labels.width as u32, labels.height as u32, |x, y| {
        let class = labels.data[y as usize * labels.width + x as usize];
        // IGNORE is beyond any list of classes.
        classes.get(usize::from(class)).map_or(IGNORED, |class| Rgb(class.color))
    })
}

/// A photograph under its labels' colours, half and half; ignored pixels stay as photographed.
pub fn overlay(image: &RgbImage, labels: &LabelMap, classes: &[Class]) -> RgbImage {
    let mut out = image.clone();
    for (pixel, &class) in out.pixels_mut().zip(&labels.data) {
        if let Some(class) = classes.get(usize::from(class)) {
            for (value, color) in pixel.0.iter_mut().zip(class.color) {
                *value = u16::midpoint((*value).into(), color.into()) as u8;
            }
        }
    }
    out
}

/// A list of classes with their colours and their shares of some pixels, `width` pixels wide.
pub fn legend(rows: &[(&Class, f64)], width: usize) -> RgbImage {
    const CELL_PX: usize = 230;
    let across = (width / CELL_PX).max(1);
    let down = rows.len().div_ceil(across);
    let mut out = RgbImage::from_pixel(width as u32, (down * LINE_PX) as u32, BACKGROUND);
    for (at, (class, share)) in rows.iter().enumerate() {
        // Down the columns, as one reads a list.
        let (x, y) = (at / down * CELL_PX, at % down * LINE_PX);
        for (dx, dy) in (0..12).flat_map(|dx| (0..12).map(move |dy| (dx, dy))) {
            let place = ((x + dx + 4) as u32, (y + dy + 2) as u32);
            if let Some(pixel) = out.get_pixel_mut_checked(place.0, place.1) {
                *pixel = Rgb(class.color);
            }
        }
        // Of ADE20K's synonyms the first is enough.
        let name = class.name.split(',').next().unwrap_or_default();
        let name: String = name.chars().take(19).collect();
        write_text(&mut out, x + 22, y, &format!("{name} {:.1}%", 100.0 * share));
    }
    out
}

/// Photographs of a split beside their labels, with a legend of the classes in view.
///
/// The images are spread evenly over the split.
///
/// # Errors
///
/// A sample that cannot be read.
pub fn contact_sheet(dataset: &dyn SceneDataset, count: usize) -> Result<RgbImage, Error> {
    let count = count.min(dataset.len());
    let columns = count.clamp(1, COLUMNS);
    let step = TILE_PX + GAP_PX;
    let width = columns * step;
    let mut pixels = vec![0u64; dataset.classes().len()];
    let mut tiles = Vec::with_capacity(count);
    for place in 0..count {
        let sample = dataset.sample(place * dataset.len() / count)?;
        for &label in sample.labels.data.iter().filter(|label| **label != IGNORE) {
            pixels[usize::from(label)] += 1;
        }
        let (w, h) = (sample.labels.width, sample.labels.height);
        let longest = w.max(h).max(1);
        let (w, h) = ((TILE_PX * w / longest).max(1), (TILE_PX * h / longest).max(1));
        let labels = colored(&sample.labels, dataset.classes());
        let nearest = imageops::FilterType::Nearest;
        let labels = imageops::resize(&labels, w as u32, h as u32, nearest);
        tiles.push((resized(&sample.image, w, h), labels, sample.id));
    }
    // A row is as high as its highest pair.
    let mut height = 0;
    let mut rows = Vec::new();
    for row in tiles.chunks(columns) {
        let tall = row.iter().map(|(photograph, ..)| 2 * photograph.height() as usize).max();
        rows.push((height, row));
        height += tall.unwrap_or(0) + LINE_PX + GAP_PX;
    }
    let mut sheet = RgbImage::from_pixel(width as u32, height as u32, BACKGROUND);
    for (top, row) in rows {
        for (column, (photograph, labels, id)) in row.iter().enumerate() {
            let (left, h) = (column * step, photograph.height() as usize);
            imageops::replace(&mut sheet, photograph, left as i64, top as i64);
            imageops::replace(&mut sheet, labels, left as i64, (top + h) as i64);
            let id: String = id.chars().take(step / 8).collect();
            write_text(&mut sheet, left, top + 2 * h, &id);
        }
    }
    let total = (pixels.iter().sum::<u64>() as f64).max(1.0);
    let mut rows: Vec<(&Class, f64)> = dataset
        .classes()
        .iter()
        .zip(&pixels)
        .filter(|(_, n)| **n > 0)
        .map(|(class, &n)| (class, n as f64 / total))
        .collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    let legend = legend(&rows, width);
    let tall = height as u32 + legend.height();
    let mut out = RgbImage::from_pixel(width as u32, tall, BACKGROUND);
    imageops::replace(&mut out, &sheet, 0, 0);
    imageops::replace(&mut out, &legend, 0, height as i64);
    Ok(out)
}
