//! Lines as SVG, drawn by hand: one small panel an arm.

use maud::{Markup, html};
use run_record::{EpochPoint, Record};

use super::html_table::number;
use crate::compare::Arm;
use crate::results::Results;
use crate::table::{self, Digits};

/// A panel in its own units; CSS stretches it.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 176.0;
/// Where the plot lies in it: left, top, right, bottom.
const FRAME: [f64; 4] = [28.0, 24.0, 292.0, 148.0];

/// How seeds are told apart, in their order; then again from the first.
const DASHES: [&str; 4] = ["none", "6 3", "1.5 3", "9 3 1.5 3"];

type Points = Vec<(f64, f64)>;

/// What all panels of a chart share.
struct Chart<'a> {
    /// What the vertical axis shows, for titles.
    shows: &'a str,
    /// Below the horizontal axis.
    x_label: &'a str,
    x_ticks: Vec<(f64, String)>,
    y_ticks: Vec<f64>,
    x_range: (f64, f64),
    y_range: (f64, f64),
}

/// Loss or mIoU on val after each epoch: a panel an arm, a line a seed, other arms' means in grey.
pub(super) fn curves(
    results: &Results<'_>,
    shows: &str,
    of: fn(&EpochPoint) -> Option<f64>,
    id: &str,
) -> Markup {
    let line = |record: &Record| -> Points {
        record.curve.iter().filter_map(|p| Some((p.epoch as f64, of(p)?))).collect()
    };
    let epochs = results.records().flat_map(|r| &r.curve).map(|p| p.epoch).max().unwrap_or(1);
    let step = step(epochs as f64, 5).max(1.0);
    let ticks = ticks(1.0, epochs as f64, step);
    let x_ticks = ticks.into_iter().map(|tick| (tick, format!("{tick}"))).collect();
    panels(results, (shows, "epoch", id), x_ticks, (1.0, epochs.max(2) as f64), line)
}

/// Pixel accuracy by distance to what decides a pixel's class, with panels like [`curves`].
pub(super) fn by_distance(results: &Results<'_>, id: &str) -> Markup {
    let px = |bin: usize| (bin as u64 * table::SHOWN_BIN_PX) as f64;
    let line = |record: &Record| -> Points {
        let bins = table::distance_bins(results, &[record]).into_iter().enumerate();
        bins.filter_map(|(bin, percent)| Some((px(bin), percent?))).collect()
    };
    let last = results
        .records()
        .next()
        .map_or(0, |record| table::distance_bins(results, &[record]).len().saturating_sub(1));
    let label = |bin: usize| format!("{}{}", px(bin), if bin == last { "+" } else { "" });
    let x_ticks = (0..=last).map(|bin| (px(bin), label(bin))).collect();
    let names = ("pixel accuracy, %", "px to the beacon", id);
    panels(results, names, x_ticks, (0.0, px(last.max(1))), line)
}

fn panels(
    results: &Results<'_>,
    (shows, x_label, id): (&str, &str, &str),
    x_ticks: Vec<(f64, String)>,
    x_range: (f64, f64),
    line: impl Fn(&Record) -> Points,
) -> Markup {
    let seeds: Vec<Vec<Points>> = results
        .arms
        .iter()
        .map(|arm| arm.records.iter().map(|record| line(record)).collect())
        .collect();
    let means: Vec<Points> = seeds.iter().map(|lines| mean(lines)).collect();
    let (y_ticks, y_range) = scale(seeds.iter().flatten().flatten().map(|point| point.1));
    let chart = Chart { shows, x_label, x_ticks, y_ticks, x_range, y_range };
    html! {
        div.panels {
            @for (nth, arm) in results.arms.iter().enumerate() {
                @let others = means.iter().enumerate().filter(|(other, _)| *other != nth);
                @let others: Vec<&Points> = others.map(|(_, mean)| mean).collect();
                (chart.panel(arm, &seeds[nth], &others, &format!("{id}-{nth}")))
            }
        }
        (legend(results))
    }
}

