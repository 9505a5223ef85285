//! What a result is made from, found and held against what it should be: the images and labels of
//! each split, the classes, the pretrained weights' values.

use std::collections::BTreeMap;

use anyhow::{bail, ensure};
use run_record::{
    ClassFacts, ClassTable, DatasetFacts, LabelForm, Normalisation, name_differences,
};
use scene_data::{
    DatasetConfig, FingerprintCache, IMAGENET_MEAN, IMAGENET_STD, SceneDataset, Split, ValueKind,
};

use crate::config::CellConfig;
use crate::datasets::with_flag;
use crate::interrupt;
use crate::plan::Settings;
use crate::pretrained::Pretrained;

/// SHA-256 of each input, by the names of [`run_record::INPUTS`].
pub type Fingerprints = BTreeMap<String, String>;

/// The name of the class table among inputs.
pub(crate) const CLASSES: &str = "classes";

/// The name of the pretrained weights among inputs.
pub(crate) const WEIGHTS: &str = "weights";

/// Finds the inputs of cells; those that cells share are looked at once.
pub struct Finder<'s> {
    settings: &'s Settings,
    cache: FingerprintCache,
    datasets: Vec<(DatasetConfig, Fingerprints)>,
    weights: BTreeMap<String, Option<String>>,
}

impl<'s> Finder<'s> {
    /// Of cells that are run with these settings.
    pub fn new(settings: &'s Settings) -> Self {
        let (datasets, weights) = (Vec::new(), BTreeMap::new());
        Self { settings, cache: FingerprintCache::of_user(), datasets, weights }
    }

    /// The inputs of a cell as they are now.
    ///
    /// # Errors
    ///
    /// A dataset or weights that cannot be read, an interrupt, or other inputs than those that the
    /// configuration names.
    pub fn of(&mut self, config: &CellConfig) -> anyhow::Result<Fingerprints> {
        let mut found = match self.datasets.iter().find(|(of, _)| *of == config.dataset) {
            Some((_, found)) => found.clone(),
            None => {
                let found = self.of_dataset(&config.dataset)?;
                self.datasets.push((config.dataset.clone(), found.clone()));
                found
            }
        };
        if let Some(weights) = self.of_weights(config)? {
            found.insert(WEIGHTS.to_owned(), weights);
        }
        hold(&config.fingerprints, &found, config.dataset.name())?;
        Ok(found)
    }

    fn of_dataset(&self, config: &DatasetConfig) -> anyhow::Result<Fingerprints> {
        let mut found = Fingerprints::new();
        for split in Split::ALL {
            interrupt::check()?;
            let dataset = config.open(self.settings.data_root.as_deref(), split);
            let dataset = dataset.map_err(with_flag)?;
            ensure!(!dataset.is_empty(), "{} {split}: the split holds no images", dataset.name());
            found.insert(split.to_string(), dataset.fingerprint_in(&self.cache)?);
            found.insert(CLASSES.to_owned(), class_table(&*dataset).sha256());
        }
        Ok(found)
    }

    fn of_weights(&mut self, config: &CellConfig) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.settings.weights else { return Ok(None) };
        let backbone = &config.model.backbone;
        let key = format!("{backbone:?}");
        if let Some(known) = self.weights.get(&key) {
            return Ok(known.clone());
        }
        let found = Pretrained::find(path, backbone)?.map(|weights| weights.values_sha256());
        self.weights.insert(key, found.clone());
        Ok(found)
    }
}

/// Holds what was found against what was expected, as far as that is said.
///
/// # Errors
///
/// Every input that is another, in one line.
pub fn hold(expected: &Fingerprints, found: &Fingerprints, dataset: &str) -> anyhow::Result<()> {
    let none = "none".to_owned();
    let differs = |(name, expected): (&String, &String)| {
        let found = found.get(name).unwrap_or(&none);
        let what = match name.as_str() {
            CLASSES => "classes are",
            WEIGHTS => "pretrained weights are",
            _ => "images are",
        };
        (found != expected).then(|| {
            format!(
                "{dataset} {name}: the {what} not those of the sweep: SHA-256 {found}, expected \
                 {expected}"
            )
        })
    };
    let all: Vec<String> = expected.iter().filter_map(differs).collect();
    ensure!(all.is_empty(), "{}", all.join("; "));
    Ok(())
}

/// Refuses a dataset of other classes than a record's, whatever its images.
///
/// # Errors
///
/// What was added, taken away, moved or is labelled otherwise.
pub fn same_classes(of_record: &DatasetFacts, now: &ClassTable) -> anyhow::Result<()> {
    let found = match &of_record.class_table {
        Some(before) => before.differences(now),
        // Of records made before, only the names are known.
        None => name_differences(&of_record.classes, &now.names()),
    };
    if !found.is_empty() {
        bail!(
            "{}: the classes are not those that the network was trained on: {}",
            of_record.name,
            found.join("; ")
        );
    }
    Ok(())
}

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
