//! The table of a sweep: scores with their intervals, and what each arm costs.

use std::collections::BTreeSet;

use run_record::Record;
use seg_metrics::stats::{Comparison, Scope, Verdict};

use super::{Cell, Digits, Prose, Table, Weight};
use crate::compare::Arm;
use crate::mixture::{mixture, other_inputs};
use crate::results::{Compared, Results};

/// One row an arm: mIoU, its differences to the sweep's `compare_to`, pixel accuracy and costs.
pub fn ablation(results: &Results<'_>) -> Table {
    let mut columns: Vec<Prose> = vec!["arm".into(), "mIoU %".into()];
    let bases = &results.sweep.compare_to;
    columns.extend(bases.iter().map(|base| Prose::default().text("to ").name(base)));
    columns.extend(
        ["pixel accuracy %", "parameters", "MACs, M", "memory, MiB", "s/image", "training, s"]
            .map(Prose::from),
    );
    let rows = results.arms.iter().map(|arm| {
        let all = |of: fn(&Record) -> f64| -> Vec<f64> {
            arm.records.iter().map(|record| of(record)).collect()
        };
        let mut row = vec![Cell::Name(arm.name.clone())];
        row.push(Cell::score(&all(|r| r.metrics.miou_percent), 1));
        row.extend(bases.iter().map(|base| match results.comparison(&arm.name, base) {
            _ if *base == arm.name => Cell::Unknown,
            None => Cell::Words("not run".into()),
            Some(Err(_)) => Cell::Words("not comparable".into()),
            Some(Ok(found)) => difference(found),
        }));
        row.push(Cell::score(&all(|r| r.metrics.pixel_accuracy_percent), 1));
        row.push(Cell::count(arm.records[0].parameters));
        row.push(Cell::number(arm.records[0].macs.map(|n| n as f64 / 1e6), 1));
        let memory = all(|r| r.timing.peak_memory_mib).into_iter().min_by(f64::total_cmp);
        row.push(Cell::number(memory.filter(|mib| *mib > 0.0), 0));
        row.push(Cell::number(median(all(|r| r.timing.seconds_per_image)), 3));
        row.push(Cell::number(median(all(|r| r.timing.training_s)), 0));
        row
    });
    let (rows, title, notes) =
        (rows.collect(), "Scores and costs of the arms".into(), notes(results));
    Table { title, notes, columns, rows }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// By how much an arm's mIoU is above another's, in points.
pub fn difference(found: &Comparison) -> Cell {
    let ends = [found.miou.estimate, found.miou.low(), found.miou.high()];
    Cell::Interval {
        ends: ends.map(|x| Digits::signed(100.0 * x, 1)),
        weight: match found.miou.verdict() {
            Verdict::NoDifferenceShown => Weight::Plain,
            Verdict::FirstHigher | Verdict::SecondHigher => Weight::Bold,
        },
        remark: match found.scope() {
            Scope::Arms => "",
            Scope::TheseTwoNetworks => "one seed",
        },
    }
}

fn notes(results: &Results<'_>) -> Prose {
    let records = || results.arms.iter().flat_map(|arm| &arm.records);
    let seeds: BTreeSet<u64> = records().map(|record| record.cell.seed).collect();
    let mut notes = Prose::default().text(format!(
        "{} seed{}. mIoU and pixel accuracy on the test split: mean ± sample standard deviation \
         over seeds. ",
        seeds.len(),
        if seeds.len() == 1 { "" } else { "s" },
    ));
    let bases = &results.sweep.compare_to;
    for (nth, base) in bases.iter().enumerate() {
        notes = notes.text(if nth == 0 { "Differences to " } else { " and " }).name(base);
    }
    if !bases.is_empty() {
        let of_one = "; of one seed it speaks of these two networks only";
        notes = notes
            .text(
                ": mean over seeds of the paired difference in points of mIoU, and its 95 % \
                 interval over other seeds and other test images like these; ",
            )
            .strong("bold")
            .text(format!(
                " where it leaves out 0{}. ",
                if seeds.len() == 1 { of_one } else { "" }
            ));
    }
    notes = notes.text(
        "Parameters are the trained ones. MACs: millions of multiply–accumulates for one test \
         image. Memory: the most the process had held when a cell ended, the smallest over seeds; \
         earlier cells of the same process count as well. Seconds: median over images, one at a \
         time, backbone included. Training: median over seeds.",
    );
    for arm in &results.arms {
        if let Some(mixture) = mixture(arm) {
            notes = notes.text(" ").strong("No mean over seeds of one cell").text(": ");
            notes = notes.name(&arm.name).text(format!(", {mixture}."));
        }
    }
    for Compared { arm, base, found } in results.comparisons() {
        let other = other_inputs(arm.records[0], base.records[0]);
        if found.is_ok() && !other.is_empty() {
            let what = format!(" were made from other inputs: {}.", other.join("; "));
            notes = notes.text(" ").name(&arm.name).text(" and ").name(&base.name).text(what);
        }
    }
    let unknown = |arm: &&Arm<'_>| arm.records.iter().any(|record| !record.is_of_known_inputs());
    for (nth, arm) in results.arms.iter().filter(unknown).enumerate() {
        let before = "Of unknown data, made before cells held their inputs: ";
        notes = notes.text(if nth == 0 { format!(" {before}") } else { ", ".to_owned() });
        notes = notes.name(&arm.name);
    }
    if results.arms.iter().any(|arm| unknown(&arm)) { notes.text(".") } else { notes }
}
