//! What all datasets have in common.

use std::fmt;
use std::str::FromStr;

use crate::{Class, Error, FingerprintCache, LabelValues, Sample, U16Map, fingerprint};

/// A part of a dataset.
///
/// ADE20K, PASCAL-Context and Cityscapes publish no test labels: there, [`Split::Test`] is the
/// official validation split, as it is in the tables of papers.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// What a model learns from.
    Train,
    /// What a model is chosen by.
    Val,
    /// What a model is scored on.
    Test,
}

impl Split {
    /// All splits, in the usual order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// The name in files and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|split| split.as_str() == name);
        found.ok_or_else(|| Error::UnknownSplit(name.to_owned()))
    }
}

/// One split of a dataset: samples that can be read in any order and from any thread.
pub trait SceneDataset: Send + Sync {
    /// The dataset's name in configurations, such as `camvid`.
    fn name(&self) -> &str;

    /// The classes; a label is an index into them or [`IGNORE`](crate::IGNORE).
    fn classes(&self) -> &[Class];

    /// What stands for each class in the labels. Generated sets have class indices.
    fn label_values(&self) -> LabelValues {
        LabelValues::generated(self.classes())
    }

    /// The number of samples.
    fn len(&self) -> usize;

    /// Whether there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of one sample. Panics if `index >= len()`, as slices do.
    fn id(&self, index: usize) -> &str;

    /// Reads and decodes one sample.
    ///
    /// # Errors
    ///
    /// An index beyond the end, and everything that can be wrong with the two files.
    fn sample(&self, index: usize) -> Result<Sample, Error>;

    /// Columns and rows of one sample, as it says of itself: of a file only the head is read.
    ///
    /// # Errors
    ///
    /// An index beyond the end, and a file whose head cannot be read.
    fn size(&self, index: usize) -> Result<[usize; 2], Error> {
        let labels = self.sample(index)?.labels;
        Ok([labels.width, labels.height])
    }

    /// What lies in the dataset's folders and is not among the samples, in words; `None` where
    /// nothing does.
    fn left_out(&self) -> Option<String> {
        None
    }

    /// The instance ids of a sample, where the dataset has them: Cityscapes' `instanceIds`.
    ///
    /// # Errors
    ///
    /// An index beyond the end, and everything that can be wrong with the file.
    fn instances(&self, _index: usize) -> Result<Option<U16Map>, Error> {
        Ok(None)
    }

    /// SHA-256, in hexadecimal, over the ids, image bytes and label bytes of all samples in order.
    ///
    /// Generated sets hash the pixels. Sets on disk hash their files as they are, so that the
    /// result does not depend on a JPEG decoder. The number of threads does not matter.
    ///
    /// A set on disk holds its samples to the fingerprint from then on: [`Self::sample`] of a file
    /// that was changed since is an error.
    ///
    /// # Errors
    ///
    /// Those of reading the samples.
    fn fingerprint(&self) -> Result<String, Error> {
        self.fingerprint_in(&FingerprintCache::none())
    }

    /// The same; what `cache` knows is not hashed again.
    ///
    /// # Errors
    ///
    /// Those of reading the samples; none of the cache.
    fn fingerprint_in(&self, _cache: &FingerprintCache) -> Result<String, Error> {
        fingerprint::of_samples(self)
    }
}
