//! What else is found under the names of weights files.

/// What every Git LFS pointer begins with.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What web pages and the error messages of stores begin with, in small letters.
const PAGES: [&[u8]; 3] = [b"<!doctype html", b"<html", b"<?xml"];

/// What these bytes are, and how to get the weights instead; `None` for what may be weights.
pub(super) fn foreign(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    if bytes.starts_with(LFS) {
        return Some(("a Git LFS pointer", "fetch them with `git lfs pull`"));
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let is_page = |start: &&[u8]| {
        text.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start))
    };
    let page = (
        "a web page",
        "the download was answered with it; open the file to see what it says, and take the \
         address of the file itself",
    );
    PAGES.iter().any(is_page).then_some(page)
}
