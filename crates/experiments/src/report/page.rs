//! `report.html`: one page that needs nothing but itself.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::html_table::{html_table, prose};
use super::{Photographs, Report, bars, charts, confusion, environment, gallery, verdicts};
use crate::compare::silent_classes;
use crate::results::Compared;
use crate::table::{self, Prose};

/// Neither scripts nor anything from elsewhere.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// A part of the page: its anchor, its heading and what is below.
struct Section {
    id: &'static str,
    heading: &'static str,
    body: Markup,
}

/// The whole page.
///
/// # Errors
///
/// A picture that cannot be read.
pub(super) fn page(report: &Report<'_>) -> anyhow::Result<String> {
    let sweep = report.results.sweep;
    let sections = sections(report)?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { "Sweep " (sweep.name) }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                a.skip href="#main" { "To the results" }
                header {
                    h1 { "Sweep " (sweep.name) }
                    @if !sweep.about.is_empty() { p.about { (sweep.about) } }
                    p.aside { (summary(report)) }
                }
                nav aria-label="Sections" {
                    ul {
                        @for section in &sections {
                            li { a href=(format!("#{}", section.id)) { (section.heading) } }
                        }
                    }
                }
                main #main tabindex="-1" {
                    @for section in &sections {
                        section aria-labelledby=(section.id) {
                            h2 #(section.id) { (section.heading) }
                            (section.body)
                        }
                    }
                }
            }
        }
    };
    // Names may hold what no page may.
    let page = page.into_string();
    Ok(page.split('\n').map(table::one_line).collect::<Vec<_>>().join("\n"))
}

/// The hyphens before numbers as minuses.
fn minuses(sentence: &str) -> String {
    let begins_number = |at: usize| {
        let (before, after) = (&sentence[..at], &sentence[at + 1..]);
        before.ends_with([' ', '[']) && after.starts_with(|c: char| c.is_ascii_digit())
    };
    let shown = |(at, c)| if c == '-' && begins_number(at) { '\u{2212}' } else { c };
    sentence.char_indices().map(shown).collect()
}

/// How much was run on what.
fn summary(report: &Report<'_>) -> String {
    let results = report.results;
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let (arms, cells) = (results.arms.len(), results.records().count());
    let on = results.records().next().map_or(String::new(), |record| {
        format!(" on {} test images of {}", record.images.len(), record.dataset.name)
    });
    format!("{}, {}{on}.", count(arms, "arm"), count(cells, "trained network"))
}

fn sections(report: &Report<'_>) -> anyhow::Result<Vec<Section>> {
    let mut sections = vec![scores(report)];
    let differences = differences(report);
    sections.extend(differences.map(|body| Section {
        id: "differences",
        heading: "Differences",
        body,
    }));
    sections.extend(distance(report));
    sections.extend([classes(report), confusions(report)?, training(report)]);
    sections.extend(pictures(report)?);
    sections.push(origin(report));
    Ok(sections)
}

fn scores(report: &Report<'_>) -> Section {
    let results = report.results;
    let described = || results.sweep.arms.iter().filter(|arm| !arm.about.is_empty());
    let verdicts = verdicts(results);
    let body = html! {
        (html_table(&table::ablation(results), "table-scores"))
        div.pairs {
            @if described().next().is_some() {
                div {
                    h3 { "The arms" }
                    dl.arms {
                        @for arm in described() {
                            div { dt { code { (arm.name) } } dd { (arm.about) } }
                        }
                    }
                }
            }
            @if !verdicts.is_empty() {
                div {
                    h3 { "Against the sweep's expectations" }
                    ul.plain { @for verdict in &verdicts { li { (verdict.line) } } }
                }
            }
        }
    };
    Section { id: "scores", heading: "Scores and costs", body }
}

fn differences(report: &Report<'_>) -> Option<Markup> {
    let results = report.results;
    let bases: Vec<&str> = results.arms.iter().map(|arm| arm.name.as_str()).collect();
    let of = |base: &str| -> Vec<Compared<'_, '_>> {
        results.comparisons().filter(|compared| compared.base.name == base).collect()
    };
    let all: Vec<_> = bases.into_iter().map(|base| (base, of(base))).collect();
    let all: Vec<_> = all.into_iter().filter(|(_, compared)| !compared.is_empty()).collect();
    (!all.is_empty()).then(|| {
        html! {
            p {
                "Means over seeds of the paired difference, with 95 % intervals over other seeds and \
                 other test images like these. The intervals of a pair's classes hold all at once."
            }
            div.pairs { @for (nth, (base, compared)) in all.iter().enumerate() {
                div { (minus(report, base, compared, nth)) }
            } }
        }
    })
}

