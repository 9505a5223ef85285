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
//! What a command writes into a folder that may hold other things is claimed first ([`Outputs`]): all
//! names are known before any work, and nothing is replaced that is not the command's own.
//!
//! ```
//! use whole_files::{Claim, InTheWay, Outputs, Planned, Protected};
//!
//! let dir = tempfile::tempdir()?;
//! let protected = Protected::default();
//! let claim = || Claim {
//!     folder: dir.path(),
//!     by: "predict".into(),
//!     files: vec![Planned { name: "street.png".into(), of: "day/street.jpg".into() }],
//!     in_the_way: InTheWay::Refused,
//!     protected: &protected,
//! };
//! Outputs::claim(claim())?.write("street.png", b"...")?;
//! Outputs::claim(claim())?; // its own: it may be replaced
//! std::fs::write(dir.path().join("street.png"), "drawn by hand")?;
//! let refused = Outputs::claim(claim()).unwrap_err().to_string();
//! assert!(refused.contains("has been changed since it was written"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Not here: what is in the files.

mod below;
mod error;
mod list;
mod outputs;
mod protected;
mod reading;
mod writing;

pub use below::files_below;
pub use error::{Error, Result};
pub use list::{LIST, sha256, written_in};
pub use outputs::{Claim, InTheWay, Outputs, Planned};
pub use protected::{Protected, real_path};
pub use reading::{open, read, read_to_string};
pub use writing::{clear_leftovers, copy, write, write_new, write_with};
