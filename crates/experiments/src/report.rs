//! A sweep's `report.md`, and whether its arms came out as the sweep expects.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use run_record::{Record, Sweep};
use seg_metrics::stats;

use crate::compare::{Arm, compare_arms, section};
use crate::{pictures, table};

/// Whether an arm's mean mIoU lies within its sweep's tolerance.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The arm and what was found, as one line.
    pub line: String,
    /// False if the mean lies outside.
    pub within: bool,
}

/// Compares each arm with the expectation its sweep ships, where every seed of it was run.
pub fn verdicts(sweep: &Sweep, records: &[Record]) -> Vec<Verdict> {
    let arms = table::by_arm(sweep, records);
    let expectations = sweep.arms.iter().filter_map(|arm| Some((arm, arm.expected.as_ref()?)));
    expectations
        .filter_map(|(arm, expected)| {
            let (_, of_arm) = arms.iter().find(|(name, _)| *name == arm.name)?;
            let mious: Vec<f64> = of_arm.iter().map(|r| r.metrics.miou_percent).collect();
            if mious.len() < sweep.seeds.len() {
                return None;
            }
            let mean = stats::mean(&mious)?;
            let within = (mean - expected.miou_percent).abs() <= expected.tolerance;
            let line = format!(
                "{}: mIoU {mean:.1} %, {} the expected {:.1} ± {:.1}",
                arm.name,
                if within { "within" } else { "OUTSIDE" },
                expected.miou_percent,
                expected.tolerance,
            );
            Some(Verdict { line, within })
        })
        .collect()
}

/// Writes `report.md` into `out_dir`.
///
/// # Errors
///
/// If the folder cannot be written.
pub fn write(
    out_dir: &Path,
    sweep: &Sweep,
    records: &[Record],
    command: &str,
) -> anyhow::Result<()> {
    let mut text = format!("# Sweep `{}`\n\n{}\n\n", sweep.name, sweep.about);
    text.push_str(&table::markdown(sweep, records));
    let _ = writeln!(text, "\n{}", table::caption(sweep, records));
    let verdicts = verdicts(sweep, records);
    if !verdicts.is_empty() {
        text.push_str("## Against the sweep's expectations\n\n");
        for verdict in &verdicts {
            let _ = writeln!(text, "- {}", verdict.line);
        }
        text.push('\n');
    }
    text.push_str(&differences(sweep, records));
    text.push_str(&shown_images(out_dir, sweep, records));
    if let Some(record) = records.last() {
        let p = &record.provenance;
        let _ = write!(
            text,
            "## How it was made\n\n`{command}`\n\nRevision {}{}, {}, {} threads, {}, {}.\n",
            p.revision,
            if p.dirty { " with uncommitted changes" } else { "" },
            p.cpu,
            p.threads,
            p.os,
            p.rustc,
        );
    }
    let path = out_dir.join("report.md");
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

/// Every arm against those it is compared with, class by class.
fn differences(sweep: &Sweep, records: &[Record]) -> String {
    let arms = table::by_arm(sweep, records);
    let arms: Vec<Arm<'_>> =
        arms.into_iter().map(|(name, records)| Arm { name, records }).collect();
    let mut text = String::new();
    for base in arms.iter().filter(|arm| sweep.compare_to.contains(&arm.name)) {
        for arm in arms.iter().filter(|arm| arm.name != base.name) {
            match compare_arms(arm, base) {
                Ok(found) => {
                    let classes = &base.records[0].dataset.classes;
                    text.push_str(&section(&found, (&arm.name, &base.name), classes));
                }
                Err(error) => {
                    let _ = writeln!(text, "{error:#}.\n");
                }
            }
        }
    }
    if text.is_empty() { text } else { format!("## Differences\n\n{text}") }
}

/// A table of the pictures that are there: image, truth, one column an arm (its first seed).
fn shown_images(out_dir: &Path, sweep: &Sweep, records: &[Record]) -> String {
    let arms = table::by_arm(sweep, records);
    let mut columns = vec!["image".to_owned(), "truth".to_owned()];
    columns.extend(arms.into_iter().map(|(name, _)| name));
    let mut rows = String::new();
    for nth in 0..pictures::SHOWN {
        if !pictures::folder(out_dir).join(format!("{nth}-image.png")).exists() {
            continue;
        }
        for column in &columns {
            let _ = write!(rows, "| ![{column}](pictures/{nth}-{column}.png) ");
        }
        rows.push_str("|\n");
    }
    if rows.is_empty() {
        return String::new();
    }
    let head = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    format!("## What the arms see\n\nTest images; black is not labelled.\n\n{head}{rows}\n")
}