/// All arms minus one, as intervals; class by class where one asks for it.
fn minus(report: &Report<'_>, base: &str, compared: &[Compared<'_, '_>], nth: usize) -> Markup {
    let found: Vec<_> =
        compared.iter().filter_map(|c| Some((c.arm, c.found.as_ref().ok()?))).collect();
    let errors = compared.iter().filter_map(|compared| compared.found.as_ref().err());
    html! {
        h3 { (prose(&Prose::default().text("To ").name(base))) }
        @for error in errors { p { (format!("{error:#}")) "." } }
        @if !found.is_empty() {
            (bars::differences(base, &found, &format!("table-minus-{nth}")))
            details {
                summary { "In words, and class by class" }
                @for (arm_nth, (arm, found)) in found.iter().enumerate() {
                    @let pair = (arm.name.as_str(), base);
                    h4 { (prose(&Prose::default().name(&arm.name).text(" minus ").name(base))) }
                    p { (minuses(&found.sentence(pair.0, pair.1))) " " (silent_classes(found)) }
                    @if let Some(rows) =
                        table::differing_classes(found, pair, report.results.classes())
                    {
                        (html_table(&rows, &format!("table-minus-{nth}-{arm_nth}")))
                    }
                }
            }
        }
    }
}

fn distance(report: &Report<'_>) -> Option<Section> {
    let distances = table::by_distance(report.results)?;
    let body = html! {
        (charts::by_distance(report.results, "distance"))
        (html_table(&distances, "table-distance"))
    };
    Some(Section { id: "distance", heading: "Accuracy by distance", body })
}

fn classes(report: &Report<'_>) -> Section {
    let body = html! {
        p { "IoU on test in percent, mean over seeds; the thin line spans the seeds." }
        (bars::class_bars(report.results))
        details {
            summary { "All classes in one table" }
            (html_table(&table::class_iou(report.results), "table-classes"))
        }
    };
    Section { id: "classes", heading: "Classes", body }
}

fn confusions(report: &Report<'_>) -> anyhow::Result<Section> {
    let results = report.results;
    let mut matrices = Vec::new();
    for (nth, arm) in results.arms.iter().enumerate() {
        if let Some(matrix) = arm.confusion() {
            let id = format!("table-confusion-{nth}");
            matrices.push(confusion::confusion(&arm.name, &matrix, results.classes(), &id)?);
        }
    }
    let body = html! {
        p {
            "Percent of the pixels labelled as a row's class that are predicted as a column's, over \
             all test images and seeds. Columns are in the order of the rows."
        }
        div.matrices { @for matrix in &matrices { div { (matrix) } } }
    };
    Ok(Section { id: "confusions", heading: "Confusions", body })
}

fn training(report: &Report<'_>) -> Section {
    let results = report.results;
    let (loss, miou) = ("mean loss of an epoch", "mIoU on val, %");
    let body = html! {
        h3 { "Loss" }
        (charts::curves(results, loss, |point| Some(point.train_loss), "loss"))
        details {
            summary { "The losses as a table" }
            (html_table(
                &table::curves(results, "Mean loss of every epoch", |p| Some(p.train_loss), 4),
                "table-loss"
            ))
        }
        h3 { "mIoU on val" }
        (charts::curves(results, miou, |point| point.val_miou_percent, "val"))
        details {
            summary { "mIoU on val as a table" }
            (html_table(
                &table::curves(results, "mIoU on val after every epoch, %", |p| p.val_miou_percent, 1),
                "table-val"
            ))
        }
    };
    Section { id: "training", heading: "Learning curves", body }
}

fn pictures(report: &Report<'_>) -> anyhow::Result<Vec<Section>> {
    let left_out = report.photographs == Photographs::LeftOut;
    let mut sections = Vec::new();
    if let Some(gallery) = gallery::gallery(report)? {
        let body = html! {
            p {
                "Test images, spread over the split, and seed 0 of each arm. Below each prediction, \
                 its errors: dark where it is wrong, grey where nothing is labelled."
                @if left_out { " Photographs are left out." }
            }
            (gallery)
        };
        sections.push(Section { id: "pictures", heading: "What the arms see", body });
    }
    if let Some(attention) = gallery::attention(report)? {
        let body = html! {
            p {
                "Weights that the place in the white frame gives to all others, its four directions \
                 summed: the more, the brighter and warmer."
            }
            (attention)
        };
        sections.push(Section { id: "attention", heading: "Where attention goes", body });
    }
    Ok(sections)
}

fn origin(report: &Report<'_>) -> Section {
    let results = report.results;
    let sweep = toml::to_string(results.sweep).unwrap_or_default();
    let body = html! {
        dl {
            @for (what, command) in report.commands() {
                dt { (what) }
                dd { pre tabindex="0" { code { (command) } } }
            }
        }
        @if let Some(data) = environment::data(results) { (html_table(&data, "table-data")) }
        (html_table(&environment::programs(results), "table-programs"))
        @if !sweep.is_empty() {
            details {
                summary { "The sweep as it was run" }
                pre tabindex="0" { code { (sweep) } }
            }
        }
    };
    Section { id: "origin", heading: "How it was made", body }
}
