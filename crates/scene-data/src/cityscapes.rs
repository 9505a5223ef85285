//! Cityscapes with fine annotations: 2,975/500 images of 2048×1024, 19 classes.

use std::path::Path;

use crate::class_table::CITYSCAPES;
use crate::encoding::Encoding;
use crate::layout::{Layout, describe};
use crate::on_disk::{Listing, Pair};
use crate::scan::{LeftOut, names};
use crate::{Error, Split};

/// Lists a split: all photographs of all its cities, sorted by city and name.
///
/// The labels are read from `labelIds` files and mapped to the 19 training classes on the fly:
/// the release has no `labelTrainIds` files. Test labels are withheld (the files there are
/// dummies), so [`Split::Test`] is the validation split.
pub(crate) fn list(root: &Path, split: Split) -> Result<Listing, Error> {
    let root = Layout::Cityscapes.locate(root)?;
    let split = match split {
        Split::Train => "train",
        Split::Val | Split::Test => "val",
    };
    let images = root.join("leftImg8bit").join(split);
    let (mut pairs, mut left_out) = (Vec::new(), LeftOut::default());
    for city in if images.is_dir() { names(&images, &mut left_out)? } else { Vec::new() } {
        let folder = images.join(&city);
        if !folder.is_dir() {
            left_out.others.push(folder);
            continue;
        }
        for name in names(&folder, &mut left_out)? {
            let image = folder.join(&name);
            let Some(id) = name.to_str().and_then(|name| name.strip_suffix("_leftImg8bit.png"))
            else {
                left_out.others.push(image);
                continue;
            };
            let labels = root.join("gtFine").join(split).join(&city);
            let labels = labels.join(format!("{id}_gtFine_labelIds.png"));
            pairs.push(Pair { id: id.to_owned(), image, labels });
        }
    }
    if pairs.is_empty() {
        return Err(Error::NotTheDataset {
            dataset: Layout::Cityscapes.title(),
            root,
            expected: format!("leftImg8bit/{split}/<city>/*_leftImg8bit.png"),
            found: describe(&images),
        });
    }
    let encoding = Encoding::Indices(CITYSCAPES.clone());
    let (name, layout) = ("cityscapes".into(), Layout::Cityscapes);
    Ok(Listing { name, layout, root, encoding, pairs, left_out })
}
