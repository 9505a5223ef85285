//! Tables as LaTeX, in the manner of booktabs.

use std::fmt::Write;

use super::{Cell, Digits, Piece, Prose, Table, Weight, one_line};

/// A `table` environment to `\input`; `label` follows `tab:`.
///
/// What the numbers mean, intervals among them, is said in comments at its head.
pub fn latex(table: &Table, label: &str) -> String {
    let mut text = String::from("% Needs \\usepackage{booktabs}.\n");
    for sentence in table.notes.sentences() {
        let _ = writeln!(text, "% {sentence}");
    }
    let label: String = label.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let _ = write!(
        text,
        "\\begin{{table}}\n  \\centering\n  \\small\n  \\setlength{{\\tabcolsep}}{{4pt}}\n  \
         \\caption{{{}}}\n  \\label{{tab:{label}}}\n  \\begin{{tabular}}{{l{}}}\n    \\toprule\n",
        inline(&table.title),
        "r".repeat(table.columns.len().saturating_sub(1)),
    );
    let line = |cells: Vec<String>| format!("    {} \\\\\n", cells.join(" & "));
    text.push_str(&line(table.columns.iter().map(inline).collect()));
    text.push_str("    \\midrule\n");
    for row in &table.rows {
        text.push_str(&line(row.iter().map(cell).collect()));
    }
    text.push_str("    \\bottomrule\n  \\end{tabular}\n\\end{table}\n");
    text
}

fn inline(prose: &Prose) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => escaped(text),
        Piece::Name(name) => format!("\\texttt{{{}}}", escaped(name)),
        Piece::Strong(word) => format!("\\textbf{{{}}}", escaped(word)),
    };
    prose.0.iter().map(piece).collect()
}

fn cell(cell: &Cell) -> String {
    let shown = |digits: &Digits| digits.grouped("\\,");
    match cell {
        Cell::Name(name) => format!("\\texttt{{{}}}", escaped(name)),
        Cell::Words(words) => escaped(words),
        Cell::Number(digits) => format!("${}$", shown(digits)),
        Cell::Score { mean, deviation: None } => format!("${}$", shown(mean)),
        Cell::Score { mean, deviation: Some(sd) } => {
            format!("${} \\pm {}$", shown(mean), shown(sd))
        }
        Cell::Interval { ends: [estimate, low, high], weight, remark } => {
            let text = format!("{}\\;[{}, {}]", shown(estimate), shown(low), shown(high));
            let text = match weight {
                Weight::Plain => format!("${text}$"),
                Weight::Bold => format!("$\\mathbf{{{text}}}$"),
            };
            if remark.is_empty() { text } else { format!("{text} ({})", escaped(remark)) }
        }
        Cell::Unknown => "--".to_owned(),
    }
}

/// Words in which no character means a command.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in one_line(text).chars() {
        match c {
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '|' => out.push_str("\\textbar{}"),
            '"' => out.push_str("{\\char34}"),
            '–' => out.push_str("--"),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_commands() {
        assert_eq!(escaped("a_b & 50 %\n"), "a\\_b \\& 50 \\% ");
        assert_eq!(escaped("a\u{7}\u{2028}b"), "a  b");
        assert_eq!(escaped("\\input{x}"), "\\textbackslash{}input\\{x\\}");
        assert_eq!(escaped("~^<>|"), {
            let words = ["asciitilde", "asciicircum", "less", "greater", "bar"];
            words.map(|word| format!("\\text{word}{{}}")).concat()
        });
    }
}
