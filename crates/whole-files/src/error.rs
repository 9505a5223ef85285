//! What can go wrong between a program and a file.

use std::io::ErrorKind;
use std::path::PathBuf;

/// Why a file could not be read or written; one line, which names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A folder, named pipe, socket or device where a file is expected.
    #[error("{} is {found}; expected a regular file", file.display())]
    NotRegular {
        /// What was to be opened.
        file: PathBuf,
        /// What it is, with its article.
        found: &'static str,
    },
    /// A file larger than anything of its kind.
    #[error("{} has more than the {limit} bytes that a file of this kind may have", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The most it may have.
        limit: u64,
    },
    /// Text in another encoding than UTF-8.
    #[error("{} is not UTF-8 text{}; save it as UTF-8", file.display(), if *is_utf16 { " but UTF-16" } else { "" })]
    NotUtf8 {
        /// The file.
        file: PathBuf,
        /// Whether it begins with the byte-order mark of UTF-16.
        is_utf16: bool,
    },
    /// More files below a folder than can be meant.
    #[error(
        "{} holds more than {limit} files and folders; are there symbolic links that lead to \
         each other?",
        folder.display()
    )]
    TooMany {
        /// The folder.
        folder: PathBuf,
        /// The most that are listed.
        limit: usize,
    },
    /// Files that a command would write and may not; nothing has been written.
    #[error("{}", in_lines(problems))]
    Refused {
        /// A sentence for each, which begins with the file.
        problems: Vec<String>,
    },
    /// A file that was not claimed before; a mistake of the program.
    #[error("{} was not among the files to be written", file.display())]
    NotClaimed {
        /// The file.
        file: PathBuf,
    },
}

/// The most problems that are told.
const TOLD: usize = 20;

fn in_lines(problems: &[String]) -> String {
    if let [one] = problems {
        return format!("nothing is written: {one}");
    }
    let mut lines = format!("nothing is written, {} problems:", problems.len());
    for problem in problems.iter().take(TOLD) {
        lines += &format!("\n  {problem}");
    }
    if problems.len() > TOLD {
        lines += &format!("\n  and {} more", problems.len() - TOLD);
    }
    lines
}

impl Error {
    /// The operating system's kind of error, where it was the operating system.
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;
