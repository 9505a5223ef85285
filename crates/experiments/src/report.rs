//! What a sweep ends with: `report.html` and `report.md` for readers, `table.tex` and `table.csv`
//! for papers, and whether its arms came out as the sweep expects.

mod bars;
mod charts;
mod confusion;
mod environment;
mod gallery;
mod html_table;
mod page;
mod pictured_set;
mod text;

use std::path::Path;

use seg_metrics::stats;
use whole_files::{InTheWay, Outputs};

use crate::outputs::Target;
use crate::results::Results;
use crate::table;

/// Whether a report shows photographs; not every dataset's licence allows publishing them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Photographs {
    /// It does.
    Shown,
    /// Neither photographs nor what is drawn over them; labels and predictions stay.
    LeftOut,
}

/// Whether an arm's mean mIoU lies within its sweep's tolerance.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The arm and what was found, as one line.
    pub line: String,
    /// False if the mean lies outside.
    pub within: bool,
}

/// Compares each arm with the expectation its sweep ships, where every seed of it was run.
pub fn verdicts(results: &Results<'_>) -> Vec<Verdict> {
    let arms = &results.sweep.arms;
    let expectations = arms.iter().filter_map(|arm| Some((arm, arm.expected.as_ref()?)));
    expectations
        .filter_map(|(arm, expected)| {
            let of_arm = results.arms.iter().find(|with_records| with_records.name == arm.name)?;
            let mious: Vec<f64> = of_arm.records.iter().map(|r| r.metrics.miou_percent).collect();
            if mious.len() < results.sweep.seeds.len() {
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

/// The ablation table with its notes and, where the set knows distances, accuracy by distance, as
/// Markdown.
pub fn tables(results: &Results<'_>) -> String {
    let ablation = table::ablation(results);
    let mut text = table::markdown(&ablation);
    if let Some(distances) = table::by_distance(results) {
        text.push('\n');
        text.push_str(&table::markdown(&distances));
    }
    text.push('\n');
    text.push_str(&table::notes(&ablation));
    text
}

/// The files of a report.
const FILES: [&str; 4] = ["report.html", "report.md", "table.tex", "table.csv"];

/// Claims the files of a sweep's report in `out_dir`, before anything is run.
///
/// # Errors
///
/// Files in the way that are no report of this sweep, or a folder that cannot be written.
pub fn claim(out_dir: &Path, sweep: &str, in_the_way: InTheWay) -> anyhow::Result<Outputs> {
    let files = FILES.map(|file| (file.into(), format!("the records of {sweep}")));
    Target::new(out_dir, in_the_way).claim("report".to_owned(), files)
}

/// Writes `report.html`, `report.md`, `table.tex` and `table.csv` into `out_dir`, where they have been
/// claimed, with the pictures that are there.
///
/// `command` is what was typed to get there; empty if that is not known.
///
/// # Errors
///
/// If the folder cannot be written.
pub fn write(
    outputs: &mut Outputs,
    out_dir: &Path,
    results: &Results<'_>,
    command: &str,
    photographs: Photographs,
) -> anyhow::Result<()> {
    let ablation = table::ablation(results);
    let report = Report { out_dir, results, command, photographs };
    let texts = [
        page::page(&report)?,
        text::text(&report),
        table::latex(&ablation, &results.sweep.name),
        table::csv(&ablation),
    ];
    for (name, text) in FILES.into_iter().zip(texts) {
        outputs.write(name, text.as_bytes())?;
    }
    Ok(())
}

/// What both forms of a report are written from.
struct Report<'a> {
    out_dir: &'a Path,
    results: &'a Results<'a>,
    command: &'a str,
    photographs: Photographs,
}

impl Report<'_> {
    /// What a reader can type to see the numbers again, first of all what made them.
    fn commands(&self) -> Vec<(&'static str, String)> {
        let mut commands = Vec::new();
        if !self.command.is_empty() {
            commands.push(("What made this report", self.command.to_owned()));
        }
        let shown = self.out_dir.display();
        commands.push(("The differences again", format!("cargo xtask compare {shown}")));
        if let Some(record) = self.results.records().next() {
            let stem = record.cell.file_stem();
            let verify = format!("cargo xtask verify {shown}/cells/{stem}.json");
            commands.push(("One network scored anew", verify));
        }
        commands
    }
}
