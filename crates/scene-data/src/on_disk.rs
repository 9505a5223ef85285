//! The common part of all datasets on disk: pairs of files, decoded through an encoding.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::encoding::Encoding;
use crate::fingerprint::{Entry, Known};
use crate::image_file::image_size;
use crate::layout::Layout;
use crate::{Class, Error, FingerprintCache, LabelMap, LabelValues, Sample, SceneDataset, U16Map};
use crate::{fingerprint, read_file, read_image, read_png_u16};

/// A photograph and its label file.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) id: String,
    pub(crate) image: PathBuf,
    pub(crate) labels: PathBuf,
}

/// What the lists or folders of one split promise; nothing has been looked for yet.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    /// The dataset's name in configurations.
    pub(crate) name: String,
    pub(crate) layout: Layout,
    /// The dataset's own folder.
    pub(crate) root: PathBuf,
    pub(crate) encoding: Encoding,
    /// In their final order.
    pub(crate) pairs: Vec<Pair>,
}

/// One split of a dataset on disk.
#[derive(Debug)]
pub(crate) struct OnDisk {
    listing: Listing,
    /// What the samples were when the fingerprint was taken.
    known: OnceLock<Vec<Known>>,
}

impl OnDisk {
    /// Takes a split after checking that all its files are there: better now than in the middle of
    /// a training.
    pub(crate) fn new(listing: Listing) -> Result<Self, Error> {
        let Listing { layout, root, pairs, .. } = &listing;
        let total = pairs.len();
        for (what, file) in [
            ("photographs", (|pair| &pair.image) as fn(&Pair) -> &PathBuf),
            ("label files", |pair| &pair.labels),
        ] {
            let missing: Vec<&PathBuf> = pairs.iter().map(file).filter(|f| !f.is_file()).collect();
            if let Some(&first) = missing.first() {
                return Err(Error::MissingFiles {
                    dataset: layout.title(),
                    root: root.clone(),
                    what,
                    missing: missing.len(),
                    total,
                    first: first.clone(),
                });
            }
        }
        Ok(Self { listing, known: OnceLock::new() })
    }

    fn pair(&self, index: usize) -> Result<&Pair, Error> {
        let (dataset, len) = (self.listing.name.clone(), self.len());
        self.listing.pairs.get(index).ok_or(Error::Index { dataset, index, len })
    }
}

impl SceneDataset for OnDisk {
    fn name(&self) -> &str {
        &self.listing.name
    }

    fn classes(&self) -> &[Class] {
        self.listing.encoding.classes()
    }

    fn label_values(&self) -> LabelValues {
        self.listing.encoding.label_values()
    }

    fn len(&self) -> usize {
        self.listing.pairs.len()
    }

    fn id(&self, index: usize) -> &str {
        &self.listing.pairs[index].id
    }

    fn sample(&self, index: usize) -> Result<Sample, Error> {
        let pair = self.pair(index)?;
        let read = || read_pair(pair, &self.listing.encoding);
        match self.known.get().and_then(|known| known.get(index)) {
            Some(known) => known.read(entry(pair), read),
            None => read(),
        }
    }

    fn size(&self, index: usize) -> Result<[usize; 2], Error> {
        let pair = self.pair(index)?;
        // Labels are those of the sample as it is seen; MATLAB's files have no head that says so.
        let is_picture = pair.labels.extension().is_some_and(|ending| ending == "png");
        image_size(if is_picture { &pair.labels } else { &pair.image })
    }

    fn instances(&self, index: usize) -> Result<Option<U16Map>, Error> {
        let pair = self.pair(index)?;
        let file = instances_of(self.listing.layout, pair);
        file.map(|file| read_png_u16(&file)).transpose()
    }

    fn fingerprint_in(&self, cache: &FingerprintCache) -> Result<String, Error> {
        let pairs = &self.listing.pairs;
        let known = fingerprint::of_files(self.len(), |index| entry(&pairs[index]), cache)?;
        let all = fingerprint::joined(known.iter().map(|known| Ok(known.digest)).collect());
        // Samples are held to the first, should there be two.
        let _ = self.known.set(known);
        all
    }
}

fn entry(pair: &Pair) -> Entry<'_> {
    (&pair.id, [&pair.image, &pair.labels])
}

/// Decodes both files of a pair and holds their sizes against each other.
pub(crate) fn read_pair(pair: &Pair, encoding: &Encoding) -> Result<Sample, Error> {
    let image = read_image(&pair.image)?;
    let labels = encoding.read(&pair.labels)?;
    same_size(pair, &image, &labels)?;
    Ok(Sample { id: pair.id.clone(), image, labels, beacon_distance_px: None })
}

/// The file of a pair's instance ids, for datasets that have them.
pub(crate) fn instances_of(layout: Layout, pair: &Pair) -> Option<PathBuf> {
    let name = pair.labels.file_name()?.to_str()?;
    (layout == Layout::Cityscapes)
        .then(|| pair.labels.with_file_name(name.replace("labelIds", "instanceIds")))
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
    let text = read_text(file)?;
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim().to_owned()));
    let lines: Vec<_> = lines.filter(|(_, line)| !line.is_empty()).collect();
    if lines.is_empty() {
        let (file, found) = (file.to_path_buf(), text);
        return Err(Error::List { file, line: 1, expected: "at least one image", found });
    }
    Ok(lines)
}

/// A list or a configuration as text.
pub(crate) fn read_text(file: &Path) -> Result<String, Error> {
    let text = String::from_utf8(read_file(file)?);
    text.map_err(|_| Error::NotText { file: file.to_path_buf() })
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
