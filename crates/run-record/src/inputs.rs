//! What a result was made from, by fingerprint: the splits, the classes, the pretrained weights.

use std::collections::BTreeMap;

use crate::{Cell, Record, name_differences};

/// The key of a configuration under which the fingerprints of its inputs are.
pub const FINGERPRINTS: &str = "fingerprints";

/// The names of inputs: the three splits, the class table, and the pretrained weights' values.
pub const INPUTS: [&str; 5] = ["train", "val", "test", "classes", "weights"];

impl Cell {
    /// SHA-256 of each input that its hash holds, by the names of [`INPUTS`].
    pub fn fingerprints(&self) -> BTreeMap<String, String> {
        let all = self.config.get(FINGERPRINTS).and_then(|value| value.as_object());
        let text = |(name, value): (&String, &serde_json::Value)| {
            Some((name.clone(), value.as_str()?.to_owned()))
        };
        all.into_iter().flatten().filter_map(text).collect()
    }
}

impl Record {
    /// Whether its cell's hash holds every input: those of records made before cells held them are
    /// not known for sure.
    pub fn is_of_known_inputs(&self) -> bool {
        let known = self.cell.fingerprints();
        let has_weights = self.weights_sha256.is_some();
        let mut needed = INPUTS.iter().filter(|name| **name != "weights" || has_weights);
        needed.all(|name| known.contains_key(*name))
    }

    /// What of the inputs of `now` is not as it is here, one phrase each; of records made before,
    /// as far as they say it.
    pub fn input_differences(&self, now: &Self) -> Vec<String> {
        let mut found = input_differences(&self.dataset.fingerprints, &now.dataset.fingerprints);
        found.extend(match (&self.dataset.class_table, &now.dataset.class_table) {
            (Some(before), Some(now)) => before.differences(now),
            _ => name_differences(&self.dataset.classes, &now.dataset.classes),
        });
        let values = |record: &Self| record.cell.fingerprints().remove("weights");
        let weights = match (values(self), values(now)) {
            (Some(before), Some(now)) => [Some(before), Some(now)],
            // The files that held them.
            _ => [self.weights_sha256.clone(), now.weights_sha256.clone()],
        };
        let [before, now] = weights.map(|sha256| {
            sha256.map(|sha256| ("weights".to_owned(), sha256)).into_iter().collect()
        });
        found.extend(input_differences(&before, &now));
        found
    }
}

/// What of the fingerprints `now` is not as it was in `before`, one phrase each.
pub fn input_differences(
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Vec<String> {
    let short = |of: &BTreeMap<String, String>, name: &str| -> String {
        of.get(name).map_or("none", String::as_str).chars().take(12).collect()
    };
    let differing = INPUTS.iter().filter(|name| before.get(**name) != now.get(**name));
    let phrase = |name| format!("{name} was {}, now {}", short(before, name), short(now, name));
    differing.map(|name| phrase(*name)).collect()
}
