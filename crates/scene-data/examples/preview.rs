//! Writes a contact sheet of a dataset: photographs above their labels in colour.
//!
//! `cargo run -p scene-data --example preview -- DATASET SPLIT COUNT OUT.png [DATA_ROOT]`, where
//! `DATASET` is `beacons`, `camvid`, `ade20k`, `pascal-context` or `cityscapes`. The images are
//! spread evenly over the split. Ignored pixels are white.

use std::error::Error;
use std::path::Path;

use image::{Rgb, RgbImage, imageops};
use scene_data::{DatasetConfig, IGNORE, SceneDataset, Split};

/// Sheets are drawn at this size per image, however large the photographs are.
const TILE_PX: u32 = 288;
const GAP_PX: u32 = 6;
const COLUMNS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (dataset, split, count, out, root) = match args.as_slice() {
        [dataset, split, count, out] => (dataset, split, count, out, None),
        [dataset, split, count, out, root] => (dataset, split, count, out, Some(Path::new(root))),
        _ => return Err("usage: preview DATASET SPLIT COUNT OUT.png [DATA_ROOT]".into()),
    };
    let config: DatasetConfig = toml::from_str(&format!("kind = {dataset:?}"))?;
    let set = config.open(root, split.parse::<Split>()?)?;
    let count: usize = count.parse()?;
    sheet(&*set, count.clamp(1, set.len()))?.save(out)?;
    Ok(())
}

fn sheet(set: &dyn SceneDataset, count: usize) -> Result<RgbImage, Box<dyn Error>> {
    let columns = count.min(COLUMNS);
    let (across, down) = (columns as u32, count.div_ceil(columns) as u32);
    let step = TILE_PX + GAP_PX;
    let mut sheet = RgbImage::from_pixel(across * step, down * 2 * step, Rgb([40; 3]));
    for place in 0..count {
        let sample = set.sample(place * set.len() / count)?;
        let labels = RgbImage::from_fn(sample.image.width(), sample.image.height(), |x, y| {
            let class = sample.labels.data[y as usize * sample.labels.width + x as usize];
            match class {
                IGNORE => Rgb([255; 3]),
                class => Rgb(set.classes()[usize::from(class)].color),
            }
        });
        let (left, top) = ((place % columns) as u32 * step, (place / columns) as u32 * 2 * step);
        for (row, picture) in [(0, &sample.image), (1, &labels)] {
            let (w, h) = picture.dimensions();
            let (w, h) = (TILE_PX * w / w.max(h), TILE_PX * h / w.max(h));
            let tile = imageops::resize(picture, w, h, imageops::FilterType::Nearest);
            imageops::replace(&mut sheet, &tile, left.into(), (top + row * step).into());
        }
    }
    Ok(sheet)
}
