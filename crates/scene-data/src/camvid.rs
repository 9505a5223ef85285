//! CamVid as split and shrunk by SegNet's authors: 480×360, 367/101/233 images, 11 classes.

use std::path::{Component, Path, PathBuf};

use crate::class_table::CAMVID;
use crate::folder::{FolderDataset, Pair, list_lines};
use crate::layout::Layout;
use crate::{Error, Split};

/// Opens a split through its list, `train.txt` for instance.
///
/// A line holds the paths of an image and of its labels. The lists that are passed around start
/// them with folders of their makers' machines (`/SegNet/CamVid/train/x.png`), so only the last
/// folder and the file name count. The file's ending is the list's.
pub(crate) fn open(root: &Path, split: Split) -> Result<FolderDataset, Error> {
    let root = Layout::CamVid.locate(root)?;
    let list = root.join(format!("{split}.txt"));
    let mut pairs = Vec::new();
    for (line, text) in list_lines(&list)? {
        let mut fields = text.split_whitespace();
        let (Some(image), Some(labels), None) = (fields.next(), fields.next(), fields.next())
        else {
            let expected = "two paths, of the image and of its labels";
            return Err(Error::List { file: list, line, expected, found: text });
        };
        let id = Path::new(image).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let Some(id) = id else {
            let expected = "the path of an image";
            return Err(Error::List { file: list, line, expected, found: text });
        };
        pairs.push(Pair { id, image: inside(&root, image), labels: inside(&root, labels) });
    }
    FolderDataset::new(Layout::CamVid, &root, &CAMVID, pairs)
}

/// The last folder and the file name of `listed`, under `root`.
fn inside(root: &Path, listed: &str) -> PathBuf {
    let parts = Path::new(listed).components().filter(|c| matches!(c, Component::Normal(_)));
    let parts: Vec<_> = parts.collect();
    root.join(parts[parts.len().saturating_sub(2)..].iter().collect::<PathBuf>())
}
