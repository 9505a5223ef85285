//! Places that no command writes to, whatever it is asked: a dataset's folders, and its own inputs.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use same_file::Handle;

use crate::{Error, Result};

/// Where nothing is written, and what is never replaced.
#[derive(Debug, Default)]
pub struct Protected {
    closed: Vec<Handle>,
    inputs: BTreeSet<PathBuf>,
}

impl Protected {
    /// Closes a folder: nothing is written in it or below it. One that is not there needs no closing.
    pub fn close(&mut self, folder: &Path) {
        self.closed.extend(Handle::from_path(folder));
    }

    /// Keeps a file that a command reads, or that says what a dataset is.
    pub fn keep(&mut self, file: &Path) {
        self.inputs.extend(file.canonicalize());
    }

    /// Why nothing is to be written to a path, whatever leads there: links, `..`, another mount.
    ///
    /// # Errors
    ///
    /// A path whose folders cannot be looked up.
    pub fn refuses(&self, path: &Path) -> Result<Option<&'static str>> {
        let real = real_path(path)?;
        // What the file itself leads to, if it is a link.
        let target = path.canonicalize().ok();
        let both = || std::iter::once(&real).chain(&target);
        if both().any(|path| self.inputs.contains(path)) {
            return Ok(Some("would be overwritten, and is an input; name another output folder"));
        }
        let is_closed = |folder: &Path| {
            let handle =
                (!self.closed.is_empty()).then(|| Handle::from_path(folder).ok()).flatten();
            handle.is_some_and(|handle| self.closed.contains(&handle))
        };
        Ok(both().flat_map(|path| path.ancestors()).any(is_closed).then_some(
            "lies in a dataset's folder, where nothing is written; name another output folder",
        ))
    }
}

/// A path without links and `..`; its last parts need not be there yet.
///
/// # Errors
///
/// An empty path, or a working folder that is gone.
pub fn real_path(path: &Path) -> Result<PathBuf> {
    let failed = |source| Error::Io { file: path.to_owned(), source };
    let absolute = std::path::absolute(path).map_err(failed)?;
    let mut there = absolute.as_path();
    let mut rest = Vec::new();
    let mut real = loop {
        if let Ok(real) = there.canonicalize() {
            break real;
        }
        let (Some(parent), Some(last)) = (there.parent(), there.components().next_back()) else {
            break there.to_owned();
        };
        rest.push(last);
        there = parent;
    };
    // Below what is not there are no links.
    for part in rest.into_iter().rev() {
        match part {
            Component::ParentDir => _ = real.pop(),
            part => real.push(part),
        }
    }
    Ok(real)
}
