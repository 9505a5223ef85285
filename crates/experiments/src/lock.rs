//! A file that one process holds at a time.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::interrupt;

/// Takes the lock until what is returned is dropped or the process ends in whatever way; `None` if
/// another has it.
///
/// Some shared file systems have no locks; there, only one process may write.
///
/// # Errors
///
/// A file that cannot be written.
pub(crate) fn take(file: &Path) -> anyhow::Result<Option<File>> {
    if file.exists() {
        // A named pipe would wait for ever.
        whole_files::open(file)?;
    }
    let lock = File::create(file).with_context(|| file.display().to_string())?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(Some(lock)),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", file.display()))
        }
    }
}

/// The same, once whoever has it gives it back.
///
/// # Errors
///
/// As there, and an interrupt.
pub(crate) fn wait_for(file: &Path) -> anyhow::Result<File> {
    loop {
        interrupt::check()?;
        if let Some(lock) = take(file)? {
            return Ok(lock);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
