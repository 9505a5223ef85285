//! Files that are read within bounds, and written whole or not at all.
//!
//! Everything that a command reads or writes goes through here. Reading opens regular files only, so
//! that a named pipe is an error and not a wait without end, and takes no more bytes than the caller
//! allows. Writing goes to a hidden file beside the target, which is flushed, synced to the disk and
//! only then given its name: a file of that name is always whole, whatever was killed or full.
//!
//! ```
//! let dir = tempfile::tempdir()?;
//! let file = dir.path().join("scores.txt");
//! whole_files::write(&file, b"43.3\n")?;
//! assert_eq!(whole_files::read_to_string(&file, 1 << 20)?, "43.3\n");
//! assert!(whole_files::read(&file, 2).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Not here: what is in the files.

mod below;
mod error;
mod reading;
mod writing;

pub use below::files_below;
pub use error::{Error, Result};
pub use reading::{open, read, read_to_string};
pub use writing::{clear_leftovers, write, write_new, write_with};
