//! The table's numbers, read back from each of its forms.

use crate::html::{Token, text_of, tokens};
use crate::{committed, read, written};

/// A row's name and its numbers, in order; what is not known is left out.
type Row = (String, Vec<String>);

/// The numbers of a row in whatever dress, without plus signs and thousands' spaces.
fn numbers(cells: &str) -> Vec<String> {
    let spaced = ["\u{202f}", "\\,"].iter().fold(cells.to_owned(), |s, gap| s.replace(gap, ""));
    let spaced = spaced.replace('\u{2212}', "-");
    let is_part = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
    let parts = spaced.split(|c| !is_part(c)).filter(|part| part.parse::<f64>().is_ok());
    parts.map(str::to_owned).collect()
}

fn of_markdown(text: &str) -> Vec<Row> {
    let rows = text.lines().skip_while(|line| !line.starts_with("| arm |")).skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            let (name, cells) = line[2..].split_once(" | ").unwrap();
            // Thousands are spaced: between digits nothing else has a space alone.
            let cells: Vec<char> = cells.chars().collect();
            let digit = |at: usize| cells.get(at).is_some_and(char::is_ascii_digit);
            let kept = (0..cells.len())
                .filter(|&at| cells[at] != ' ' || at == 0 || !(digit(at - 1) && digit(at + 1)));
            (name.replace('`', ""), numbers(&kept.map(|at| cells[at]).collect::<String>()))
        })
        .collect()
}

fn of_latex(text: &str) -> Vec<Row> {
    let body = text.split("\\midrule\n").nth(1).unwrap().split("    \\bottomrule").next().unwrap();
    let row = |line: &str| {
        let (name, cells) = line.trim().split_once(" & ").unwrap();
        (name.replace("\\texttt{", "").replace('}', ""), numbers(cells))
    };
    body.lines().map(row).collect()
}

fn of_csv(text: &str) -> Vec<Row> {
    let rows = text.lines().skip_while(|line| line.starts_with('#')).skip(1);
    let row = |line: &str| {
        let (name, cells) = line.split_once(',').unwrap();
        (name.to_owned(), numbers(cells))
    };
    rows.map(row).collect()
}

fn of_html(text: &str) -> Vec<Row> {
    let page = tokens(text);
    let at = page.iter().position(|token| token.attribute("id") == Some("table-scores")).unwrap();
    let body = at + page[at..].iter().position(|token| token.opens("tbody")).unwrap();
    let end = body + page[body..].iter().position(|t| *t == Token::Close("tbody".into())).unwrap();
    let rows = (body..end).filter(|&at| page[at].opens("tr"));
    rows.map(|row| {
        let cells = (row + 1..end).take_while(|&at| !page[at].opens("tr"));
        let cells: Vec<String> = cells
            .filter(|&at| page[at].opens("td") || page[at].opens("th"))
            .map(|at| text_of(&page[at..]))
            .collect();
        (cells[0].clone(), numbers(&cells[1..].join(" | ")))
    })
    .collect()
}

#[test]
fn every_form_of_the_table_holds_the_same_numbers() {
    for (name, some) in [("synthetic", ["55.4", "39.2", "71.6"]), ("camvid", ["0.4", "0.1", "0.7"])]
    {
        let (sweep, records) = committed(name);
        let dir = written(&sweep, &records);
        let markdown = of_markdown(&read(dir.path(), "report.md"));
        assert_eq!(markdown.len(), 6);
        let (arm, row) = &markdown[4];
        assert_eq!(arm, "quadrant-attention");
        assert_eq!(row[2..5], some.map(str::to_owned), "an interval, in all digits");
        assert!(row.contains(&records[15].parameters.to_string()), "{row:?}");
        assert_eq!(of_csv(&read(dir.path(), "table.csv")), markdown);
        assert_eq!(of_latex(&read(dir.path(), "table.tex")), markdown);
        assert_eq!(of_html(&read(dir.path(), "report.html")), markdown);
    }
}

#[test]
fn comments_say_what_the_intervals_are() {
    let (sweep, records) = committed("synthetic");
    let dir = written(&sweep, &records);
    for (file, comment) in [("table.tex", "% "), ("table.csv", "# ")] {
        let text = read(dir.path(), file);
        let comments: Vec<&str> =
            text.lines().take_while(|line| line.starts_with(comment)).collect();
        let all = comments.join(" ");
        assert!(all.contains("95 % interval over other seeds and other test images"), "{all}");
        assert!(all.contains("bold where it leaves out 0"), "{all}");
    }
}

#[test]
fn a_single_seed_is_said_wherever_its_intervals_are() {
    let (mut sweep, mut records) = committed("synthetic");
    sweep.keep_seeds(&[0]).unwrap();
    records.retain(|record| record.cell.seed == 0);
    let dir = written(&sweep, &records);
    for (file, words) in [
        ("report.md", "(one seed)"),
        ("report.html", "(one seed)"),
        ("table.tex", "(one seed)"),
        ("table.csv", "of one seed it speaks of these two networks only"),
    ] {
        assert!(read(dir.path(), file).contains(words), "{file}");
    }
}
