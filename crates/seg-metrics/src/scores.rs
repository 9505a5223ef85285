//! Scores of a confusion matrix; `None` wherever there is nothing to divide by.

use crate::ConfusionMatrix;

/// What a class counts in a mean when it is neither labelled nor predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AbsentClass {
    /// Nothing: the mean is over the other classes (Cityscapes, FCN).
    Skip,
    /// An IoU of 0: the mean is over all classes (ADE20K).
    Zero,
}

impl AbsentClass {
    /// What becomes of such a class, for a table's caption.
    pub fn words(self) -> &'static str {
        match self {
            Self::Skip => "is left out of means",
            Self::Zero => "counts as 0",
        }
    }
}

impl ConfusionMatrix {
    /// Intersection over union of each class; `None` for one neither labelled nor predicted.
    pub fn class_iou(&self) -> Vec<Option<f64>> {
        (0..self.classes())
            .map(|class| {
                let hits = self.count(class, class);
                ratio(hits, self.labelled(class) + self.predicted(class) - hits)
            })
            .collect()
    }

    /// Mean of the classes' IoU; `None` if nothing is labelled.
    pub fn miou(&self, absent: AbsentClass) -> Option<f64> {
        if self.total() == 0 {
            return None;
        }
        let iou = self.class_iou();
        match absent {
            AbsentClass::Skip => mean(iou.into_iter().flatten()),
            AbsentClass::Zero => mean(iou.into_iter().map(|iou| iou.unwrap_or(0.0))),
        }
    }

    /// Share of the labelled pixels that are predicted rightly; `None` if nothing is labelled.
    pub fn pixel_accuracy(&self) -> Option<f64> {
        ratio((0..self.classes()).map(|class| self.count(class, class)).sum(), self.total())
    }

    /// Mean over the labelled classes of the share of their pixels that is found; `None` if nothing
    /// is labelled.
    pub fn mean_class_accuracy(&self) -> Option<f64> {
        mean(self.class_recall().into_iter().flatten())
    }

    /// Share of the pixels predicted as each class that are labelled so, unlabelled pixels left out;
    /// `None` for a class never predicted.
    pub fn class_precision(&self) -> Vec<Option<f64>> {
        (0..self.classes()).map(|c| ratio(self.count(c, c), self.predicted(c))).collect()
    }

    /// Share of each class's pixels that is found, also called class accuracy; `None` for a class
    /// never labelled.
    pub fn class_recall(&self) -> Vec<Option<f64>> {
        (0..self.classes()).map(|c| ratio(self.count(c, c), self.labelled(c))).collect()
    }

    /// The score that ranks the ADE20K challenge: the mean of pixel accuracy and of mIoU, absent
    /// classes as 0; `None` if nothing is labelled.
    ///
    /// Zhou et al., *Semantic understanding of scenes through the ADE20K dataset*, IJCV 2019, and
    /// `demoEvaluation.m` of its development kit.
    pub fn ade20k_score(&self) -> Option<f64> {
        Some((self.pixel_accuracy()? + self.miou(AbsentClass::Zero)?) / 2.0)
    }

    /// Mean IoU, each class weighted with its share of the labelled pixels; `None` if nothing is
    /// labelled.
    pub fn frequency_weighted_iou(&self) -> Option<f64> {
        let total = self.total();
        let weighted = self
            .class_iou()
            .into_iter()
            .enumerate()
            .filter_map(|(class, iou)| Some(self.labelled(class) as f64 * iou?));
        (total > 0).then(|| weighted.sum::<f64>() / total as f64)
    }
}

pub(crate) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

pub(crate) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0u64), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / n as f64)
}
