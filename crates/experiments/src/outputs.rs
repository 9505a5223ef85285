//! Where commands put their files, and what becomes of what is in the way there.

use std::path::{Path, PathBuf};

use anyhow::Context;
use scene_data::protect_datasets;
use whole_files::{Claim, InTheWay, Outputs, Planned, Protected};

/// What becomes of files in the way, on the command line.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Overwrite {
    /// Replace files in the way that this command did not write; those of a dataset never are.
    #[arg(long)]
    overwrite: bool,
}

impl Overwrite {
    /// What it says.
    pub fn in_the_way(self) -> InTheWay {
        if self.overwrite { InTheWay::Replaced } else { InTheWay::Refused }
    }
}

/// A folder that a command writes into.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// What becomes of files in the way.
    pub in_the_way: InTheWay,
    /// The dataset that the command reads, if it reads one.
    pub data_root: Option<&'a Path>,
    /// Files that the command reads.
    pub inputs: Vec<&'a Path>,
}

impl<'a> Target<'a> {
    /// A folder for what is made of neither a dataset nor files that could be overwritten.
    pub fn new(folder: &'a Path, in_the_way: InTheWay) -> Self {
        Self { folder, in_the_way, data_root: None, inputs: Vec::new() }
    }

    /// Claims files, each with what it is made of; `by` is the command and what it is applied to.
    ///
    /// # Errors
    ///
    /// Two inputs for one name, files in the way, a dataset's folder, or a folder that cannot be
    /// written; then nothing is changed.
    pub fn claim(
        &self,
        by: String,
        files: impl IntoIterator<Item = (PathBuf, String)>,
    ) -> anyhow::Result<Outputs> {
        let mut protected = Protected::default();
        protect_datasets(&mut protected, self.folder, self.data_root)?;
        self.inputs.iter().for_each(|file| protected.keep(file));
        let files = files.into_iter().map(|(name, of)| Planned { name, of }).collect();
        let Self { folder, in_the_way, .. } = *self;
        Ok(Outputs::claim(Claim { folder, by, files, in_the_way, protected: &protected })?)
    }
}

/// One file that a command writes where the user says.
#[derive(Debug)]
pub struct OutputFile {
    outputs: Outputs,
    name: PathBuf,
}

impl OutputFile {
    /// Claims it; `by` is the command, `of` what the file is made of.
    ///
    /// # Errors
    ///
    /// Those of [`Target::claim`], and a path that names no file.
    pub fn claim(file: &Path, in_the_way: InTheWay, by: &str, of: &str) -> anyhow::Result<Self> {
        let named = || format!("{}: expected the name of a file", file.display());
        let name = PathBuf::from(file.file_name().with_context(named)?);
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let target = Target::new(parent.unwrap_or(Path::new(".")), in_the_way);
        let outputs = target.claim(by.to_owned(), [(name.clone(), of.to_owned())])?;
        Ok(Self { outputs, name })
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    ///
    /// What the disk reports.
    pub fn write(mut self, text: &str) -> anyhow::Result<()> {
        self.outputs.write(&self.name, text.as_bytes())?;
        Ok(())
    }
}

/// A folder that a command fills by rules of its own, with names that no two inputs share: it must not
/// be a dataset's.
///
/// # Errors
///
/// A dataset's folder, or one below it.
pub fn check_open(folder: &Path, data_root: Option<&Path>) -> anyhow::Result<()> {
    let mut protected = Protected::default();
    protect_datasets(&mut protected, folder, data_root)?;
    match protected.refuses(folder)? {
        Some(refusal) => anyhow::bail!("nothing is written: {} {refusal}", folder.display()),
        None => Ok(()),
    }
}
