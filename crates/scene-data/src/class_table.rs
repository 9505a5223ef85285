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
    class_of_value: Vec<Option<u8>>,
    /// The likely cause of a value that the dataset has not.
    pub(crate) hint: &'static str,
}

/// CamVid, 11 classes of the SegNet split.
pub(crate) static CAMVID: LazyLock<ClassTable> =
    LazyLock::new(|| embedded(include_str!("../../../datasets/camvid/classes.toml"), ""));
/// ADE20K, 150 classes of SceneParsing150.
pub(crate) static ADE20K: LazyLock<ClassTable> = LazyLock::new(|| {
    let hint = "; labels already moved down by one, with 255 for 0? The release's own are expected";
    embedded(include_str!("../../../datasets/ade20k/classes.toml"), hint)
});
/// Cityscapes, 19 classes (trainIds), from labelIds.
pub(crate) static CITYSCAPES: LazyLock<ClassTable> = LazyLock::new(|| {
    let hint = "; a labelTrainIds file in place of labelIds?";
    embedded(include_str!("../../../datasets/cityscapes/classes.toml"), hint)
});

impl ClassTable {
    /// A table of rows; several values may stand for one class, whose first row names it.
    pub(crate) fn new(rows: impl IntoIterator<Item = Row>, hint: &'static str) -> Self {
        let mut class_of_value = Vec::new();
        let mut classes: Vec<(u8, Class)> = Vec::new();
        for row in rows {
            // Cityscapes' -1 is never drawn.
            if let Ok(value) = usize::try_from(row.value) {
                if class_of_value.len() <= value {
                    class_of_value.resize(value + 1, None);
                }
                class_of_value[value] = Some(row.class.unwrap_or(IGNORE));
            }
            if let Some(class) = row.class
                && classes.iter().all(|(known, _)| *known != class)
            {
                classes.push((class, Class { name: row.name, color: row.color }));
            }
        }
        classes.sort_by_key(|(class, _)| *class);
        let classes = classes.into_iter().map(|(_, class)| class).collect();
        Self { classes, class_of_value, hint }
    }

    /// The class index, or [`IGNORE`], of a stored value; `None` if the dataset has no such value.
    pub(crate) fn class_of(&self, value: usize) -> Option<u8> {
        self.class_of_value.get(value).copied().flatten()
    }

    /// Every value that the dataset has, with its class index or [`IGNORE`].
    pub(crate) fn values(&self) -> impl Iterator<Item = (u32, u8)> + '_ {
        let each = (0u32..).zip(&self.class_of_value);
        each.filter_map(|(value, class)| Some((value, (*class)?)))
    }

    /// Replaces each stored value by its class index.
    pub(crate) fn decode(&self, labels: &mut LabelMap, file: &Path) -> Result<(), Error> {
        let class: [Option<u8>; 256] = std::array::from_fn(|value| self.class_of(value));
        let wrong = |at, value: u8| self.unknown_value(file, value.into(), at, labels.width);
        let map = |at: usize, value: u8| class[usize::from(value)].ok_or_else(|| wrong(at, value));
        // Regions are what labels are made of: eight pixels mostly are those of the word before.
        let (mut last, mut last_mapped) = ([0; WORD], None);
        let mut words = labels.data.chunks_exact_mut(WORD);
        for (nth, word) in words.by_ref().enumerate() {
            let found = <[u8; WORD]>::try_from(&*word).unwrap_or_default();
            if found != last || last_mapped.is_none() {
                let mut mapped = [0; WORD];
                for (at, (to, value)) in mapped.iter_mut().zip(found).enumerate() {
                    *to = map(nth * WORD + at, value)?;
                }
                (last, last_mapped) = (found, Some(mapped));
            }
            if let Some(mapped) = last_mapped {
                word.copy_from_slice(&mapped);
            }
        }
        let rest = words.into_remainder();
        let start = labels.width * labels.height - rest.len();
        for (at, value) in rest.iter_mut().enumerate() {
            *value = map(start + at, *value)?;
        }
        Ok(())
    }

    /// The error for a value, found at the index `at` of a map, that the dataset has not.
    pub(crate) fn unknown_value(
        &self,
        file: &Path,
        value: usize,
        at: usize,
        width: usize,
    ) -> Error {
        Error::LabelValue {
            file: file.to_path_buf(),
            value,
            x: at % width.max(1),
            y: at / width.max(1),
            expected: format!("{}{}", self.values_in_words(), self.hint),
        }
    }

    /// The value that stands for a class index (or [`IGNORE`]) on disk, the smallest if there are
    /// several.
    pub(crate) fn value_of_class(&self, class: u8) -> Option<usize> {
        (0..self.class_of_value.len()).find(|&value| self.class_of(value) == Some(class))
    }

    /// Such as "the dataset's values are 0 to 11".
    fn values_in_words(&self) -> String {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for value in (0..self.class_of_value.len()).filter(|&v| self.class_of(v).is_some()) {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == value => *last = value,
                _ => runs.push((value, value)),
            }
        }
        let words = |&(first, last): &(usize, usize)| match last - first {
            0 => first.to_string(),
            _ => format!("{first} to {last}"),
        };
        let runs: Vec<String> = runs.iter().map(words).collect();
        format!("the dataset's values are {}", runs.join(", "))
    }
}

