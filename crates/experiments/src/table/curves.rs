//! How training went, as numbers.

use run_record::{EpochPoint, Record};

use super::{Cell, Prose, Table};
use crate::results::Results;

/// Loss or mIoU on val, an epoch a row and a cell (arm and seed) a column.
pub fn curves(
    results: &Results<'_>,
    title: &str,
    of: fn(&EpochPoint) -> Option<f64>,
    decimals: usize,
) -> Table {
    let records: Vec<&Record> =
        results.arms.iter().flat_map(|arm| arm.records.iter().copied()).collect();
    let mut columns: Vec<Prose> = vec!["epoch".into()];
    columns.extend(records.iter().map(|record| {
        Prose::default().name(&record.cell.arm).text(format!(", seed {}", record.cell.seed))
    }));
    let epochs = records.iter().flat_map(|r| &r.curve).map(|point| point.epoch).max().unwrap_or(0);
    let rows = (1..=epochs).map(|epoch| {
        let cells = records.iter().map(|record| {
            let point = record.curve.iter().find(|point| point.epoch == epoch);
            Cell::number(point.and_then(of), decimals)
        });
        std::iter::once(Cell::count(epoch)).chain(cells).collect()
    });
    Table { title: title.into(), notes: Prose::default(), columns, rows: rows.collect() }
}
