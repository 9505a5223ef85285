//! The common part of all datasets on disk: pairs of files, decoded through a class table.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::class_table::ClassTable;
use crate::layout::Layout;
use crate::{Class, Error, LabelMap, Sample, SceneDataset, fingerprint};
use crate::{read_image, read_label_png};

/// A photograph and its label file.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) id: String,
    pub(crate) image: PathBuf,
    pub(crate) labels: PathBuf,
}

/// One split of a dataset on disk; its pairs are in their final order.
#[derive(Debug)]
pub(crate) struct FolderDataset {
    layout: Layout,
    table: &'static ClassTable,
    pairs: Vec<Pair>,
}

impl FolderDataset {
    /// Takes the pairs of a split after checking that all their files are there: better now than
    /// in the middle of a training.
    pub(crate) fn new(
        layout: Layout,
        root: &Path,
        table: &'static ClassTable,
        pairs: Vec<Pair>,
    ) -> Result<Self, Error> {
        let total = pairs.len();
        for (what, file) in [
            ("photographs", (|pair| &pair.image) as fn(&Pair) -> &PathBuf),
            ("label files", |pair| &pair.labels),
        ] {
            let missing: Vec<&PathBuf> = pairs.iter().map(file).filter(|f| !f.is_file()).collect();
            if let Some(&first) = missing.first() {
                return Err(Error::MissingFiles {
                    dataset: layout.title(),
                    root: root.to_path_buf(),
                    what,
                    missing: missing.len(),
                    total,
                    first: first.clone(),
                });
            }
        }
        Ok(Self { layout, table, pairs })
    }
}

impl SceneDataset for FolderDataset {
    fn name(&self) -> &str {
        self.layout.name()
    }

    fn classes(&self) -> &[Class] {
        &self.table.classes
    }

    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn id(&self, index: usize) -> &str {
        &self.pairs[index].id
    }

    fn sample(&self, index: usize) -> Result<Sample, Error> {
        let Some(pair) = self.pairs.get(index) else {
            return Err(Error::Index { dataset: self.name().to_owned(), index, len: self.len() });
        };
        let image = read_image(&pair.image)?;
        let mut labels = read_label_png(&pair.labels)?;
        same_size(pair, &image, &labels)?;
        self.table.decode(&mut labels, &pair.labels)?;
        Ok(Sample { id: pair.id.clone(), image, labels, beacon_distance_px: None })
    }

    fn fingerprint(&self) -> Result<String, Error> {
        fingerprint::of_files(self.len(), |index| {
            let pair = &self.pairs[index];
            (&pair.id, [&pair.image, &pair.labels])
        })
    }
}

/// The sorted names in a folder: the order of directory listings differs by file system.
pub(crate) fn sorted_names(folder: &Path) -> Result<Vec<OsString>, Error> {
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let names = entries.map(|entry| Ok(entry.map_err(Error::io(folder))?.file_name()));
    let mut names = names.collect::<Result<Vec<_>, Error>>()?;
    names.sort();
    Ok(names)
}

/// The lines of a list that hold something, with their numbers from 1.
pub(crate) fn list_lines(file: &Path) -> Result<Vec<(usize, String)>, Error> {
    let text = std::fs::read_to_string(file).map_err(Error::io(file))?;
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim().to_owned()));
    let lines: Vec<_> = lines.filter(|(_, line)| !line.is_empty()).collect();
    if lines.is_empty() {
        let (file, found) = (file.to_path_buf(), text);
        return Err(Error::List { file, line: 1, expected: "at least one image", found });
    }
    Ok(lines)
}

fn same_size(pair: &Pair, image: &image::RgbImage, labels: &LabelMap) -> Result<(), Error> {
    let (image_width, image_height) = (image.width() as usize, image.height() as usize);
    if (image_width, image_height) == (labels.width, labels.height) {
        return Ok(());
    }
    Err(Error::SizeMismatch {
        image: pair.image.clone(),
        labels: pair.labels.clone(),
        image_width,
        image_height,
        label_width: labels.width,
        label_height: labels.height,
    })
}
