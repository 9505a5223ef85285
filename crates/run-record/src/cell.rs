//! One arm with one seed.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// One unit of work: an arm's resolved configuration with a seed.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Name of the sweep it belongs to.
    pub sweep: String,
    /// Name of the arm.
    pub arm: String,
    /// Seed of every random draw.
    pub seed: u64,
    /// The configuration with all overrides applied, keys sorted.
    pub config: Value,
}

impl Cell {
    /// What identifies the work: 12 hexadecimal digits from configuration and seed.
    ///
    /// Names are not part of it, so a renamed arm keeps its hash; any changed value changes it.
    pub fn hash(&self) -> String {
        let mut text = String::from("{\"config\":");
        write_canonical(&self.config, &mut text);
        // Writing to a string cannot fail.
        let _ = write!(text, ",\"seed\":{}}}", self.seed);
        let digest = Sha256::digest(text.as_bytes());
        digest[..6].iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// What messages call it: `<arm> seed <seed>`.
    pub fn name(&self) -> String {
        format!("{} seed {}", self.arm, self.seed)
    }

    /// The name of its record's file without the extension: `<arm>-seed<seed>-<hash>`.
    pub fn file_stem(&self) -> String {
        format!("{}-seed{}-{}", self.arm, self.seed, self.hash())
    }
}

/// JSON with sorted keys whatever order the map keeps, since that is a feature of `serde_json` that
/// any crate of a build can switch on.
pub(crate) fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            out.push('{');
            for (nth, (key, value)) in entries.into_iter().enumerate() {
                if nth > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(values) => {
            out.push('[');
            for (nth, value) in values.iter().enumerate() {
                if nth > 0 {
                    out.push(',');
                }
                write_canonical(value, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// The same tree in JSON; dates become strings.
pub(crate) fn json_from_toml(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(n) => Value::from(*n),
        toml::Value::Float(x) => Value::from(*x),
        toml::Value::Boolean(b) => Value::from(*b),
        toml::Value::Datetime(date) => Value::from(date.to_string()),
        toml::Value::Array(values) => values.iter().map(json_from_toml).collect(),
        toml::Value::Table(table) => {
            let mut entries: Vec<_> =
                table.iter().map(|(key, value)| (key.clone(), json_from_toml(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
    }
}
