//! The page's structure, what it leaves out, and that names are only names in it.

use std::collections::BTreeSet;
use std::path::Path;

use experiments::pictures::folder;
use experiments::report::Photographs;
use image::{Rgb, RgbImage};
use run_record::Record;

use crate::html::{Token, text_of, tokens};
use crate::{committed, read, write, written};

/// Pictures as finished cells of arms that share their test images leave them; returns where, below
/// `dir`.
fn with_pictures(dir: &Path, records: &[Record], arms: &[&str]) -> String {
    let record = records.iter().find(|record| record.cell.arm == arms[0]).unwrap();
    let folder = folder(&record.dataset);
    let save = |name: String, colour: [u8; 3]| {
        let path = dir.join(&folder).join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(480, 6, Rgb(colour)).save(path).unwrap();
    };
    save("0-image.png".into(), [10, 200, 30]);
    save("0-truth.png".into(), [1, 2, 3]);
    for arm in arms {
        let of_arm = |record: &&Record| record.cell.arm == *arm && record.cell.seed == 0;
        let stem = records.iter().find(of_arm).unwrap().cell.file_stem();
        save(format!("0-{stem}.png"), [4, 5, 6]);
        save(format!("errors/0-{stem}.png"), [255, 255, 255]);
        save(format!("attention/0-{stem}.png"), [9, 8, 7]);
    }
    let classes = r#"[{"name":"sky <1>","color":[1,2,3]},{"name":"no colour"}]"#;
    std::fs::write(dir.join(&folder).join("classes.json"), classes).unwrap();
    folder.display().to_string()
}

#[test]
fn the_page_has_a_structure_that_can_be_read_without_seeing_it() {
    for name in ["synthetic", "camvid"] {
        let (sweep, records) = committed(name);
        let dir = written(&sweep, &records);
        with_pictures(dir.path(), &records, &["fcn", "dense-attention"]);
        write(dir.path(), &sweep, &records, Photographs::Shown);
        let page = tokens(&read(dir.path(), "report.html"));

        let levels: Vec<u32> = page
            .iter()
            .filter_map(|token| match token {
                Token::Open { name, .. } => name.strip_prefix('h')?.parse().ok(),
                _ => None,
            })
            .collect();
        assert_eq!(levels.iter().filter(|level| **level == 1).count(), 1);
        assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");

        let ids: Vec<&str> = page.iter().filter_map(|token| token.attribute("id")).collect();
        let known: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), known.len(), "ids are unique");
        let mut tables = 0;
        for (at, token) in page.iter().enumerate() {
            let labels = token.attribute("aria-labelledby").unwrap_or_default();
            assert!(labels.split(' ').all(|id| id.is_empty() || known.contains(id)), "{labels}");
            if token.opens("table") {
                tables += 1;
                assert!(page[at + 1].opens("caption"), "{token:?}");
                assert!(!text_of(&page[at + 1..]).trim().is_empty());
            }
            if token.opens("th") {
                assert!(matches!(token.attribute("scope"), Some("col" | "row")), "{token:?}");
                assert!(!text_of(&page[at..]).is_empty(), "a head without words");
            }
            if token.opens("img") {
                assert!(token.attribute("alt").is_some_and(|alt| !alt.is_empty()));
                assert!(token.attribute("src").unwrap().starts_with("data:image/"));
            }
            if token.attribute("role") == Some("img") {
                assert!(page[at + 1].opens("title") && !text_of(&page[at + 1..]).is_empty());
                let label = token.attribute("aria-labelledby").unwrap();
                assert_eq!(label.split(' ').count(), 2, "title and description");
            }
            if token.attribute("class") == Some("scroll") {
                let tab = token.attribute("tabindex");
                assert_eq!((tab, token.attribute("role")), (Some("0"), Some("region")));
            }
            if let Some(link) = token.attribute("href") {
                assert!(known.contains(link.strip_prefix('#').unwrap()), "{link}");
            }
        }
        // Scores, classes one by one and together, confusions of six arms, data, programs.
        assert!(tables > records[0].dataset.classes.len() + 6 + 4, "{tables} tables");
        let html = read(dir.path(), "report.html");
        for outside in ["http:", "https:", "url(", "@import", "<script", "<link"] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert!(html.len() < 400_000, "{} bytes", html.len());
    }
}

