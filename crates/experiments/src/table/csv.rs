//! Tables as CSV (RFC 4180), a number a field, after comments that say what they are.

use std::fmt::Write;

use super::{Cell, Digits, Table, one_line};

/// The table; lines before its head that begin with `#` are its notes.
///
/// A score has a field more for its standard deviation, an interval two for its ends; what is not
/// known is an empty field.
pub fn csv(table: &Table) -> String {
    let mut text = String::new();
    for sentence in table.notes.sentences() {
        let _ = writeln!(text, "# {sentence}");
    }
    let endings: Vec<&[&str]> = (0..table.columns.len())
        .map(|column| {
            let of_rows = table.rows.iter().filter_map(|row| row.get(column)).map(endings);
            of_rows.max_by_key(|endings| endings.len()).unwrap_or(&[""])
        })
        .collect();
    let heads = table.columns.iter().zip(&endings).flat_map(|(column, endings)| {
        endings.iter().map(move |ending| format!("{}{ending}", column.plain()))
    });
    line(&mut text, heads);
    for row in &table.rows {
        let cells = row.iter().zip(&endings).flat_map(|(cell, endings)| {
            let mut fields = fields(cell);
            fields.resize(endings.len(), String::new());
            fields
        });
        line(&mut text, cells);
    }
    text
}

/// What the heads of a cell's fields end in.
fn endings(cell: &Cell) -> &'static [&'static str] {
    match cell {
        Cell::Score { deviation: Some(_), .. } => &["", " sd"],
        Cell::Interval { .. } => &["", " low", " high"],
        _ => &[""],
    }
}

fn fields(cell: &Cell) -> Vec<String> {
    let number = |digits: &Digits| digits.grouped("").trim_start_matches('+').to_owned();
    match cell {
        Cell::Name(text) | Cell::Words(text) => vec![text.clone()],
        Cell::Number(digits) => vec![number(digits)],
        Cell::Score { mean, deviation } => {
            [Some(mean), deviation.as_ref()].into_iter().flatten().map(number).collect()
        }
        Cell::Interval { ends, .. } => ends.iter().map(number).collect(),
        Cell::Unknown => vec![String::new()],
    }
}

fn line(text: &mut String, fields: impl Iterator<Item = String>) {
    let quoted = fields.map(|field| {
        let field = one_line(&field);
        if field.contains(['"', ',', '#']) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field
        }
    });
    text.push_str(&quoted.collect::<Vec<_>>().join(","));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Prose;

    #[test]
    fn a_record_is_a_line_whatever_the_names_hold() {
        let rows = vec![vec![Cell::Name("a\nb\u{1b}[2J".into()), Cell::Words("c\r|d".into())]];
        let columns = vec!["x\ny".into(), "z".into()];
        let table = Table { title: "t".into(), notes: Prose::default(), columns, rows };
        assert_eq!(csv(&table), "x y,z\na b [2J,c |d\n");
    }

    #[test]
    fn every_number_has_a_field_and_names_are_quoted() {
        let ends = [-1.25, -2.0, 0.5].map(|x| Digits::signed(x, 1));
        let weight = crate::table::Weight::Plain;
        let columns = ["arm", "mIoU %", "to \"a\", b", "n"].map(Prose::from).to_vec();
        let rows = vec![
            vec![
                Cell::Name("a,\"b\"".into()),
                Cell::score(&[1.0, 2.0], 1),
                Cell::Interval { ends, weight, remark: "one seed" },
                Cell::count(1234),
            ],
            vec![Cell::Name("c".into()), Cell::score(&[3.0], 1), Cell::Unknown, Cell::Unknown],
        ];
        let table = Table { title: "t".into(), notes: "One.\nTwo. Three.".into(), columns, rows };
        assert_eq!(
            csv(&table),
            "# One. Two.\n# Three.\n\
             arm,mIoU %,mIoU % sd,\"to \"\"a\"\", b\",\"to \"\"a\"\", b low\",\"to \"\"a\"\", b high\",n\n\
             \"a,\"\"b\"\"\",1.5,0.7,-1.2,-2.0,0.5,1234\n\
             c,3.0,,,,,\n"
        );
    }
}
