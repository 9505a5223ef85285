//! What tells, without reading it, that a file is not the one that was read before.

use std::fs::Metadata;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Error;

/// Clocks of file systems count in steps of up to two seconds (FAT): of a file that changed within
/// such a step, a later change may not show.
const CLOCK_STEP_NS: i64 = 2_000_000_000;

/// Size, times and place of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Stamp {
    bytes: u64,
    /// When its content was written, as programs may also set it; nanoseconds since 1970.
    modified_ns: i64,
    /// When anything of it was changed, which no program sets.
    changed_ns: i64,
    inode: u64,
}

impl Stamp {
    /// The file's stamp now.
    pub(crate) fn of(file: &Path) -> Result<Self, Error> {
        let found = std::fs::metadata(file).map_err(Error::io(file))?;
        let modified_ns = found.modified().map_or(0, since_1970_ns);
        let (changed_ns, inode) = changed_and_inode(&found, modified_ns);
        Ok(Self { bytes: found.len(), modified_ns, changed_ns, inode })
    }

    /// Whether a change after now would show in the stamp.
    pub(crate) fn is_settled(&self) -> bool {
        self.changed_ns.saturating_add(CLOCK_STEP_NS) <= since_1970_ns(SystemTime::now())
    }
}

fn since_1970_ns(time: SystemTime) -> i64 {
    let ns = |nanos: u128| i64::try_from(nanos).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => ns(after.as_nanos()),
        Err(before) => -ns(before.duration().as_nanos()),
    }
}

#[cfg(unix)]
fn changed_and_inode(found: &Metadata, _modified_ns: i64) -> (i64, u64) {
    use std::os::unix::fs::MetadataExt;
    let seconds = found.ctime().saturating_mul(1_000_000_000);
    (seconds.saturating_add(found.ctime_nsec()), found.ino())
}

#[cfg(not(unix))]
fn changed_and_inode(_found: &Metadata, modified_ns: i64) -> (i64, u64) {
    (modified_ns, 0)
}
