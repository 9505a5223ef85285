//! Boundary IoU: how well the pixels near the edges of regions are found.

use crate::scores::{mean, ratio};
use crate::{AbsentClass, Error, IGNORE, Result, image};

/// Counts of the pixels near the edges of each class's regions, over a whole set.
///
/// Cheng et al., *Boundary IoU: improving object-centric image segmentation evaluation*, CVPR 2021,
/// equation 3: with `G` the pixels labelled with a class, `P` those predicted as it, and `G_d`,
/// `P_d` the pixels within `d` pixels of each one's contour,
///
/// `|(G_d ∩ G) ∩ (P_d ∩ P)| / |(G_d ∩ G) ∪ (P_d ∩ P)|`.
///
/// `d` is a [share](BoundaryIou::OF_PHOTOGRAPHS) of the image's diagonal. Exactly as in the
/// authors' code, `G` without `G_d` is what is left of `G` after `d` erosions by a square of 3×3,
/// outside the image being background: a pixel is near an edge if the square of `2d + 1` pixels
/// around it leaves the image or holds another class. Pixels of `G` are also near an edge where `G`
/// borders on ignored pixels. Contours of `P` are those of the whole prediction; its pixels that
/// are ignored by the labels are not counted then.
///
/// Departure: the authors score objects one by one. Here counts add up over a whole set, as those
/// of mIoU do, so that an image with a little of a class weighs little.
///
/// ```
/// use seg_metrics::{AbsentClass, BoundaryIou};
///
/// // Half of a region is cut off: of its rim of one pixel, half of which runs elsewhere.
/// let labels = [0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1];
/// let predictions = [0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1];
/// let mut counts = BoundaryIou::new(2, BoundaryIou::OF_PHOTOGRAPHS)?;
/// counts.add(&labels, &predictions, 4)?;
/// let rim = counts.classes()[1];
/// assert_eq!((rim.labelled, rim.predicted, rim.hits), (8, 6, 5));
/// assert_eq!(rim.iou(), Some(5.0 / 9.0));
/// # Ok::<(), seg_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct BoundaryIou {
    share: f64,
    classes: Vec<BoundaryCounts>,
}

/// Pixels near the edges of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BoundaryCounts {
    /// Near the edges of the labels.
    pub labelled: u64,
    /// Near the edges of the predictions, and not ignored.
    pub predicted: u64,
    /// Both.
    pub hits: u64,
}

impl BoundaryCounts {
    /// Intersection over union; `None` where neither is.
    pub fn iou(&self) -> Option<f64> {
        ratio(self.hits, self.labelled + self.predicted - self.hits)
    }
}

impl BoundaryIou {
    /// The authors' share of the diagonal for COCO and LVIS: 2 %, 12 pixels of 480×360.
    pub const OF_PHOTOGRAPHS: f64 = 0.02;
    /// The authors' share of the diagonal for Cityscapes: 0.5 %, 11 pixels of 2048×1024.
    pub const OF_CITYSCAPES: f64 = 0.005;

    /// No counts yet; labels will be 0 to `classes - 1`.
    ///
    /// # Errors
    ///
    /// [`Error::BoundaryShare`] unless the share is above 0 and at most 1.
    ///
    /// # Panics
    ///
    /// For more than 255 classes: 255 is [`IGNORE`], so there is no byte for another.
    pub fn new(classes: usize, share: f64) -> Result<Self> {
        assert!(classes <= usize::from(IGNORE), "{classes} classes; a label byte has room for 255");
        if !(share > 0.0 && share <= 1.0) {
            return Err(Error::BoundaryShare { value: share });
        }
        Ok(Self { share, classes: vec![BoundaryCounts::default(); classes] })
    }

