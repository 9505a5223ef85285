//! IoU of every class and mIoU, of the summed columns of a table of labels.

use crate::AbsentClass;

use super::resample::{LANES, Lanes, Scoring};
use super::table::hits;

/// Scores every class, and then mIoU.
pub(super) struct Ious {
    pub(super) classes: usize,
    pub(super) absent: AbsentClass,
}

impl Scoring for Ious {
    fn items(&self) -> usize {
        self.classes + 1
    }

    fn subtract(&self, seeds: usize, sums: &[Lanes], differences: &mut [Lanes]) {
        let Self { classes, absent } = *self;
        let (of_classes, of_miou) = differences.split_at_mut(classes * seeds);
        let labelled = &sums[..classes];
        let mut something = [0.0; LANES];
        for of_class in labelled {
            each(&mut something, |lane, sum| sum + of_class[lane]);
        }
        for seed in 0..seeds {
            let [mut first, mut second] = [2 * seed, 2 * seed + 1]
                .map(|network| Arm::new(&sums[hits(classes, network)..][..2 * classes], absent));
            for (class, labelled) in labelled.iter().enumerate() {
                let (first, second) = (first.iou(class, labelled), second.iou(class, labelled));
                each(&mut of_classes[class * seeds + seed], |lane, _| {
                    if labelled[lane] > 0.0 { first[lane] - second[lane] } else { f64::NAN }
                });
            }
            each(&mut of_miou[seed], |lane, _| {
                let difference = first.miou(lane) - second.miou(lane);
                if something[lane] > 0.0 { difference } else { f64::NAN }
            });
        }
    }
}

/// One network's mIoU, class by class.
struct Arm<'a> {
    hits: &'a [Lanes],
    predicted: &'a [Lanes],
    /// Sum of the classes' IoU.
    sum: Lanes,
    /// Classes that have a say in the mean.
    classes: Lanes,
    absent: AbsentClass,
}

impl<'a> Arm<'a> {
    fn new(columns: &'a [Lanes], absent: AbsentClass) -> Self {
        let (hits, predicted) = columns.split_at(columns.len() / 2);
        Self { hits, predicted, sum: [0.0; LANES], classes: [0.0; LANES], absent }
    }

    /// IoU of a class, 0 where it is absent; also takes it into the mean.
    fn iou(&mut self, class: usize, labelled: &Lanes) -> Lanes {
        let (hits, predicted) = (&self.hits[class], &self.predicted[class]);
        let counts_absent = match self.absent {
            AbsentClass::Skip => 0.0,
            AbsentClass::Zero => 1.0,
        };
        let mut iou = [0.0; LANES];
        for lane in 0..LANES {
            let union = labelled[lane] + predicted[lane] - hits[lane];
            // Without a branch, so that lanes stay vectors; hits of an absent class are 0.
            iou[lane] = hits[lane] / union.max(1.0);
            self.sum[lane] += iou[lane];
            self.classes[lane] += if union > 0.0 { 1.0 } else { counts_absent };
        }
        iou
    }

    fn miou(&self, lane: usize) -> f64 {
        self.sum[lane] / self.classes[lane]
    }
}

/// Replaces every lane by a function of its index and value.
fn each(lanes: &mut Lanes, of: impl Fn(usize, f64) -> f64) {
    for (lane, value) in lanes.iter_mut().enumerate() {
        *value = of(lane, *value);
    }
}
