//! What a command writes into a folder, known before it begins, and what it may replace there.
//!
//! All names are claimed first: two inputs for one name are an error then, not a lost file later. A
//! file that is there already is replaced only if the folder's [list](LIST) has it from the same
//! command and the same input, and it has not been changed since; any other only when that is asked
//! for, and what is [protected](Protected) never.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use crate::list::{Entry, List, sha256_of_file};
use crate::protected::Protected;
use crate::{Error, Result, clear_leftovers, sha256, write, write_new};

/// What becomes of files that are in the way and are not the command's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InTheWay {
    /// They are an error.
    #[default]
    Refused,
    /// They are replaced, unless they are protected.
    Replaced,
}

/// One file that a command is about to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its name below the folder.
    pub name: PathBuf,
    /// What it is made of: an input's path, for example.
    pub of: String,
}

/// Everything that a command is about to write into one folder.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    /// The folder, made if it is not there.
    pub folder: &'a Path,
    /// The command, with what makes its files others than those of the same command elsewhere.
    pub by: String,
    /// The files.
    pub files: Vec<Planned>,
    /// What becomes of files in the way.
    pub in_the_way: InTheWay,
    /// What is left alone in any case.
    pub protected: &'a Protected,
}

/// The files that a command has claimed; it writes them through this.
#[derive(Debug)]
pub struct Outputs {
    folder: PathBuf,
    by: String,
    /// What each is made of, by name.
    files: BTreeMap<PathBuf, String>,
    in_the_way: InTheWay,
    list: List,
}

impl Outputs {
    /// Claims all files, clears what dead processes left beside them, and makes their folders.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with every name that two inputs have, every file that is in the way and
    /// every place where nothing may be written; then nothing has been changed. A folder that cannot
    /// be made or written.
    pub fn claim(claim: Claim<'_>) -> Result<Self> {
        let Claim { folder, by, files, in_the_way, protected } = claim;
        let list = List::read(folder)?;
        let mut problems = names_taken_twice(folder, &files);
        let mut claimed = BTreeMap::new();
        for Planned { name, of } in files {
            let path = folder.join(&name);
            let entry = Entry { file: text_of(&name), by: by.clone(), of: of.clone() };
            let refusal = match () {
                () if !is_below(&name) => Some("is no name below the output folder".to_owned()),
                () => match protected.refuses(&path)? {
                    Some(refusal) => Some(refusal.to_owned()),
                    None => refusal(&path, &list, &entry, in_the_way)?,
                },
            };
            problems.extend(refusal.map(|refusal| format!("{} {refusal}", path.display())));
            claimed.insert(name, of);
        }
        if !problems.is_empty() {
            return Err(Error::Refused { problems });
        }
        let made = |path: &Path| -> Result<()> {
            let failed = |source| Error::Io { file: path.to_owned(), source };
            fs::create_dir_all(path).map_err(failed)
        };
        made(folder)?;
        let mut folders: Vec<PathBuf> = claimed
            .keys()
            .filter_map(|name| Some(folder.join(name).parent()?.to_owned()))
            .collect();
        folders.push(folder.to_owned());
        folders.sort();
        folders.dedup();
        for folder in folders {
            made(&folder)?;
            clear_leftovers(folder)?;
        }
        let folder = folder.to_owned();
        let outputs = Self { folder, by, files: claimed, in_the_way, list };
        outputs.list.make()?;
        outputs.check_folded_names()?;
        Ok(outputs)
    }

    /// Writes one of the claimed files, whole or not at all, and returns its path.
    ///
    /// # Errors
    ///
    /// [`Error::NotClaimed`], those of [`write()`], and [`Error::Refused`] where a file that is not the
    /// command's own has come in the way since.
    pub fn write(&mut self, name: impl AsRef<Path>, bytes: &[u8]) -> Result<PathBuf> {
        let name = name.as_ref();
        let path = self.folder.join(name);
        let Some(of) = self.files.get(name) else {
            return Err(Error::NotClaimed { file: path });
        };
        let entry = Entry { file: text_of(name), by: self.by.clone(), of: of.clone() };
        // Again, since work may have taken hours.
        self.check(&path, &entry)?;
        // Listed before it has its name: a kill in between leaves a line too many, not a file that
        // the same command would not know for its own.
        self.list.add(&entry, &sha256(bytes))?;
        if is_there(&path) {
            write(&path, bytes)?;
            return Ok(path);
        }
        match write_new(&path, bytes) {
            // The same command at the same time, or somebody else.
            Err(error) if error.kind() == Some(ErrorKind::AlreadyExists) => {
                self.check(&path, &entry)?;
                write(&path, bytes)?;
            }
            written => written?,
        }
        Ok(path)
    }

