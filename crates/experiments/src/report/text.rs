//! `report.md`: the report for a terminal or a code host.

use std::fmt::Write;

use super::pictured_set::PicturedSet;
use super::{Photographs, Report, environment, tables, verdicts};
use crate::compare::{Arm, section};
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
    for line in sets.iter().flat_map(|set| set.lost(report.photographs)) {
        let _ = writeln!(text, "- cannot be shown: {}\n", table::escaped(&line));
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
fn table_of_pictures<'a>(
    report: &Report<'_>,
    set: &PicturedSet<'a>,
    below: &str,
    first: &[&str],
) -> String {
    let folder = &set.folder;
    let file = |index: usize, ending: &str| format!("{below}{index}-{ending}.png");
    let shown: Vec<usize> = set.shown().collect();
    let of_set = first.iter().map(|&name| (name, name.to_owned()));
    let of_arm = |arm: &&'a Arm<'_>| Some((arm.name.as_str(), PicturedSet::ending(arm)?));
    let columns: Vec<(&str, String)> = of_set
        .chain(set.arms.iter().filter_map(of_arm))
        .filter(|(name, _)| *name != "image" || report.photographs == Photographs::Shown)
        .filter(|(_, ending)| shown.iter().any(|at| folder.join(file(*at, ending)).exists()))
        .collect();
    if columns.is_empty() {
        return String::new();
    }
    let heads: Vec<String> = columns.iter().map(|(name, _)| table::escaped(name)).collect();
    let mut text = format!("| {} |\n|{}\n", heads.join(" | "), "---|".repeat(columns.len()));
    for index in shown {
        for (name, ending) in &columns {
            let _ = match folder.join(file(index, ending)).exists() {
                true => {
                    let (alt, file) = (table::escaped(name), file(index, ending));
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
