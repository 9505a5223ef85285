//! Writes the synthetic set in the genuine layouts, so that everything that reads a dataset can
//! be tried without a download.

use std::path::{Path, PathBuf};

use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;

use crate::beacons::{Beacons, BeaconsConfig};
use crate::class_table::{ADE20K, CAMVID, CITYSCAPES, ClassTable, PASCAL_CONTEXT};
use crate::{Error, IGNORE, LabelMap, Layout, SceneDataset, Split};

/// Writes the synthetic set under `root`, a new or empty folder, as `layout` stores its files.
///
/// Class `i` becomes that dataset's class `i`, an ignored pixel its ignored value. Photographs
/// are what the dataset has: JPEGs for ADE20K and PASCAL-Context (so they differ a little from
/// the generated pixels), PNGs for the others. Only CamVid has labels for a test split; for the
/// other layouts no test split is written. Beacon distances are not stored.
///
/// # Errors
///
/// A folder that is not empty or cannot be written, and more classes than the dataset has.
pub fn write(layout: Layout, config: &BeaconsConfig, root: &Path) -> Result<(), Error> {
    config.check()?;
    let table: &ClassTable = match layout {
        Layout::CamVid => &CAMVID,
        Layout::Ade20k => &ADE20K,
        Layout::PascalContext => &PASCAL_CONTEXT,
        Layout::Cityscapes => &CITYSCAPES,
    };
    if 2 * config.textures > table.classes.len() {
        return Err(Error::Config {
            config: "beacons",
            field: "textures",
            value: config.textures.to_string(),
            expected: format!(
                "at most {}, since {} has {} classes",
                table.classes.len() / 2,
                layout.title(),
                table.classes.len()
            ),
        });
    }
    make_folder(root)?;
    if std::fs::read_dir(root).map_err(Error::io(root))?.next().is_some() {
        return Err(Error::NotEmpty { root: root.to_path_buf() });
    }
    let splits: &[Split] = match layout {
        Layout::CamVid => &Split::ALL,
        _ => &[Split::Train, Split::Val],
    };
    for &split in splits {
        let set = Beacons::new(config, split)?;
        let mut list = String::new();
        for index in 0..set.len() {
            let sample = set.sample(index)?;
            let place = Place::of(layout, split, index);
            write_image(&root.join(&place.image), &sample.image)?;
            let labels = encode(table, &sample.labels);
            write_png(&root.join(&place.labels), &labels, Depth::Eight)?;
            if let Some(instances) = &place.instances {
                // Pixels of no instance hold their class, as in the genuine files.
                write_png(&root.join(instances), &labels, Depth::Sixteen)?;
            }
            list.push_str(&place.line);
        }
        write_list(layout, split, root, &list)?;
    }
    Ok(())
}

/// Where the files of one sample go, relative to the root.
struct Place {
    image: PathBuf,
    labels: PathBuf,
    instances: Option<PathBuf>,
    /// What the split's list says about it.
    line: String,
}

impl Place {
    fn of(layout: Layout, split: Split, index: usize) -> Self {
        let number = index + 1;
        let (image, labels, line) = match layout {
            Layout::CamVid => {
                let image = format!("{split}/beacons_{number:06}.png");
                let labels = format!("{split}annot/beacons_{number:06}.png");
                // The lists of the genuine release start like this.
                let line = format!("/SegNet/CamVid/{image} /SegNet/CamVid/{labels}\n");
                (image, labels, line)
            }
            Layout::Ade20k => {
                let folder = if split == Split::Train { "training" } else { "validation" };
                let stem = format!("{folder}/ADE_{split}_{number:08}");
                (format!("images/{stem}.jpg"), format!("annotations/{stem}.png"), String::new())
            }
            Layout::PascalContext => {
                // The splits share their folders, so the year keeps their ids apart.
                let year = if split == Split::Train { 2008 } else { 2009 };
                let id = format!("{year}_{number:06}");
                let labels = format!("SegmentationClassContext/{id}.png");
                (format!("JPEGImages/{id}.jpg"), labels, format!("{id}\n"))
            }
            Layout::Cityscapes => {
                let stem = format!("{split}/beacons/beacons_{index:06}_000019");
                let image = format!("leftImg8bit/{stem}_leftImg8bit.png");
                (image, format!("gtFine/{stem}_gtFine_labelIds.png"), String::new())
            }
        };
        let instances = (layout == Layout::Cityscapes)
            .then(|| PathBuf::from(labels.replace("labelIds", "instanceIds")));
        Self { image: image.into(), labels: labels.into(), instances, line }
    }
}

fn write_list(layout: Layout, split: Split, root: &Path, list: &str) -> Result<(), Error> {
    let file = match layout {
        Layout::CamVid => root.join(format!("{split}.txt")),
        Layout::PascalContext => root.join(format!("ImageSets/SegmentationContext/{split}.txt")),
        Layout::Ade20k | Layout::Cityscapes => return Ok(()),
    };
    write_file(&file, list.as_bytes())
}

/// Class indices as the dataset's files hold them.
fn encode(table: &ClassTable, labels: &LabelMap) -> LabelMap {
    // `write` has checked that there are enough classes, and all four tables ignore some value.
    let ignored = table.value_of_class(IGNORE).unwrap_or(IGNORE);
    let values: Vec<u8> =
        (0..=255).map(|class| table.value_of_class(class).unwrap_or(ignored)).collect();
    let data = labels.data.iter().map(|&class| values[usize::from(class)]).collect();
    LabelMap { data, ..*labels }
}

#[derive(Clone, Copy)]
enum Depth {
    Eight,
    Sixteen,
}

fn write_png(file: &Path, labels: &LabelMap, depth: Depth) -> Result<(), Error> {
    let (bits, bytes) = match depth {
        Depth::Eight => (png::BitDepth::Eight, labels.data.clone()),
        Depth::Sixteen => {
            let wide = labels.data.iter().flat_map(|&v| u16::from(v).to_be_bytes());
            (png::BitDepth::Sixteen, wide.collect())
        }
    };
    let mut encoded = Vec::new();
    let mut encoder = png::Encoder::new(&mut encoded, labels.width as u32, labels.height as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(bits);
    encoder
        .write_header()
        .and_then(|mut writer| {
            writer.write_image_data(&bytes)?;
            writer.finish()
        })
        .map_err(|error| Error::Encode { file: file.into(), message: error.to_string() })?;
    write_file(file, &encoded)
}

/// Writes a PNG or a JPEG, as the ending says.
fn write_image(file: &Path, image: &RgbImage) -> Result<(), Error> {
    let mut encoded = Vec::new();
    if file.extension().is_some_and(|ending| ending == "jpg") {
        image.write_with_encoder(JpegEncoder::new_with_quality(&mut encoded, 95))
    } else {
        image.write_with_encoder(image::codecs::png::PngEncoder::new(&mut encoded))
    }
    .map_err(|error| Error::Encode { file: file.into(), message: error.to_string() })?;
    write_file(file, &encoded)
}

fn write_file(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    file.parent().map_or(Ok(()), make_folder)?;
    std::fs::write(file, bytes).map_err(Error::io(file))
}

fn make_folder(folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder))
}
