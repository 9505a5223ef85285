//! Whether records belong together: seeds of one arm are of one configuration and of the same
//! inputs, or their mean says nothing.

use std::collections::BTreeMap;

use run_record::{FINGERPRINTS, Record};
use serde_json::Value;

use crate::compare::Arm;
use crate::config::CellConfig;

/// Why the records of an arm are not seeds of one cell, in a phrase; `None` if they are.
pub(crate) fn mixture(arm: &Arm<'_>) -> Option<String> {
    let (first, others) = arm.records.split_first()?;
    let mut of_seed = BTreeMap::from([(first.cell.seed, *first)]);
    for record in others {
        let (a, b) = (first.cell.file_stem(), record.cell.file_stem());
        let inputs = first.input_differences(record);
        if !inputs.is_empty() {
            return Some(format!("{a} and {b} are of different inputs: {}", inputs.join("; ")));
        }
        let mut keys = Vec::new();
        different_keys(&configuration(first), &configuration(record), "", &mut keys);
        if !keys.is_empty() {
            return Some(format!(
                "{a} and {b} are of different configurations: {}",
                keys.join("; ")
            ));
        }
        if let Some(twin) = of_seed.insert(record.cell.seed, record) {
            let (seed, a) = (record.cell.seed, twin.cell.file_stem());
            return Some(format!("seed {seed} is there twice: {a} and {b}"));
        }
    }
    None
}

/// What two arms differ in besides their configurations: data, and weights of one backbone; one
/// phrase each.
pub(crate) fn other_inputs(first: &Record, second: &Record) -> Vec<String> {
    let backbone = |record: &Record| record.cell.config["model"]["backbone"].clone();
    let mut found = first.input_differences(second);
    if backbone(first) != backbone(second) {
        // Which weights follows from the configuration.
        found.retain(|line| !line.starts_with("weights"));
    }
    found
}

/// A record's configuration without its inputs, with every default of today: one that came later
/// changes nothing.
fn configuration(record: &Record) -> Value {
    let today = CellConfig::from_value(&record.cell.config).ok();
    let today = today.and_then(|config| serde_json::to_value(config).ok());
    let mut config = today.unwrap_or_else(|| record.cell.config.clone());
    config.as_object_mut().map(|keys| keys.remove(FINGERPRINTS));
    config
}

/// The keys at which two trees differ, with both values.
fn different_keys(a: &Value, b: &Value, path: &str, found: &mut Vec<String>) {
    if let (Value::Object(of_a), Value::Object(of_b)) = (a, b) {
        let keys: std::collections::BTreeSet<&String> = of_a.keys().chain(of_b.keys()).collect();
        for key in keys {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let none = Value::Null;
            let (a, b) = (of_a.get(key).unwrap_or(&none), of_b.get(key).unwrap_or(&none));
            different_keys(a, b, &path, found);
        }
    } else if a != b {
        found.push(format!("{path} = {a} and {b}"));
    }
}
