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

/// What a vertical axis measures, which decides how far it goes.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    /// From 0 to 100.
    Percent,
    /// From 0 to the largest.
    Loss,
}

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
    (shows, unit): (&str, Unit),
    of: fn(&EpochPoint) -> Option<f64>,
    id: &str,
) -> Markup {
    let line = |record: &Record| -> Points {
        record.curve.iter().filter_map(|p| Some((p.epoch as f64, of(p)?))).collect()
    };
    let epochs = results.records().flat_map(|r| &r.curve).map(|p| p.epoch).max().unwrap_or(1);
    let ticks = ticks(1.0, epochs as f64, 5).into_iter().filter(|tick| tick.fract() == 0.0);
    let x_ticks = ticks.map(|tick| (tick, format!("{tick}"))).collect();
    panels(results, (shows, unit, "epoch", id), x_ticks, (1.0, epochs.max(2) as f64), line)
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
    let names = ("pixel accuracy, %", Unit::Percent, "px to the beacon", id);
    panels(results, names, x_ticks, (0.0, px(last.max(1))), line)
}

fn panels(
    results: &Results<'_>,
    (shows, unit, x_label, id): (&str, Unit, &str, &str),
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
    let top = match unit {
        Unit::Percent => 100.0,
        Unit::Loss => seeds.iter().flatten().flatten().fold(1e-9, |top, point| point.1.max(top)),
    };
    let (y_ticks, y_range) = (ticks(0.0, top, 4), (0.0, top));
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

/// About so many round numbers from `low` to `high`.
fn ticks(low: f64, high: f64, about: usize) -> Vec<f64> {
    let span = (high - low).max(1e-9) / about as f64;
    let power = 10f64.powf(span.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= span);
    let step = step.unwrap_or(span);
    let first = (low / step).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    // A multiple of the step each, so that rounding does not add up.
    (first..=last).map(|n| n as f64 * step).collect()
}

fn tick_text(tick: f64) -> String {
    format!("{}", (tick * 1e6).round() / 1e6)
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 100.0, 4), [0.0, 50.0, 100.0]);
        assert_eq!(ticks(1.0, 15.0, 5), [5.0, 10.0, 15.0]);
        assert_eq!(ticks(0.0, 0.8, 4), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8]);
        assert_eq!(tick_text(0.6000000000000001), "0.6");
    }

    #[test]
    fn a_mean_has_points_where_all_lines_do() {
        let lines = [vec![(1.0, 2.0), (2.0, 4.0)], vec![(2.0, 6.0)]];
        assert_eq!(mean(&lines), [(2.0, 5.0)]);
    }
}
