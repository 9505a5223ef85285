//! PASCAL-Context: VOC2010's photographs, 4,998/5,105 of them, 59 or 60 classes, labels as PNGs or
//! as the official `.mat` files.

use std::path::{Path, PathBuf};

use crate::class_table::{ClassTable, Row, rows};
use crate::config::{ClassOrder, ContextLabels, PascalContextConfig};
use crate::encoding::Encoding;
use crate::on_disk::{Listing, Pair, list_lines};
use crate::scan::LeftOut;
use crate::{Error, Split};

/// The largest id of the official annotation.
const LAST_ID: i16 = 459;

/// Lists a split through the photographs' lists, in the lists' order.
///
/// The PNG layout has its own (`ImageSets/SegmentationContext`), the official annotation uses
/// VOC2010's (`ImageSets/Main`). There is no test split with labels, so [`Split::Test`] is the
/// validation split.
pub(crate) fn list(
    root: &Path,
    split: Split,
    config: &PascalContextConfig,
) -> Result<Listing, Error> {
    let table = table(config)?;
    let name = match split {
        Split::Train => "train",
        Split::Val | Split::Test => "val",
    };
    let layout = config.layout();
    let root = layout.locate(root)?;
    let (photographs, labels, encoding) = match config.labels {
        ContextLabels::Png => {
            (root.clone(), root.join("SegmentationClassContext"), Encoding::Indices(table))
        }
        ContextLabels::Mat => (voc(&root), root.join("trainval"), Encoding::Mat(table)),
    };
    let (sets, ending) = match config.labels {
        ContextLabels::Png => ("SegmentationContext", "png"),
        ContextLabels::Mat => ("Main", "mat"),
    };
    let list = photographs.join("ImageSets").join(sets).join(format!("{name}.txt"));
    let mut pairs = Vec::new();
    for (line, id) in list_lines(&list)? {
        if id.contains(['/', '\\']) || id.contains(char::is_whitespace) {
            let expected = "one image id, such as 2008_000002";
            return Err(Error::List { file: list, line, expected, found: id });
        }
        let image = photographs.join("JPEGImages").join(format!("{id}.jpg"));
        let labels = labels.join(format!("{id}.{ending}"));
        pairs.push(Pair { id, image, labels });
    }
    let (name, left_out) = ("pascal-context".into(), LeftOut::default());
    Ok(Listing { name, layout, root, encoding, pairs, left_out })
}

/// VOC2010's folder beside the official annotation.
fn voc(root: &Path) -> PathBuf {
    let folders = ["VOCdevkit/VOC2010", "VOC2010", ""].map(|folder| root.join(folder));
    let found = folders.iter().find(|folder| folder.join("JPEGImages").is_dir());
    found.unwrap_or(&folders[0]).clone()
}

/// What the values of the label files mean.
pub(crate) fn table(config: &PascalContextConfig) -> Result<ClassTable, Error> {
    let background = match config.classes {
        59 => None,
        60 => Some(0),
        other => {
            return Err(Error::Config {
                config: "pascal-context",
                field: "classes",
                value: other.to_string(),
                expected: "59 (background ignored) or 60 (background counted)".into(),
            });
        }
    };
    let class = |row: &Row| {
        let alphabetical = row.class?;
        let index = match config.order {
            ClassOrder::Alphabetical => alphabetical,
            // The file counts places from 1.
            ClassOrder::Official => row.official_index? - 1,
        };
        Some(index + u8::from(background.is_some()))
    };
    let rows = rows(include_str!("../../../datasets/pascal-context/classes.toml"));
    let mut rows: Vec<Row> =
        rows.into_iter().map(|row| Row { class: class(&row).or(background), ..row }).collect();
    if config.labels == ContextLabels::Png {
        return Ok(ClassTable::new(rows, "; 0 is background, 1 to 59 are the classes"));
    }
    // The official files hold all 459 categories; those that are none of the 59 are background.
    let zero = rows.remove(0);
    for row in &mut rows {
        row.value = row.id_in_459.unwrap_or(-1);
    }
    let others = (0..=LAST_ID).filter(|id| rows.iter().all(|row| row.value != *id));
    let others: Vec<Row> = others.map(|value| Row { value, ..zero.clone() }).collect();
    rows.extend(others);
    Ok(ClassTable::new(rows, "; the official annotation has 459 categories"))
}
