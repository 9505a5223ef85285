//! The common part of all datasets on disk: pairs of files, decoded through an encoding.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::alignment::{Alignment, aligned};
use crate::encoding::Encoding;
use crate::fingerprint::{Entry, Known};
use crate::image_file::{Photograph, image_size};
use crate::layout::Layout;
use crate::scan::LeftOut;
use crate::{Class, Error, FingerprintCache, LabelValues, Sample, SceneDataset, U16Map};
use crate::{fingerprint, read_png_u16};

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
    /// What the folders hold besides; nothing where lists say what there is.
    pub(crate) left_out: LeftOut,
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
        let read = || Ok(read_pair(pair, &self.listing.encoding)?.0);
        match self.known.get().and_then(|known| known.get(index)) {
            Some(known) => known.read(entry(pair), read),
            None => read(),
        }
    }

    fn size(&self, index: usize) -> Result<[usize; 2], Error> {
        let pair = self.pair(index)?;
        // Labels are those of the sample as it is seen; MATLAB's files have no head that says so.
        let is_picture = pair.labels.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"));
        if !is_picture {
            return image_size(&pair.image);
        }
        image_size(&pair.labels).map_err(|error| match error {
            Error::Image { file, source } => Error::Png { file, message: source.to_string() },
            other => other,
        })
    }

    fn left_out(&self) -> Option<String> {
        self.listing.left_out.in_words()
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
pub(crate) fn read_pair(pair: &Pair, encoding: &Encoding) -> Result<(Sample, Alignment), Error> {
    let photograph = Photograph::read(&pair.image)?;
    let labels = encoding.read(&pair.labels)?;
    let (image, alignment) = aligned(pair, photograph, &labels)?;
    Ok((Sample { id: pair.id.clone(), image, labels, beacon_distance_px: None }, alignment))
}

/// The file of a pair's instance ids, for datasets that have them.
pub(crate) fn instances_of(layout: Layout, pair: &Pair) -> Option<PathBuf> {
    (layout == Layout::Cityscapes)
        .then(|| pair.labels.with_file_name(format!("{}_gtFine_instanceIds.png", pair.id)))
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

/// The most bytes that a list may have: twenty thousand images have two million.
pub(crate) const LIST_BYTES: u64 = 16 << 20;

/// A list or a configuration as text, without a byte-order mark.
pub(crate) fn read_text(file: &Path) -> Result<String, Error> {
    let text = whole_files::read_to_string(file, LIST_BYTES).map_err(Error::File)?;
    // UTF-16 of plain letters, where nothing marks it.
    if text.contains('\0') {
        return Err(Error::NotText { file: file.to_path_buf() });
    }
    Ok(text)
}
