//! Training samples from files: decoded, scaled, cropped, mirrored, normalised.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::ensure;
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use scene_data::loader::{Ahead, ordered};
use scene_data::{AugmentConfig, DatasetConfig, LabelFiles, LabelMap, Sample, View};
use scene_data::{read_image, read_label_png, sample_rng};

use crate::{Case, Pass, Task, Work};

/// Factors on the image's size, one image each: both sides do the same work.
const SCALES: [f64; 6] = [0.5, 0.75, 1.0, 1.25, 1.5, 2.0];

/// Columns and rows of the crop.
const CROP_PX: usize = 512;

/// A dataset's kind of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Files {
    /// 2048×1024, PNG.
    Cityscapes,
    /// 683×512, JPEG.
    Ade20k,
}

/// Both kinds of files, on one thread and on two.
pub(crate) fn cases() -> Vec<Case> {
    let case = |files, name: &str, threads: usize| Case {
        name: format!("photographs {name}, threads {threads}"),
        passes: vec![Pass::Forward],
        work: Work::Photographs { files, threads },
    };
    let of = |threads| {
        [
            case(Files::Cityscapes, "2048×1024 PNG", threads),
            case(Files::Ade20k, "683×512 JPEG", threads),
        ]
    };
    [1, 2].into_iter().flat_map(of).collect()
}

/// What nobody is compared with: labels read by this project, and by the bare `png` crate.
pub(crate) fn alone() -> Vec<Case> {
    let case = |name: &str, reader| Case {
        name: format!("label PNG 2048×1024, {name}"),
        passes: vec![Pass::Forward],
        work: Work::LabelPng { reader },
    };
    vec![
        case("values as stored", Reader::Values),
        case("mapped to classes", Reader::Classes),
        case("bare png crate", Reader::Bare),
    ]
}

/// Who reads a label file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reader {
    /// [`read_label_png`].
    Values,
    /// [`LabelFiles::read`].
    Classes,
    /// The `png` crate.
    Bare,
}

/// Reads six samples a thread.
pub(crate) fn task(files: Files, threads: usize) -> anyhow::Result<Task> {
    let folder = written(files)?;
    let name = if files == Files::Cityscapes { "cityscapes" } else { "ade20k" };
    let labels = Arc::new(LabelFiles::of(&DatasetConfig::named(name)?, None)?);
    let some = |n| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
    let ahead = Ahead { threads: some(threads), samples: some(4 * threads) };
    Ok(Box::new(move || {
        let (folder, labels) = (folder.clone(), labels.clone());
        let read = move |at: usize| -> anyhow::Result<f32> {
            let factor = SCALES[at % SCALES.len()];
            let augment = AugmentConfig {
                scale: [factor; 2],
                crop_px: [CROP_PX; 2],
                ..AugmentConfig::default()
            };
            let (image, label) = paths(&folder, files);
            let image = read_image(&image)?;
            let labels = labels.read(&label)?;
            let sample = Sample { id: String::new(), image, labels, beacon_distance_px: None };
            let mut rng = sample_rng(0, 0, at as u64);
            let example = augment.apply(&sample, View::Mirrored, &mut rng)?;
            Ok(example.planes[0] + f32::from(example.labels[0]))
        };
        for value in ordered(SCALES.len() * threads, ahead, read) {
            ensure!(value?.is_finite(), "a sample was not read");
        }
        Ok(())
    }))
}

/// Reads one label file.
pub(crate) fn label_task(reader: Reader) -> anyhow::Result<Task> {
    let (_, file) = paths(&written(Files::Cityscapes)?, Files::Cityscapes);
    let files = LabelFiles::of(&DatasetConfig::Cityscapes {}, None)?;
    Ok(Box::new(move || {
        let pixels = match reader {
            Reader::Values => read_label_png(&file)?.data.len(),
            Reader::Classes => files.read(&file)?.data.len(),
            Reader::Bare => {
                let input = std::io::BufReader::new(std::fs::File::open(&file)?);
                let mut decoder = png::Decoder::new(input);
                decoder.set_transformations(png::Transformations::IDENTITY);
                let mut reader = decoder.read_info()?;
                let size = reader.output_buffer_size().unwrap_or(0);
                let mut bytes = vec![0; size];
                reader.next_frame(&mut bytes)?;
                reader.finish()?;
                bytes.len()
            }
        };
        ensure!(pixels == 2048 * 1024, "{pixels} pixels");
        Ok(())
    }))
}

fn paths(folder: &Path, files: Files) -> (PathBuf, PathBuf) {
    let image = if files == Files::Cityscapes { "image.png" } else { "image.jpg" };
    (folder.join(image), folder.join("labels.png"))
}

/// Writes one pair that compresses about as well as the dataset's do, where both sides find it.
fn written(files: Files) -> anyhow::Result<PathBuf> {
    let (name, width, height) = match files {
        Files::Cityscapes => ("cityscapes", 2048, 1024),
        Files::Ade20k => ("ade20k", 683, 512),
    };
    let folder = std::env::temp_dir().join(format!("scene-rnn-bench-{name}"));
    std::fs::create_dir_all(&folder)?;
    let (image, label) = paths(&folder, files);
    let region = |x: u32, y: u32| {
        let wave = (y * y / 97 + x / 3) % 17;
        (x + wave) / 97 * 7 + (y + wave) / 61 * 3
    };
    let mut noise = 1u32;
    let photograph = RgbImage::from_fn(width, height, |x, y| {
        let at = region(x, y);
        let light = 60.0 * (x as f32 / 97.0).sin() + 30.0 * (y as f32 / 41.0).cos();
        let pixel = std::array::from_fn(|channel| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Sensor noise of a few levels, the same in all channels of most pixels.
            let grain = if channel == 0 { noise >> 29 } else { noise >> 31 } as f32;
            let tint = (at * (31 + 17 * channel as u32) % 80) as f32;
            (90.0 + light + tint + grain).clamp(0.0, 255.0) as u8
        });
        Rgb(pixel)
    });
    match files {
        Files::Cityscapes => photograph.save(&image)?,
        Files::Ade20k => {
            let mut bytes = Vec::new();
            photograph.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 85))?;
            std::fs::write(&image, bytes)?;
        }
    }
    let classes = if files == Files::Cityscapes { 19 } else { 150 };
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let data = places.map(|(x, y)| (region(x, y) % classes) as u8).collect();
    let labels = LabelMap { width: width as usize, height: height as usize, data };
    LabelFiles::of(&DatasetConfig::named(name)?, None)?.write(&label, &labels)?;
    Ok(folder)
}
