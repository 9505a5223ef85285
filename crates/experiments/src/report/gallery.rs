//! Pictures in the page: test images beside what the arms make of them.

use std::io::Cursor;
use std::path::Path;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, RgbImage, imageops};
use maud::{Markup, html};
use seg_metrics::ConfusionMatrix;
use serde_json::Value;

use super::html_table::number;
use super::pictured_set::PicturedSet;
use super::{Photographs, Report};
use crate::compare::{Arm, sparse};
use crate::table::Digits;

/// Pictures in the page are at most this wide.
const WIDTH: u32 = 360;

/// More colours than this are folded away.
const LONG_LEGEND: usize = 24;

/// What a picture shows, which decides how it is made smaller.
#[derive(Clone, Copy)]
enum Kind {
    Photograph,
    Labels,
}

/// A row of pictures for each shown test image; `None` where there are none.
pub(super) fn gallery(report: &Report<'_>) -> anyhow::Result<Option<Markup>> {
    let mut parts = Vec::new();
    let mut nth = 0;
    for set in PicturedSet::all(report) {
        let mut rows = Vec::new();
        for index in set.shown() {
            nth += 1;
            rows.extend(row(report, &set, nth, index)?);
        }
        if !rows.is_empty() {
            parts.push(legend(&set));
            parts.extend(rows);
        }
    }
    let lost: Vec<String> =
        PicturedSet::all(report).iter().flat_map(|set| set.lost(report.photographs)).collect();
    if !lost.is_empty() {
        parts.push(html! {
            p { "Pictures that cannot be shown:" }
            ul.plain { @for line in &lost { li { (line) } } }
        });
    }
    Ok((!parts.is_empty()).then(|| html! { @for part in &parts { (part) } }))
}

/// What the arms with attention attend to; `None` where that was not drawn or may not be shown.
pub(super) fn attention(report: &Report<'_>) -> anyhow::Result<Option<Markup>> {
    if report.photographs == Photographs::LeftOut {
        return Ok(None);
    }
    let mut figures = Vec::new();
    let mut nth = 0;
    for set in PicturedSet::all(report) {
        for index in set.shown() {
            nth += 1;
            for arm in &set.arms {
                let Some(ending) = PicturedSet::ending(arm) else { continue };
                let file = set.folder.join("attention").join(format!("{index}-{ending}.png"));
                let Some(uri) = embedded(&file, Kind::Photograph)? else { continue };
                let alt = format!("Image {nth}: where {} looks from the framed place", arm.name);
                figures.push(figure(&uri, &alt, html! { code { (arm.name) } ", image " (nth) }));
            }
        }
    }
    Ok((!figures.is_empty())
        .then(|| html! { div.gallery { @for figure in &figures { (figure) } } }))
}

fn row(
    report: &Report<'_>,
    set: &PicturedSet<'_>,
    nth: usize,
    index: usize,
) -> anyhow::Result<Option<Markup>> {
    let folder = &set.folder;
    let mut figures = Vec::new();
    if report.photographs == Photographs::Shown
        && let Some(uri) = embedded(&folder.join(format!("{index}-image.png")), Kind::Photograph)?
    {
        figures.push(figure(&uri, &format!("Image {nth}"), html! { "image" }));
    }
    if let Some(uri) = embedded(&folder.join(format!("{index}-truth.png")), Kind::Labels)? {
        figures.push(figure(&uri, &format!("Image {nth}: its labels"), html! { "truth" }));
    }
    for arm in &set.arms {
        let name = &arm.name;
        let Some(ending) = PicturedSet::ending(arm) else { continue };
        let file = format!("{index}-{ending}.png");
        let Some(uri) = embedded(&folder.join(&file), Kind::Labels)? else { continue };
        let wrong = embedded(&folder.join("errors").join(&file), Kind::Labels)?;
        let right = accuracy_percent(arm, index).map(|percent| number(&Digits::new(percent, 1)));
        let score = right.map_or(String::new(), |right| format!(": {right} % of its pixels right"));
        figures.push(html! {
            figure {
                img src=(uri) alt=(format!("Image {nth} as {name} sees it{score}"));
                @if let Some(wrong) = wrong {
                    img src=(wrong) alt=(format!("Image {nth}: where {name} is wrong"));
                }
                figcaption { code { (name) } (score.replace(" of its pixels", "")) }
            }
        });
    }
    let id = &set.record.images[index].id;
    Ok((!figures.is_empty()).then(|| {
        html! {
            h3 { "Image " (nth) " " span.aside { (id) } }
            div.gallery { @for figure in &figures { (figure) } }
        }
    }))
}

fn figure(uri: &str, alt: &str, caption: Markup) -> Markup {
    html! { figure { img src=(uri) alt=(alt); figcaption { (caption) } } }
}

/// Of an image, as the pictured network (seed 0) sees it.
fn accuracy_percent(arm: &Arm<'_>, index: usize) -> Option<f64> {
    let record = arm.records.iter().find(|record| record.cell.seed == 0)?;
    let classes = record.dataset.classes.len();
    let counts = sparse(&record.images.get(index)?.counts);
    let matrix = ConfusionMatrix::from_sparse(classes, &counts).ok()?;
    let right: u64 = (0..classes).map(|class| matrix.count(class, class)).sum();
    (matrix.total() > 0).then(|| 100.0 * right as f64 / matrix.total() as f64)
}

/// The most bytes of the file of the classes' colours.
const CLASSES_BYTES: u64 = 1 << 20;

/// The classes' colours, where they were kept and can be read.
fn legend(set: &PicturedSet<'_>) -> Markup {
    let file = set.folder.join("classes.json");
    let text = whole_files::read(&file, CLASSES_BYTES).unwrap_or_default();
    let Ok(classes) = serde_json::from_slice::<Vec<Value>>(&text) else { return html! {} };
    let of = |class: &Value| -> Option<(String, [u64; 3])> {
        let channel = |at: usize| class["color"][at].as_u64().filter(|value| *value < 256);
        let name = class["name"].as_str()?.to_owned();
        Some((name, [channel(0)?, channel(1)?, channel(2)?]))
    };
    let classes: Vec<_> = classes.iter().filter_map(of).collect();
    let list = html! {
        ul.legend.colours {
            @for (name, [r, g, b]) in &classes {
                li {
                    span.swatch style=(format!("background:rgb({r} {g} {b})")) {}
                    (name)
                }
            }
        }
    };
    match classes.len() > LONG_LEGEND {
        true => html! { details { summary { "The classes' colours" } (list) } },
        false => list,
    }
}

/// A picture's file as a data URI, no wider than [`WIDTH`]; `None` if it is not there or damaged, which
/// costs the picture and not the report.
fn embedded(file: &Path, kind: Kind) -> anyhow::Result<Option<String>> {
    let Ok(picture) = scene_data::read_image(file) else { return Ok(None) };
    let (width, height) = picture.dimensions();
    let (filter, format) = match kind {
        Kind::Photograph => (imageops::FilterType::Triangle, ImageFormat::Jpeg),
        Kind::Labels => (imageops::FilterType::Nearest, ImageFormat::Png),
    };
    let smaller = match width > WIDTH {
        true => imageops::resize(&picture, WIDTH, (height * WIDTH / width).max(1), filter),
        false => picture,
    };
    data_uri(&smaller, format).map(Some)
}

/// A picture that needs no file.
pub(super) fn data_uri(picture: &RgbImage, format: ImageFormat) -> anyhow::Result<String> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).context("encoding a picture for the page")?;
    Ok(format!("data:{};base64,{}", format.to_mime_type(), STANDARD.encode(bytes.into_inner())))
}
