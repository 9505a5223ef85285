//! Writing files whole or not at all.
//!
//! A file is made as `.NAME.PID.tmp` beside its target and locked while it is written, so that what a
//! dead process left can be told from what a living one is at, on whatever machine that lives.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::reading::{check_regular, open};
use crate::{Error, Result};

/// Bytes of a name that are kept in its temporary one: file systems allow 255 in all.
const KEPT_OF_NAME: usize = 200;

/// Writes a file, in place of one that is there.
///
/// The folder must exist. The file's mode is the umask's.
///
/// # Errors
///
/// What the operating system reports of any step, the last ones (flush, sync, rename) included, and
/// [`Error::NotRegular`] for the path of a device; nothing is then left and a file that was there is
/// as it was.
pub fn write(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    write_with(path, |out| out.write_all(bytes))
}

/// Writes a file piece by piece, in place of one that is there; see [`write()`].
///
/// # Errors
///
/// Those of [`write()`], and what `fill` reports.
pub fn write_with(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    finished(path, fill, |temporary| fs::rename(temporary, path))
}

/// Writes a file that is not there yet.
///
/// # Errors
///
/// Those of [`write()`]; where there is a file of that name, its kind is
/// [`ErrorKind::AlreadyExists`] and the file is left alone.
pub fn write_new(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    finished(path, |out| out.write_all(bytes), |temporary| link_new(temporary, path))
}

/// Copies a file, in place of one that is there, with its mode: a program stays one that can be run.
///
/// # Errors
///
/// Those of [`open`] and [`write()`].
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let mut source = open(from)?;
    let metadata =
        source.metadata().map_err(|source| Error::Io { file: from.to_owned(), source })?;
    let fill = |out: &mut dyn Write| std::io::copy(&mut source, out).map(|_| ());
    finished(to, fill, |temporary| {
        fs::set_permissions(temporary, metadata.permissions())?;
        fs::rename(temporary, to)
    })
}

/// Removes the temporary files of processes that are gone from a folder, and says how many.
///
/// # Errors
///
/// A folder that cannot be read, or a file that cannot be removed.
pub fn clear_leftovers(folder: impl AsRef<Path>) -> Result<usize> {
    let folder = folder.as_ref();
    let failed = |source| Error::Io { file: folder.to_owned(), source };
    let mut cleared = 0;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if is_temporary(&path) {
            let removed = remove_if_left(&path);
            cleared += usize::from(removed.map_err(|source| Error::Io { file: path, source })?);
        }
    }
    Ok(cleared)
}

/// Makes the temporary file, and has it named by `name` when it is whole.
fn finished(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    name: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<()> {
    let failed = |source| Error::Io { file: path.to_owned(), source };
    if let Ok(there) = fs::metadata(path)
        && !there.is_dir()
    {
        // A rename would put a file in the place of a device.
        check_regular(path, &there)?;
    }
    let temporary = temporary_of(path).ok_or_else(|| failed(ErrorKind::InvalidFilename.into()))?;
    let file = begin(&temporary).map_err(failed)?;
    let done = (|| {
        let mut out = BufWriter::new(&file);
        fill(&mut out)?;
        out.flush()?;
        drop(out);
        file.sync_all()?;
        name(&temporary)
    })();
    if done.is_err() {
        // Of the failures, only the first is of interest.
        let _ = fs::remove_file(&temporary);
    }
    done.map_err(failed)?;
    // So that the name survives a power cut; not every system can sync a folder.
    let _ = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
    Ok(())
}

/// The temporary file, made and locked.
fn begin(temporary: &Path) -> std::io::Result<File> {
    loop {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(temporary)?;
        match file.lock() {
            Ok(()) => {}
            // Some file systems have no locks; there, what is left over stays.
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            Err(error) => return Err(error),
        }
        // Another process may have removed or renamed it while this one had no lock yet.
        if is_still(&file, temporary) {
            file.set_len(0)?;
            return Ok(file);
        }
    }
}

/// Whether a path is still the name of an open file.
#[cfg(unix)]
fn is_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => place(open) == place(named),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_still(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Gives a file a name that is not taken; a rename would replace what has it.
fn link_new(temporary: &Path, path: &Path) -> std::io::Result<()> {
    match fs::hard_link(temporary, path) {
        Ok(()) => fs::remove_file(temporary),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        // Some file systems have no links.
        Err(_) if fs::symlink_metadata(path).is_ok() => Err(ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(temporary, path),
    }
}

fn folder_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or_else(|| Path::new("."))
}

fn temporary_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_string_lossy();
    let mut kept = name.len().min(KEPT_OF_NAME);
    while !name.is_char_boundary(kept) {
        kept -= 1;
    }
    let temporary = format!(".{}.{}.tmp", &name[..kept], std::process::id());
    Some(folder_of(path).join(temporary))
}

/// Whether a path is called as [`temporary_of`] calls files.
fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let middle = name.and_then(|name| name.strip_prefix('.')?.strip_suffix(".tmp"));
    let pid = middle.and_then(|middle| middle.rsplit_once('.')).map(|(_, pid)| pid);
    pid.is_some_and(|pid| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Removes a temporary file that no process is at; false where one is, or where it is gone.
fn remove_if_left(path: &Path) -> std::io::Result<bool> {
    let gone = |error: &std::io::Error| error.kind() == ErrorKind::NotFound;
    let file = match OpenOptions::new().write(true).open(path) {
        Err(error) if gone(&error) => return Ok(false),
        opened => opened?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        // Some file systems have no locks; there, the dead cannot be told from the living.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
            return Ok(false);
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Under the lock, so that whoever waits for it finds the file gone and makes another.
    match fs::remove_file(path) {
        Err(error) if gone(&error) => Ok(false),
        removed => removed.map(|()| true),
    }
}
