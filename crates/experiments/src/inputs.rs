//! What a result is made from: the classes of a dataset and how its pixels are normalised.

use run_record::{ClassFacts, ClassTable, LabelForm, Normalisation};
use scene_data::{IMAGENET_MEAN, IMAGENET_STD, SceneDataset, ValueKind};

/// The classes of a dataset as records keep them.
pub fn class_table(dataset: &dyn SceneDataset) -> ClassTable {
    let values = dataset.label_values();
    let labels = match values.kind {
        ValueKind::Generated => LabelForm::Generated,
        ValueKind::Indices => LabelForm::Indices,
        ValueKind::Mat => LabelForm::Mat,
        ValueKind::Colours => LabelForm::Colours,
    };
    let classes = dataset
        .classes()
        .iter()
        .zip(values.of_classes)
        .map(|(class, values)| ClassFacts { name: class.name.clone(), values, color: class.color });
    ClassTable { labels, classes: classes.collect(), ignored: values.ignored }
}

/// How every network's input is made from pixels.
pub fn normalisation() -> Normalisation {
    Normalisation { mean: IMAGENET_MEAN, std: IMAGENET_STD }
}
