//! The tables of a sweep, as Markdown, from its records alone.

use std::collections::BTreeMap;
use std::fmt::Write;

use run_record::{Record, Sweep};
use seg_metrics::stats::{self, Scope, Verdict};

use crate::compare::{Arm, compare_arms};

/// Distances are shown in bins of this many pixels.
const SHOWN_BIN_PX: u64 = 16;

/// Less than one pixel in so many has no bin of its own: it joins the last one.
const RARE: u64 = 50;

/// The records of each arm of `sweep`, in its order, by seed.
pub fn by_arm<'r>(sweep: &Sweep, records: &'r [Record]) -> Vec<(String, Vec<&'r Record>)> {
    let of = |arm: &str| {
        let mut of_arm: Vec<&Record> = records.iter().filter(|r| r.cell.arm == arm).collect();
        of_arm.sort_by_key(|record| record.cell.seed);
        of_arm
    };
    let arms = sweep.arms.iter().map(|arm| (arm.name.clone(), of(&arm.name)));
    arms.filter(|(_, of_arm)| !of_arm.is_empty()).collect()
}

/// The ablation table and, where the set knows distances, accuracy by distance.
pub fn markdown(sweep: &Sweep, records: &[Record]) -> String {
    let arms = by_arm(sweep, records);
    let mut text = ablation(sweep, &arms);
    if let Some(distances) = by_distance(&arms) {
        text.push('\n');
        text.push_str(&distances);
    }
    text
}

fn ablation(sweep: &Sweep, arms: &[(String, Vec<&Record>)]) -> String {
    let mut text = String::from("| arm | mIoU % |");
    for base in &sweep.compare_to {
        let _ = write!(text, " to `{base}` |");
    }
    text.push_str(" pixel accuracy % | parameters | s/image |\n|---|---|");
    text.push_str(&"---|".repeat(sweep.compare_to.len() + 3));
    text.push('\n');
    for (name, records) in arms {
        let mious: Vec<f64> = records.iter().map(|r| r.metrics.miou_percent).collect();
        let accuracies: Vec<f64> =
            records.iter().map(|r| r.metrics.pixel_accuracy_percent).collect();
        let _ = write!(text, "| `{name}` | {} |", mean_and_deviation(&mious));
        for base in &sweep.compare_to {
            let of_base = arms.iter().find(|(name, _)| name == base).map(|(_, records)| records);
            let cell = match of_base {
                Some(_) if base == name => "–".to_owned(),
                Some(of_base) => difference((name, records), (base, of_base)),
                None => "not run".to_owned(),
            };
            let _ = write!(text, " {cell} |");
        }
        let mut seconds: Vec<f64> = records.iter().map(|r| r.timing.seconds_per_image).collect();
        seconds.sort_by(f64::total_cmp);
        let _ = writeln!(
            text,
            " {} | {} | {:.3} |",
            mean_and_deviation(&accuracies),
            thousands(records[0].parameters),
            seconds[seconds.len() / 2],
        );
    }
    text
}

/// What the columns of [`markdown`]'s first table mean, for the reader of the table.
pub fn caption(sweep: &Sweep, records: &[Record]) -> String {
    let seeds: std::collections::BTreeSet<u64> = records.iter().map(|r| r.cell.seed).collect();
    let bases: Vec<String> = sweep.compare_to.iter().map(|base| format!("`{base}`")).collect();
    let differences = match bases.as_slice() {
        [] => String::new(),
        _ => format!(
            "Differences to {}: mean over seeds of the paired difference in points of mIoU, and \
             its 95 % interval over other seeds and other test images like these; **bold** where \
             it leaves out 0{}. ",
            bases.join(" and "),
            if seeds.len() == 1 {
                "; of one seed it speaks of these two networks only"
            } else {
                ""
            },
        ),
    };
    format!(
        "{} seed{}. mIoU and pixel accuracy on the test split: mean ± sample standard deviation \
         over seeds. {differences}\
         Parameters are the trained ones. Seconds: median over images, one at a time, backbone \
         included.\n",
        seeds.len(),
        if seeds.len() == 1 { "" } else { "s" },
    )
}

fn mean_and_deviation(values: &[f64]) -> String {
    match stats::sample_sd(values) {
        Some(sd) => format!("{:.1} ± {sd:.1}", stats::mean(values).unwrap_or(0.0)),
        None => format!("{:.1}", stats::mean(values).unwrap_or(0.0)),
    }
}

fn difference<'r>(first: (&str, &[&'r Record]), second: (&str, &[&'r Record])) -> String {
    fn arm<'r>((name, records): (&str, &[&'r Record])) -> Arm<'r> {
        Arm { name: name.to_owned(), records: records.to_vec() }
    }
    match compare_arms(&arm(first), &arm(second)) {
        Ok(found) => {
            let [estimate, low, high] =
                [found.miou.estimate, found.miou.low(), found.miou.high()].map(|x| 100.0 * x);
            let text = format!("{estimate:+.1} [{low:+.1}, {high:+.1}]");
            let shown = match found.miou.verdict() {
                Verdict::NoDifferenceShown => text,
                _ => format!("**{text}**"),
            };
            match found.scope() {
                Scope::Arms => shown,
                Scope::TheseTwoNetworks => format!("{shown} (one seed)"),
            }
        }
        Err(_) => "not comparable".to_owned(),
    }
}

fn by_distance(arms: &[(String, Vec<&Record>)]) -> Option<String> {
    let all = || arms.iter().flat_map(|(_, records)| records).flat_map(|r| &r.distance);
    let total: u64 = all().map(|bin| bin.pixels).sum();
    if total == 0 {
        return None;
    }
    let beyond = |shown: u64| -> u64 {
        all().filter(|bin| bin.from_px / SHOWN_BIN_PX > shown).map(|bin| bin.pixels).sum()
    };
    // The first bin that, with all beyond it, ends the table.
    let last = (0..).find(|&shown| beyond(shown) * RARE < total).unwrap_or(0);
    let mut text = String::from("| pixel accuracy % by distance to the beacon, px |");
    for bin in 0..last {
        let _ = write!(text, " {}–{} |", bin * SHOWN_BIN_PX, (bin + 1) * SHOWN_BIN_PX - 1);
    }
    let _ = write!(text, " {} or more |", last * SHOWN_BIN_PX);
    let _ = write!(text, "\n|---|{}\n", "---|".repeat(last as usize + 1));
    for (name, records) in arms {
        let mut counts: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for bin in records.iter().flat_map(|record| &record.distance) {
            let at = (bin.from_px / SHOWN_BIN_PX).min(last);
            let (pixels, correct) = counts.entry(at).or_default();
            (*pixels, *correct) = (*pixels + bin.pixels, *correct + bin.correct);
        }
        let _ = write!(text, "| `{name}` |");
        for bin in 0..=last {
            let cell = match counts.get(&bin) {
                Some((pixels, correct)) if *pixels > 0 => {
                    format!("{:.1}", 100.0 * *correct as f64 / *pixels as f64)
                }
                _ => "–".to_owned(),
            };
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    Some(text)
}

fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
