//! How a configuration names a dataset.

use std::path::Path;

use crate::beacons::{Beacons, BeaconsConfig};
use crate::layout::Layout;
use crate::on_disk::{Listing, OnDisk};
use crate::{Error, SceneDataset, Split};
use crate::{ade20k, camvid, cityscapes, own_folder, pascal_context};

/// A dataset and its options; `kind` tells which.
///
/// ```
/// let config: scene_data::DatasetConfig = toml::from_str("kind = \"camvid\"")?;
/// assert_eq!(config.name(), "camvid");
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DatasetConfig {
    /// The synthetic set, generated in memory.
    Beacons(BeaconsConfig),
    /// CamVid, 11 classes.
    #[serde(rename = "camvid")]
    CamVid(CamVidConfig),
    /// ADE20K, SceneParsing150, 150 classes.
    Ade20k {},
    /// PASCAL-Context, 59 or 60 classes.
    PascalContext(PascalContextConfig),
    /// Cityscapes, fine annotations, 19 classes.
    Cityscapes {},
    /// A user's own images and index PNGs, described by the `dataset.toml` beside them.
    Folder {},
}

/// The options of CamVid.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CamVidConfig {
    /// Which release. Scores of the two do not compare.
    pub form: CamVidForm,
}

/// A release of CamVid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CamVidForm {
    /// 480×360 with index labels, as SegNet's authors shrunk and split it.
    #[default]
    Segnet,
    /// 960×720 with labels in 32 colours, merged to the same 11 classes, in the same split.
    Original,
}

/// The options of PASCAL-Context.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PascalContextConfig {
    /// 59: background is ignored, as in the DAG-RNN papers. 60: background is class 0. Scores of
    /// the two do not compare. Default: 59.
    pub classes: usize,
    /// The order of the classes' indices. Default: alphabetical.
    pub order: ClassOrder,
    /// Which label files are read. Default: PNG.
    pub labels: ContextLabels,
}

impl Default for PascalContextConfig {
    fn default() -> Self {
        Self { classes: 59, order: ClassOrder::Alphabetical, labels: ContextLabels::Png }
    }
}

impl PascalContextConfig {
    /// Where these label files lie.
    pub(crate) fn layout(&self) -> Layout {
        match self.labels {
            ContextLabels::Png => Layout::PascalContext,
            ContextLabels::Mat => Layout::PascalContextMat,
        }
    }
}

/// An order of PASCAL-Context's classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassOrder {
    /// By name, as in the PNG layout.
    Alphabetical,
    /// As in the official list of 59: VOC's twenty first.
    Official,
}

/// A form of PASCAL-Context's labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContextLabels {
    /// `SegmentationClassContext/*.png`, 0 to 59.
    Png,
    /// The official `trainval/*.mat` of 459 ids.
    Mat,
}

impl DatasetConfig {
    /// The configuration that a dataset's name alone stands for, with every default.
    ///
    /// # Errors
    ///
    /// A name of no dataset.
    pub fn named(name: &str) -> Result<Self, Error> {
        Ok(match name {
            "beacons" => Self::Beacons(BeaconsConfig::default()),
            "camvid" => Self::CamVid(CamVidConfig::default()),
            "ade20k" => Self::Ade20k {},
            "pascal-context" => Self::PascalContext(PascalContextConfig::default()),
            "cityscapes" => Self::Cityscapes {},
            "folder" => Self::Folder {},
            _ => return Err(Error::UnknownDataset { name: name.to_owned() }),
        })
    }

    /// Checks the options, as far as they can be without the files.
    ///
    /// # Errors
    ///
    /// One that cannot work, named.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Beacons(config) => config.check(),
            Self::PascalContext(config) => pascal_context::table(config).map(drop),
            Self::CamVid(_) | Self::Ade20k {} | Self::Cityscapes {} | Self::Folder {} => Ok(()),
        }
    }

    /// The names of all datasets.
    pub const NAMES: [&str; 6] =
        ["beacons", "camvid", "ade20k", "pascal-context", "cityscapes", "folder"];

    /// The dataset's name, as `kind` says it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Beacons(_) => "beacons",
            Self::CamVid(_) => "camvid",
            Self::Ade20k {} => "ade20k",
            Self::PascalContext(_) => "pascal-context",
            Self::Cityscapes {} => "cityscapes",
            Self::Folder {} => "folder",
        }
    }

    /// Opens one split. The synthetic set needs no `data_root` and ignores it.
    ///
    /// # Errors
    ///
    /// A value outside its range; a data root that is not given, does not exist, is empty or
    /// holds another dataset; a list that promises files which are not there.
    pub fn open(
        &self,
        data_root: Option<&Path>,
        split: Split,
    ) -> Result<Box<dyn SceneDataset>, Error> {
        Ok(match self {
            Self::Beacons(config) => Box::new(Beacons::new(config, split)?),
            _ => Box::new(OnDisk::new(self.list(data_root, split)?)?),
        })
    }

    /// What the lists and folders of a split promise.
    pub(crate) fn list(&self, data_root: Option<&Path>, split: Split) -> Result<Listing, Error> {
        let Some(layout) = self.layout() else {
            return Err(Error::UnknownDataset { name: format!("{} on disk", self.name()) });
        };
        let (dataset, expected) = (layout.title(), layout.expected());
        let root = data_root.ok_or(Error::NoDataRoot { dataset, expected })?;
        match self {
            Self::CamVid(CamVidConfig { form: CamVidForm::Original }) => {
                camvid::list_original(root, split)
            }
            Self::CamVid(_) => camvid::list(root, split),
            Self::PascalContext(config) => pascal_context::list(root, split, config),
            Self::Cityscapes {} => cityscapes::list(root, split),
            Self::Folder {} => own_folder::list(root, split),
            Self::Ade20k {} | Self::Beacons(_) => ade20k::list(root, split),
        }
    }

    /// The layout on disk; the synthetic set has none.
    pub fn layout(&self) -> Option<Layout> {
        match self {
            Self::Beacons(_) => None,
            Self::CamVid(CamVidConfig { form: CamVidForm::Segnet }) => Some(Layout::CamVid),
            Self::CamVid(_) => Some(Layout::CamVidOriginal),
            Self::Ade20k {} => Some(Layout::Ade20k),
            Self::PascalContext(config) => Some(config.layout()),
            Self::Cityscapes {} => Some(Layout::Cityscapes),
            Self::Folder {} => Some(Layout::Folder),
        }
    }
}