/// Pixels looked up at a time.
const WORD: usize = 8;

/// The parts of a `classes.toml` that decide how labels are read; the other keys are facts for
/// readers and for official scores.
#[derive(serde::Deserialize)]
struct TableFile {
    label: Vec<Row>,
}

/// One value of the label files.
#[derive(Debug, Clone, Default, serde::Deserialize)]
pub(crate) struct Row {
    pub(crate) value: i16,
    pub(crate) class: Option<u8>,
    pub(crate) name: String,
    pub(crate) color: [u8; 3],
    /// PASCAL-Context: the value in the official annotation of 459 categories.
    #[serde(default)]
    pub(crate) id_in_459: Option<i16>,
    /// PASCAL-Context: the place, from 1, in the official order.
    #[serde(default)]
    pub(crate) official_index: Option<u8>,
}

/// The rows of an embedded `classes.toml`.
pub(crate) fn rows(toml: &str) -> Vec<Row> {
    let file: TableFile = toml::from_str(toml).expect("the embedded tables are read by the tests");
    file.label
}

fn embedded(toml: &str, hint: &'static str) -> ClassTable {
    ClassTable::new(rows(toml), hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClassOrder, ContextLabels, PascalContextConfig};
    use crate::pascal_context;

    fn check(table: &ClassTable, classes: usize, first: &str, last: &str) {
        assert_eq!(table.classes.len(), classes);
        assert_eq!(table.classes[0].name, first);
        assert_eq!(table.classes[classes - 1].name, last);
        for class in 0..classes as u8 {
            let value = table.value_of_class(class).expect("every class has a value");
            assert_eq!(table.class_of(value), Some(class));
        }
    }

    fn context(classes: usize, order: ClassOrder, labels: ContextLabels) -> ClassTable {
        let config = PascalContextConfig { classes, order, labels };
        pascal_context::table(&config).expect("a sound configuration")
    }

    #[test]
    fn tables_are_whole() {
        check(&CAMVID, 11, "Sky", "Bicyclist");
        check(&ADE20K, 150, "wall", "flag");
        check(&CITYSCAPES, 19, "road", "bicycle");
        for labels in [ContextLabels::Png, ContextLabels::Mat] {
            check(&context(59, ClassOrder::Alphabetical, labels), 59, "aeroplane", "wood");
            check(&context(60, ClassOrder::Alphabetical, labels), 60, "background", "wood");
            check(&context(59, ClassOrder::Official, labels), 59, "aeroplane", "wood");
        }
        for table in [&*CAMVID, &*ADE20K, &*CITYSCAPES] {
            let used = (0..256).filter_map(|v| table.class_of(v)).filter(|&c| c != IGNORE);
            assert_eq!(used.count(), table.classes.len(), "each class has one value");
        }
    }

    #[test]
    fn encodings_are_the_published_ones() {
        assert_eq!(CAMVID.value_of_class(IGNORE), Some(11));
        assert_eq!(ADE20K.value_of_class(IGNORE), Some(0));
        assert_eq!(ADE20K.class_of(150), Some(149));
        assert_eq!(ADE20K.class_of(151), None);
        let ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33];
        for (train_id, label_id) in ids.into_iter().enumerate() {
            assert_eq!(CITYSCAPES.class_of(label_id), Some(train_id as u8));
        }
        assert_eq!(CITYSCAPES.class_of(34), None);
    }

    #[test]
    fn pascal_context_has_two_orders_and_two_kinds_of_file() {
        let png = context(59, ClassOrder::Alphabetical, ContextLabels::Png);
        assert_eq!(
            (png.class_of(0), png.class_of(1), png.class_of(60)),
            (Some(IGNORE), Some(0), None)
        );
        let counted = context(60, ClassOrder::Alphabetical, ContextLabels::Png);
        assert_eq!((counted.class_of(0), counted.value_of_class(IGNORE)), (Some(0), None));
        // The first twenty of the official order are VOC's classes.
        let official = context(59, ClassOrder::Official, ContextLabels::Png);
        let first: Vec<&str> = official.classes[..20].iter().map(|c| c.name.as_str()).collect();
        let voc = "aeroplane bicycle bird boat bottle bus car cat chair cow table dog horse \
                   motorbike person pottedplant sheep sofa train tvmonitor";
        assert_eq!(first, voc.split_whitespace().collect::<Vec<_>>());
        // Ids of the .mat files: aeroplane 2, wood 458, all others background, 0 and 460 none.
        let mat = context(59, ClassOrder::Official, ContextLabels::Mat);
        assert_eq!(
            (mat.class_of(2), mat.class_of(458), mat.class_of(459)),
            (Some(0), Some(58), Some(IGNORE))
        );
        assert_eq!((mat.class_of(1), mat.class_of(460)), (Some(IGNORE), None));
        let mat = context(60, ClassOrder::Alphabetical, ContextLabels::Mat);
        assert_eq!(
            (mat.class_of(1), mat.class_of(2), mat.class_of(9)),
            (Some(0), Some(1), Some(2))
        );
    }

    #[test]
    fn values_are_named_in_runs() {
        let row = |value| Row { value, class: Some(0), ..Row::default() };
        let table = ClassTable::new([1, 2, 3, 7, 255].map(row), "");
        assert_eq!(table.values_in_words(), "the dataset's values are 1 to 3, 7, 255");
    }
}
