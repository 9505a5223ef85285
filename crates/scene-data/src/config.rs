//! How a configuration names a dataset.

use std::path::Path;

use crate::beacons::{Beacons, BeaconsConfig};
use crate::class_table::{PASCAL_CONTEXT, PASCAL_CONTEXT_60};
use crate::layout::Layout;
use crate::{Error, SceneDataset, Split};
use crate::{ade20k, camvid, cityscapes, pascal_context};

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
    /// CamVid, SegNet's split, 11 classes.
    #[serde(rename = "camvid")]
    CamVid {},
    /// ADE20K, SceneParsing150, 150 classes.
    Ade20k {},
    /// PASCAL-Context, 59 or 60 classes.
    PascalContext(PascalContextConfig),
    /// Cityscapes, fine annotations, 19 classes.
    Cityscapes {},
}

/// The options of PASCAL-Context.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PascalContextConfig {
    /// 59: background is ignored, as in the DAG-RNN papers. 60: background is class 0. Scores of
    /// the two do not compare. Default: 59.
    pub classes: usize,
}

impl Default for PascalContextConfig {
    fn default() -> Self {
        Self { classes: 59 }
    }
}

impl DatasetConfig {
    /// The dataset's name, as `kind` says it.
    pub fn name(&self) -> &'static str {
        self.layout().map_or("beacons", Layout::name)
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
        let root = |layout: Layout| {
            let (dataset, expected) = (layout.title(), layout.expected());
            data_root.ok_or(Error::NoDataRoot { dataset, expected })
        };
        Ok(match self {
            Self::Beacons(config) => Box::new(Beacons::new(config, split)?),
            Self::CamVid {} => Box::new(camvid::open(root(Layout::CamVid)?, split)?),
            Self::Ade20k {} => Box::new(ade20k::open(root(Layout::Ade20k)?, split)?),
            Self::PascalContext(config) => {
                let table = match config.classes {
                    59 => &PASCAL_CONTEXT,
                    60 => &PASCAL_CONTEXT_60,
                    other => {
                        return Err(Error::Config {
                            config: "pascal-context",
                            field: "classes",
                            value: other.to_string(),
                            expected: "59 (background ignored) or 60 (background counted)".into(),
                        });
                    }
                };
                let root = root(Layout::PascalContext)?;
                Box::new(pascal_context::open(root, split, table)?)
            }
            Self::Cityscapes {} => Box::new(cityscapes::open(root(Layout::Cityscapes)?, split)?),
        })
    }

    /// The layout on disk; the synthetic set has none.
    fn layout(&self) -> Option<Layout> {
        match self {
            Self::Beacons(_) => None,
            Self::CamVid {} => Some(Layout::CamVid),
            Self::Ade20k {} => Some(Layout::Ade20k),
            Self::PascalContext(_) => Some(Layout::PascalContext),
            Self::Cityscapes {} => Some(Layout::Cityscapes),
        }
    }
}
