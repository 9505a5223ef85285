//! What file managers and archives leave among people's files.

use std::ffi::OsStr;

/// Names of files and folders that are nobody's data, in lower case; hidden ones are known by their
/// dot.
const KNOWN: [&str; 8] = [
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
];

/// Whether a file or folder of this name is litter: hidden (`._x.png`, `.DS_Store`), or one of the
/// names that file managers use.
///
/// ```
/// assert!(scene_data::is_litter("._x.png".as_ref()));
/// assert!(scene_data::is_litter("Thumbs.db".as_ref()));
/// assert!(!scene_data::is_litter("x.png".as_ref()));
/// ```
pub fn is_litter(name: &OsStr) -> bool {
    let is_hidden = name.as_encoded_bytes().starts_with(b".");
    is_hidden || KNOWN.iter().any(|known| name.eq_ignore_ascii_case(known))
}
