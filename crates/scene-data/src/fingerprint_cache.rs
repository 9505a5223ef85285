//! Where fingerprints are kept from one start to the next, so that a large set is hashed once.
//!
//! A file for each split, by the paths of its files: for each sample its hash, and the stamps that
//! both its files had. A sample whose files have others is hashed again, and so is one whose files
//! changed so shortly before that another change might not show in them. Whatever goes wrong here
//! costs time only.

use std::path::{Path, PathBuf};

use crate::fingerprint::{Digest, Known};

/// A cache file is at most this large: 200 bytes a sample are usual.
const LIMIT_BYTES: u64 = 1 << 30;

/// The folder in which fingerprints are kept, if they are.
#[derive(Debug, Clone, Default)]
pub struct FingerprintCache(Option<PathBuf>);

impl FingerprintCache {
    /// Keeps nothing.
    pub fn none() -> Self {
        Self(None)
    }

    /// Keeps them in that folder, which is made if it is not there.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self(Some(folder.into()))
    }

    /// The user's: `scene-rnn` in `$XDG_CACHE_HOME`, or in `~/.cache` without it; nothing is kept
    /// where there is neither.
    pub fn of_user() -> Self {
        let absolute = |name: &str| {
            let path = PathBuf::from(std::env::var_os(name)?);
            path.is_absolute().then_some(path)
        };
        let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        Self(caches.map(|folder| folder.join("scene-rnn")))
    }

    /// What is known of `len` samples under that key.
    pub(crate) fn read(&self, key: &str, len: usize) -> Vec<Option<Known>> {
        let read = |file: &Path| -> Option<Vec<Option<Known>>> {
            let bytes = whole_files::read(file, LIMIT_BYTES).ok()?;
            serde_json::from_slice(&bytes).ok().filter(|known: &Vec<_>| known.len() == len)
        };
        self.file(key).and_then(|file| read(&file)).unwrap_or_else(|| vec![None; len])
    }

    /// Keeps what is known under that key.
    pub(crate) fn write(&self, key: &str, known: &[Option<Known>]) {
        self.keep(key, || serde_json::to_vec(known).ok());
    }

    /// The hash under that key, made if it is not known.
    pub(crate) fn remembered<E>(
        &self,
        key: &str,
        make: impl FnOnce() -> Result<String, E>,
    ) -> Result<String, E> {
        let read = |file: PathBuf| whole_files::read_to_string(file, 1 << 10).ok();
        let is_hash =
            |text: &String| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(known) = self.file(key).and_then(read).filter(is_hash) {
            return Ok(known);
        }
        let made = make()?;
        self.keep(key, || Some(made.clone().into_bytes()));
        Ok(made)
    }

    fn keep(&self, key: &str, content: impl FnOnce() -> Option<Vec<u8>>) {
        let Some(file) = self.file(key) else { return };
        if let Some(folder) = file.parent()
            && std::fs::create_dir_all(folder).is_ok()
            && let Some(bytes) = content()
        {
            // Without it the next start takes longer.
            let _ = whole_files::write(&file, &bytes);
        }
    }

    fn file(&self, key: &str) -> Option<PathBuf> {
        let digest = Digest::of([key.as_bytes()]);
        Some(self.0.as_ref()?.join("fingerprints").join(digest.hex()))
    }
}
