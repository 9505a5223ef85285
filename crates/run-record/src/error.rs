//! What can go wrong between a sweep's file and a record's.

use std::path::PathBuf;

/// Why a sweep or a record could not be read, changed or written; one line each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written: missing, no regular file, larger than one of its kind may
    /// be, or a disk without room.
    #[error(transparent)]
    File(#[from] whole_files::Error),
    /// The operating system refused to read or write a file or folder.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A sweep is not TOML, or has a key or value that sweeps do not have.
    #[error("{origin}:{line}: {message}")]
    Toml {
        /// The file the text came from.
        origin: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A sweep that can be read but makes no sense.
    #[error("{origin}: {problem}")]
    Sweep {
        /// The file or the name of the sweep.
        origin: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An arm that the sweep does not have.
    #[error(
        "sweep {sweep} has no arm `{arm}`{}; its arms are {}",
        did_you_mean(.nearest.as_deref()),
        .known.join(", ")
    )]
    UnknownArm {
        /// The sweep's name.
        sweep: String,
        /// The arm that was asked for.
        arm: String,
        /// The known arm of the most similar name, if one is similar.
        nearest: Option<String>,
        /// All its arms.
        known: Vec<String>,
    },
    /// A `key=value` change that cannot be made.
    #[error("cannot set `{change}`: {problem}")]
    Set {
        /// The change as it was given.
        change: String,
        /// Why not.
        problem: String,
    },
    /// A device that there is not.
    #[error("`{text}` is no device: expected auto, cpu or cuda:N, as in cuda:0")]
    Device {
        /// What was given.
        text: String,
    },
    /// A file that holds no record this version can use.
    #[error("{}: {problem}", file.display())]
    Record {
        /// The record's file.
        file: PathBuf,
        /// What was found, and what to do about it.
        problem: String,
    },
    /// A record exists already; records are never overwritten.
    #[error("{} exists already, and a record is never overwritten", file.display())]
    RecordExists {
        /// The record's file.
        file: PathBuf,
    },
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default()
}
