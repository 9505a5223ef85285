//! Calibration of every class's probability, and the Brier score.

use crate::{Error, IGNORE, Result, image};

use super::sums::{self, Bin};

/// How far from 1 the probabilities of a pixel may sum.
const SUM_SLACK: f32 = 1e-3;

/// Pixels in bins of equal width by the probability of every class, not of the greatest alone.
///
/// - **Class-wise ECE** (Kull et al., *Beyond temperature scaling*, NeurIPS 2019, section 2): the
///   mean over `k` classes of `Σ_m |B_mj|/n · |y_j(B_mj) - p_j(B_mj)|`, where `B_mj` holds the
///   pixels whose probability of the class `j` is in the bin `m`, `y_j` is the share of them that
///   is labelled `j`, and `p_j` the mean of that probability.
/// - **Brier score** (Brier, *Verification of forecasts expressed in terms of probability*, Monthly
///   Weather Review 78, 1950): `1/n · Σ_i Σ_j (p_ij - [y_i = j])²`, from 0 to 2.
///
/// Counts add up as those of [`Calibration`](super::Calibration) do: probabilities are rounded to
/// units of 2^-32, and sums of them and of their squares are exact.
///
/// ```
/// use seg_metrics::ClassCalibration;
///
/// let mut calibration = ClassCalibration::new(2, 10)?;
/// // Two pixels: class 0 is believed in at 75 % and at 25 %, class 1 at 25 % and 75 %.
/// calibration.add(&[0, 1], &[0.75, 0.25, 0.25, 0.75])?;
/// assert_eq!(calibration.brier(), Some(2.0 * 0.25 * 0.25));
/// assert_eq!(calibration.ece(), Some(0.25));
/// # Ok::<(), seg_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassCalibration {
    classes: usize,
    /// Bins of each class in turn.
    bins: Vec<Bin>,
    bins_per_class: usize,
    /// Sum of the squares of the Brier score, in units of 2^-64.
    squares: u128,
}

impl ClassCalibration {
    /// No counts yet; labels will be 0 to `classes - 1`.
    ///
    /// # Errors
    ///
    /// [`Error::Bins`] for no bins or more than 1,000.
    pub fn new(classes: usize, bins: usize) -> Result<Self> {
        let of_all_classes = sums::empty(bins)?.repeat(classes);
        Ok(Self { classes, bins: of_all_classes, bins_per_class: bins, squares: 0 })
    }

    /// Counts every pixel of an image, or of a part of one.
    ///
    /// Pixels labelled [`IGNORE`] are passed over, whatever their probabilities.
    ///
    /// # Shapes
    ///
    /// - `labels`: `[h · w]`
    /// - `probabilities`: `[k, h · w]`, a plane for each of `k` classes
    ///
    /// # Errors
    ///
    /// [`Error::Planes`] or [`Error::TruthValue`]; [`Error::Probability`] for a value that is none,
    /// [`Error::ProbabilitySum`] for a pixel whose probabilities do not sum to 1 within 0.001 (were
    /// they scores before softmax?). Nothing is counted then.
    pub fn add(&mut self, labels: &[u8], probabilities: &[f32]) -> Result<()> {
        image::check(labels, labels.len(), self.classes)?;
        let pixels = labels.len();
        if probabilities.len() != self.classes * pixels {
            let found = probabilities.len();
            return Err(Error::Planes { found, classes: self.classes, pixels });
        }
        if pixels == 0 {
            return Ok(());
        }
        let mut counted = Self { bins: vec![Bin::default(); self.bins.len()], ..*self };
        counted.squares = 0;
        let mut sum_of_pixel = vec![0.0; pixels];
        for (class, plane) in probabilities.chunks_exact(pixels).enumerate() {
            for (sum, probability) in sum_of_pixel.iter_mut().zip(plane) {
                *sum += probability;
            }
            counted.add_plane(class, labels, plane)?;
        }
        let wrong = |(label, sum): (&u8, &f32)| *label != IGNORE && (sum - 1.0).abs() > SUM_SLACK;
        if let Some(position) = labels.iter().zip(&sum_of_pixel).position(wrong) {
            return Err(Error::ProbabilitySum { value: sum_of_pixel[position], position });
        }
        self.merge(&counted)
    }

    fn add_plane(&mut self, class: usize, labels: &[u8], plane: &[f32]) -> Result<()> {
        let bins = &mut self.bins[class * self.bins_per_class..][..self.bins_per_class];
        for (position, (&label, &probability)) in labels.iter().zip(plane).enumerate() {
            if label == IGNORE {
                continue;
            }
            let units = sums::units(probability, class * labels.len() + position)?;
            let hit = usize::from(label) == class;
            bins[sums::bin_of(probability, bins.len())].count(hit, units);
            let off = units.abs_diff(u64::from(hit) << 32);
            self.squares += u128::from(off) * u128::from(off);
        }
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
        let (left, right) = (self.bins_per_class, other.bins_per_class);
        if left != right {
            return Err(Error::BinNumbers { left, right });
        }
        sums::merge(&mut self.bins, &other.bins);
        self.squares += other.squares;
        Ok(())
    }

    /// A class's bins, probability rising; `None` if there is no such class.
    pub fn bins(&self, class: usize) -> Option<&[Bin]> {
        self.bins.chunks_exact(self.bins_per_class).nth(class)
    }

    /// The calibration error of each class's probability; `None` if nothing is labelled.
    pub fn class_ece(&self) -> Option<Vec<f64>> {
        self.bins.chunks_exact(self.bins_per_class).map(sums::expected_error).collect()
    }

    /// The class-wise calibration error: the mean over all classes, those never labelled among
    /// them; `None` if nothing is labelled.
    pub fn ece(&self) -> Option<f64> {
        let of_classes = self.class_ece()?;
        crate::stats::mean(&of_classes)
    }

    /// The Brier score; `None` if nothing is labelled.
    pub fn brier(&self) -> Option<f64> {
        // Every pixel is in one bin of each class.
        let pixels: u64 = self.bins(0)?.iter().map(|bin| bin.pixels).sum();
        let unit = (1u128 << 64) as f64;
        (pixels > 0).then(|| self.squares as f64 / unit / pixels as f64)
    }
}
