//! Trimaps: how well pixels within some pixels of a class border are labelled.

mod distance;
mod envelope;

pub use distance::border_distance;

use crate::{ConfusionMatrix, Error, IGNORE, Result, image};

/// Confusion matrices of the pixels near class borders, for several widths of the band at once.
///
/// Kohli, Ladický and Torr, *Robust higher order potentials for enforcing label consistency*, IJCV
/// 82, 2009, section 6.1 (accuracy); Chen et al., *DeepLab*, TPAMI 40, 2018, figure 10 (mIoU): an
/// evaluation limited to a narrow band around the borders between classes, plotted against the
/// band's width.
///
/// A pixel is in the band of width `r` if the centre of a pixel labelled with another class is at
/// most `r` pixels from its own, as the crow flies: `r = 1` takes the pixels that share a side with
/// another class, and a band reaches `r` pixels into either side. See [`border_distance`] for
/// borders at ignored pixels.
///
/// Counts are kept ring by ring, so that a band is a sum of matrices, and an image's pixels are
/// looked at once whatever the number of widths.
///
/// ```
/// use seg_metrics::{AbsentClass, Trimap};
///
/// let labels = [0, 0, 0, 0, 1, 1, 1, 1];
/// let predictions = [1, 0, 0, 1, 1, 1, 1, 1];
/// let mut trimap = Trimap::new(2, &[1, 3])?;
/// trimap.add(&labels, &predictions, 8)?;
/// let accuracy: Vec<Option<f64>> =
///     (0..2).map(|band| trimap.band(band).unwrap().pixel_accuracy()).collect();
/// assert_eq!(accuracy, [Some(1.0 / 2.0), Some(5.0 / 6.0)]);
/// assert_eq!(trimap.beyond().pixel_accuracy(), Some(1.0 / 2.0));
/// # Ok::<(), seg_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trimap {
    widths: Vec<u32>,
    /// Pixels that are in a band and not in the one before; last, those in none.
    rings: Vec<ConfusionMatrix>,
}

impl Trimap {
    /// No counts yet; labels will be 0 to `classes - 1`, bands as wide as given, in pixels.
    ///
    /// # Errors
    ///
    /// [`Error::BandWidths`] unless the widths rise from 1 or more, and there is one.
    ///
    /// # Panics
    ///
    /// For more than 255 classes, as [`ConfusionMatrix::new`].
    pub fn new(classes: usize, widths: &[u32]) -> Result<Self> {
        let rise = widths.windows(2).all(|pair| pair[0] < pair[1]);
        if widths.first().is_none_or(|first| *first == 0) || !rise {
            return Err(Error::BandWidths { found: widths.to_vec() });
        }
        let rings = vec![ConfusionMatrix::new(classes); widths.len() + 1];
        Ok(Self { widths: widths.to_vec(), rings })
    }

    /// Counts an image, in time linear in its pixels whatever the widths.
    ///
    /// Ignored pixels are in no band. A prediction of `classes` or more, 255 included, counts as
    /// outside.
    ///
    /// # Shapes
    ///
    /// - `labels`, `predictions`: `[h · w]`, row by row
    /// - `width`: `w`
    ///
    /// # Errors
    ///
    /// [`Error::Length`], [`Error::Width`] or [`Error::TruthValue`]; nothing is counted then.
    pub fn add(&mut self, labels: &[u8], predictions: &[u8], width: usize) -> Result<()> {
        image::check(labels, predictions.len(), self.classes())?;
        let distances = border_distance(labels, width)?;
        let squares: Vec<u32> = self
            .widths
            .iter()
            .map(|&width| width.saturating_mul(width).min(u32::MAX - 1))
            .collect();
        let mut pixels = vec![(Vec::new(), Vec::new()); self.rings.len()];
        for ((&label, &prediction), distance) in labels.iter().zip(predictions).zip(&distances) {
            if label != IGNORE {
                // Where there is no border, the distance is above every square.
                let ring = squares.partition_point(|square| square < distance);
                let (labels, predictions) = &mut pixels[ring];
                labels.push(label);
                predictions.push(prediction);
            }
        }
        for (ring, (labels, predictions)) in self.rings.iter_mut().zip(&pixels) {
            ring.add(labels, predictions)?;
        }
        Ok(())
    }

    /// Adds other counts, in any order with the same outcome.
    ///
    /// # Errors
    ///
    /// [`Error::Bands`] or [`Error::Classes`] unless both are of the same widths and classes.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.widths != other.widths {
            let (left, right) = (self.widths.clone(), other.widths.clone());
            return Err(Error::Bands { left, right });
        }
        self.rings.iter_mut().zip(&other.rings).try_for_each(|(ring, more)| ring.merge(more))
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.rings[0].classes()
    }

    /// Widths of the bands, rising, in pixels.
    pub fn widths_px(&self) -> &[u32] {
        &self.widths
    }

    /// The pixels within the width at an index; `None` if there are fewer widths.
    pub fn band(&self, index: usize) -> Option<ConfusionMatrix> {
        (index < self.widths.len()).then(|| self.sum(&self.rings[..=index]))
    }

    /// The pixels in none of the bands.
    pub fn beyond(&self) -> &ConfusionMatrix {
        // There is a ring more than widths.
        &self.rings[self.widths.len()]
    }

    /// All labelled pixels.
    pub fn all(&self) -> ConfusionMatrix {
        self.sum(&self.rings)
    }

    fn sum(&self, rings: &[ConfusionMatrix]) -> ConfusionMatrix {
        let mut sum = ConfusionMatrix::new(self.classes());
        for ring in rings {
            sum.add_matrix(ring);
        }
        sum
    }
}
