//! Whether a file holds what a network asks for.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{Weights, guess::network_of};
use crate::config::BackboneConfig;
use crate::error::{Error, Result};

/// Names listed of each kind of difference.
const LISTED: usize = 6;

/// The tensors of `weights` that the network of `config` asks for, if it holds all of them and no
/// others. What the network has no use for by design (`classifier.*`, `fc.*`, MobileNetV2's
/// `features.18.*`) is left out. A prefix that all names have in common, such as `module.` or
/// `backbone.`, comes off where what is left are the network's names.
///
/// # Errors
///
/// [`Error::OtherArchitecture`] with a guess which, or [`Error::Mismatch`] listing what is
/// missing, left over or of another shape.
pub fn checked(weights: &Weights, config: &BackboneConfig) -> Result<BTreeMap<String, Tensor>> {
    let expected = config.parameters()?;
    let path = || weights.path.clone();
    let tensors = without_prefix(&weights.tensors, &expected);
    let shared = expected.keys().filter(|name| tensors.contains_key(name.as_str())).count();
    // With fewer than half of the names, the list of differences would say less than this.
    if shared * 2 < expected.len() {
        let found = network_of(&tensors);
        let example = expected.keys().next().map_or("", String::as_str);
        let expected = format!("{}, with names such as {example}", config.kind());
        return Err(Error::OtherArchitecture { path: path(), expected, found });
    }
    let unused = |name: &str| unused_prefixes(config).iter().any(|p| name.starts_with(p));
    let (mut missing, mut left_over, mut reshaped) = (Vec::new(), Vec::new(), Vec::new());
    let mut kept = BTreeMap::new();
    for (name, shape) in &expected {
        match tensors.get(name.as_str()) {
            None => missing.push(format!("{name} {shape:?}")),
            Some(tensor) if tensor.dims() != shape => {
                reshaped.push(format!("{name} is {:?}, expected {shape:?}", tensor.dims()));
            }
            Some(&tensor) => {
                kept.insert(name.clone(), tensor.clone());
            }
        }
    }
    for (&name, tensor) in &tensors {
        if !expected.contains_key(name) && !unused(name) {
            left_over.push(format!("{name} {:?}", tensor.dims()));
        }
    }
    let groups = [("missing", missing), ("of another shape", reshaped), ("left over", left_over)];
    let differences: Vec<String> = groups.into_iter().filter_map(list).collect();
    if differences.is_empty() {
        return Ok(kept);
    }
    let differences = differences.join("; ");
    Err(Error::Mismatch { path: path(), network: config.kind().to_owned(), differences })
}

/// The tensors without that common prefix of their names which leaves the most of `expected`, the
/// shortest of equals; mostly none.
fn without_prefix<'t>(
    tensors: &'t BTreeMap<String, Tensor>,
    expected: &BTreeMap<String, Vec<usize>>,
) -> BTreeMap<&'t str, &'t Tensor> {
    let (first, last) = (tensors.first_key_value(), tensors.last_key_value());
    // Of sorted names, what the first and the last have in common is common to all.
    let common = first.zip(last).map_or(0, |((first, _), (last, _))| {
        first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count()
    });
    let ends = |name: &str| -> Vec<usize> {
        name.bytes()
            .take(common)
            .enumerate()
            .filter(|(_, c)| *c == b'.')
            .map(|(k, _)| k + 1)
            .collect()
    };
    let mut best = (0, 0);
    for end in [0].into_iter().chain(first.map_or(Vec::new(), |(name, _)| ends(name))) {
        let fits = |name: &&String| expected.contains_key(&name[end..]);
        let fitting = tensors.keys().filter(fits).count();
        if fitting > best.1 {
            best = (end, fitting);
        }
    }
    tensors.iter().map(|(name, tensor)| (&name[best.0..], tensor)).collect()
}

fn unused_prefixes(config: &BackboneConfig) -> &'static [&'static str] {
    match config {
        BackboneConfig::SmallCnn(_) => &[],
        BackboneConfig::Vgg16(_) | BackboneConfig::SqueezeNet(_) => &["classifier."],
        BackboneConfig::ResNet18(_)
        | BackboneConfig::ResNet50(_)
        | BackboneConfig::ResNet101(_) => &["fc."],
        BackboneConfig::MobileNetV2(_) => &["classifier.", "features.18."],
    }
}

fn list((what, names): (&str, Vec<String>)) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let more = names.len().saturating_sub(LISTED);
    let listed = names[..names.len() - more].join(", ");
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("{} {what}: {listed}{tail}", names.len()))
}
