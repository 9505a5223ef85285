//! Which dataset a folder holds, told by its entries alone.

use std::path::{Path, PathBuf};

use crate::config::{CamVidConfig, CamVidForm, ContextLabels, PascalContextConfig};
use crate::scan::sorted_names;
use crate::{DatasetConfig, Error, Split, camvid, own_folder};

/// A dataset's genuine layout on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// CamVid as SegNet's authors split it: lists, and one folder per split for each kind of file.
    #[serde(rename = "camvid")]
    CamVid,
    /// CamVid as its authors released it: stills and colour labels in a folder each.
    #[serde(rename = "camvid-original")]
    CamVidOriginal,
    /// MIT SceneParsing150, `ADEChallengeData2016`.
    Ade20k,
    /// PASCAL-Context as PNGs beside the photographs of VOC2010.
    PascalContext,
    /// PASCAL-Context as the official `.mat` files beside VOC2010.
    PascalContextMat,
    /// Cityscapes with fine annotations.
    Cityscapes,
    /// A user's own folder, described by its `dataset.toml`.
    Folder,
}

impl Layout {
    /// All layouts.
    pub const ALL: [Self; 7] = [
        Self::CamVid,
        Self::CamVidOriginal,
        Self::Ade20k,
        Self::PascalContext,
        Self::PascalContextMat,
        Self::Cityscapes,
        Self::Folder,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::CamVid => "camvid",
            Self::CamVidOriginal => "camvid-original",
            Self::Ade20k => "ade20k",
            Self::PascalContext => "pascal-context",
            Self::PascalContextMat => "pascal-context-mat",
            Self::Cityscapes => "cityscapes",
            Self::Folder => "folder",
        }
    }

    /// The configuration that reads it, with every other option at its default.
    pub fn config(self) -> DatasetConfig {
        match self {
            Self::CamVid => DatasetConfig::CamVid(CamVidConfig::default()),
            Self::CamVidOriginal => {
                DatasetConfig::CamVid(CamVidConfig { form: CamVidForm::Original })
            }
            Self::Ade20k => DatasetConfig::Ade20k {},
            Self::PascalContext => DatasetConfig::PascalContext(PascalContextConfig::default()),
            Self::PascalContextMat => DatasetConfig::PascalContext(PascalContextConfig {
                labels: ContextLabels::Mat,
                ..PascalContextConfig::default()
            }),
            Self::Cityscapes => DatasetConfig::Cityscapes {},
            Self::Folder => DatasetConfig::Folder {},
        }
    }

    /// The official number of images with published labels; the user's own folder has none.
    ///
    /// Where the test labels are withheld, test is the validation split and is not listed again.
    pub fn official_counts(self) -> &'static [(Split, usize)] {
        match self {
            Self::CamVid | Self::CamVidOriginal => {
                &[(Split::Train, 367), (Split::Val, 101), (Split::Test, 233)]
            }
            Self::Ade20k => &[(Split::Train, 20_210), (Split::Val, 2_000)],
            Self::PascalContext | Self::PascalContextMat => {
                &[(Split::Train, 4_998), (Split::Val, 5_105)]
            }
            Self::Cityscapes => &[(Split::Train, 2_975), (Split::Val, 500)],
            Self::Folder => &[],
        }
    }

    /// The name in messages.
    pub fn title(self) -> &'static str {
        match self {
            Self::CamVid => "CamVid (SegNet split)",
            Self::CamVidOriginal => "the original CamVid (960×720, colour labels)",
            Self::Ade20k => "ADE20K (SceneParsing150)",
            Self::PascalContext => "PASCAL-Context (PNG layout)",
            Self::PascalContextMat => "PASCAL-Context (official .mat files)",
            Self::Cityscapes => "Cityscapes (fine annotations)",
            Self::Folder => "a folder of one's own",
        }
    }

    /// The entries that make a folder this dataset's.
    pub(crate) fn entries(self) -> &'static [&'static str] {
        match self {
            Self::CamVid => &["train.txt", "train", "trainannot"],
            Self::CamVidOriginal => &[camvid::STILLS, camvid::LABELS],
            Self::Ade20k => &["images", "annotations"],
            Self::PascalContext => {
                &["JPEGImages", "SegmentationClassContext", "ImageSets/SegmentationContext"]
            }
            Self::PascalContextMat => &["trainval"], // of .mat files
            Self::Cityscapes => &["leftImg8bit", "gtFine"],
            Self::Folder => &[own_folder::DESCRIPTION],
        }
    }

    /// Folders that people put around the dataset, outermost first.
    fn wrappers(self) -> &'static [&'static str] {
        match self {
            Self::CamVid | Self::CamVidOriginal => &["CamVid", "camvid"],
            Self::Ade20k => &["ADEChallengeData2016"],
            Self::PascalContext => &["VOC2010", "VOCdevkit/VOC2010"],
            Self::Cityscapes => &["cityscapes"],
            Self::PascalContextMat | Self::Folder => &[],
        }
    }

    /// How a configuration asks for this form, where another form of the dataset is the default.
    fn option(self) -> &'static str {
        match self {
            Self::CamVidOriginal => "; to read it, set dataset.form = \"original\"",
            Self::PascalContextMat => "; to read it, set dataset.labels = \"mat\"",
            _ => "",
        }
    }

    /// The entries in words.
    pub fn expected(self) -> String {
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

    /// The same, or nothing.
    pub(crate) fn find(self, root: &Path) -> Option<PathBuf> {
        let mut folders = vec![root.to_path_buf()];
        folders.extend(self.wrappers().iter().map(|wrapper| root.join(wrapper)));
        let is_whole = |folder: &PathBuf| {
            self.entries().iter().all(|entry| folder.join(entry).exists())
                && (self != Self::PascalContextMat || holds_mat(&folder.join("trainval")))
        };
        folders.into_iter().find(is_whole)
    }
}

/// Whether a folder holds MATLAB files.
fn holds_mat(folder: &Path) -> bool {
    let names = sorted_names(folder).unwrap_or_default();
    names.iter().any(|name| Path::new(name).extension().is_some_and(|ending| ending == "mat"))
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
        Some((dataset, option)) => format!("{listing}; this looks like {dataset}{option}"),
        None => listing,
    }
}

/// Names the dataset a folder holds, also in forms that this crate does not read.
fn recognise(root: &Path) -> Option<(&'static str, &'static str)> {
    let mut layouts = Layout::ALL.into_iter();
    if let Some(layout) = layouts.find(|layout| layout.find(root).is_some()) {
        return Some((layout.title(), layout.option()));
    }
    OTHER_FORMS
        .iter()
        .find(|(_, entries)| entries.iter().any(|entry| root.join(entry).exists()))
        .map(|(name, _)| (*name, ""))
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
        "a part of the official PASCAL-Context annotations",
        &["trainval_merged.json", "59_labels.txt", "trainval"],
    ),
    ("a part of the original CamVid", &[camvid::STILLS, camvid::LABELS, "label_colors.txt"]),
    (
        "PASCAL VOC without the Context annotations",
        &["JPEGImages", "VOC2010/JPEGImages", "VOCdevkit/VOC2010/JPEGImages", "VOCdevkit/VOC2012"],
    ),
    ("a part of Cityscapes", &["leftImg8bit", "gtFine", "gtCoarse"]),
    ("a part of CamVid (SegNet split)", &["trainannot", "valannot", "testannot"]),
];
