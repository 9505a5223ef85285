//! What a result was made from, by fingerprint: the splits, the classes, the pretrained weights.

use std::collections::BTreeMap;

use crate::{Cell, Record};

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
        let needed =
            INPUTS.iter().filter(|name| **name != "weights" || self.weights_sha256.is_some());
        needed.into_iter().all(|name| known.contains_key(*name))
    }
}

/// What of the fingerprints `now` is not as it was in `before`, one phrase each.
pub fn input_differences(
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Vec<String> {
    let short = |of: &BTreeMap<String, String>, name: &str| {
        let whole = of.get(name).map_or("none", String::as_str);
        whole.chars().take(12).collect::<String>()
    };
    let differing = INPUTS.iter().filter(|name| before.get(**name) != now.get(**name));
    differing
        .map(|name| format!("{name} was {}, now {}", short(before, name), short(now, name)))
        .collect()
}
