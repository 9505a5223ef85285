//! What stands for each class in a dataset's labels, as facts that a result keeps and is held to.

use crate::{Class, IGNORE};

/// The values that stand for each class, and those that are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelValues {
    /// What a value is.
    pub kind: ValueKind,
    /// The values of each class, by its index, ascending.
    pub of_classes: Vec<Vec<u32>>,
    /// The values that no loss and no score counts, ascending.
    pub ignored: Vec<u32>,
}

/// What the values of labels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Class indices of labels that are made with the images.
    Generated,
    /// Pixels of index PNGs.
    Indices,
    /// Numbers in MATLAB files.
    Mat,
    /// Colours, `0xRRGGBB`.
    Colours,
}

impl LabelValues {
    /// Sorts pairs of a value and the class index or [`IGNORE`] that it stands for.
    pub(crate) fn of(
        kind: ValueKind,
        classes: usize,
        pairs: impl IntoIterator<Item = (u32, u8)>,
    ) -> Self {
        let mut found = Self { kind, of_classes: vec![Vec::new(); classes], ignored: Vec::new() };
        for (value, class) in pairs {
            match found.of_classes.get_mut(usize::from(class)) {
                Some(values) => values.push(value),
                None => found.ignored.push(value),
            }
        }
        found.of_classes.iter_mut().for_each(|values| values.sort_unstable());
        found.ignored.sort_unstable();
        found
    }

    /// Class indices as they are.
    pub(crate) fn generated(classes: &[Class]) -> Self {
        let indices = (0..IGNORE).take(classes.len());
        Self::of(ValueKind::Generated, classes.len(), indices.map(|class| (class.into(), class)))
    }
}
