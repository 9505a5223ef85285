//! `report.md`: the report for a terminal or a code host.

use std::fmt::Write;

use super::pictured_set::PicturedSet;
use super::{Photographs, Report, environment, tables, verdicts};
use crate::compare::section;
use crate::results::Compared;
use crate::{pictures, table};

/// The whole report.
pub(super) fn text(report: &Report<'_>) -> String {
    let (results, sweep) = (report.results, report.results.sweep);
    let (name, about) = (table::code(&sweep.name), table::escaped(&sweep.about));
    let mut text = format!("# Sweep {name}\n\n{about}\n\n{}\n", tables(results));
    let verdicts = verdicts(results);
    if !verdicts.is_empty() {
        text.push_str("## Against the sweep's expectations\n\n");
        for verdict in &verdicts {
            let _ = writeln!(text, "- {}", table::escaped(&verdict.line));
        }
        text.push('\n');
    }
    text.push_str(&differences(report));
    let classes = table::class_iou(results);
    let _ =
        write!(text, "## Classes\n\n{}\n{}\n", table::markdown(&classes), table::notes(&classes));
    text.push_str(&shown_images(report));
    text.push_str("## How it was made\n\n");
    for (what, command) in report.commands() {
        let _ = writeln!(text, "- {what}: {}", table::code(&command));
    }
    for facts in environment::data(results).into_iter().chain([environment::programs(results)]) {
        let _ = write!(text, "\n{}", table::markdown(&facts));
    }
    text
}

/// Every arm against those it is compared with, class by class.
fn differences(report: &Report<'_>) -> String {
    let mut text = String::new();
    for Compared { arm, base, found } in report.results.comparisons() {
        match found {
            Ok(found) => {
                text.push_str(&section(found, (&arm.name, &base.name), report.results.classes()));
            }
            Err(error) => {
                let _ = writeln!(text, "{}.\n", table::escaped(&format!("{error:#}")));
            }
        }
    }
    if text.is_empty() { text } else { format!("## Differences\n\n{text}") }
}

/// Tables of the pictures that are there: image, truth, one column an arm (seed 0).
fn shown_images(report: &Report<'_>) -> String {
    let sets = PicturedSet::all(report);
    let tables = |below: &str, first: &[&str]| -> String {
        let all = sets.iter().map(|set| table_of_pictures(report, set, below, first));
        all.filter(|table| !table.is_empty()).collect::<Vec<_>>().join("\n")
    };
    let mut text = tables("", &["image", "truth"]);
    if !text.is_empty() {
        let labels = "Test images; black is not labelled.";
        text = format!("## What the arms see\n\n{labels}\n\n{text}\n");
    }
    if report.photographs == Photographs::Shown {
        let looking = tables("attention/", &[]);
        if !looking.is_empty() {
            let _ = write!(
                text,
                "What the framed place attends to: the more, the brighter and warmer.\n\n{looking}\n"
            );
        }
    }
    text
}

/// A row an image, a column for every one of which there is a picture.
fn table_of_pictures(
    report: &Report<'_>,
    set: &PicturedSet<'_>,
    below: &str,
    first: &[&str],
) -> String {
    let folder = &set.folder;
    let file = |index: usize, column: &str| format!("{below}{index}-{column}.png");
    let shown: Vec<usize> = set.shown().collect();
    let columns: Vec<&str> = first
        .iter()
        .copied()
        .chain(set.arms.iter().map(|arm| arm.name.as_str()))
        .filter(|column| *column != "image" || report.photographs == Photographs::Shown)
        .filter(|column| shown.iter().any(|index| folder.join(file(*index, column)).exists()))
        .collect();
    if columns.is_empty() {
        return String::new();
    }
    let mut text = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    for index in shown {
        for column in &columns {
            let _ = match folder.join(file(index, column)).exists() {
                true => {
                    let (alt, file) = (table::escaped(column), file(index, column));
                    let below = pictures::folder(&set.record.dataset);
                    write!(text, "| ![{alt}]({}/{file}) ", below.display())
                }
                false => write!(text, "| – "),
            };
        }
        text.push_str("|\n");
    }
    text
}
