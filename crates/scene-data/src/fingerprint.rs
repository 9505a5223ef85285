//! Hashes that tell whether two machines hold the same data.
//!
//! Each sample is hashed by itself, in parallel; the result is the hash of these hashes in order.

use std::path::Path;

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::stamp::Stamp;
use crate::{Error, FingerprintCache, SceneDataset, read_file};

/// A SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    /// Over parts, each after its length, so that no two lists of parts give the same.
    pub(crate) fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for bytes in parts {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        Self(hash.finalize().into())
    }

    /// In hexadecimal.
    pub(crate) fn hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Hashes the decoded samples of a dataset.
pub(crate) fn of_samples<D: SceneDataset + ?Sized>(dataset: &D) -> Result<String, Error> {
    joined((0..dataset.len()).into_par_iter().map(|index| of_sample(dataset, index)).collect())
}

/// Hashes one decoded sample.
pub(crate) fn of_sample<D: SceneDataset + ?Sized>(
    dataset: &D,
    index: usize,
) -> Result<Digest, Error> {
    let sample = dataset.sample(index)?;
    // The width keeps 2×8 apart from 4×4.
    let width = sample.image.width().to_le_bytes();
    Ok(Digest::of([sample.id.as_bytes(), &width, sample.image.as_raw(), &sample.labels.data]))
}

/// A sample's name with its photograph and label file.
pub(crate) type Entry<'a> = (&'a str, [&'a Path; 2]);

/// What is known of a sample's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(from = "Kept", into = "Kept")]
pub(crate) struct Known {
    pub(crate) digest: Digest,
    stamps: [Stamp; 2],
    /// Whether a change since then shows in the stamps.
    is_settled: bool,
}

/// [`Known`] as the cache has it.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept([u8; 32], [Stamp; 2]);

impl From<Kept> for Known {
    fn from(Kept(digest, stamps): Kept) -> Self {
        // Others are not kept.
        Self { digest: Digest(digest), stamps, is_settled: true }
    }
}

impl From<Known> for Kept {
    fn from(known: Known) -> Self {
        Self(known.digest.0, known.stamps)
    }
}

/// Hashes `len` samples as they are in files, but for those that `cache` knows.
pub(crate) fn of_files<'a>(
    len: usize,
    entry: impl Fn(usize) -> Entry<'a> + Sync + Send,
    cache: &FingerprintCache,
) -> Result<Vec<Known>, Error> {
    let key = key(len, &entry)?;
    let before = cache.read(&key, len);
    let of = |index: usize| Known::of(entry(index), before[index]);
    let known: Vec<Result<Known, Error>> = (0..len).into_par_iter().map(of).collect();
    let known = known.into_iter().collect::<Result<Vec<_>, _>>()?;
    let kept: Vec<_> = known.iter().map(|known| known.is_settled.then_some(*known)).collect();
    if kept != before {
        cache.write(&key, &kept);
    }
    Ok(known)
}

/// What tells the files of one split from those of another.
fn key<'a>(len: usize, entry: &impl Fn(usize) -> Entry<'a>) -> Result<String, Error> {
    let mut hash = Sha256::new();
    for (id, files) in (0..len).map(entry) {
        hash.update(id.as_bytes());
        for file in files {
            hash.update([0]);
            let file = std::path::absolute(file).map_err(Error::io(file))?;
            hash.update(file.as_os_str().as_encoded_bytes());
        }
        hash.update([0]);
    }
    Ok(Digest(hash.finalize().into()).hex())
}

/// The hash of hashes.
pub(crate) fn joined(digests: Vec<Result<Digest, Error>>) -> Result<String, Error> {
    let mut all = Sha256::new();
    for digest in digests {
        all.update(digest?.0);
    }
    Ok(Digest(all.finalize().into()).hex())
}

impl Known {
    /// As it was `before` where the files have not changed since, or by reading them.
    fn of(entry: Entry<'_>, before: Option<Self>) -> Result<Self, Error> {
        let stamps = stamps(entry)?;
        if let Some(known) = before.filter(|known| known.stamps == stamps) {
            return Ok(known);
        }
        let is_settled = stamps.iter().all(Stamp::is_settled);
        let digest = digest(entry)?;
        unchanged(entry, stamps)?;
        Ok(Self { digest, stamps, is_settled })
    }

    /// Has `read` read the files, if they are still those that were hashed.
    ///
    /// # Errors
    ///
    /// [`Error::Changed`], and those of `read`.
    pub(crate) fn read<T>(
        &self,
        entry: Entry<'_>,
        read: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let now = stamps(entry)?;
        // Other times alone are no other data.
        if (now != self.stamps || !self.is_settled) && digest(entry)? != self.digest {
            let [image, labels] = entry.1;
            let file = if now[0] == self.stamps[0] { labels } else { image };
            return Err(Error::Changed { file: file.to_path_buf() });
        }
        let made = read()?;
        unchanged(entry, now)?;
        Ok(made)
    }
}

fn digest((id, files): Entry<'_>) -> Result<Digest, Error> {
    let [image, labels] = files.map(read_file);
    Ok(Digest::of([id.as_bytes(), &image?, &labels?]))
}

fn stamps((_, [image, labels]): Entry<'_>) -> Result<[Stamp; 2], Error> {
    Ok([Stamp::of(image)?, Stamp::of(labels)?])
}

/// An error if a file was written while it was read.
fn unchanged(entry: Entry<'_>, before: [Stamp; 2]) -> Result<(), Error> {
    let now = stamps(entry)?;
    let changed = entry.1.into_iter().zip(now.into_iter().zip(before)).find(|(_, (a, b))| a != b);
    changed.map_or(Ok(()), |(file, _)| Err(Error::Changed { file: file.to_path_buf() }))
}
