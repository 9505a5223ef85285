//! Hashes that tell whether two machines hold the same data.
//!
//! Each sample is hashed by itself, in parallel; the result is the hash of these hashes in order.

use std::path::Path;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::{Error, SceneDataset};

/// Hashes the decoded samples of a dataset.
pub(crate) fn of_samples<D: SceneDataset + ?Sized>(dataset: &D) -> Result<String, Error> {
    joined(dataset.len(), |index| {
        let sample = dataset.sample(index)?;
        let mut hash = Sha256::new();
        part(&mut hash, sample.id.as_bytes());
        // The width keeps 2×8 apart from 4×4.
        part(&mut hash, &sample.image.width().to_le_bytes());
        part(&mut hash, sample.image.as_raw());
        part(&mut hash, &sample.labels.data);
        Ok(hash.finalize().into())
    })
}

/// Hashes `len` samples whose ids, photographs and label files `entry` gives.
pub(crate) fn of_files<'a>(
    len: usize,
    entry: impl Fn(usize) -> (&'a str, [&'a Path; 2]) + Sync + Send,
) -> Result<String, Error> {
    joined(len, |index| {
        let (id, files) = entry(index);
        let mut hash = Sha256::new();
        part(&mut hash, id.as_bytes());
        for file in files {
            part(&mut hash, &std::fs::read(file).map_err(Error::io(file))?);
        }
        Ok(hash.finalize().into())
    })
}

fn joined(
    len: usize,
    digest: impl Fn(usize) -> Result<[u8; 32], Error> + Sync + Send,
) -> Result<String, Error> {
    let digests: Vec<Result<[u8; 32], Error>> = (0..len).into_par_iter().map(digest).collect();
    let mut all = Sha256::new();
    for digest in digests {
        all.update(digest?);
    }
    Ok(all.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Adds one part after its length, so that no two lists of parts give the same stream.
fn part(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}