#[test]
fn names_from_configurations_and_records_are_never_markup() {
    let hostile = "<img src=x onerror=a>\"'&`|*_$\\{%#";
    let (mut sweep, mut records) = committed("synthetic");
    let (old, about) = (sweep.arms[1].name.clone(), "</style><script>1</script>");
    sweep.name = hostile.to_owned();
    sweep.about = about.to_owned();
    sweep.arms[1].name = hostile.to_owned();
    sweep.arms[1].about = about.to_owned();
    sweep.compare_to = vec!["fcn".to_owned(), hostile.to_owned()];
    for record in &mut records {
        record.dataset.classes[7] = hostile.to_owned();
        record.dataset.name = hostile.to_owned();
        record.provenance.cpu = hostile.to_owned();
        record.images[0].id = hostile.to_owned();
        if record.cell.arm == old {
            record.cell.arm = hostile.to_owned();
        }
    }
    let dir = written(&sweep, &records);
    let html = read(dir.path(), "report.html");
    let page = tokens(&html);
    assert!(!page.iter().any(|token| token.opens("script") || token.opens("img")));
    let shown = page.iter().filter(|t| matches!(t, Token::Text(text) if text.contains(hostile)));
    assert!(shown.count() > 20, "shown as it is");

    let markdown = read(dir.path(), "report.md");
    let row = markdown.lines().find(|line| line.starts_with("| `` <img")).unwrap();
    let bars = row.replace("\\|", "").matches('|').count();
    assert_eq!(bars, 11, "as many cells as other rows: {row}");
    // Code shows HTML as it is; elsewhere it is escaped.
    for line in markdown.lines().filter(|line| line.contains("<script")) {
        assert!(line.contains("\\<script") || line.contains("= \""), "{line}");
    }
    let latex = read(dir.path(), "table.tex");
    let row = latex.lines().find(|line| line.contains("onerror")).unwrap();
    let name = r#"\textless{}img src=x onerror=a\textgreater{}{\char34}'\&`\textbar{}*\_\$\textbackslash{}\{\%\#"#;
    assert!(latex.contains(&format!("\\texttt{{{name}}}")), "{row}");
    let csv = read(dir.path(), "table.csv");
    assert!(csv.contains(&format!("\n\"{}\",", hostile.replace('"', "\"\""))), "{csv}");
}

#[test]
fn photographs_are_left_out_when_asked() {
    let (sweep, records) = committed("camvid");
    let dir = tempfile::tempdir().unwrap();
    let folder = with_pictures(dir.path(), &records, &["fcn", "dense-attention"]);
    write(dir.path(), &sweep, &records, Photographs::Shown);
    let (html, markdown) = (read(dir.path(), "report.html"), read(dir.path(), "report.md"));
    let count = |html: &str, what: &str| html.matches(what).count();
    assert_eq!(count(&html, "data:image/jpeg"), 3, "one photograph and two arms' attention");
    assert_eq!(count(&html, "data:image/png"), 5, "truth, two predictions, their errors");
    assert!(html.contains("rgb(1 2 3)") && html.contains("sky &lt;1&gt;"), "the legend");
    assert!(markdown.contains(&format!("{folder}/0-image.png")));
    assert!(markdown.contains(&format!("{folder}/attention/")));

    write(dir.path(), &sweep, &records, Photographs::LeftOut);
    let (html, markdown) = (read(dir.path(), "report.html"), read(dir.path(), "report.md"));
    assert_eq!((count(&html, "data:image/jpeg"), count(&html, "data:image/png")), (0, 5));
    assert!(html.contains("Photographs are left out."));
    assert!(!markdown.contains("0-image.png") && !markdown.contains("attention/"), "{markdown}");
    assert!(markdown.contains(&format!("{folder}/0-truth.png")));
}

#[test]
fn arms_on_other_images_have_pictures_of_their_own() {
    let (sweep, records) = committed("companions");
    let dir = tempfile::tempdir().unwrap();
    let small = with_pictures(dir.path(), &records, &["dense-mean", "dia"]);
    let large = with_pictures(dir.path(), &records, &["whole"]);
    assert_ne!(small, large);
    write(dir.path(), &sweep, &records, Photographs::Shown);
    let (html, markdown) = (read(dir.path(), "report.html"), read(dir.path(), "report.md"));
    assert_eq!(html.matches("data:image/png").count(), 8, "two truths, three predictions, errors");
    let heading = |nth: usize| html.find(&format!("<h3>Image {nth} ")).unwrap();
    let of = |arm: &str| html.find(&format!("as {arm} sees it")).unwrap();
    // Four images of each set are shown where there are pictures of them.
    assert!(heading(1) < of("dia") && of("dia") < heading(5) && heading(5) < of("whole"));
    assert!(markdown.contains(&format!("| ![image]({small}/0-image.png) | ![truth]")));
    assert!(markdown.contains(&format!("| ![image]({large}/0-image.png) | ![truth]")));
}
