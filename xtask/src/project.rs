//! Where things are in this workspace.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use xshell::{Shell, cmd};

/// The checkout this program was called in.
pub(crate) struct Project {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
}

impl Project {
    /// Finds the checkout.
    pub(crate) fn locate() -> anyhow::Result<Self> {
        // As cargo says when it runs the program: two checkouts that share a target folder may also
        // share the program, which then was built in the other one.
        let xtask = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let xtask = xtask.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = xtask.parent().context("xtask has no parent")?;
        Ok(Self { root: root.to_owned() })
    }

    /// A shell in the checkout's root.
    pub(crate) fn shell(&self) -> anyhow::Result<Shell> {
        let sh = Shell::new()?;
        sh.change_dir(&self.root);
        Ok(sh)
    }

    /// The folder of the shipped sweeps.
    pub(crate) fn sweeps(&self) -> PathBuf {
        self.root.join("crates/experiments/sweeps")
    }

    /// The file of a sweep given by name or by path.
    pub(crate) fn sweep(&self, name: &str) -> anyhow::Result<PathBuf> {
        if name.ends_with(".toml") || name.contains(std::path::is_separator) {
            return Ok(PathBuf::from(name));
        }
        let known = names(&self.sweeps(), |path| path.extension().is_some_and(|e| e == "toml"))?;
        if known.iter().any(|sweep| sweep == name) {
            return Ok(self.sweeps().join(format!("{name}.toml")));
        }
        let near = run_record::nearest(name, known.iter().map(String::as_str));
        let near = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
        bail!(
            "no sweep is called `{name}`{near}; the sweeps are {}, or give the PATH.toml of your own",
            known.join(", ")
        )
    }

    /// What cargo says about the workspace and its members.
    pub(crate) fn metadata(&self) -> anyhow::Result<serde_json::Value> {
        let sh = self.shell()?;
        let text = cmd!(sh, "cargo metadata --no-deps --format-version 1").quiet().read()?;
        serde_json::from_str(&text).context("cargo metadata did not answer in JSON")
    }

    /// The folder cargo builds in, wherever the user's configuration put it.
    pub(crate) fn target_dir(&self) -> anyhow::Result<PathBuf> {
        let metadata = self.metadata()?;
        let dir = metadata["target_directory"].as_str().context("cargo metadata: no target")?;
        Ok(PathBuf::from(dir))
    }
}

/// The sorted names, without extension, of a folder's entries; none if there is no such folder.
pub(crate) fn names(dir: &Path, keep: impl Fn(&Path) -> bool) -> anyhow::Result<Vec<String>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in dir.read_dir().with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if keep(&path)
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
