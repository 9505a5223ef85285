//! Writes the synthetic set in the genuine layouts, so that everything that reads a dataset can
//! be tried without a download.

use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::{Rgb, RgbImage};

use crate::beacons::{self, Beacons, BeaconsConfig};
use crate::class_table::{ADE20K, CAMVID, CITYSCAPES, ClassTable, Row};
use crate::config::{ContextLabels, PascalContextConfig};
use crate::own_folder::DESCRIPTION;
use crate::writing::{self, Depth, write_file, write_image, write_png};
use crate::{Class, Error, IGNORE, LabelMap, Layout, SceneDataset, Split};
use crate::{camvid, pascal_context};

/// Writes the synthetic set under `root`, a new or empty folder, as `layout` stores its files.
///
/// Class `i` becomes that dataset's class `i`, an ignored pixel its ignored value. Photographs
/// are what the dataset has: JPEGs for ADE20K and PASCAL-Context (so they differ a little from
/// the generated pixels), PNGs for the others. Only CamVid and a folder of one's own have labels
/// for a test split; for the other layouts no test split is written. Beacon distances are not
/// stored.
///
/// # Errors
///
/// A folder that is not empty or cannot be written, more classes than the dataset has, and more
/// images than its lists name.
pub fn write(layout: Layout, config: &BeaconsConfig, root: &Path) -> Result<(), Error> {
    config.check()?;
    let names = Names::of(layout, config)?;
    writing::make_folder(root)?;
    if std::fs::read_dir(root).map_err(Error::io(root))?.next().is_some() {
        return Err(Error::NotEmpty { root: root.to_path_buf() });
    }
    let splits: &[Split] = match layout {
        Layout::CamVid | Layout::CamVidOriginal | Layout::Folder => &Split::ALL,
        _ => &[Split::Train, Split::Val],
    };
    for &split in splits {
        let set = Beacons::new(config, split)?;
        let mut list = String::new();
        for index in 0..set.len() {
            let sample = set.sample(index)?;
            let place = names.place(split, index);
            write_image(&root.join(&place.image), &sample.image)?;
            let file = root.join(&place.labels);
            match layout {
                Layout::PascalContextMat => {
                    let ids = names.values(&sample.labels);
                    let bytes = mat_of_ids(&ids, &sample.labels).map_err(Error::io(&file))?;
                    write_file(&file, &bytes)?;
                }
                Layout::CamVidOriginal => {
                    write_image(&file, &colored(&sample.labels, &original_colors()))?;
                }
                _ => {
                    let values = names.values(&sample.labels).into_iter().map(|v| v as u8);
                    let values = LabelMap { data: values.collect(), ..sample.labels };
                    write_png(&file, &values, Depth::Eight)?;
                    if layout == Layout::Cityscapes {
                        // Pixels of no instance hold their class, as in the genuine files.
                        let name = place.labels.replace("labelIds", "instanceIds");
                        write_png(&root.join(name), &values, Depth::Sixteen)?;
                    }
                }
            }
            list.push_str(&place.line);
        }
        write_list(layout, split, root, &list)?;
    }
    match layout {
        Layout::Folder => write_file(&root.join(DESCRIPTION), names.description().as_bytes()),
        _ => Ok(()),
    }
}

/// Where the files of one sample go, relative to the root.
struct Place {
    image: String,
    labels: String,
    /// What the split's list says about it.
    line: String,
}

/// The names and values a layout has for samples and classes.
struct Names {
    layout: Layout,
    table: ClassTable,
    /// The original CamVid's stills have the names that its split tells them by.
    stills: [Vec<String>; 3],
}

