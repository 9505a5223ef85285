//! The scores of Cityscapes' counts.

use crate::scores::{mean, ratio};

use super::{CATEGORIES, Counts, Instance, LABELS, Label};

/// Scores of a class or of a category.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Its name.
    pub name: &'static str,
    /// Intersection over union; `None` if it is neither labelled nor predicted.
    pub iou: Option<f64>,
    /// Instance-level IoU; `None` if it has no instances, or neither any here nor false alarms.
    pub iiou: Option<f64>,
}

/// All official scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Of the 19 classes, in the order of their labelIds.
    pub classes: Vec<Score>,
    /// Of the seven categories, in the dataset's order.
    pub categories: Vec<Score>,
}

impl Scores {
    /// The class of this name.
    pub fn class(&self, name: &str) -> Option<Score> {
        self.classes.iter().copied().find(|score| score.name == name)
    }

    /// The category of this name.
    pub fn category(&self, name: &str) -> Option<Score> {
        self.categories.iter().copied().find(|score| score.name == name)
    }

    /// Mean IoU of the classes that have one: the benchmark's headline.
    pub fn class_iou(&self) -> Option<f64> {
        mean(self.classes.iter().filter_map(|score| score.iou))
    }

    /// Mean iIoU of the classes that have one.
    pub fn class_iiou(&self) -> Option<f64> {
        mean(self.classes.iter().filter_map(|score| score.iiou))
    }

    /// Mean IoU of the categories that have one.
    pub fn category_iou(&self) -> Option<f64> {
        mean(self.categories.iter().filter_map(|score| score.iou))
    }

    /// Mean iIoU of the categories that have one.
    pub fn category_iiou(&self) -> Option<f64> {
        mean(self.categories.iter().filter_map(|score| score.iiou))
    }
}

impl Counts {
    /// Every official score.
    pub fn scores(&self) -> Scores {
        let class = |class: &Label| {
            let name = class.name;
            self.score(name, move |label| label.name == name, |instance| instance.found)
        };
        let category = |name| {
            self.score(name, move |label| label.category == name, |found| found.found_of_category)
        };
        Scores {
            classes: LABELS.iter().filter(|label| is_evaluated(label)).map(class).collect(),
            categories: CATEGORIES.into_iter().map(category).collect(),
        }
    }

    /// The scores of a set of labels, confusions within which are right.
    fn score(
        &self,
        name: &'static str,
        own: impl Fn(&Label) -> bool,
        found: impl Fn(&Instance) -> u64,
    ) -> Score {
        let counted = |label: &Label| own(label) && is_evaluated(label);
        let others = |label: &Label| !own(label) && is_evaluated(label);
        let labelled = self.pixels(counted, |_| true);
        let false_alarms = self.pixels(others, counted);
        let iou = ratio(self.pixels(counted, counted), labelled + false_alarms);
        let has_instances =
            LABELS.iter().filter(|label| own(label)).all(|label| label.instance_px.is_some());
        // Here an ignored label of the category, caravan or trailer, is a false alarm as well.
        let iiou =
            has_instances.then(|| self.iiou(&own, found, self.pixels(others, &own))).flatten();
        Score { name, iou, iiou }
    }

    fn iiou(
        &self,
        own: impl Fn(&Label) -> bool,
        found: impl Fn(&Instance) -> u64,
        false_alarms: u64,
    ) -> Option<f64> {
        let (mut hits, mut misses) = (0.0, 0.0);
        for instance in self.instances() {
            let label = &LABELS[usize::from(instance.label)];
            if let Some(mean_px) = label.instance_px.filter(|_| own(label)) {
                let weight = mean_px / instance.pixels as f64;
                let found = found(instance);
                hits += found as f64 * weight;
                misses += (instance.pixels - found) as f64 * weight;
            }
        }
        let denominator = hits + false_alarms as f64 + misses;
        (denominator > 0.0).then(|| hits / denominator)
    }

    /// Pixels of some labels predicted as some others.
    fn pixels(&self, label: impl Fn(&Label) -> bool, prediction: impl Fn(&Label) -> bool) -> u64 {
        let ids = |chosen: &dyn Fn(&Label) -> bool| -> Vec<usize> {
            (0..LABELS.len()).filter(|id| chosen(&LABELS[*id])).collect()
        };
        let predictions = ids(&prediction);
        let of_label = |label: usize| -> u64 {
            predictions.iter().map(|prediction| self.matrix().count(label, *prediction)).sum()
        };
        ids(&label).into_iter().map(of_label).sum()
    }
}

fn is_evaluated(label: &Label) -> bool {
    label.train_id.is_some()
}
