//! `cargo xtask tables`: the README's tables, made from the committed records.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use run_record::DeviceChoice;
use standard_streams::Results;

use crate::experiments::Experiments;
use crate::project::{Project, names};

/// Make the README's tables from the records in crates/experiments/results.
#[derive(clap::Args)]
#[command(after_help = "The table of crates/experiments/results/NAME goes between the lines
  <!-- table:NAME -->
  <!-- /table:NAME -->

Examples:
  cargo xtask tables
  cargo xtask tables --check")]
pub(crate) struct Args {
    /// Change nothing; fail if the README says something else than the records.
    #[arg(long)]
    pub(crate) check: bool,
}

/// Regenerates the tables, or compares them.
pub(crate) fn run(project: &Project, args: &Args) -> anyhow::Result<()> {
    let results = project.root.join("crates/experiments/results");
    let sweeps = names(&results, Path::is_dir)?;
    let file = project.root.join("README.md");
    let readme = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    for name in table_names(&readme) {
        ensure!(
            sweeps.iter().any(|sweep| sweep == name),
            "README.md has a place for table:{name}, but there are no records in {}",
            results.join(name).display()
        );
    }
    if sweeps.is_empty() {
        writeln!(Results, "no records are committed, so there are no tables")?;
        return Ok(());
    }
    let experiments = Experiments::build(project, DeviceChoice::Cpu)?;
    let mut renewed = readme.clone();
    for name in &sweeps {
        let sweep = project.sweep(name)?;
        let records = results.join(name);
        let options = ["table".into(), "--records".into(), records.into()];
        let options = [&options[..], &["--sweep".into(), sweep.into()]].concat();
        let table = experiments.output(&options)?;
        renewed = with_table(&renewed, name, &table)?;
    }
    if renewed == readme {
        writeln!(Results, "README.md agrees with the records of {}", sweeps.join(", "))?;
    } else if args.check {
        write!(Results, "{}", difference(&readme, &renewed))?;
        bail!("README.md differs from the records; `cargo xtask tables` renews it");
    } else {
        whole_files::write(&file, renewed.as_bytes())?;
        writeln!(Results, "README.md: renewed the tables of {}", sweeps.join(", "))?;
    }
    Ok(())
}

/// The names of the places that a text has for tables.
fn table_names(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("<!-- table:")?.strip_suffix(" -->"))
        .collect()
}

/// The text with the table between its two markers.
fn with_table(text: &str, name: &str, table: &str) -> anyhow::Result<String> {
    let (open, close) = (format!("<!-- table:{name} -->"), format!("<!-- /table:{name} -->"));
    let missing = || format!("README.md has no place for the table of {name}: {open} … {close}");
    let (before, rest) = text.split_once(&open).with_context(missing)?;
    let (_, after) = rest.split_once(&close).with_context(missing)?;
    Ok(format!("{before}{open}\n\n{}\n\n{close}{after}", table.trim()))
}

/// The lines that differ, old ones with `-` and new ones with `+`.
fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let mut shared = vec![vec![0usize; new.len() + 1]; old.len() + 1];
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            shared[i][j] = match a == b {
                true => shared[i + 1][j + 1] + 1,
                false => shared[i + 1][j].max(shared[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, String::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && shared[i + 1][j] >= shared[i][j + 1]) {
            out.push_str(&format!("- {}\n", old[i]));
            i += 1;
        } else {
            out.push_str(&format!("+ {}\n", new[j]));
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "# A\n<!-- table:x -->\nold\n<!-- /table:x -->\nend\n";

    #[test]
    fn a_table_goes_between_its_markers() {
        let renewed = with_table(README, "x", "| a |\n| b |\n\n").unwrap();
        assert_eq!(renewed, "# A\n<!-- table:x -->\n\n| a |\n| b |\n\n<!-- /table:x -->\nend\n");
        assert_eq!(with_table(&renewed, "x", "| a |\n| b |").unwrap(), renewed, "settles");
        let message = with_table(README, "y", "").unwrap_err().to_string();
        assert!(message.contains("no place for the table of y: <!-- table:y -->"), "{message}");
        assert!(with_table("<!-- table:x -->", "x", "").is_err(), "not closed");
        assert_eq!(table_names(README), ["x"]);
    }

    #[test]
    fn a_difference_shows_the_lines_that_differ() {
        assert_eq!(difference("a\nb\nc", "a\nx\nc\nd"), "- b\n+ x\n+ d\n");
        assert_eq!(difference("a\n", "a\n"), "");
    }
}
