//! Qualitative results: photographs, truths and predictions as small PNGs.

use std::path::{Path, PathBuf};

use anyhow::Context;
use image::{Rgb, RgbImage};
use scene_data::{Class, Sample};

/// Width of the frame around a unit that looks, in pixels.
const FRAME: u32 = 2;

/// How many test images are shown.
pub const SHOWN: usize = 4;

/// Where the pictures of one sweep's folder are.
pub fn folder(out_dir: &Path) -> PathBuf {
    out_dir.join("pictures")
}

/// Writes the image and the truth of a sample.
///
/// # Errors
///
/// If the folder cannot be written.
pub fn write_sample(
    out_dir: &Path,
    nth: usize,
    sample: &Sample,
    classes: &[Class],
) -> anyhow::Result<()> {
    save(&sample.image, &folder(out_dir).join(format!("{nth}-image.png")))?;
    let size = (sample.labels.width, sample.labels.height);
    let truth = coloured(&sample.labels.data, size, classes);
    save(&truth, &folder(out_dir).join(format!("{nth}-truth.png")))
}

/// Writes what `arm` sees in the `nth` shown image.
///
/// # Errors
///
/// If the folder cannot be written.
pub fn write_prediction(
    out_dir: &Path,
    nth: usize,
    arm: &str,
    prediction: &[u8],
    size: (usize, usize),
    classes: &[Class],
) -> anyhow::Result<()> {
    let picture = coloured(prediction, size, classes);
    save(&picture, &folder(out_dir).join(format!("{nth}-{arm}.png")))
}

/// Attention over an image, `scale` times as large: the more a place is looked at, the more of the
/// image is left; the unit that looks is framed.
///
/// `weights` are those of the grid's `h × w` units, any scale.
pub fn attention_over(
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
    picture.save(path).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