impl Names {
    fn of(layout: Layout, config: &BeaconsConfig) -> Result<Self, Error> {
        let table = match layout {
            Layout::CamVid | Layout::CamVidOriginal => CAMVID.clone(),
            Layout::Ade20k => ADE20K.clone(),
            Layout::Cityscapes => CITYSCAPES.clone(),
            Layout::PascalContext => pascal_context::table(&PascalContextConfig::default())?,
            Layout::PascalContextMat => {
                let labels = ContextLabels::Mat;
                pascal_context::table(&PascalContextConfig { labels, ..Default::default() })?
            }
            Layout::Folder => own_table(config),
        };
        let refuse = |field, value: usize, expected| {
            let config = "beacons";
            Err(Error::Config { config, field, value: value.to_string(), expected })
        };
        if 2 * config.textures > table.classes.len() {
            let (title, classes) = (layout.title(), table.classes.len());
            let expected = format!("at most {}, since {title} has {classes} classes", classes / 2);
            return refuse("textures", config.textures, expected);
        }
        let mut stills = [const { Vec::new() }; 3];
        if layout == Layout::CamVidOriginal {
            for run in camvid::original().run {
                stills[run.split as usize].extend(run.ids());
            }
            let asked = [config.train_images, config.val_images, config.test_images];
            for ((names, asked), split) in stills.iter_mut().zip(asked).zip(Split::ALL) {
                if names.len() < asked {
                    let field = ["train_images", "val_images", "test_images"][split as usize];
                    return refuse(field, asked, format!("at most {}", names.len()));
                }
            }
        }
        Ok(Self { layout, table, stills })
    }

    fn place(&self, split: Split, index: usize) -> Place {
        let number = index + 1;
        let (image, labels, line) = match self.layout {
            Layout::CamVid => {
                let image = format!("{split}/beacons_{number:06}.png");
                let labels = format!("{split}annot/beacons_{number:06}.png");
                // The lists of the genuine release start like this.
                let line = format!("/SegNet/CamVid/{image} /SegNet/CamVid/{labels}\n");
                (image, labels, line)
            }
            Layout::CamVidOriginal => {
                let id = &self.stills[split as usize][index];
                let (stills, labels) = (camvid::STILLS, camvid::LABELS);
                (format!("{stills}/{id}.png"), format!("{labels}/{id}_L.png"), String::new())
            }
            Layout::Ade20k => {
                let folder = if split == Split::Train { "training" } else { "validation" };
                let stem = format!("{folder}/ADE_{split}_{number:08}");
                (format!("images/{stem}.jpg"), format!("annotations/{stem}.png"), String::new())
            }
            Layout::PascalContext | Layout::PascalContextMat => {
                // The splits share their folders, so the year keeps their ids apart.
                let year = if split == Split::Train { 2008 } else { 2009 };
                let id = format!("{year}_{number:06}");
                let (photographs, labels) = match self.layout {
                    Layout::PascalContext => ("", format!("SegmentationClassContext/{id}.png")),
                    _ => ("VOCdevkit/VOC2010/", format!("trainval/{id}.mat")),
                };
                (format!("{photographs}JPEGImages/{id}.jpg"), labels, format!("{id}\n"))
            }
            Layout::Cityscapes => {
                let stem = format!("{split}/beacons/beacons_{index:06}_000019");
                let image = format!("leftImg8bit/{stem}_leftImg8bit.png");
                (image, format!("gtFine/{stem}_gtFine_labelIds.png"), String::new())
            }
            Layout::Folder => {
                let name = format!("{split}_{number:06}.png");
                (format!("images/{split}/{name}"), format!("labels/{split}/{name}"), String::new())
            }
        };
        Place { image, labels, line }
    }

    /// Class indices as the dataset's files hold them.
    fn values(&self, labels: &LabelMap) -> Vec<usize> {
        // There are enough classes, and every table ignores some value.
        let ignored = self.table.value_of_class(IGNORE).unwrap_or(usize::from(IGNORE));
        let value = |class| self.table.value_of_class(class).unwrap_or(ignored);
        let values: Vec<usize> = (0..=255).map(value).collect();
        labels.data.iter().map(|&class| values[usize::from(class)]).collect()
    }

