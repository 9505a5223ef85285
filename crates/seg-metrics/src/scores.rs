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
        mean((0..self.classes()).filter_map(|c| ratio(self.count(c, c), self.labelled(c))))
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

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0u64), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / n as f64)
}
