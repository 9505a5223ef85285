//! Which pixels a dataset counts, and which of a matrix's means is its official headline.

use std::fmt;
use std::str::FromStr;

use crate::{AbsentClass, ConfusionMatrix, Error};

/// A dataset's official way to one number.
///
/// Serialised, printed and parsed by its [name](Protocol::name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Protocol {
    /// CamVid in 11 classes, the SegNet split: classes absent from the split are skipped.
    Camvid,
    /// ADE20K in 150 classes, as its development kit: absent classes count as 0.
    Ade20k,
    /// Cityscapes in 19 classes, class IoU: absent classes are skipped.
    Cityscapes,
    /// PASCAL-Context in 59 classes, background ignored, as the authors of DAG-RNN score it: absent
    /// classes count as 0.
    #[serde(rename = "pascal-context-59")]
    PascalContext59,
    /// PASCAL-Context in 60 classes, background counted, as FCN scores it: absent classes are
    /// skipped.
    #[serde(rename = "pascal-context-60")]
    PascalContext60,
    /// The synthetic set: absent classes are skipped.
    Beacons,
    /// A user's own folder: absent classes are skipped.
    Folder,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 7] = [
        Self::Camvid,
        Self::Ade20k,
        Self::Cityscapes,
        Self::PascalContext59,
        Self::PascalContext60,
        Self::Beacons,
        Self::Folder,
    ];

    /// Its name in configurations and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Camvid => "camvid",
            Self::Ade20k => "ade20k",
            Self::Cityscapes => "cityscapes",
            Self::PascalContext59 => "pascal-context-59",
            Self::PascalContext60 => "pascal-context-60",
            Self::Beacons => "beacons",
            Self::Folder => "folder",
        }
    }

    /// Number of classes; `None` where a configuration decides.
    pub fn classes(self) -> Option<usize> {
        match self {
            Self::Camvid => Some(11),
            Self::Ade20k => Some(150),
            Self::Cityscapes => Some(19),
            Self::PascalContext59 => Some(59),
            Self::PascalContext60 => Some(60),
            Self::Beacons | Self::Folder => None,
        }
    }

    /// Which pixels are not counted, in words for a table's caption.
    pub fn ignored(self) -> &'static str {
        match self {
            Self::Camvid => "pixels labelled void are ignored",
            Self::Ade20k => "pixels labelled 0 (other) are ignored",
            Self::Cityscapes => {
                "pixels of the label ids 0-6, 9, 10, 14-16, 18, 29, 30 and -1 are ignored"
            }
            Self::PascalContext59 => "background pixels are ignored",
            Self::PascalContext60 => "no pixel is ignored, background is a class",
            Self::Beacons => "no pixel is ignored",
            Self::Folder => "pixels of the values that dataset.toml lists as ignored are ignored",
        }
    }

    /// What is counted and how, as a sentence for a table's caption.
    ///
    /// ```
    /// assert_eq!(
    ///     seg_metrics::Protocol::PascalContext59.rule(),
    ///     "pascal-context-59: 59 classes; background pixels are ignored; a class neither labelled \
    ///      nor predicted counts as 0; a prediction outside the classes is a miss of the labelled \
    ///      class and nobody's false alarm."
    /// );
    /// ```
    pub fn rule(self) -> String {
        let classes = match self.classes() {
            Some(classes) => format!("{classes} classes"),
            None => "as many classes as configured".to_owned(),
        };
        format!(
            "{self}: {classes}; {}; a class neither labelled nor predicted {}; a prediction outside \
             the classes is a miss of the labelled class and nobody's false alarm.",
            self.ignored(),
            self.absent_class().words(),
        )
    }

    /// What a class that occurs nowhere counts.
    pub fn absent_class(self) -> AbsentClass {
        match self {
            Self::Ade20k | Self::PascalContext59 => AbsentClass::Zero,
            Self::Camvid
            | Self::Cityscapes
            | Self::PascalContext60
            | Self::Beacons
            | Self::Folder => AbsentClass::Skip,
        }
    }

    /// The mIoU this protocol reports; `None` if nothing is labelled.
    pub fn headline_miou(self, matrix: &ConfusionMatrix) -> Option<f64> {
        matrix.miou(self.absent_class())
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            Error::UnknownProtocol { name: name.to_owned(), known }
        })
    }
}
