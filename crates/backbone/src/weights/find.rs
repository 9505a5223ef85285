//! Which file holds a network's weights.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::BackboneConfig;
use crate::error::{Error, Result};

/// Names of a folder that an error lists.
const LISTED: usize = 8;

/// The weights file of `config`: `path` itself if it is a file; in a folder
/// `mobilenet_v2_features.safetensors` or else the only `mobilenet_v2*.safetensors`.
///
/// # Errors
///
/// [`Error::NoWeights`] saying what was expected and found, also for a network that has no
/// pretrained weights; [`Error::Unreadable`].
pub fn find_weights(path: &Path, config: &BackboneConfig) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let none = |expected: String, found: String| {
        let network = config.kind().to_owned();
        Err(Error::NoWeights { path: path.to_owned(), network, expected, found })
    };
    let (exact, start) = match config {
        BackboneConfig::SmallCnn(_) => {
            let expected = "the path of one file (there are no pretrained weights of this network)";
            return none(expected.to_owned(), "another path".to_owned());
        }
        BackboneConfig::MobileNetV2(_) => ("mobilenet_v2_features.safetensors", "mobilenet_v2"),
    };
    let expected = format!("{exact} or {start}*.safetensors");
    if !path.exists() {
        return none(expected, "no such file or folder".to_owned());
    }
    let names = list(path)?;
    let fits = |name: &&String| name.starts_with(start) && name.ends_with(".safetensors");
    let candidates: Vec<&String> = names.iter().filter(fits).collect();
    if names.iter().any(|name| name == exact) {
        return Ok(path.join(exact));
    }
    match candidates[..] {
        [one] => Ok(path.join(one)),
        [] => none(expected, shown(&names)),
        _ => {
            let found = candidates.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            none(expected, format!("several, {found}; give the path of one"))
        }
    }
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
