//! Which data and which programs and machines a report's numbers come from.

use run_record::{Provenance, Record};

use crate::results::Results;
use crate::table::{Cell, Prose, Table};

/// What a fact is called, and how it is told.
type Fact = (&'static str, fn(&Provenance) -> String);

/// The dataset as it was found; one column of values.
pub(super) fn data(results: &Results<'_>) -> Option<Table> {
    let record = results.records().next()?;
    let facts = &record.dataset;
    let mut rows = vec![row("dataset", vec![facts.name.clone()])];
    for split in ["train", "val", "test"] {
        let images = facts.images.get(split).map_or_else(String::new, u64::to_string);
        rows.push(row(&format!("images of {split}"), vec![images]));
        if let Some(fingerprint) = facts.fingerprints.get(split) {
            rows.push(row(&format!("SHA-256 of {split}"), vec![fingerprint.clone()]));
        }
    }
    if let Some(weights) = &record.weights_sha256 {
        rows.push(row("SHA-256 of the pretrained weights", vec![weights.clone()]));
    }
    let rule = record.protocol.parse::<seg_metrics::Protocol>().map(|protocol| protocol.rule());
    rows.push(row("protocol", vec![rule.unwrap_or_else(|_| record.protocol.clone())]));
    let columns = vec!["".into(), "value".into()];
    Some(Table { title: "The data".into(), notes: Prose::default(), columns, rows })
}

/// Programs and machines, one column for each that made a cell.
pub(super) fn programs(results: &Results<'_>) -> Table {
    let mut found: Vec<(&Provenance, Vec<&Record>)> = Vec::new();
    for record in results.records() {
        match found.iter_mut().find(|(provenance, _)| **provenance == record.provenance) {
            Some((_, records)) => records.push(record),
            None => found.push((&record.provenance, vec![record])),
        }
    }
    let mut columns: Vec<Prose> = vec!["".into()];
    columns
        .extend((1..=found.len()).map(|nth| Prose::default().text(format!("environment {nth}"))));
    let facts: [Fact; 6] = [
        ("revision", |p| {
            format!("{}{}", p.revision, if p.dirty { ", with uncommitted changes" } else { "" })
        }),
        ("SHA-256 of Cargo.lock", |p| p.lock_sha256.clone()),
        ("processor", |p| match &p.device {
            Some(device) => format!("{}, network on {device}", p.cpu),
            None => p.cpu.clone(),
        }),
        ("threads", |p| p.threads.to_string()),
        ("system", |p| p.os.clone()),
        ("compiler", |p| p.rustc.clone()),
    ];
    let mut rows: Vec<Vec<Cell>> = facts
        .iter()
        .map(|(name, of)| row(name, found.iter().map(|(p, _)| of(p)).collect()))
        .collect();
    let cells = found.iter().map(|(_, records)| match found.len() {
        1 => format!("all {}", records.len()),
        _ => {
            let names = records.iter().map(|record| record.cell.name());
            names.collect::<Vec<_>>().join(", ")
        }
    });
    rows.push(row("cells", cells.collect()));
    Table { title: "Program and machine".into(), notes: Prose::default(), columns, rows }
}

fn row(name: &str, values: Vec<String>) -> Vec<Cell> {
    std::iter::once(name.to_owned()).chain(values).map(Cell::Words).collect()
}
