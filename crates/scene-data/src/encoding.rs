//! How label files say which class a pixel is of.

use std::collections::BTreeMap;
use std::path::Path;

use crate::class_table::ClassTable;
use crate::{Class, Error, LabelMap, LabelValues, ValueKind, mat_file, read_image, read_label_png};

/// A dataset's way to store labels.
#[derive(Debug, Clone)]
pub(crate) enum Encoding {
    /// Gray or palette PNGs of indices.
    Indices(ClassTable),
    /// MATLAB files of ids.
    Mat(ClassTable),
    /// PNGs of colours.
    Colors(ColorTable),
}

impl Encoding {
    /// The classes in the order of their training indices.
    pub(crate) fn classes(&self) -> &[Class] {
        match self {
            Self::Indices(table) | Self::Mat(table) => &table.classes,
            Self::Colors(table) => &table.classes,
        }
    }

    /// What stands for each class in the label files.
    pub(crate) fn label_values(&self) -> LabelValues {
        let classes = self.classes().len();
        match self {
            Self::Indices(table) => LabelValues::of(ValueKind::Indices, classes, table.values()),
            Self::Mat(table) => LabelValues::of(ValueKind::Mat, classes, table.values()),
            Self::Colors(table) => {
                let value = |[r, g, b]: [u8; 3]| u32::from_be_bytes([0, r, g, b]);
                let pairs = table.class_of_color.iter().map(|(&color, &of)| (value(color), of));
                LabelValues::of(ValueKind::Colours, classes, pairs)
            }
        }
    }

    /// Reads a label file as class indices.
    pub(crate) fn read(&self, file: &Path) -> Result<LabelMap, Error> {
        match self {
            Self::Indices(table) => {
                let mut labels = read_label_png(file)?;
                table.decode(&mut labels, file)?;
                Ok(labels)
            }
            Self::Mat(table) => mat_file::read(file, table),
            Self::Colors(table) => table.read(file),
        }
    }
}

/// The class that each colour of a label PNG stands for.
#[derive(Debug, Clone)]
pub(crate) struct ColorTable {
    /// The classes in the order of their training indices.
    pub(crate) classes: Vec<Class>,
    /// Class index or [`IGNORE`](crate::IGNORE) by colour.
    pub(crate) class_of_color: BTreeMap<[u8; 3], u8>,
}

impl ColorTable {
    fn read(&self, file: &Path) -> Result<LabelMap, Error> {
        let picture = read_image(file)?;
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let mut data = Vec::with_capacity(width * height);
        // Neighbours mostly have one colour.
        let (mut last, mut class) = ([0; 3], self.class_of_color.get(&[0; 3]).copied());
        for (at, rgb) in picture.as_raw().chunks_exact(3).enumerate() {
            let color = [rgb[0], rgb[1], rgb[2]];
            if color != last {
                (last, class) = (color, self.class_of_color.get(&color).copied());
            }
            let Some(class) = class else {
                let (x, y) = (at % width, at / width);
                return Err(Error::LabelColor { file: file.to_path_buf(), color, x, y });
            };
            data.push(class);
        }
        Ok(LabelMap { width, height, data })
    }
}
