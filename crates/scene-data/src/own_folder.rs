//! A user's own images and index PNGs, described by a `dataset.toml`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::class_table::{ClassTable, Row};
use crate::encoding::Encoding;
use crate::layout::{Layout, describe};
use crate::on_disk::Listing;
use crate::scan::{LeftOut, pairs};
use crate::{Error, IGNORE, Split};

/// The file that describes the folder.
pub(crate) const DESCRIPTION: &str = "dataset.toml";

/// The most bytes that it may have: 255 classes and three splits have some thousands.
const DESCRIPTION_BYTES: u64 = 1 << 20;

/// Endings of photographs.
const ENDINGS: [&str; 3] = ["jpg", "jpeg", "png"];

/// What a `dataset.toml` says.
///
/// ```toml
/// ignore = [255]                # values of the label PNGs that no score counts
///
/// [[class]]                     # training index 0
/// value = 0                     # as stored in the label PNGs
/// name = "meadow"
/// color = [0, 128, 0]           # in pictures; made up where absent
///
/// [split.train]
/// images = "train/images"       # JPEGs or PNGs
/// labels = "train/labels"       # PNGs of the same names
///
/// [split.val]
/// images = "val/images"
/// labels = "val/labels"
/// ```
///
/// Without `[split.test]` the test split is the validation split.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    #[serde(default)]
    ignore: Vec<u8>,
    class: Vec<OwnClass>,
    #[serde(default)]
    split: BTreeMap<Split, Folders>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnClass {
    value: u8,
    name: String,
    color: Option<[u8; 3]>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Folders {
    images: PathBuf,
    labels: PathBuf,
}

/// What the values of the label PNGs mean.
pub(crate) fn table_of(root: &Path) -> Result<ClassTable, Error> {
    let file = Layout::Folder.locate(root)?.join(DESCRIPTION);
    let description = read(&file)?;
    table(&description).map_err(|message| Error::Description { file, message })
}

fn read(file: &Path) -> Result<Description, Error> {
    let text = whole_files::read_to_string(file, DESCRIPTION_BYTES)?;
    toml::from_str(&text).map_err(|error| {
        let before = error.span().map_or("", |span| &text[..span.start]);
        let line = before.matches('\n').count() + 1;
        let message = format!("line {line}: {}", error.message());
        Error::Description { file: file.to_path_buf(), message }
    })
}

/// Lists a split: all photographs of its folder, sorted by name.
pub(crate) fn list(root: &Path, split: Split) -> Result<Listing, Error> {
    let root = Layout::Folder.locate(root)?;
    let file = root.join(DESCRIPTION);
    let wrong = |message: String| Error::Description { file: file.clone(), message };
    let description = read(&file)?;
    let table = table(&description).map_err(wrong)?;
    let folders = description
        .split
        .get(&split)
        .or_else(|| (split == Split::Test).then(|| description.split.get(&Split::Val)).flatten());
    let folders = folders.ok_or_else(|| Error::NoSplit { file: file.clone(), split })?;
    for folder in [&folders.images, &folders.labels] {
        let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if !folder.components().all(inside) {
            return Err(wrong(format!("{}: expected a folder below this file", folder.display())));
        }
    }
    let (images, labels) = (root.join(&folders.images), root.join(&folders.labels));
    let mut left_out = LeftOut::default();
    let pairs = pairs(&images, &ENDINGS, &labels, &mut left_out)?;
    if pairs.is_empty() {
        return Err(Error::NotTheDataset {
            dataset: Layout::Folder.title(),
            expected: format!("photographs in {}", folders.images.display()),
            root,
            found: describe(&images),
        });
    }
    let encoding = Encoding::Indices(table);
    let (name, layout) = ("folder".into(), Layout::Folder);
    Ok(Listing { name, layout, root, encoding, pairs, left_out })
}

fn table(description: &Description) -> Result<ClassTable, String> {
    let Description { class, ignore, .. } = description;
    if class.is_empty() || class.len() > usize::from(IGNORE) {
        return Err(format!("{} classes; expected 1 to {IGNORE}", class.len()));
    }
    let mut values: Vec<u8> = class.iter().map(|class| class.value).chain(ignore.clone()).collect();
    values.sort_unstable();
    if let Some(twice) = values.windows(2).find(|two| two[0] == two[1]) {
        return Err(format!("value {} is given twice among classes and ignored", twice[0]));
    }
    let named = class.iter().enumerate().map(|(index, class)| Row {
        value: class.value.into(),
        class: Some(index as u8),
        name: class.name.clone(),
        color: class.color.unwrap_or_else(|| made_up_color(index)),
        ..Row::default()
    });
    let ignored = ignore.iter().map(|&value| Row { value: value.into(), ..Row::default() });
    Ok(ClassTable::new(named.chain(ignored), "; name every value in [[class]] or in ignore"))
}

/// Colours that lie apart, as PASCAL VOC makes them: the bits of the index spread over the highest
/// bits of red, green and blue. Black is left out.
fn made_up_color(index: usize) -> [u8; 3] {
    let mut left = index + 1;
    let mut color = [0; 3];
    for bit in (0..8).rev() {
        for (channel, value) in color.iter_mut().enumerate() {
            *value |= (((left >> channel) & 1) << bit) as u8;
        }
        left >>= 3;
    }
    color
}
