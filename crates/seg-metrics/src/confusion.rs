//! Counting pixels by label and prediction.

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
    /// An empty matrix; labels will be 0 to `classes - 1`, and 254 at most.
    pub fn new(classes: usize) -> Self {
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
        let is_wrong = |value: u8| usize::from(value) >= classes && value != IGNORE;
        // Without an early exit the compiler takes many pixels at a time.
        if truth.iter().fold(false, |found, &value| found | is_wrong(value))
            && let Some(position) = truth.iter().position(|&value| is_wrong(value))
        {
            return Err(Error::TruthValue { value: truth[position], position, classes });
        }
        // Regions are what segmentation makes: neighbours mostly fall into the same cell, and a
        // count in memory that each pixel must read back would be the bottleneck.
        let mut rest = truth.iter().zip(prediction);
        let Some((&t, &p)) = rest.next() else { return Ok(()) };
        let (mut at, mut run) = ((t, p), 1);
        for (&t, &p) in rest {
            if (t, p) == at {
                run += 1;
            } else {
                self.count_run(at, run);
                (at, run) = ((t, p), 1);
            }
        }
        self.count_run(at, run);
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
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        Ok(())
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
        // At most 255 · 256 cells can ever be counted, so an index fits.
        (0u32..).zip(&self.counts).filter(|(_, n)| **n > 0).map(|(at, n)| (at, *n)).collect()
    }

    /// The matrix whose [`ConfusionMatrix::to_sparse`] was taken; a cell given twice is summed.
    ///
    /// # Errors
    ///
    /// [`Error::Cell`] for an index outside the matrix.
    pub fn from_sparse(classes: usize, sparse: &[(u32, u64)]) -> Result<Self> {
        let mut matrix = Self::new(classes);
        let cells = matrix.counts.len();
        for &(index, n) in sparse {
            let cell = usize::try_from(index).ok().and_then(|at| matrix.counts.get_mut(at));
            *cell.ok_or(Error::Cell { index, classes, cells })? += n;
        }
        Ok(matrix)
    }

    fn count_run(&mut self, (truth, prediction): (u8, u8), pixels: u64) {
        if truth == IGNORE {
            return;
        }
        let column = usize::from(prediction).min(self.classes);
        self.counts[usize::from(truth) * (self.classes + 1) + column] += pixels;
    }

    fn row(&self, truth: usize) -> &[u64] {
        let width = self.classes + 1;
        &self.counts[truth * width..(truth + 1) * width]
    }
}
