//! Bars and intervals in the cells of tables, so that drawing and numbers are one thing.

use maud::{Markup, html};
use seg_metrics::stats::{self, Comparison};

use super::charts::tenths;
use super::html_table::{cell, number, prose};
use crate::compare::Arm;
use crate::results::Results;
use crate::table::{self, Digits, Prose};

/// The IoU of every class as bars: a small table a class, a row an arm, its range over seeds as a
/// line on the bar.
pub(super) fn class_bars(results: &Results<'_>) -> Markup {
    html! {
        div.bars {
            @for (class, name) in results.classes().iter().enumerate() {
                table {
                    caption { (name) }
                    colgroup { col.name; col.value; col; }
                    thead.hidden {
                        tr { th scope="col" { "arm" } th scope="col" { "IoU %" } td {} }
                    }
                    tbody {
                        @for arm in &results.arms {
                            (bar(&arm.name, &arm.class_iou_percent(class)))
                        }
                    }
                }
            }
        }
    }
}

fn bar(arm: &str, percents: &[f64]) -> Markup {
    let mean = stats::mean(percents);
    let low = percents.iter().fold(100.0, |low: f64, &x| low.min(x));
    let high = percents.iter().fold(0.0, |high: f64, &x| high.max(x));
    html! {
        tr {
            th scope="row" { (arm) }
            td { (mean.map_or("–".to_owned(), |mean| number(&Digits::new(mean, 1)))) }
            td.bar aria-hidden="true" {
                @if let Some(mean) = mean {
                    span style=(format!("width:{}%", tenths(mean))) {}
                    @if percents.len() > 1 {
                        i style=(format!("left:{}%;width:{}%", tenths(low), tenths(high - low))) {}
                    }
                }
            }
        }
    }
}

/// The differences of all arms to one, on a common scale that holds all intervals and 0.
pub(super) fn differences(base: &str, found: &[(&Arm<'_>, &Comparison)], id: &str) -> Markup {
    let ends = found.iter().flat_map(|(_, found)| [found.miou.low(), found.miou.high()]);
    let (low, high) = ends.fold((0.0, 0.0), |(low, high): (f64, f64), x| (low.min(x), high.max(x)));
    let at = |x: f64| tenths(100.0 * (x - low) / (high - low).max(1e-9));
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby=(id) {
            table.differences {
                caption id=(id) { (prose(&Prose::default().text("mIoU of each arm minus that of ").name(base))) }
                thead {
                    tr { th scope="col" { "arm" } th scope="col" { "points [95 %]" } td {} }
                }
                tbody {
                    @for (arm, found) in found {
                        @let (from, to) = (at(found.miou.low()), at(found.miou.high()));
                        tr {
                            th scope="row" { code { (arm.name) } }
                            td { (cell(&table::difference(found))) }
                            td.interval aria-hidden="true" {
                                div {
                                    span.zero style=(format!("left:{}%", at(0.0))) {}
                                    i style=(format!("left:{from}%;width:{}%", tenths(to - from))) {}
                                    b style=(format!("left:{}%", at(found.miou.estimate))) {}
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
