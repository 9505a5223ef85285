//! What folders hold: names in order, photographs with their labels, and what is left out.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::on_disk::Pair;
use crate::{Error, is_litter};

/// What a list made from folders does not hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct LeftOut {
    /// Hidden files and what file managers leave.
    pub(crate) litter: usize,
    /// Whatever else is no photograph of the dataset.
    pub(crate) others: Vec<PathBuf>,
}

impl LeftOut {
    /// What is left out and how much of it.
    pub(crate) fn in_words(&self) -> Option<String> {
        let mut words = Vec::new();
        if self.litter > 0 {
            words.push(litter_in_words(self.litter));
        }
        if let Some(first) = self.others.first() {
            let more = if self.others.len() > 1 { ", …" } else { "" };
            let files = if self.others.len() == 1 { "file that is" } else { "files that are" };
            let count = self.others.len();
            words.push(format!(
                "{count} {files} no photographs of the dataset ({}{more})",
                first.display()
            ));
        }
        (!words.is_empty()).then(|| words.join(" and "))
    }
}

/// Such as "2 hidden files".
pub(crate) fn litter_in_words(files: usize) -> String {
    let files_or_file = if files == 1 { "file" } else { "files" };
    format!("{files} hidden {files_or_file} or litter of a file manager")
}

/// The sorted names in a folder, litter left out: the order of directory listings differs by file
/// system.
pub(crate) fn sorted_names(folder: &Path) -> Result<Vec<OsString>, Error> {
    names(folder, &mut LeftOut::default())
}

/// The same, and litter is counted.
pub(crate) fn names(folder: &Path, left_out: &mut LeftOut) -> Result<Vec<OsString>, Error> {
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let names = entries.map(|entry| Ok(entry.map_err(Error::io(folder))?.file_name()));
    let mut names = names.collect::<Result<Vec<_>, Error>>()?;
    let all = names.len();
    names.retain(|name| !is_litter(name));
    left_out.litter += all - names.len();
    names.sort();
    Ok(names)
}

/// All photographs of a folder, sorted by name, each with the PNG of its name in `labels`; none of a
/// folder that is not there.
///
/// # Errors
///
/// Two photographs, or two label files, of one name.
pub(crate) fn pairs(
    images: &Path,
    endings: &[&str],
    labels: &Path,
    left_out: &mut LeftOut,
) -> Result<Vec<Pair>, Error> {
    if !images.is_dir() {
        return Ok(Vec::new());
    }
    let of_labels = if labels.is_dir() { sorted_names(labels)? } else { Vec::new() };
    let label_files = by_stem(labels, of_labels, &["png"], &mut LeftOut::default())?;
    let photographs = by_stem(images, names(images, left_out)?, endings, left_out)?;
    let mut pairs: BTreeMap<String, Pair> = BTreeMap::new();
    for (stem, image) in photographs {
        let id = stem.to_string_lossy().into_owned();
        let labels = label_files.get(&stem).cloned().unwrap_or_else(|| {
            let mut name = stem.clone();
            name.push(".png");
            labels.join(name)
        });
        // Names that are no text may become the same.
        if let Some(other) = pairs.get(&id) {
            return Err(Error::SameName { first: other.image.clone(), second: image });
        }
        pairs.insert(id.clone(), Pair { id, image, labels });
    }
    let mut pairs: Vec<Pair> = pairs.into_values().collect();
    pairs.sort_by(|a, b| a.image.cmp(&b.image));
    Ok(pairs)
}

/// The files of these endings by their names without them.
fn by_stem(
    folder: &Path,
    names: Vec<OsString>,
    endings: &[&str],
    left_out: &mut LeftOut,
) -> Result<BTreeMap<OsString, PathBuf>, Error> {
    let mut found: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for name in names {
        let file = folder.join(&name);
        let Some(stem) = file.file_stem().filter(|_| has_ending(&file, endings)) else {
            left_out.others.push(file);
            continue;
        };
        if let Some(first) = found.get(stem) {
            return Err(Error::SameName { first: first.clone(), second: file });
        }
        found.insert(stem.to_owned(), file);
    }
    Ok(found)
}

fn has_ending(file: &Path, endings: &[&str]) -> bool {
    let ending: Option<&OsStr> = file.extension();
    ending.is_some_and(|ending| endings.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}
