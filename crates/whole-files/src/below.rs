//! All files below a folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The most entries that are listed: more than any dataset has.
const LIMIT: usize = 10_000_000;

/// Everything below a folder that is no folder, sorted by path; symbolic links are followed.
///
/// What cannot be opened as a file, a named pipe or a link to nothing, is listed as well, so that
/// whoever opens it can say so. A folder that leads back to one it lies in adds nothing and is
/// passed over.
///
/// # Errors
///
/// A folder that cannot be read, and [`Error::TooMany`].
pub fn files_below(folder: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let folder = folder.as_ref();
    let mut walk = Walk { top: folder, around: BTreeSet::new(), seen: 0, files: Vec::new() };
    walk.enter(folder)?;
    walk.files.sort();
    Ok(walk.files)
}

struct Walk<'a> {
    top: &'a Path,
    /// The folders that the present one lies in, itself included, by their real paths.
    around: BTreeSet<PathBuf>,
    seen: usize,
    files: Vec<PathBuf>,
}

impl Walk<'_> {
    fn enter(&mut self, folder: &Path) -> Result<()> {
        let failed = |source| Error::Io { file: folder.to_owned(), source };
        let real = folder.canonicalize().map_err(failed)?;
        if !self.around.insert(real.clone()) {
            return Ok(());
        }
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            self.seen += 1;
            if self.seen > LIMIT {
                return Err(Error::TooMany { folder: self.top.to_owned(), limit: LIMIT });
            }
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                self.enter(&path)?;
            } else {
                self.files.push(path);
            }
        }
        self.around.remove(&real);
        Ok(())
    }
}
