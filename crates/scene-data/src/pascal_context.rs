//! PASCAL-Context in the PNG layout: VOC2010's photographs, 4,998/5,105 of them, 59 or 60 classes.

use std::path::Path;

use crate::class_table::ClassTable;
use crate::folder::{FolderDataset, Pair, list_lines};
use crate::layout::Layout;
use crate::{Error, Split};

/// Opens a split through `ImageSets/SegmentationContext/{train,val}.txt`, in the list's order.
///
/// There is no test split with labels, so [`Split::Test`] is the validation split. `table` says
/// whether background is ignored or counted.
pub(crate) fn open(
    root: &Path,
    split: Split,
    table: &'static ClassTable,
) -> Result<FolderDataset, Error> {
    let root = Layout::PascalContext.locate(root)?;
    let name = match split {
        Split::Train => "train",
        Split::Val | Split::Test => "val",
    };
    let list = root.join("ImageSets/SegmentationContext").join(format!("{name}.txt"));
    let mut pairs = Vec::new();
    for (line, id) in list_lines(&list)? {
        if id.contains(['/', '\\']) || id.contains(char::is_whitespace) {
            let expected = "one image id, such as 2008_000002";
            return Err(Error::List { file: list, line, expected, found: id });
        }
        let image = root.join("JPEGImages").join(format!("{id}.jpg"));
        let labels = root.join("SegmentationClassContext").join(format!("{id}.png"));
        pairs.push(Pair { id, image, labels });
    }
    FolderDataset::new(Layout::PascalContext, &root, table, pairs)
}
