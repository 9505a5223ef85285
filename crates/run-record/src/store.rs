//! Records on disk: one JSON line in one file, written once and whole.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::cell::write_canonical;
use crate::names::check_name;
use crate::{Error, RECORD_VERSION, Record, Result};

/// The most bytes that a record's file may have: those of sets of a few thousand images have some
/// millions.
const FILE_BYTES: u64 = 32 << 20;

impl Record {
    /// Writes the record into `dir` as `<stem>.json` and returns that path.
    ///
    /// A file of that name is whole or not there.
    ///
    /// # Errors
    ///
    /// [`Error::RecordExists`] where there is one already, [`Error::Record`] for a record that
    /// could not be read back (a number that is not finite), [`Error::File`] from the disk.
    pub fn write_atomically(&self, dir: impl AsRef<Path>) -> Result<PathBuf> {
        let dir = dir.as_ref();
        let stem = self.cell.file_stem();
        let path = dir.join(format!("{stem}.json"));
        let line = self.to_line(&path)?;
        match whole_files::write_new(&path, line.as_bytes()) {
            Err(error) if error.kind() == Some(ErrorKind::AlreadyExists) => {
                Err(Error::RecordExists { file: path })
            }
            written => written.map(|()| path).map_err(Error::from),
        }
    }

    /// Reads one record.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, is damaged, is of another version, or was edited.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = whole_files::read(path, FILE_BYTES)?;
        Self::from_bytes(&bytes).map_err(|problem| Error::Record { file: path.to_owned(), problem })
    }

    /// Reads every `.json` file of a folder, whatever its name, sorted by file name; hidden files are
    /// passed over.
    ///
    /// # Errors
    ///
    /// A folder that cannot be read, and the first file that [`Record::read`] refuses.
    pub fn read_dir(dir: impl AsRef<Path>) -> Result<Vec<Self>> {
        Self::files(dir)?.iter().map(Self::read).collect()
    }

    /// The files that [`Record::read_dir`] reads, in its order.
    ///
    /// # Errors
    ///
    /// A folder that cannot be read.
    pub fn files(dir: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
        let dir = dir.as_ref();
        let failed = |source| Error::Io { file: dir.to_owned(), source };
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let is_hidden =
                path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
            let ending = path.extension().unwrap_or_default();
            if ending.eq_ignore_ascii_case("json") && !is_hidden {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// The record as the one line of its file, which is to be at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] for a record that could not be read back.
    pub fn to_line(&self, path: &Path) -> Result<String> {
        let refuse = |problem: String| Error::Record { file: path.to_owned(), problem };
        if self.version != RECORD_VERSION {
            let version = self.version;
            return Err(refuse(format!(
                "a record of version {version} cannot be written, only {RECORD_VERSION}"
            )));
        }
        let bare = serde_json::to_string(self)
            .map_err(|error| refuse(format!("the record cannot be written: {error}")))?;
        // Read again, since the checksum is one of numbers as a file has them.
        let content = serde_json::from_str(&bare)
            .map_err(|error| refuse(format!("the record could not be read back: {error}")))?;
        let sum = checksum(&content);
        let fields = bare.strip_suffix('}').unwrap_or(&bare);
        let line = format!("{fields},\"{SHA256}\":\"{sum}\"}}\n");
        // JSON has no NaN: it would be written as `null` and the cell lost on the next start.
        match Self::from_bytes(line.as_bytes()) {
            Ok(same) if same == *self => Ok(line),
            Ok(_) => Err(refuse("the record would read differently once written".to_owned())),
            Err(problem) => Err(refuse(format!(
                "the record could not be read back (a number that is not finite?): {problem}"
            ))),
        }
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let damaged = |error: serde_json::Error| {
            format!("not a whole record ({error}); delete the file to run its cell again")
        };
        let mut content: Value = serde_json::from_slice(bytes).map_err(damaged)?;
        // The version first: a record of another version has other fields.
        let version = content.get("version").and_then(Value::as_u64);
        let version = version.ok_or("not a record: it has no version")?;
        if !(1..=u64::from(RECORD_VERSION)).contains(&version) {
            return Err(format!(
                "a record of version {version}, but this program reads versions 1 to \
                 {RECORD_VERSION}; use another output folder"
            ));
        }
        let said = content.as_object_mut().and_then(|fields| fields.remove(SHA256));
        let found = checksum(&content);
        // Version 1 has none.
        if said.as_ref().and_then(Value::as_str) != (version > 1).then_some(&*found) {
            return Err("its content is not that of its checksum, so the record was edited or \
                        damaged: delete the file to run its cell again"
                .to_owned());
        }
        let record: Self = serde_json::from_value(content).map_err(damaged)?;
        // Files are called after it, also by whoever only reads the record.
        check_name("cell.arm", &record.cell.arm)?;
        record.check()?;
        let hash = record.cell.hash();
        if record.cell_hash != hash {
            return Err(format!(
                "the cell's hash is given as {}, but its configuration and seed make {hash}; the \
                 record was edited: delete the file to run its cell again",
                record.cell_hash
            ));
        }
        Ok(record)
    }
}

/// Key of the checksum in a file, beside the record's own.
const SHA256: &str = "sha256";

/// SHA-256 of a record's content, whatever the order of keys and the space between them.
fn checksum(content: &Value) -> String {
    let mut text = String::new();
    write_canonical(content, &mut text);
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
