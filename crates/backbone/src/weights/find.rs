//! Which file holds a network's weights.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::BackboneConfig;
use crate::error::{Error, Result};
use crate::resnet::ResNetConfig;
use crate::vgg16::VggNorm;

/// Names of a folder that an error lists.
const LISTED: usize = 8;

/// Suffixes of weights files, the preferred one first.
const SUFFIXES: [&str; 2] = ["safetensors", "pth"];

/// The weights file of `config`: `path` itself if it is no folder; in a folder the one of torchvision's
/// name, with or without the digest that torchvision adds, `.safetensors` rather than `.pth`:
/// `resnet50.safetensors`, `resnet50-0676ba61.pth`.
///
/// # Errors
///
/// [`Error::NoWeights`] saying what was expected and found, also for a network that has no
/// pretrained weights; [`Error::Unreadable`].
pub fn find_weights(path: &Path, config: &BackboneConfig) -> Result<PathBuf> {
    // Whether it can be read is said by who reads it.
    if path.exists() && !path.is_dir() {
        return Ok(path.to_owned());
    }
    let none = |expected: String, found: String| {
        let network = config.kind().to_owned();
        Err(Error::NoWeights { path: path.to_owned(), network, expected, found })
    };
    let Some((stem, exact)) = names_of(config) else {
        let expected = "the path of one file (there are no pretrained weights of this network)";
        let found = if path.exists() { "a folder" } else { "no such file or folder" };
        return none(expected.to_owned(), found.to_owned());
    };
    let start = exact.map(|name| format!("{name} or ")).unwrap_or_default();
    let expected = format!("{start}{stem}.safetensors, {stem}-*.safetensors or the same as .pth");
    if !path.exists() {
        return none(expected, "no such file or folder".to_owned());
    }
    let names = list(path)?;
    if let Some(exact) = exact.filter(|exact| names.iter().any(|name| name == exact)) {
        return Ok(path.join(exact));
    }
    for suffix in SUFFIXES {
        let candidates: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| fits(name, stem, suffix)).collect();
        match candidates[..] {
            [one] => return Ok(path.join(one)),
            [] => {}
            _ => {
                let found = candidates.join(", ");
                return none(expected, format!("several, {found}; give the path of one"));
            }
        }
    }
    none(expected, shown(&names))
}

/// torchvision's name of the network, and that of a file which goes before all others.
fn names_of(config: &BackboneConfig) -> Option<(&'static str, Option<&'static str>)> {
    let plain = |stem| Some((stem, None));
    match config {
        BackboneConfig::SmallCnn(_) => None,
        BackboneConfig::Vgg16(config) => match config.norm {
            VggNorm::None => plain("vgg16"),
            VggNorm::Batch => plain("vgg16_bn"),
        },
        BackboneConfig::ResNet18(_) => plain("resnet18"),
        BackboneConfig::ResNet50(config) if config.width == ResNetConfig::open_nsfw().width => {
            plain("resnet50_thin_opennsfw")
        }
        BackboneConfig::ResNet50(_) => plain("resnet50"),
        BackboneConfig::ResNet101(_) => plain("resnet101"),
        BackboneConfig::MobileNetV2(_) => {
            Some(("mobilenet_v2", Some("mobilenet_v2_features.safetensors")))
        }
        BackboneConfig::SqueezeNet(_) => plain("squeezenet1_1"),
    }
}

/// Whether `name` is `stem.suffix` or `stem-….suffix`.
fn fits(name: &str, stem: &str, suffix: &str) -> bool {
    let rest = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(suffix));
    rest.and_then(|rest| rest.strip_suffix('.'))
        .is_some_and(|middle| middle.is_empty() || middle.starts_with('-'))
}

/// The names in a folder, sorted.
fn list(folder: &Path) -> Result<Vec<String>> {
    let unreadable = |error: std::io::Error| Error::Unreadable {
        path: folder.to_owned(),
        reason: format!("cannot list the folder: {error}"),
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        names.push(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn shown(names: &[String]) -> String {
    let listed = names[..names.len().min(LISTED)].join(", ");
    match names.len() {
        0 => "an empty folder".to_owned(),
        n if n > LISTED => format!("{listed} and {} more", n - LISTED),
        _ => listed,
    }
}
