//! Pixels by label and prediction, and what was found of each instance.

use crate::{ConfusionMatrix, Error, IGNORE, Result};

use super::LABELS;

/// The largest instance id that is none: a group, or a label without instances.
const LAST_GROUP: u16 = 1000;

/// The licence plate's -1 in 16 bits.
const PLATE: u16 = u16::MAX;

/// What was found of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance {
    /// Its labelId.
    pub label: u8,
    /// Its pixels.
    pub pixels: u64,
    /// Those predicted as its label.
    pub found: u64,
    /// Those predicted as any label of its category.
    pub found_of_category: u64,
}

/// What Cityscapes' scores are computed from, of any number of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    matrix: ConfusionMatrix,
    instances: Vec<Instance>,
}

impl Counts {
    /// No image.
    pub fn new() -> Self {
        Self { matrix: ConfusionMatrix::new(LABELS.len()), instances: Vec::new() }
    }

    /// Counts an image: labelIds, instanceIds and predicted labelIds of every pixel.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] or [`Error::Instances`] if the slices differ in length, [`Error::LabelId`]
    /// or [`Error::InstanceId`] for the first value outside the dataset's encoding; nothing is
    /// counted then. Where the official script stops at a licence plate, whose -1 reads as 255 or
    /// 65,535, it is ignored here, as the dataset's table of labels has it.
    pub fn add(&mut self, labels: &[u8], instances: &[u16], predictions: &[u8]) -> Result<()> {
        if labels.len() != instances.len() {
            let (labels, instances) = (labels.len(), instances.len());
            return Err(Error::Instances { labels, instances });
        }
        if let Some(position) = instances.iter().position(|&id| !is_instance_id(id)) {
            return Err(Error::InstanceId { value: instances[position], position });
        }
        self.add_without_instances(labels, predictions)?;
        self.instances.extend(found(instances, predictions));
        Ok(())
    }

    /// Counts an image whose instanceIds are not at hand: it adds nothing to the iIoU but false
    /// alarms, so that should not be read.
    ///
    /// # Errors
    ///
    /// As [`Counts::add`].
    pub fn add_without_instances(&mut self, labels: &[u8], predictions: &[u8]) -> Result<()> {
        if labels.len() != predictions.len() {
            let (truth, prediction) = (labels.len(), predictions.len());
            return Err(Error::Length { truth, prediction });
        }
        let outside = |value: &u8| usize::from(*value) >= LABELS.len();
        if let Some(position) = predictions.iter().position(outside) {
            let (of, value) = ("prediction", predictions[position]);
            return Err(Error::LabelId { of, value, position });
        }
        if let Some(position) = labels.iter().position(|v| outside(v) && *v != IGNORE) {
            return Err(Error::LabelId { of: "label", value: labels[position], position });
        }
        self.matrix.add(labels, predictions)
    }

    /// Adds the counts of other images.
    ///
    /// iIoU sums instances in the order in which they came, so its last bits follow the order of
    /// images; [`in_order`](crate::in_order) keeps it.
    pub fn merge(&mut self, other: &Self) {
        self.matrix.merge(&other.matrix).unwrap_or_else(|_| unreachable!("both hold all labels"));
        self.instances.extend_from_slice(&other.instances);
    }

    /// Pixels by labelId and predicted labelId, ignored ones included.
    pub fn matrix(&self) -> &ConfusionMatrix {
        &self.matrix
    }

    /// The instances of evaluated labels, image by image, sorted by instanceId within each.
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// The matrix of the 19 evaluated classes, whose IoU are the official class IoU.
    pub fn evaluated(&self) -> ConfusionMatrix {
        let classes = LABELS.iter().filter(|label| label.train_id.is_some()).count();
        let train_id = |id: usize| LABELS[id].train_id.map(usize::from);
        let mut cells = Vec::new();
        for id in 0..LABELS.len() {
            let Some(label) = train_id(id) else { continue };
            for predicted in 0..LABELS.len() {
                let prediction = train_id(predicted).unwrap_or(classes);
                let cell = (label * (classes + 1) + prediction) as u32;
                cells.push((cell, self.matrix.count(id, predicted)));
            }
        }
        ConfusionMatrix::from_sparse(classes, &cells)
            .unwrap_or_else(|_| unreachable!("train ids are below {classes}"))
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether the predictions of an image look like train ids, which is the common mistake: none is
/// above 18 but 255, and some are ids that are never to be predicted.
///
/// A network that names vegetation, the sky or a car anywhere in labelIds goes above 18.
pub fn look_like_train_ids(predictions: &[u8]) -> bool {
    let mut counts = [0u64; 256];
    for &prediction in predictions {
        counts[usize::from(prediction)] += 1;
    }
    let never = |id: &usize| LABELS.get(*id).is_none_or(|label| label.category == "void");
    counts[19..255].iter().all(|count| *count == 0)
        && (0..256).filter(never).any(|id| counts[id] > 0)
}

/// Whether the official script takes the value, or it is the licence plate's.
fn is_instance_id(id: u16) -> bool {
    let label = LABELS.get(usize::from(id / 1000));
    // The script looks up the size of an instance only of evaluated labels.
    let of_label = |label: &super::Label| label.train_id.is_none() || label.instance_px.is_some();
    id <= LAST_GROUP || id == PLATE || label.is_some_and(of_label)
}

/// What was found of the evaluated instances of one image, sorted by id.
fn found(instances: &[u16], predictions: &[u8]) -> Vec<Instance> {
    let mut pixels_of = Vec::new();
    let mut slot_of = vec![u16::MAX; 1 << 16];
    let mut ids = Vec::new();
    for (&id, &prediction) in instances.iter().zip(predictions) {
        if id <= LAST_GROUP || id == PLATE {
            continue;
        }
        let slot = &mut slot_of[usize::from(id)];
        if *slot == u16::MAX {
            *slot = ids.len() as u16;
            ids.push(id);
            pixels_of.push([0u64; LABELS.len()]);
        }
        pixels_of[usize::from(*slot)][usize::from(prediction)] += 1;
    }
    ids.sort_unstable();
    let evaluated = |id: &u16| LABELS[usize::from(id / 1000)].train_id.is_some();
    let instance = |id: u16| {
        let label = (id / 1000) as u8;
        let by_prediction = &pixels_of[usize::from(slot_of[usize::from(id)])];
        let category = LABELS[usize::from(label)].category;
        let of_category = LABELS.iter().zip(by_prediction).filter(|(l, _)| l.category == category);
        Instance {
            label,
            pixels: by_prediction.iter().sum(),
            found: by_prediction[usize::from(label)],
            found_of_category: of_category.map(|(_, pixels)| pixels).sum(),
        }
    };
    ids.into_iter().filter(evaluated).map(instance).collect()
}
