//! Calibration: whether a network is right as often as it says.

mod classes;
mod sums;

pub use classes::ClassCalibration;
pub use sums::Bin;

use crate::{Error, IGNORE, Result, image};

/// Pixels in bins of equal width by the confidence of their predictions.
///
/// Guo, Pleiss, Sun and Weinberger, *On calibration of modern neural networks*, ICML 2017, section 2:
/// of `n` pixels, let the bin `B_m` of `M` hold those whose confidence, the greatest probability of
/// a class, is in `((m - 1)/M, m/M]`; then the expected calibration error (equation 3) is
///
/// `ECE = Σ_m |B_m|/n · |acc(B_m) - conf(B_m)|`
///
/// with the share of a bin's pixels that are right and their mean confidence. A confidence of 0
/// goes into the first bin. Departure: edges of bins are the exact `m/M`, not the nearest `f32`.
///
/// Counts add up: those of images are summed, and the error is the set's, not a mean of images'
/// errors. Confidences are summed in whole units of 2^-32, so sums have the same bits in any order;
/// a confidence of 2^-9 or more, which the greatest of up to 255 probabilities always is, is not
/// rounded.
///
/// ```
/// use seg_metrics::{Calibration, IGNORE};
///
/// let mut calibration = Calibration::new(3, Calibration::BINS)?;
/// let labels = [0, 1, 2, IGNORE];
/// calibration.add(&labels, &[0, 1, 1, 0], &[1.0, 0.75, 0.75, 0.5])?;
/// // One pixel of three is sure and right; of two that are 75 % sure one is right.
/// assert_eq!(calibration.ece(), Some((1.0 * 0.0 + 2.0 * 0.25) / 3.0));
/// # Ok::<(), seg_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calibration {
    classes: usize,
    bins: Vec<Bin>,
}

impl Calibration {
    /// Bins of the paper.
    pub const BINS: usize = 15;

    /// No counts yet; labels will be 0 to `classes - 1`.
    ///
    /// # Errors
    ///
    /// [`Error::Bins`] for no bins or more than 1,000.
    pub fn new(classes: usize, bins: usize) -> Result<Self> {
        Ok(Self { classes, bins: sums::empty(bins)? })
    }

    /// Counts every pixel of an image, or of a part of one.
    ///
    /// Pixels labelled [`IGNORE`] are passed over; whatever their confidence.
    ///
    /// # Shapes
    ///
    /// - `labels`, `predictions`, `confidences`: `[h · w]`, confidences as probabilities
    ///
    /// # Errors
    ///
    /// [`Error::Length`], [`Error::TruthValue`], or [`Error::Probability`] for a confidence that is
    /// none; nothing is counted then.
    pub fn add(&mut self, labels: &[u8], predictions: &[u8], confidences: &[f32]) -> Result<()> {
        image::check(labels, predictions.len(), self.classes)?;
        image::check(labels, confidences.len(), self.classes)?;
        let mut bins = sums::empty(self.bins.len())?;
        let pixels = labels.iter().zip(predictions).zip(confidences).enumerate();
        for (position, ((&label, prediction), &confidence)) in pixels {
            if label != IGNORE {
                let units = sums::units(confidence, position)?;
                let bin = &mut bins[sums::bin_of(confidence, self.bins.len())];
                bin.count(label == *prediction, units);
            }
        }
        sums::merge(&mut self.bins, &bins);
        Ok(())
    }

    /// Adds other counts, in any order with the same outcome.
    ///
    /// # Errors
    ///
    /// [`Error::Classes`] or [`Error::BinNumbers`] unless both have as many classes and bins.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let (left, right) = (self.classes, other.classes);
        if left != right {
            return Err(Error::Classes { left, right });
        }
        sums::same_number(&self.bins, &other.bins)?;
        sums::merge(&mut self.bins, &other.bins);
        Ok(())
    }

    /// The bins, confidence rising: what a reliability diagram shows.
    pub fn bins(&self) -> &[Bin] {
        &self.bins
    }

    /// The expected calibration error; `None` if nothing is labelled.
    pub fn ece(&self) -> Option<f64> {
        sums::expected_error(&self.bins)
    }

    /// How many numbers [`Calibration::to_sparse`] tells apart.
    pub fn counts_of(bins: usize) -> usize {
        sums::NUMBERS * bins
    }

    /// The counts that are not zero, by index: four a bin, pixels, hits, and the sum of confidences
    /// as a whole number and units of 2^-32.
    pub fn to_sparse(&self) -> Vec<(u32, u64)> {
        let counts = self.bins.iter().flat_map(Bin::numbers);
        (0..).zip(counts).filter(|(_, n)| *n > 0).collect()
    }

    /// Adds what [`Calibration::to_sparse`] gave, of an image for instance.
    ///
    /// # Errors
    ///
    /// [`Error::Count`] for an index that is none; nothing is added then.
    pub fn add_sparse(&mut self, sparse: &[(u32, u64)]) -> Result<()> {
        let counts = Self::counts_of(self.bins.len());
        if let Some(&(index, _)) = sparse.iter().find(|(index, _)| *index as usize >= counts) {
            return Err(Error::Count { index, counts });
        }
        for &(index, n) in sparse {
            self.bins[index as usize / sums::NUMBERS].add_number(index as usize % sums::NUMBERS, n);
        }
        Ok(())
    }

    /// [`Calibration::ece`] of summed counts: a score for
    /// [`compare_scores`](crate::stats::compare_scores).
    pub fn ece_of_sums(sums: &[f64]) -> Option<f64> {
        let (bins, _) = sums.as_chunks::<{ sums::NUMBERS }>();
        let pixels: f64 = bins.iter().map(|[pixels, ..]| pixels).sum();
        let gaps: f64 = bins.iter().map(sums::gap).sum();
        (pixels > 0.0).then(|| gaps / pixels)
    }
}
