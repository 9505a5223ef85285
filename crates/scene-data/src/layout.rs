//! Which dataset a folder holds, told by its entries alone.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::folder::sorted_names;

/// A dataset's genuine layout on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// CamVid as SegNet's authors split it: lists, and one folder per split for each kind of file.
    #[serde(rename = "camvid")]
    CamVid,
    /// MIT SceneParsing150, `ADEChallengeData2016`.
    Ade20k,
    /// PASCAL-Context as PNGs beside the photographs of VOC2010.
    PascalContext,
    /// Cityscapes with fine annotations.
    Cityscapes,
}

impl Layout {
    /// All layouts.
    pub const ALL: [Self; 4] = [Self::CamVid, Self::Ade20k, Self::PascalContext, Self::Cityscapes];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::CamVid => "camvid",
            Self::Ade20k => "ade20k",
            Self::PascalContext => "pascal-context",
            Self::Cityscapes => "cityscapes",
        }
    }

    /// The name in messages.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::CamVid => "CamVid (SegNet split)",
            Self::Ade20k => "ADE20K (SceneParsing150)",
            Self::PascalContext => "PASCAL-Context (PNG layout)",
            Self::Cityscapes => "Cityscapes (fine annotations)",
        }
    }

    /// The entries that make a folder this dataset's.
    fn entries(self) -> &'static [&'static str] {
        match self {
            Self::CamVid => &["train.txt", "train", "trainannot"],
            Self::Ade20k => &["images", "annotations"],
            Self::PascalContext => {
                &["JPEGImages", "SegmentationClassContext", "ImageSets/SegmentationContext"]
            }
            Self::Cityscapes => &["leftImg8bit", "gtFine"],
        }
    }

    /// Folders that people put around the dataset, outermost first.
    fn wrappers(self) -> &'static [&'static str] {
        match self {
            Self::CamVid => &["CamVid", "camvid"],
            Self::Ade20k => &["ADEChallengeData2016"],
            Self::PascalContext => &["VOC2010", "VOCdevkit/VOC2010"],
            Self::Cityscapes => &["cityscapes"],
        }
    }

    /// The entries in words.
    pub(crate) fn expected(self) -> String {
        self.entries().join(", ")
    }

    /// The dataset's own folder: `root`, or one of the usual folders in it.
    pub(crate) fn locate(self, root: &Path) -> Result<PathBuf, Error> {
        if let Some(folder) = self.find(root) {
            return Ok(folder);
        }
        Err(Error::NotTheDataset {
            dataset: self.title(),
            root: root.to_path_buf(),
            expected: self.expected(),
            found: describe(root),
        })
    }

    fn find(self, root: &Path) -> Option<PathBuf> {
        let mut folders = vec![root.to_path_buf()];
        folders.extend(self.wrappers().iter().map(|wrapper| root.join(wrapper)));
        folders.into_iter().find(|folder| self.entries().iter().all(|e| folder.join(e).exists()))
    }
}

/// Says in words what a folder holds, naming the datasets it may be.
pub(crate) fn describe(root: &Path) -> String {
    if !root.exists() {
        return "no such folder".to_owned();
    }
    if !root.is_dir() {
        return "a file, not a folder".to_owned();
    }
    let names = match sorted_names(root) {
        Ok(names) => names,
        Err(error) => return error.to_string(),
    };
    if names.is_empty() {
        return "an empty folder".to_owned();
    }
    let mut listing: Vec<_> = names.iter().take(6).map(|n| n.to_string_lossy().into()).collect();
    if names.len() > listing.len() {
        listing.push(format!("and {} more", names.len() - listing.len()));
    }
    let listing = listing.join(", ");
    match recognise(root) {
        Some(dataset) => format!("{listing}; this looks like {dataset}"),
        None => listing,
    }
}

/// Names the dataset a folder holds, also in forms that this crate does not read.
fn recognise(root: &Path) -> Option<&'static str> {
    let known = Layout::ALL.into_iter().find(|layout| layout.find(root).is_some());
    if let Some(layout) = known {
        return Some(layout.title());
    }
    OTHER_FORMS
        .iter()
        .find(|(_, entries)| entries.iter().any(|entry| root.join(entry).exists()))
        .map(|(name, _)| *name)
}

/// Datasets in forms that are often taken for the ones above; any one entry tells.
const OTHER_FORMS: [(&str, &[&str]); 6] = [
    (
        "the full ADE20K (thousands of classes in RGB _seg.png files), \
         not the SceneParsing150 release ADEChallengeData2016",
        &[
            "index_ade20k.mat",
            "index_ade20k.pkl",
            "ADE20K_2016_07_26",
            "ADE20K_2021_17_01",
            "images/ADE",
            "images/training/a",
        ],
    ),
    (
        "the original CamVid (960×720, colour labels), not the SegNet split",
        &["701_StillsRaw_full", "LabeledApproved_full", "label_colors.txt"],
    ),
    (
        "the official PASCAL-Context annotations (.mat files of 459 ids), not the PNG layout",
        &["trainval/2008_000002.mat", "trainval_merged.json", "59_labels.txt"],
    ),
    (
        "PASCAL VOC without the Context annotations",
        &["JPEGImages", "VOC2010/JPEGImages", "VOCdevkit/VOC2010/JPEGImages", "VOCdevkit/VOC2012"],
    ),
    ("a part of Cityscapes", &["leftImg8bit", "gtFine", "gtCoarse"]),
    ("a part of CamVid (SegNet split)", &["trainannot", "valannot", "testannot"]),
];
