//! Tables as HTML, which screen readers can walk through and narrow screens can scroll.

use maud::{Markup, html};

use crate::table::{Cell, Digits, Piece, Prose, Table, Weight, one_line};

/// The table with its title as caption, in a region that can be scrolled by keyboard, and its notes
/// below. `id` must be the only one of its kind in the page.
pub(super) fn html_table(table: &Table, id: &str) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby=(id) {
            table {
                caption id=(id) { (prose(&table.title)) }
                thead {
                    tr {
                        @for (nth, column) in table.columns.iter().enumerate() {
                            @if nth == 0 && column.plain().is_empty() { td {} }
                            @else {
                                th scope="col" class=[has_words(table, nth).then_some("words")] {
                                    (prose(column))
                                }
                            }
                        }
                    }
                }
                tbody {
                    @for row in &table.rows {
                        tr {
                            @for (nth, shown) in row.iter().enumerate() {
                                @if nth == 0 { th scope="row" { (cell(shown)) } }
                                @else { td class=[is_words(shown).then_some("words")] { (cell(shown)) } }
                            }
                        }
                    }
                }
            }
        }
        @if !table.notes.plain().is_empty() { p.notes { (prose(&table.notes)) } }
    }
}

/// Prose within a line.
pub(super) fn prose(prose: &Prose) -> Markup {
    html! {
        @for piece in &prose.0 {
            @match piece {
                Piece::Text(text) => (one_line(text)),
                Piece::Name(name) => code { (one_line(name)) },
                Piece::Strong(word) => strong { (one_line(word)) },
            }
        }
    }
}

/// A number as it is set in print: a minus, and narrow spaces between thousands.
pub(super) fn number(digits: &Digits) -> String {
    digits.grouped("\u{202f}").replace('-', "\u{2212}")
}

/// What is in a cell.
pub(super) fn cell(cell: &Cell) -> Markup {
    html! {
        @match cell {
            Cell::Name(name) => code { (one_line(name)) },
            Cell::Words(words) => (one_line(words)),
            Cell::Number(digits) => (number(digits)),
            Cell::Score { mean, deviation: None } => (number(mean)),
            Cell::Score { mean, deviation: Some(sd) } => {
                (number(mean)) span.aside { " ± " (number(sd)) }
            },
            Cell::Interval { ends, weight: Weight::Plain, remark } => (interval(ends, remark)),
            Cell::Interval { ends, weight: Weight::Bold, remark } => {
                strong { (interval(ends, remark)) }
            },
            Cell::Unknown => "–",
        }
    }
}

fn interval([estimate, low, high]: &[Digits; 3], remark: &str) -> Markup {
    html! {
        (number(estimate)) span.aside { " [" (number(low)) ", " (number(high)) "]" }
        @if !remark.is_empty() { span.aside { " (" (remark) ")" } }
    }
}

fn has_words(table: &Table, column: usize) -> bool {
    table.rows.iter().filter_map(|row| row.get(column)).any(is_words)
}

fn is_words(cell: &Cell) -> bool {
    matches!(cell, Cell::Words(_) | Cell::Name(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_hold_nothing_that_is_not_seen() {
        let words = |text: &str| cell(&Cell::Words(text.to_owned())).into_string();
        assert_eq!(words("a|b\nc\0d\u{1b}[2J<b>"), "a|b c d [2J&lt;b&gt;");
        let name = cell(&Cell::Name("a\u{202e}b".to_owned())).into_string();
        assert_eq!(name, "<code>a b</code>");
        assert_eq!(prose(&Prose::default().name("x\ny")).into_string(), "<code>x y</code>");
    }
}
