//! The list of what commands have written into a folder: a line of JSON a file, added to and never
//! rewritten, so that processes that write into one folder at once do not lose each other's lines.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Error, Result, open, read};

/// The list's name in its folder.
pub const LIST: &str = ".written.jsonl";

/// A list has some 300 bytes a file.
const LIMIT_BYTES: u64 = 1 << 30;

/// A file, and who writes it from what.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Entry {
    /// Its name below the folder.
    pub(crate) file: String,
    /// The command.
    pub(crate) by: String,
    /// What it is made of.
    pub(crate) of: String,
}

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Line {
    #[serde(flatten)]
    pub(crate) entry: Entry,
    /// SHA-256 of the file's bytes, in hexadecimal.
    pub(crate) sha256: String,
}

/// The list of a folder.
#[derive(Debug)]
pub(crate) struct List {
    path: PathBuf,
    /// By the file's name; a file that was written several times has several.
    lines: BTreeMap<String, Vec<Line>>,
}

impl List {
    /// Reads a folder's list; a line that is no whole one, as a power cut may leave it, is passed over.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(LIST);
        let bytes = match read(&path, LIMIT_BYTES) {
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => Vec::new(),
            read => read?,
        };
        let mut lines: BTreeMap<String, Vec<Line>> = BTreeMap::new();
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Ok(line) = serde_json::from_slice::<Line>(line) {
                lines.entry(line.entry.file.clone()).or_default().push(line);
            }
        }
        Ok(Self { path, lines })
    }

    /// The lines of a file.
    pub(crate) fn lines_of(&self, file: &str) -> impl Iterator<Item = &Line> {
        self.lines.get(file).into_iter().flatten()
    }

    /// The files it names.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.lines.keys().map(String::as_str)
    }

    /// Makes the list where there is none; so that a folder which cannot be written is known early.
    pub(crate) fn make(&self) -> Result<()> {
        self.opened().map(|_| ())
    }

    /// Adds a line, unless there is the same one.
    pub(crate) fn add(&mut self, entry: &Entry, sha256: &str) -> Result<()> {
        let line = Line { entry: entry.clone(), sha256: sha256.to_owned() };
        if self.lines_of(&entry.file).any(|there| *there == line) {
            return Ok(());
        }
        let failed = |source| Error::Io { file: self.path.clone(), source };
        let text = serde_json::to_string(&line).map_err(|error| failed(error.into()))?;
        let mut file = self.opened()?;
        // After half a line, as a power cut may leave it, the next begins on its own.
        let begin = if ends_a_line(&mut file).map_err(failed)? { "" } else { "\n" };
        // In one call, so that lines of several processes do not mix.
        file.write_all(format!("{begin}{text}\n").as_bytes()).map_err(failed)?;
        self.lines.entry(entry.file.clone()).or_default().push(line);
        Ok(())
    }

    /// Whether the file system takes names that differ by case for one.
    pub(crate) fn has_folded_name(&self) -> bool {
        fs::symlink_metadata(self.path.with_file_name(LIST.to_uppercase())).is_ok()
    }

    fn opened(&self) -> Result<File> {
        let failed = |source| Error::Io { file: self.path.clone(), source };
        OpenOptions::new().read(true).append(true).create(true).open(&self.path).map_err(failed)
    }
}

/// The paths of all files that commands have written into a folder, as its list has them; they may
/// have been changed or removed since.
///
/// # Errors
///
/// A list that cannot be read; a folder without one has none.
pub fn written_in(folder: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let folder = folder.as_ref();
    Ok(List::read(folder)?.files().map(|file| folder.join(file)).collect())
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).as_slice())
}

/// SHA-256 of a regular file's bytes, in hexadecimal.
pub(crate) fn sha256_of_file(path: &Path) -> Result<String> {
    let mut file = open(path)?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash)
        .map_err(|source| Error::Io { file: path.to_owned(), source })?;
    Ok(hex(hash.finalize().as_slice()))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ends_a_line(file: &mut File) -> std::io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
