//! Counting pixels by label and prediction.

use crate::pairs::PairCounts;
use crate::{Error, Result};

/// The label of a pixel that is not evaluated.
pub const IGNORE: u8 = 255;

/// Pixels by label (row) and prediction (column).
///
/// One more column, [`ConfusionMatrix::outside`], holds predictions that are none of the classes:
/// they are misses of the labelled class and false alarms of nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    /// `classes` rows of `classes + 1` columns.
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// An empty matrix; labels will be 0 to `classes - 1`.
    ///
    /// # Panics
    ///
    /// For more than 255 classes: 255 is [`IGNORE`], so there is no byte for another.
    pub fn new(classes: usize) -> Self {
        assert!(classes <= usize::from(IGNORE), "{classes} classes; a label byte has room for 255");
        Self { classes, counts: vec![0; classes * (classes + 1)] }
    }

    /// Counts every pixel of an image, or of a part of one.
    ///
    /// Pixels labelled [`IGNORE`] are passed over. A prediction of `classes` or more, 255 included,
    /// counts as outside.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if the slices differ in length, [`Error::TruthValue`] for the first label
    /// that is neither a class nor [`IGNORE`]; nothing is counted then.
    pub fn add(&mut self, truth: &[u8], prediction: &[u8]) -> Result<()> {
        if truth.len() != prediction.len() {
            let (truth, prediction) = (truth.len(), prediction.len());
            return Err(Error::Length { truth, prediction });
        }
        let classes = self.classes;
        let pairs = PairCounts::new(truth, prediction);
        // The first value above the classes, but not `IGNORE`, is looked for only if there is one.
        if (classes..usize::from(IGNORE)).any(|value| pairs.has_truth(value as u8)) {
            let wrong = |value: &u8| usize::from(*value) >= classes && *value != IGNORE;
            if let Some(position) = truth.iter().position(wrong) {
                return Err(Error::TruthValue { value: truth[position], position, classes });
            }
        }
        for (truth, row) in self.counts.chunks_exact_mut(classes + 1).enumerate() {
            let counted = pairs.row(truth as u8);
            let (inside, outside) = counted.split_at(classes);
            for (count, more) in row.iter_mut().zip(inside) {
                *count += more;
            }
            row[classes] += outside.iter().sum::<u64>();
        }
        Ok(())
    }

    /// Adds the counts of another matrix, in any order with the same outcome.
    ///
    /// # Errors
    ///
    /// [`Error::Classes`] if the two do not have the same number of classes.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.classes != other.classes {
            return Err(Error::Classes { left: self.classes, right: other.classes });
        }
        self.add_matrix(other);
        Ok(())
    }

    /// Adds a matrix of as many classes.
    pub(crate) fn add_matrix(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Pixels labelled `truth` and predicted `prediction`; 0 where one of them is no class.
    pub fn count(&self, truth: usize, prediction: usize) -> u64 {
        if truth < self.classes && prediction < self.classes {
            self.counts[truth * (self.classes + 1) + prediction]
        } else {
            0
        }
    }

    /// Pixels labelled `truth` whose prediction is none of the classes.
    pub fn outside(&self, truth: usize) -> u64 {
        if truth < self.classes { self.row(truth)[self.classes] } else { 0 }
    }

    /// Pixels labelled `truth`; 0 if that is no class.
    pub fn labelled(&self, truth: usize) -> u64 {
        if truth < self.classes { self.row(truth).iter().sum() } else { 0 }
    }

    /// Labelled pixels predicted as `prediction`; 0 if that is no class.
    pub fn predicted(&self, prediction: usize) -> u64 {
        (0..self.classes).map(|truth| self.count(truth, prediction)).sum()
    }

    /// All labelled pixels.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The cells that are not zero, by index: `truth · (classes + 1) + prediction`, where the
    /// prediction `classes` is [`ConfusionMatrix::outside`].
    pub fn to_sparse(&self) -> Vec<(u32, u64)> {
        // There are at most 255 · 256 cells, so an index fits.
        (0u32..).zip(&self.counts).filter(|(_, n)| **n > 0).map(|(at, n)| (at, *n)).collect()
    }

    /// The matrix whose [`ConfusionMatrix::to_sparse`] was taken; a cell given twice is summed.
    ///
    /// # Errors
    ///
    /// [`Error::Cell`] for an index outside the matrix.
    pub fn from_sparse(classes: usize, sparse: &[(u32, u64)]) -> Result<Self> {
        let mut matrix = Self::new(classes);
        matrix.add_sparse(sparse)?;
        Ok(matrix)
    }

    /// Adds what [`ConfusionMatrix::to_sparse`] gave, of an image for instance.
    ///
    /// # Errors
    ///
    /// [`Error::Cell`] for an index outside the matrix; nothing is added then.
    pub fn add_sparse(&mut self, sparse: &[(u32, u64)]) -> Result<()> {
        let (classes, cells) = (self.classes, self.counts.len());
        let place = |index: u32| usize::try_from(index).ok().filter(|at| *at < cells);
        if let Some(&(index, _)) = sparse.iter().find(|(index, _)| place(*index).is_none()) {
            return Err(Error::Cell { index, classes, cells });
        }
        for &(index, n) in sparse {
            self.counts[index as usize] += n;
        }
        Ok(())
    }

    fn row(&self, truth: usize) -> &[u64] {
        let width = self.classes + 1;
        &self.counts[truth * width..(truth + 1) * width]
    }
}