    /// The `dataset.toml` of a folder of one's own.
    fn description(&self) -> String {
        let mut text = format!("ignore = [{IGNORE}]\n");
        for (value, class) in self.table.classes.iter().enumerate() {
            let (name, color) = (&class.name, class.color);
            text += &format!("\n[[class]]\nvalue = {value}\nname = {name:?}\ncolor = {color:?}\n");
        }
        for split in Split::ALL {
            let folders = format!("images = \"images/{split}\"\nlabels = \"labels/{split}\"");
            text += &format!("\n[split.{split}]\n{folders}\n");
        }
        text
    }
}

/// Values as they are, for a folder of one's own.
fn own_table(config: &BeaconsConfig) -> ClassTable {
    let classes = beacons::classes(config.textures).into_iter().zip(0u8..).map(|(class, value)| {
        let Class { name, color } = class;
        Row { value: value.into(), class: Some(value), name, color, ..Row::default() }
    });
    let ignored = Row { value: IGNORE.into(), ..Row::default() };
    ClassTable::new(classes.chain([ignored]), "")
}

/// A colour of the original labels for each class, black for what is ignored.
fn original_colors() -> Vec<[u8; 3]> {
    let facts = camvid::original().color;
    let of = |class: u8| facts.iter().find(|color| color.class == Some(class)).map(|c| c.color);
    (0..=255).map(|class| of(class).unwrap_or([0; 3])).collect()
}

fn colored(labels: &LabelMap, colors: &[[u8; 3]]) -> RgbImage {
    RgbImage::from_fn(labels.width as u32, labels.height as u32, |x, y| {
        Rgb(colors[usize::from(labels.data[y as usize * labels.width + x as usize])])
    })
}

fn write_list(layout: Layout, split: Split, root: &Path, list: &str) -> Result<(), Error> {
    let file = match layout {
        Layout::CamVid => format!("{split}.txt"),
        Layout::PascalContext => format!("ImageSets/SegmentationContext/{split}.txt"),
        Layout::PascalContextMat => format!("VOCdevkit/VOC2010/ImageSets/Main/{split}.txt"),
        _ => return Ok(()),
    };
    write_file(&root.join(file), list.as_bytes())
}

/// `LabelMap` in a MATLAB file of version 5, packed as the official ones are.
fn mat_of_ids(ids: &[usize], LabelMap { width, height, .. }: &LabelMap) -> io::Result<Vec<u8>> {
    // The format's types.
    const MATRIX: u32 = 14;
    const PACKED: u32 = 15;
    const I8: u32 = 1;
    const U16: u32 = 4;
    const I32: u32 = 5;
    const U32: u32 = 6;
    // The array's own class: 16-bit integers.
    const CLASS_U16: u32 = 11;
    let mut matrix = Vec::new();
    let mut element = |kind: u32, bytes: &[u8]| {
        matrix.extend(kind.to_le_bytes());
        matrix.extend((bytes.len() as u32).to_le_bytes());
        matrix.extend(bytes);
        matrix.resize(matrix.len().next_multiple_of(8), 0);
    };
    element(U32, &[CLASS_U16.to_le_bytes(), [0; 4]].concat());
    element(I32, &[*height as u32, *width as u32].map(u32::to_le_bytes).concat());
    element(I8, b"LabelMap");
    let columns = (0..*width).flat_map(|x| (0..*height).map(move |y| ids[y * width + x] as u16));
    element(U16, &columns.flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&MATRIX.to_le_bytes())?;
    packed.write_all(&(matrix.len() as u32).to_le_bytes())?;
    packed.write_all(&matrix)?;
    let packed = packed.finish()?;
    let mut file = b"MATLAB 5.0 MAT-file".to_vec();
    file.resize(124, b' ');
    // The version, and how a reader tells the order of bytes.
    file.extend([0, 1, b'I', b'M']);
    file.extend(PACKED.to_le_bytes());
    file.extend((packed.len() as u32).to_le_bytes());
    file.extend(packed);
    Ok(file)
}
