//! Which of a matrix's means is the official headline.

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
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 6] = [
        Self::Camvid,
        Self::Ade20k,
        Self::Cityscapes,
        Self::PascalContext59,
        Self::PascalContext60,
        Self::Beacons,
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
        }
    }

    /// What a class that occurs nowhere counts.
    pub fn absent_class(self) -> AbsentClass {
        match self {
            Self::Ade20k | Self::PascalContext59 => AbsentClass::Zero,
            Self::Camvid | Self::Cityscapes | Self::PascalContext60 | Self::Beacons => {
                AbsentClass::Skip
            }
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