    /// Whether a file may be written, by the list as it was, and if not, as it is now.
    fn check(&mut self, path: &Path, entry: &Entry) -> Result<()> {
        if refusal(path, &self.list, entry, self.in_the_way)?.is_none() {
            return Ok(());
        }
        self.list = List::read(&self.folder)?;
        match refusal(path, &self.list, entry, self.in_the_way)? {
            None => Ok(()),
            Some(refusal) => {
                let problems = vec![format!("{} {refusal}", path.display())];
                Err(Error::Refused { problems })
            }
        }
    }

    /// On file systems where `A.png` is `a.png`, two names that differ by case alone are one.
    fn check_folded_names(&self) -> Result<()> {
        let twice = folded_twice(self.files.iter());
        if twice.is_empty() || !self.list.has_folded_name() {
            return Ok(());
        }
        Err(Error::Refused { problems: twice })
    }
}

/// Why a path may not be written, `None` where it may: nothing is there, the same command's own
/// unchanged file, or one that is to be replaced.
fn refusal(
    path: &Path,
    list: &List,
    entry: &Entry,
    in_the_way: InTheWay,
) -> Result<Option<String>> {
    let Ok(there) = fs::symlink_metadata(path) else { return Ok(None) };
    if there.is_dir() {
        return Ok(Some("is a folder".to_owned()));
    }
    let remedy = "name another output, or replace it with --overwrite";
    if there.is_symlink() || !there.is_file() {
        // What a link leads to is left alone, the link is replaced.
        let is_device = !path.is_file() && !there.is_symlink();
        return Ok(match (is_device, in_the_way) {
            (true, _) => Some("is no regular file".to_owned()),
            (false, InTheWay::Refused) => Some(format!("is a symbolic link; {remedy}")),
            (false, InTheWay::Replaced) => None,
        });
    }
    if in_the_way == InTheWay::Replaced {
        return Ok(None);
    }
    let lines: Vec<_> = list.lines_of(&entry.file).collect();
    if lines.is_empty() {
        return Ok(Some(format!("is there already; {remedy}")));
    }
    let found = sha256_of_file(path)?;
    let mut unchanged = lines.iter().filter(|line| line.sha256 == found).peekable();
    Ok(match unchanged.peek().copied() {
        None => Some(format!("has been changed since it was written; {remedy}")),
        Some(_) if unchanged.clone().any(|line| line.entry == *entry) => None,
        Some(line) => {
            Some(format!("was written by {} from {}; {remedy}", line.entry.by, line.entry.of))
        }
    })
}

/// A line for every name that is claimed more than once, with all it is claimed for.
fn names_taken_twice(folder: &Path, files: &[Planned]) -> Vec<String> {
    let mut by_name: BTreeMap<&Path, Vec<&str>> = BTreeMap::new();
    for Planned { name, of } in files {
        by_name.entry(name).or_default().push(of);
    }
    let twice = by_name.into_iter().filter(|(_, of)| of.len() > 1);
    twice.map(|(name, of)| format!("{} {}", folder.join(name).display(), would_be(&of))).collect()
}

/// A line for every set of names that differ by case alone.
fn folded_twice<'a>(files: impl Iterator<Item = (&'a PathBuf, &'a String)>) -> Vec<String> {
    let mut by_name: BTreeMap<String, Vec<(&Path, &str)>> = BTreeMap::new();
    for (name, of) in files {
        by_name.entry(text_of(name).to_lowercase()).or_default().push((name, of));
    }
    let twice = by_name.into_values().filter(|names| names.len() > 1);
    let line = |names: Vec<(&Path, &str)>| {
        let mut shown = String::new();
        for (at, (name, _)) in names.iter().enumerate() {
            let _ = write!(shown, "{}{}", if at > 0 { " and " } else { "" }, name.display());
        }
        let of: Vec<&str> = names.iter().map(|(_, of)| *of).collect();
        format!("{shown} are one file on this file system, which {}", would_be(&of))
    };
    twice.map(line).collect()
}

fn would_be(of: &[&str]) -> String {
    format!("would be written from {}", of.join(" and from "))
}

/// Whether a name stays below the folder it is joined to.
fn is_below(name: &Path) -> bool {
    let mut components = name.components();
    name.file_name().is_some() && components.all(|part| matches!(part, Component::Normal(_)))
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// A name as the list has it.
fn text_of(name: &Path) -> String {
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_by_case_are_found() {
        let name = |name: &str| (PathBuf::from(name), format!("{name}.jpg"));
        let files = [name("a/B.png"), name("A/b.png"), name("a/c.png")];
        let lines = folded_twice(files.iter().map(|(name, of)| (name, of)));
        let want = "a/B.png and A/b.png are one file on this file system, which would be written \
                    from a/B.png.jpg and from A/b.png.jpg";
        assert_eq!(lines, [want]);
    }

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for name in ["../a", "a/../../b", "/a", "", ".", "a/.."] {
            assert!(!is_below(Path::new(name)), "{name}");
        }
        assert!(is_below(Path::new("a/b.png")));
    }
}
