//! ADE20K in the SceneParsing150 release, `ADEChallengeData2016`: 20,210/2,000 images, 150 classes.

use std::path::Path;

use crate::class_table::ADE20K;
use crate::encoding::Encoding;
use crate::layout::{Layout, describe};
use crate::on_disk::Listing;
use crate::scan::{LeftOut, pairs};
use crate::{Error, Split};

/// Lists a split: all photographs of its folder, sorted by name.
///
/// Test labels are not published, so [`Split::Test`] is the validation split.
pub(crate) fn list(root: &Path, split: Split) -> Result<Listing, Error> {
    let root = Layout::Ade20k.locate(root)?;
    let folder = match split {
        Split::Train => "training",
        Split::Val | Split::Test => "validation",
    };
    let images = root.join("images").join(folder);
    let labels = root.join("annotations").join(folder);
    let mut left_out = LeftOut::default();
    let pairs = pairs(&images, &["jpg", "jpeg"], &labels, &mut left_out)?;
    if pairs.is_empty() {
        return Err(Error::NotTheDataset {
            dataset: Layout::Ade20k.title(),
            root,
            expected: format!("images/{folder}/*.jpg"),
            found: describe(&images),
        });
    }
    let encoding = Encoding::Indices(ADE20K.clone());
    let (name, layout) = ("ade20k".into(), Layout::Ade20k);
    Ok(Listing { name, layout, root, encoding, pairs, left_out })
}
