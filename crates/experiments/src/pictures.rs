//! Qualitative results: photographs, truths and predictions as small PNGs.

use std::path::{Path, PathBuf};

use anyhow::Context;
use image::{Rgb, RgbImage};
use scene_data::{Class, Sample};

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
