//! Accuracy by distance to what decides a pixel's class.

use std::collections::BTreeMap;

use run_record::Record;

use super::{Cell, Prose, Table};
use crate::results::Results;

/// Distances are shown in bins of this many pixels.
pub const SHOWN_BIN_PX: u64 = 16;

/// Less than one pixel in so many has no bin of its own: it joins the last one.
const RARE: u64 = 50;

/// Pixel accuracy in percent by distance, an arm a row; `None` where no record knows distances.
pub fn by_distance(results: &Results<'_>) -> Option<Table> {
    let last = last_bin(results)?;
    let title = "pixel accuracy % by distance to the beacon, px";
    let mut columns: Vec<Prose> = vec![title.into()];
    let to = |bin: u64| format!("{}–{}", bin * SHOWN_BIN_PX, (bin + 1) * SHOWN_BIN_PX - 1);
    columns.extend((0..last).map(|bin| Prose::default().text(to(bin))));
    columns.push(Prose::default().text(format!("{} or more", last * SHOWN_BIN_PX)));
    let rows = results.arms.iter().map(|arm| {
        let bins = accuracy_percent(&arm.records, last);
        let cells = bins.into_iter().map(|percent| Cell::number(percent, 1));
        std::iter::once(Cell::Name(arm.name.clone())).chain(cells).collect()
    });
    let (rows, notes) = (rows.collect(), "All seeds of an arm together.".into());
    Some(Table { title: "Pixel accuracy by distance to the beacon".into(), notes, columns, rows })
}

/// The accuracy in percent of some records in each shown bin, the last of which is open; empty
/// where distances are not known.
pub fn distance_bins(results: &Results<'_>, records: &[&Record]) -> Vec<Option<f64>> {
    last_bin(results).map_or(Vec::new(), |last| accuracy_percent(records, last))
}

/// The first bin that, with all beyond it, ends the table.
fn last_bin(results: &Results<'_>) -> Option<u64> {
    let all = || results.arms.iter().flat_map(|arm| &arm.records).flat_map(|r| &r.distance);
    let total: u64 = all().map(|bin| bin.pixels).sum();
    let beyond = |shown: u64| -> u64 {
        all().filter(|bin| bin.from_px / SHOWN_BIN_PX > shown).map(|bin| bin.pixels).sum()
    };
    if total == 0 { None } else { (0..).find(|&shown| beyond(shown) * RARE < total) }
}

fn accuracy_percent(records: &[&Record], last: u64) -> Vec<Option<f64>> {
    let mut counts: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for bin in records.iter().flat_map(|record| &record.distance) {
        let at = (bin.from_px / SHOWN_BIN_PX).min(last);
        let (pixels, correct) = counts.entry(at).or_default();
        (*pixels, *correct) = (*pixels + bin.pixels, *correct + bin.correct);
    }
    let percent = |(pixels, correct): &(u64, u64)| 100.0 * *correct as f64 / *pixels as f64;
    (0..=last).map(|bin| counts.get(&bin).filter(|bin| bin.0 > 0).map(percent)).collect()
}
