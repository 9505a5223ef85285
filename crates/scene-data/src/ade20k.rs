//! ADE20K in the SceneParsing150 release, `ADEChallengeData2016`: 20,210/2,000 images, 150 classes.

use std::path::Path;

use crate::class_table::ADE20K;
use crate::encoding::Encoding;
use crate::layout::{Layout, describe};
use crate::on_disk::{Listing, Pair, sorted_names};
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
    let mut pairs = Vec::new();
    if images.is_dir() {
        for name in sorted_names(&images)? {
            let image = images.join(&name);
            let Some(stem) = image.file_stem().filter(|_| is_jpeg(&image)) else { continue };
            let id = stem.to_string_lossy().into_owned();
            let labels = root.join("annotations").join(folder).join(format!("{id}.png"));
            pairs.push(Pair { id, image, labels });
        }
    }
    if pairs.is_empty() {
        return Err(Error::NotTheDataset {
            dataset: Layout::Ade20k.title(),
            root,
            expected: format!("images/{folder}/*.jpg"),
            found: describe(&images),
        });
    }
    let encoding = Encoding::Indices(ADE20K.clone());
    Ok(Listing { name: "ade20k".into(), layout: Layout::Ade20k, root, encoding, pairs })
}

fn is_jpeg(file: &Path) -> bool {
    file.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("jpg") || e.eq_ignore_ascii_case("jpeg"))
}