impl Chart<'_> {
    fn panel(&self, arm: &Arm<'_>, seeds: &[Points], others: &[&Points], id: &str) -> Markup {
        let [left, top, right, bottom] = FRAME;
        let at_end = |line: &Points| line.last().map(|point| number(&Digits::new(point.1, 2)));
        let ends: Vec<String> = seeds.iter().filter_map(at_end).collect();
        html! {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img"
                aria-labelledby=(format!("{id}-title {id}-desc"))
            {
                title id=(format!("{id}-title")) { (arm.name) ": " (self.shows) }
                desc id=(format!("{id}-desc")) {
                    "By " (self.x_label) "; a line a seed, ending at " (ends.join(", "))
                    "; other arms in grey. The numbers are in the table below."
                }
                @for &tick in &self.y_ticks {
                    @let y = self.y(tick);
                    line.grid x1=(left) x2=(right) y1=(y) y2=(y) {}
                    text.tick x=(left - 5.0) y=(y + 3.5) text-anchor="end" { (tick_text(tick)) }
                }
                @for (tick, label) in &self.x_ticks {
                    text.tick x=(self.x(*tick)) y=(bottom + 13.0) text-anchor="middle" { (label) }
                }
                line.axis x1=(left) x2=(right) y1=(bottom) y2=(bottom) {}
                text.tick x=(right) y=(HEIGHT - 1.0) text-anchor="end" { (self.x_label) }
                text.name x=(left) y=(top - 10.0) { (arm.name) }
                @for line in others {
                    polyline.other points=(self.points(line)) {}
                }
                @for (nth, line) in seeds.iter().enumerate() {
                    polyline.seed points=(self.points(line))
                        stroke-dasharray=(DASHES[nth % DASHES.len()]) {}
                }
            }
        }
    }

    fn x(&self, value: f64) -> f64 {
        let (low, high) = self.x_range;
        tenths(FRAME[0] + (value - low) / (high - low) * (FRAME[2] - FRAME[0]))
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = self.y_range;
        tenths(FRAME[3] - (value - low) / (high - low) * (FRAME[3] - FRAME[1]))
    }

    fn points(&self, line: &Points) -> String {
        let point = |&(x, y): &(f64, f64)| format!("{},{}", self.x(x), self.y(y));
        line.iter().map(point).collect::<Vec<_>>().join(" ")
    }
}

/// Which line is which seed.
fn legend(results: &Results<'_>) -> Markup {
    let longest = results.arms.iter().max_by_key(|arm| arm.records.len());
    let seeds = longest.map_or(Vec::new(), |arm| {
        arm.records.iter().map(|record| record.cell.seed).collect::<Vec<_>>()
    });
    let swatch = |class: &str, dashes: &str| {
        html! {
            svg.swatch viewBox="0 0 34 10" aria-hidden="true" {
                polyline class=(class) points="1,5 33,5" stroke-dasharray=(dashes) {}
            }
        }
    };
    html! {
        ul.legend {
            @for (nth, seed) in seeds.iter().enumerate() {
                li { (swatch("seed", DASHES[nth % DASHES.len()])) "seed " (seed) }
            }
            @if results.arms.len() > 1 { li { (swatch("other", "none")) "other arms, mean over seeds" } }
        }
    }
}

/// The mean of several lines wherever all of them have a point.
fn mean(lines: &[Points]) -> Points {
    let Some((first, rest)) = lines.split_first() else { return Vec::new() };
    let at = |line: &Points, x: f64| line.iter().find(|point| point.0 == x).map(|point| point.1);
    let mean = |&(x, y): &(f64, f64)| {
        let others: Option<Vec<f64>> = rest.iter().map(|line| at(line, x)).collect();
        Some((x, (y + others?.iter().sum::<f64>()) / lines.len() as f64))
    };
    first.iter().filter_map(mean).collect()
}

/// Round numbers that hold all values between them, and the first and last of them.
fn scale(values: impl Iterator<Item = f64>) -> (Vec<f64>, (f64, f64)) {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    if low >= high {
        let (low, high) = if low == high { (low - 1.0, low + 1.0) } else { (0.0, 1.0) };
        return (vec![low, high], (low, high));
    }
    let step = step(high - low, 5);
    let ticks = ticks((low / step).floor() * step, (high / step).ceil() * step, step);
    let ends = (ticks[0], ticks[ticks.len() - 1]);
    (ticks, ends)
}

/// A round distance of which about so many make a span.
fn step(span: f64, about: usize) -> f64 {
    let wanted = span / about as f64;
    let power = 10f64.powf(wanted.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power);
    round.into_iter().find(|step| *step >= wanted).unwrap_or(wanted)
}

/// The multiples of a step from one number to another.
fn ticks(low: f64, high: f64, step: f64) -> Vec<f64> {
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    // A multiple of the step each, so that rounding does not add up.
    (first..=last).map(|n| n as f64 * step).collect()
}

fn tick_text(tick: f64) -> String {
    format!("{}", (tick * 1e6).round() / 1e6)
}

/// Fine enough for a place on a screen.
pub(super) fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round_and_hold_all_values() {
        let (ticks, range) = scale([41.0, 64.9].into_iter());
        assert_eq!((ticks, range), (vec![40.0, 45.0, 50.0, 55.0, 60.0, 65.0], (40.0, 65.0)));
        let (ticks, range) = scale([0.02, 0.31].into_iter());
        assert_eq!(
            ticks.iter().map(|x| tick_text(*x)).collect::<Vec<_>>(),
            ["0", "0.1", "0.2", "0.3", "0.4"]
        );
        assert!(range.0 == 0.0 && (range.1 - 0.4).abs() < 1e-12);
        assert_eq!(scale([3.0].into_iter()).1, (2.0, 4.0));
        assert_eq!(scale([].into_iter()).1, (0.0, 1.0));
    }

    #[test]
    fn a_mean_has_points_where_all_lines_do() {
        let lines = [vec![(1.0, 2.0), (2.0, 4.0)], vec![(2.0, 6.0)]];
        assert_eq!(mean(&lines), [(2.0, 5.0)]);
    }
}
