//! Classes: the IoU of each, and those in which two arms differ.

use seg_metrics::stats::{ClassDifference, Comparison, Verdict};

use super::{Cell, Digits, Prose, Table, Weight};
use crate::results::Results;

/// The IoU of every class, a class a row and an arm a column.
pub fn class_iou(results: &Results<'_>) -> Table {
    let mut columns: Vec<Prose> = vec!["class".into()];
    columns.extend(results.arms.iter().map(|arm| Prose::default().name(&arm.name)));
    let rows = results.classes().iter().enumerate().map(|(class, name)| {
        let cells = results.arms.iter().map(|arm| Cell::score(&arm.class_iou_percent(class), 1));
        std::iter::once(Cell::Words(name.clone())).chain(cells).collect()
    });
    Table {
        title: "IoU of every class, %".into(),
        notes: "Mean ± sample standard deviation over seeds; – for a class that is neither \
                labelled nor predicted."
            .into(),
        columns,
        rows: rows.collect(),
    }
}

/// The classes in which one arm is shown to be above the other; `None` if there are none.
pub fn differing_classes(
    found: &Comparison,
    (first, second): (&str, &str),
    classes: &[String],
) -> Option<Table> {
    let row = |(class, name): (&ClassDifference, &String)| {
        let difference = class.difference.filter(|d| d.verdict() != Verdict::NoDifferenceShown)?;
        let ends = [difference.estimate, difference.low(), difference.high()];
        Some(vec![
            Cell::Words(name.clone()),
            Cell::Interval {
                ends: ends.map(|x| Digits::signed(100.0 * x, 2)),
                weight: Weight::Plain,
                remark: "",
            },
            Cell::count(class.images as u64),
            Cell::Words(difference.verdict().between(first, second)),
        ])
    };
    let rows: Vec<_> = found.classes.iter().zip(classes).filter_map(row).collect();
    let columns =
        ["class", "points of IoU, 95 % for all classes at once", "images", "which is higher"];
    let title = Prose::default().text("Classes of ").name(first).text(" minus ").name(second);
    let (columns, notes) = (columns.map(Prose::from).to_vec(), Prose::default());
    (!rows.is_empty()).then_some(Table { title, notes, columns, rows })
}