    /// Counts an image, in time linear in its pixels whatever the distance.
    ///
    /// Predictions of no class, 255 included, are nobody's.
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
        image::check(labels, predictions.len(), self.classes.len())?;
        let height = image::rows(labels.len(), width)?;
        let distance = self.distance_px(width, height);
        let mut inside = vec![0; labels.len()];
        mark_inside(labels, width, distance, LABEL, &mut inside);
        mark_inside(predictions, width, distance, PREDICTION, &mut inside);
        for ((&label, &prediction), &inside) in labels.iter().zip(predictions).zip(&inside) {
            if label == IGNORE || inside == LABEL | PREDICTION {
                continue;
            }
            if inside & LABEL == 0 {
                let of = &mut self.classes[usize::from(label)];
                of.labelled += 1;
                of.hits += u64::from(label == prediction && inside & PREDICTION == 0);
            }
            if inside & PREDICTION == 0
                && let Some(of) = self.classes.get_mut(usize::from(prediction))
            {
                of.predicted += 1;
            }
        }
        Ok(())
    }

    /// Adds other counts, in any order with the same outcome.
    ///
    /// # Errors
    ///
    /// [`Error::Classes`] or [`Error::BoundaryShares`] unless both are of the same classes and
    /// the same share of the diagonal.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let [left, right] = [&*self, other].map(|counts| counts.classes.len());
        if left != right {
            return Err(Error::Classes { left, right });
        }
        if self.share != other.share {
            return Err(Error::BoundaryShares { left: self.share, right: other.share });
        }
        for (counts, more) in self.classes.iter_mut().zip(&other.classes) {
            counts.labelled += more.labelled;
            counts.predicted += more.predicted;
            counts.hits += more.hits;
        }
        Ok(())
    }

    /// How far from an edge a pixel of an image counts, as the authors round it: the share of the
    /// diagonal, halves to the even number, one pixel at least.
    pub fn distance_px(&self, width: usize, height: usize) -> usize {
        let diagonal = ((height * height + width * width) as f64).sqrt();
        ((self.share * diagonal).round_ties_even() as usize).max(1)
    }

    /// The counts of each class.
    pub fn classes(&self) -> &[BoundaryCounts] {
        &self.classes
    }

    /// Boundary IoU of each class; `None` for one neither labelled nor predicted.
    pub fn class_iou(&self) -> Vec<Option<f64>> {
        self.classes.iter().map(BoundaryCounts::iou).collect()
    }

    /// Mean of the classes' boundary IoU; `None` if nothing is labelled.
    pub fn miou(&self, absent: AbsentClass) -> Option<f64> {
        let numbers = |of: &BoundaryCounts| [of.labelled, of.predicted, of.hits];
        let sums: Vec<f64> = self.classes.iter().flat_map(numbers).map(|n| n as f64).collect();
        Self::miou_of_sums(&sums, absent)
    }

    /// How many numbers [`BoundaryIou::to_sparse`] tells apart.
    pub fn counts_of(classes: usize) -> usize {
        3 * classes
    }

    /// The counts that are not zero, by index: three a class, labelled, predicted, hits.
    pub fn to_sparse(&self) -> Vec<(u32, u64)> {
        let numbers = |of: &BoundaryCounts| [of.labelled, of.predicted, of.hits];
        let counts = self.classes.iter().flat_map(numbers);
        (0..).zip(counts).filter(|(_, n)| *n > 0).collect()
    }

    /// Adds what [`BoundaryIou::to_sparse`] gave, of an image for instance.
    ///
    /// # Errors
    ///
    /// [`Error::Count`] for an index that is none; nothing is added then.
    pub fn add_sparse(&mut self, sparse: &[(u32, u64)]) -> Result<()> {
        let counts = Self::counts_of(self.classes.len());
        if let Some(&(index, _)) = sparse.iter().find(|(index, _)| *index as usize >= counts) {
            return Err(Error::Count { index, counts });
        }
        for &(index, n) in sparse {
            let of = &mut self.classes[index as usize / 3];
            *[&mut of.labelled, &mut of.predicted, &mut of.hits][index as usize % 3] += n;
        }
        Ok(())
    }

    /// [`BoundaryIou::miou`] of summed counts: a score for
    /// [`compare_scores`](crate::stats::compare_scores).
    pub fn miou_of_sums(sums: &[f64], absent: AbsentClass) -> Option<f64> {
        let (classes, _) = sums.as_chunks::<3>();
        if classes.iter().all(|[labelled, ..]| *labelled == 0.0) {
            return None;
        }
        let iou = classes.iter().map(|[labelled, predicted, hits]| {
            let union = labelled + predicted - hits;
            (union > 0.0).then(|| hits / union)
        });
        match absent {
            AbsentClass::Skip => mean(iou.flatten()),
            AbsentClass::Zero => mean(iou.map(|iou| iou.unwrap_or(0.0))),
        }
    }
}

/// Marks of pixels that are not near an edge.
const LABEL: u8 = 1;
const PREDICTION: u8 = 2;

/// Marks the pixels around which a square of `2 · distance + 1` is of one value and in the image.
///
/// Erosions by a square of 3×3, `distance` times over, are one erosion by that square. Each pixel
/// counts how many rows up to its own end there, in its column, with so many pixels of one value:
/// where that is as many as the square is high, the square ends.
fn mark_inside(map: &[u8], width: usize, distance: usize, mark: u8, inside: &mut [u8]) {
    let side = 2 * distance + 1;
    if width < side || map.len() / width < side {
        return;
    }
    let mut rows = vec![0u32; width];
    let mut above = &map[..width];
    for (y, row) in map.chunks_exact(width).enumerate() {
        let (mut run, mut last) = (0, row[0]);
        for ((rows, &value), &above) in rows.iter_mut().zip(row).zip(above) {
            run = if value == last { run + 1 } else { 1 };
            last = value;
            *rows = match (run >= side, value == above) {
                (true, true) => *rows + 1,
                (true, false) => 1,
                (false, _) => 0,
            };
        }
        if y + 1 >= side {
            let centers = &mut inside[(y - distance) * width + distance..];
            for (center, rows) in centers.iter_mut().zip(&rows[side - 1..]) {
                *center |= if *rows as usize >= side { mark } else { 0 };
            }
        }
        above = row;
    }
}
