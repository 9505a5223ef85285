//! Reading regular files of bounded size.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;

use crate::{Error, Result};

/// Opens a regular file to be read; symbolic links are followed.
///
/// # Errors
///
/// A file that is not there or may not be read, and [`Error::NotRegular`] for anything else than a
/// regular file: opening a named pipe would wait until somebody writes into it.
pub fn open(path: impl AsRef<Path>) -> Result<File> {
    let path = path.as_ref();
    let failed = |source| Error::Io { file: path.to_owned(), source };
    check_regular(path, &std::fs::metadata(path).map_err(failed)?)?;
    let file = File::open(path).map_err(failed)?;
    // Again, for what it has become in between.
    check_regular(path, &file.metadata().map_err(failed)?)?;
    Ok(file)
}

/// The bytes of a regular file.
///
/// # Errors
///
/// Those of [`open`], what the disk reports, and [`Error::TooLarge`] for more than `limit_bytes`;
/// nothing is read of a file that is known to be larger.
pub fn read(path: impl AsRef<Path>, limit_bytes: u64) -> Result<Vec<u8>> {
    let path = path.as_ref();
    let failed = |source| Error::Io { file: path.to_owned(), source };
    let too_large = || Error::TooLarge { file: path.to_owned(), limit: limit_bytes };
    let file = open(path)?;
    let expected = file.metadata().map_err(failed)?.len();
    if expected > limit_bytes {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(usize::try_from(expected).map_err(|_| too_large())?)
        .map_err(|_| failed(std::io::ErrorKind::OutOfMemory.into()))?;
    // One more than allowed: the file may grow while it is read.
    file.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(too_large());
    }
    Ok(bytes)
}

/// The text of a regular file, without the byte-order mark that some editors write.
///
/// # Errors
///
/// Those of [`read`], and [`Error::NotUtf8`].
pub fn read_to_string(path: impl AsRef<Path>, limit_bytes: u64) -> Result<String> {
    let path = path.as_ref();
    let mut bytes = read(path, limit_bytes)?;
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    let is_utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    String::from_utf8(bytes).map_err(|_| Error::NotUtf8 { file: path.to_owned(), is_utf16 })
}

pub(crate) fn check_regular(path: &Path, metadata: &Metadata) -> Result<()> {
    match kind_of(metadata) {
        None => Ok(()),
        Some(found) => Err(Error::NotRegular { file: path.to_owned(), found }),
    }
}

/// What is there that is no regular file.
fn kind_of(metadata: &Metadata) -> Option<&'static str> {
    if metadata.is_file() {
        return None;
    }
    if metadata.is_dir() {
        return Some("a folder");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        let kind = metadata.file_type();
        if kind.is_fifo() {
            return Some("a named pipe");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
    }
    Some("a device")
}
