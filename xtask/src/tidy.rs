//! `cargo xtask tidy`: the house rules that no compiler checks.

mod arrows;
mod files;
mod manifests;

use std::io::Write;

use anyhow::{Context, bail};
use standard_streams::Results;
use xshell::cmd;

use crate::project::Project;

/// Prints every finding; fails if there is one.
pub(crate) fn run(project: &Project) -> anyhow::Result<()> {
    let members = arrows::members(&project.metadata()?)?;
    let mut findings = arrows::check(&members);
    for member in &members {
        let text = std::fs::read_to_string(&member.manifest)
            .with_context(|| member.manifest.display().to_string())?;
        findings.extend(manifests::check(&member.name, &text));
    }
    let tracked = tracked_files(project)?;
    for path in &tracked {
        // A file deleted but not committed is still tracked.
        if let Ok(bytes) = std::fs::read(project.root.join(path)) {
            findings.extend(files::check(path, &bytes));
        }
    }
    for finding in &findings {
        writeln!(Results, "{finding}")?;
    }
    match findings.len() {
        0 => writeln!(
            Results,
            "tidy: {} crates, {} files, no findings",
            members.len(),
            tracked.len()
        )?,
        n => bail!("tidy: {n} {}", if n == 1 { "finding" } else { "findings" }),
    }
    Ok(())
}

fn tracked_files(project: &Project) -> anyhow::Result<Vec<String>> {
    let sh = project.shell()?;
    let list = cmd!(sh, "git ls-files -z").quiet().read()?;
    Ok(list.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}
