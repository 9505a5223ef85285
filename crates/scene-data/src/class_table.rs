//! What the values of label files mean: the tables of `datasets/*/classes.toml`.

use std::path::Path;
use std::sync::LazyLock;

use crate::{Class, Error, IGNORE, LabelMap};

/// The classes of a dataset and the value that stands for each in its label files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClassTable {
    /// The classes in the order of their training indices.
    pub(crate) classes: Vec<Class>,
    /// Class index or [`IGNORE`] for each value; `None` where the dataset has no such value.
    class_of_value: [Option<u8>; 256],
}

/// CamVid, 11 classes of the SegNet split.
pub(crate) static CAMVID: LazyLock<ClassTable> =
    LazyLock::new(|| embedded(include_str!("../../../datasets/camvid/classes.toml")));
/// ADE20K, 150 classes of SceneParsing150.
pub(crate) static ADE20K: LazyLock<ClassTable> =
    LazyLock::new(|| embedded(include_str!("../../../datasets/ade20k/classes.toml")));
/// PASCAL-Context, 59 classes, background ignored.
pub(crate) static PASCAL_CONTEXT: LazyLock<ClassTable> =
    LazyLock::new(|| embedded(include_str!("../../../datasets/pascal-context/classes.toml")));
/// PASCAL-Context, 60 classes, background the first.
pub(crate) static PASCAL_CONTEXT_60: LazyLock<ClassTable> = LazyLock::new(|| {
    let mut file = parse(include_str!("../../../datasets/pascal-context/classes.toml"));
    for row in &mut file.label {
        row.class = Some(row.class.map_or(0, |class| class + 1));
    }
    build(file)
});
/// Cityscapes, 19 classes (trainIds), from labelIds.
pub(crate) static CITYSCAPES: LazyLock<ClassTable> =
    LazyLock::new(|| embedded(include_str!("../../../datasets/cityscapes/classes.toml")));

impl ClassTable {
    /// Replaces each stored value by its class index.
    pub(crate) fn decode(&self, labels: &mut LabelMap, file: &Path) -> Result<(), Error> {
        for (at, label) in labels.data.iter_mut().enumerate() {
            let Some(class) = self.class_of_value[usize::from(*label)] else {
                return Err(Error::LabelValue {
                    file: file.to_path_buf(),
                    value: *label,
                    x: at % labels.width,
                    y: at / labels.width,
                    expected: self.values_in_words(),
                });
            };
            *label = class;
        }
        Ok(())
    }

    /// The value that stands for a class index (or [`IGNORE`]) on disk.
    pub(crate) fn value_of_class(&self, class: u8) -> Option<u8> {
        (0..=255).find(|&value| self.class_of_value[usize::from(value)] == Some(class))
    }

    /// Such as "the dataset's values are 0 to 11".
    fn values_in_words(&self) -> String {
        let known = |value: &usize| self.class_of_value[*value].is_some();
        let first = (0..256).find(known).unwrap_or(0);
        let last = (0..256).rev().find(known).unwrap_or(0);
        format!("the dataset's values are {first} to {last}")
    }
}

/// The parts of a `classes.toml` that decide how labels are read; the other keys are facts for
/// readers and for official scores.
#[derive(serde::Deserialize)]
struct TableFile {
    label: Vec<Row>,
}

#[derive(serde::Deserialize)]
struct Row {
    value: i16,
    class: Option<u8>,
    name: String,
    color: [u8; 3],
}

fn parse(toml: &str) -> TableFile {
    toml::from_str(toml).expect("the embedded class tables are read by the tests")
}

fn embedded(toml: &str) -> ClassTable {
    build(parse(toml))
}

fn build(file: TableFile) -> ClassTable {
    let mut class_of_value = [None; 256];
    let mut classes = Vec::new();
    for row in file.label {
        // Cityscapes' -1 is never drawn.
        if let Ok(value) = usize::try_from(row.value) {
            class_of_value[value] = Some(row.class.unwrap_or(IGNORE));
        }
        if let Some(class) = row.class {
            classes.push((class, Class { name: row.name, color: row.color }));
        }
    }
    classes.sort_by_key(|(class, _)| *class);
    ClassTable { classes: classes.into_iter().map(|(_, class)| class).collect(), class_of_value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(table: &ClassTable, classes: usize, first: &str, last: &str) {
        assert_eq!(table.classes.len(), classes);
        assert_eq!(table.classes[0].name, first);
        assert_eq!(table.classes[classes - 1].name, last);
        for class in 0..classes as u8 {
            let value = table.value_of_class(class).expect("every class has a value");
            assert_eq!(table.class_of_value[usize::from(value)], Some(class));
        }
        let used = table.class_of_value.iter().flatten().filter(|c| **c != IGNORE);
        assert_eq!(used.count(), classes, "each class has one value");
    }

    #[test]
    fn tables_are_whole() {
        check(&CAMVID, 11, "Sky", "Bicyclist");
        check(&ADE20K, 150, "wall", "flag");
        check(&PASCAL_CONTEXT, 59, "aeroplane", "wood");
        check(&PASCAL_CONTEXT_60, 60, "background", "wood");
        check(&CITYSCAPES, 19, "road", "bicycle");
    }

    #[test]
    fn encodings_are_the_published_ones() {
        assert_eq!(CAMVID.value_of_class(IGNORE), Some(11));
        assert_eq!(ADE20K.value_of_class(IGNORE), Some(0));
        assert_eq!(ADE20K.class_of_value[150], Some(149));
        assert_eq!(ADE20K.class_of_value[151], None);
        assert_eq!(PASCAL_CONTEXT.value_of_class(IGNORE), Some(0));
        assert_eq!(PASCAL_CONTEXT_60.value_of_class(IGNORE), None);
        assert_eq!(PASCAL_CONTEXT_60.class_of_value[0], Some(0));
        let ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33];
        for (train_id, label_id) in ids.into_iter().enumerate() {
            assert_eq!(CITYSCAPES.class_of_value[label_id], Some(train_id as u8));
        }
        assert_eq!(CITYSCAPES.class_of_value[34], None);
    }
}
