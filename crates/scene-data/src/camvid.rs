//! CamVid: SegNet's split at 480×360 and the original release at 960×720; 367/101/233 images, 11
//! classes.

use std::path::{Component, Path, PathBuf};

use crate::class_table::CAMVID;
use crate::encoding::{ColorTable, Encoding};
use crate::layout::{Layout, describe};
use crate::on_disk::{Listing, Pair, list_lines};
use crate::scan::LeftOut;
use crate::{Error, IGNORE, Split};

/// Lists a split of SegNet's form through its list, `train.txt` for instance.
///
/// A line holds the paths of an image and of its labels. The lists that are passed around start
/// them with folders of their makers' machines (`/SegNet/CamVid/train/x.png`), so only the last
/// folder and the file name count. The file's ending is the list's.
pub(crate) fn list(root: &Path, split: Split) -> Result<Listing, Error> {
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
    let encoding = Encoding::Indices(CAMVID.clone());
    let (name, layout, left_out) = ("camvid".into(), Layout::CamVid, LeftOut::default());
    Ok(Listing { name, layout, root, encoding, pairs, left_out })
}

/// Lists a split of the original release: all stills in one folder, all labels, in colour, in
/// another; the split is SegNet's, told by sequence and frame number.
pub(crate) fn list_original(root: &Path, split: Split) -> Result<Listing, Error> {
    let root = Layout::CamVidOriginal.locate(root)?;
    let facts = original();
    let (images, labels) = (root.join(STILLS), root.join(LABELS));
    let pair = |id: String| Pair {
        image: images.join(format!("{id}.png")),
        labels: labels.join(format!("{id}_L.png")),
        id,
    };
    let runs = facts.run.iter().filter(|run| run.split == split);
    let mut pairs: Vec<Pair> = runs.flat_map(Run::ids).map(pair).collect();
    let promised = pairs.len();
    // As in sets without lists, what is there counts; whether it is all, verifying tells.
    pairs.retain(|pair| pair.image.is_file() || pair.labels.is_file());
    if pairs.is_empty() {
        return Err(Error::NotTheDataset {
            dataset: Layout::CamVidOriginal.title(),
            root,
            expected: format!("the {promised} stills of {split} in {STILLS}"),
            found: describe(&images),
        });
    }
    let class_of_color = facts.color.iter().map(|c| (c.color, c.class.unwrap_or(IGNORE))).collect();
    let encoding = Encoding::Colors(ColorTable { classes: CAMVID.classes.clone(), class_of_color });
    let (name, layout, left_out) = ("camvid".into(), Layout::CamVidOriginal, LeftOut::default());
    Ok(Listing { name, layout, root, encoding, pairs, left_out })
}

/// The folder of the original release's photographs.
pub(crate) const STILLS: &str = "701_StillsRaw_full";
/// The folder of its labels.
pub(crate) const LABELS: &str = "LabeledApproved_full";

/// The facts of `datasets/camvid/original.toml`.
#[derive(serde::Deserialize)]
pub(crate) struct Original {
    pub(crate) color: Vec<Color>,
    pub(crate) run: Vec<Run>,
}

/// A colour of the original labels and the class it is merged into.
#[derive(serde::Deserialize)]
pub(crate) struct Color {
    pub(crate) color: [u8; 3],
    pub(crate) class: Option<u8>,
}

/// Stills at a regular distance in a sequence.
#[derive(serde::Deserialize)]
pub(crate) struct Run {
    pub(crate) split: Split,
    prefix: String,
    digits: usize,
    first: usize,
    last: usize,
    step: usize,
}

impl Run {
    /// The stills' names.
    pub(crate) fn ids(&self) -> impl Iterator<Item = String> + '_ {
        let frames = (self.first..=self.last).step_by(self.step);
        frames.map(|frame| format!("{}{frame:0digits$}", self.prefix, digits = self.digits))
    }
}

/// Reads the embedded facts.
pub(crate) fn original() -> Original {
    let text = include_str!("../../../datasets/camvid/original.toml");
    toml::from_str(text).expect("the embedded facts are read by the tests")
}

/// The last folder and the file name of `listed`, under `root`.
fn inside(root: &Path, listed: &str) -> PathBuf {
    let parts = Path::new(listed).components().filter(|c| matches!(c, Component::Normal(_)));
    let parts: Vec<_> = parts.collect();
    root.join(parts[parts.len().saturating_sub(2)..].iter().collect::<PathBuf>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_has_32_colours_and_the_split_of_segnet() {
        let facts = original();
        assert_eq!(facts.color.len(), 32);
        for class in 0..11 {
            assert!(facts.color.iter().any(|color| color.class == Some(class)), "{class}");
        }
        let ignored = facts.color.iter().filter(|color| color.class.is_none());
        assert_eq!(ignored.map(|color| color.color).collect::<Vec<_>>(), [[0; 3]]);
        for (split, images) in [(Split::Train, 367), (Split::Val, 101), (Split::Test, 233)] {
            let runs = facts.run.iter().filter(|run| run.split == split);
            assert_eq!(runs.flat_map(Run::ids).count(), images, "{split}");
        }
    }
}
