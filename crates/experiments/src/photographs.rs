//! Which photographs a command is given, and what its files for each are called.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, ensure};
use whole_files::{files_below, real_path, written_in};

/// Endings of the pictures that are read, in any case.
const ENDINGS: [&str; 5] = ["bmp", "jpeg", "jpg", "png", "webp"];

/// A photograph and the name of what is made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Photograph {
    /// The file, as the user would write it.
    pub file: PathBuf,
    /// Its name without ending, below the folder that all photographs have in common.
    pub name: PathBuf,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The photographs, by name.
    pub photographs: Vec<Photograph>,
    /// Files of the folders that were left out: hidden ones, and those that are no pictures by their
    /// ending.
    pub left_out: usize,
}

/// The photographs that are meant by files, by folders (all pictures below them) and by patterns such
/// as `day/*.jpg`. A file that is not there is one as well, for whoever opens it to say so.
///
/// What an earlier call wrote into `out_dir` is no photograph.
///
/// # Errors
///
/// A folder without pictures or that cannot be read, or a pattern that nothing matches.
pub fn find(inputs: &[PathBuf], out_dir: &Path) -> anyhow::Result<Found> {
    let mut search = Search::default();
    for written in written_in(out_dir)? {
        search.written.insert(real_path(&written)?);
    }
    for input in inputs {
        for path in expanded(input)? {
            match path.is_dir() {
                true => search.folder(&path)?,
                false => search.file(&path)?,
            }
        }
    }
    let Search { found, bases, left_out, .. } = search;
    let base = common(&bases);
    let named = |(real, file): (PathBuf, PathBuf)| {
        let below = real.strip_prefix(&base).unwrap_or(&real);
        Photograph { file, name: below.with_extension("") }
    };
    Ok(Found { photographs: found.into_iter().map(named).collect(), left_out })
}

#[derive(Default)]
struct Search {
    /// By where they really are, but for links that the photographs themselves may be.
    found: BTreeMap<PathBuf, PathBuf>,
    /// The folders that were given, or that the files that were given lie in.
    bases: BTreeSet<PathBuf>,
    written: BTreeSet<PathBuf>,
    left_out: usize,
}

impl Search {
    fn folder(&mut self, folder: &Path) -> anyhow::Result<()> {
        let base = real_path(folder)?;
        let before = self.found.len();
        for file in files_below(folder)? {
            let below = file.strip_prefix(folder).unwrap_or(&file);
            let real = base.join(below);
            match () {
                () if self.written.contains(&real) => {}
                () if is_picture(below) => _ = self.found.insert(real, file),
                () => self.left_out += 1,
            }
        }
        ensure!(
            self.found.len() > before,
            "{}: no photographs in it; expected files that end in {}",
            folder.display(),
            ENDINGS.join(", ")
        );
        self.bases.insert(base);
        Ok(())
    }

    fn file(&mut self, file: &Path) -> anyhow::Result<()> {
        let name = file.file_name();
        let name = name.with_context(|| format!("{}: no name of a file", file.display()))?;
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let base = real_path(parent.unwrap_or(Path::new(".")))?;
        self.found.insert(base.join(name), file.to_owned());
        self.bases.insert(base);
        Ok(())
    }
}

/// What a path stands for: itself, or all that it matches where there is no such file.
fn expanded(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let Some(pattern) = path.to_str().filter(|text| text.contains(['*', '?', '['])) else {
        return Ok(vec![path.to_owned()]);
    };
    if path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    let wrong = || format!("the pattern {pattern}");
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
    let found: Result<Vec<PathBuf>, _> =
        glob::glob_with(pattern, options).with_context(wrong)?.collect();
    let found = found.with_context(wrong)?;
    ensure!(!found.is_empty(), "{pattern}: no file matches this pattern");
    Ok(found)
}

/// Whether a file of a folder is meant: a picture by its ending, and not hidden.
fn is_picture(below: &Path) -> bool {
    let is_hidden = |part: Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".");
    let ending = below.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&&*ending)) && !below.components().any(is_hidden)
}

/// The deepest folder that all lie in.
fn common(folders: &BTreeSet<PathBuf>) -> PathBuf {
    // Of sorted paths, the first and the last differ first.
    let (Some(first), Some(last)) = (folders.first(), folders.last()) else {
        return PathBuf::new();
    };
    let both = first.components().zip(last.components());
    both.take_while(|(a, b)| a == b).map(|(part, _)| part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(dir: &Path, files: &[&str]) {
        for file in files {
            let file = dir.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
    }

    fn names(dir: &Path, inputs: &[&str]) -> Vec<String> {
        let inputs: Vec<PathBuf> = inputs.iter().map(|input| dir.join(input)).collect();
        let found = find(&inputs, &dir.join("out")).unwrap().photographs;
        found.into_iter().map(|one| one.name.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn names_are_relative_to_what_all_have_in_common() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["day/street.png", "day/deep/b.JPG", "night/street.png", "day/a.b.webp"];
        at(dir.path(), &files);
        assert_eq!(names(dir.path(), &["day/street.png"]), ["street"]);
        let two = ["day/street.png", "night/street.png"];
        assert_eq!(names(dir.path(), &two), ["day/street", "night/street"]);
        assert_eq!(names(dir.path(), &["day"]), ["a.b", "deep/b", "street"]);
        let all = ["day/a.b", "day/deep/b", "day/street", "night/street"];
        assert_eq!(names(dir.path(), &["day", "night/../night"]), all);
        assert_eq!(names(dir.path(), &["."]), all);
        // The same file twice is one.
        assert_eq!(names(dir.path(), &["day/street.png", "day/../day/street.png"]), ["street"]);
        assert_eq!(names(dir.path(), &["*/street.*"]), ["day/street", "night/street"]);
        assert_eq!(names(dir.path(), &["gone.png"]), ["gone"]);
    }

    #[test]
    fn what_is_no_photograph_is_left_out_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let litter = ["p/._x.png", "p/.hidden/y.png", "p/Thumbs.db", "p/notes.txt"];
        at(dir.path(), &[&["p/x.png"][..], &litter].concat());
        let found = find(&[dir.path().join("p")], &dir.path().join("out")).unwrap();
        assert_eq!((found.photographs.len(), found.left_out), (1, 4));
        let none = |input: &str| find(&[dir.path().join(input)], dir.path()).unwrap_err();
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        assert!(none("empty").to_string().contains("no photographs in it"));
        assert!(none("p/*.jpeg").to_string().contains("no file matches this pattern"));
    }
}
