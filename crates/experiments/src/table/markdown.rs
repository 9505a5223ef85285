//! Tables as Markdown.

use std::fmt::Write;

use super::{Cell, Digits, Piece, Prose, Table, Weight, one_line};

/// The table alone, without title and notes.
pub fn markdown(table: &Table) -> String {
    let mut text = String::from("|");
    for column in &table.columns {
        let _ = write!(text, " {} |", inline(column));
    }
    let _ = write!(text, "\n|{}\n", "---|".repeat(table.columns.len()));
    for row in &table.rows {
        text.push('|');
        for shown in row {
            let _ = write!(text, " {} |", cell(shown));
        }
        text.push('\n');
    }
    text
}

/// A table's notes as a paragraph.
pub fn notes(table: &Table) -> String {
    format!("{}\n", inline(&table.notes))
}

/// Prose on one line.
pub fn inline(prose: &Prose) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => escaped(text),
        Piece::Name(name) => code(name),
        Piece::Strong(word) => format!("**{}**", escaped(word)),
    };
    prose.0.iter().map(piece).collect()
}

/// A name or a command as code on one line; backticks and bars in it do no harm.
pub fn code(text: &str) -> String {
    let text = one_line(text).replace('|', "\\|");
    // A fence of more backticks than any run within.
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if longest > 0 { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// Lines of code as a block; whatever they hold, it ends where it should.
pub fn block(text: &str, language: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end())
}

fn cell(cell: &Cell) -> String {
    let shown = |digits: &Digits| digits.grouped(" ");
    match cell {
        Cell::Name(name) => code(name),
        Cell::Words(words) => escaped(words),
        Cell::Number(digits) => shown(digits),
        Cell::Score { mean, deviation: None } => shown(mean),
        Cell::Score { mean, deviation: Some(sd) } => format!("{} ± {}", shown(mean), shown(sd)),
        Cell::Interval { ends: [estimate, low, high], weight, remark } => {
            let text = format!("{} [{}, {}]", shown(estimate), shown(low), shown(high));
            let text = match weight {
                Weight::Plain => text,
                Weight::Bold => format!("**{text}**"),
            };
            if remark.is_empty() { text } else { format!("{text} ({})", escaped(remark)) }
        }
        Cell::Unknown => "–".to_owned(),
    }
}

/// Words on one line in which no character means markup or HTML.
pub fn escaped(text: &str) -> String {
    let text: Vec<char> = one_line(text).chars().collect();
    let is_within = |at: usize| text.get(at).is_some_and(|c: &char| c.is_alphanumeric());
    let mut out = String::new();
    for (at, &c) in text.iter().enumerate() {
        // As in `a_b`, which needs no escape.
        let is_in_word = c == '_' && at > 0 && is_within(at - 1) && is_within(at + 1);
        if "\\`*_[]<>|#&~$".contains(c) && !is_in_word {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_markup() {
        assert_eq!(code("fcn"), "`fcn`");
        assert_eq!(code("a`b|c\nd"), "`` a`b\\|c d ``");
        assert_eq!(escaped("<b>*a*|\n"), "\\<b\\>\\*a\\*\\| ");
        assert_eq!(escaped("a\u{1b}[2J\u{2028}b\u{202e}c"), "a \\[2J b c");
        assert_eq!(escaped("a_b _c_"), "a_b \\_c\\_");
        assert_eq!(block("a\n```\n", "toml"), "````toml\na\n```\n````\n");
    }
}
