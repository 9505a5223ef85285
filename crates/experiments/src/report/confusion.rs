//! What is taken for what: the confusion matrix of an arm.

use maud::{Markup, html};
use seg_metrics::ConfusionMatrix;

use super::gallery::data_uri;
use super::html_table::{html_table, number};
use crate::table::{Cell, Digits, Prose, Table};

/// A matrix of more classes is a picture beside a table of its largest cells.
const LARGEST_TABLE: usize = 24;

/// How many of its largest cells are listed then.
const LISTED: usize = 20;

/// Side of a cell of the picture, in pixels.
const CELL_PX: u32 = 4;

/// The matrix of an arm; `id` must be the only one of its kind in the page.
pub(super) fn confusion(
    arm: &str,
    matrix: &ConfusionMatrix,
    classes: &[String],
    id: &str,
) -> anyhow::Result<Markup> {
    if classes.len() <= LARGEST_TABLE {
        return Ok(as_table(arm, matrix, classes, id));
    }
    let title = format!("{arm}: share of each class's pixels by what they are predicted as");
    let listed = html_table(&largest(arm, matrix, classes), id);
    Ok(html! { img.matrix src=(picture(matrix)?) alt=(title); (listed) })
}

fn as_table(arm: &str, matrix: &ConfusionMatrix, classes: &[String], id: &str) -> Markup {
    let n = classes.len();
    let has_outside = (0..n).any(|class| matrix.outside(class) > 0);
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby=(id) {
            table.matrix {
                caption id=(id) { code { (arm) } }
                thead {
                    tr {
                        th scope="col" { "labelled" }
                        @for (column, name) in classes.iter().enumerate() {
                            th scope="col" {
                                span aria-hidden="true" { (column + 1) }
                                span.hidden { (name) }
                            }
                        }
                        @if has_outside { th scope="col" { "none" } }
                    }
                }
                tbody {
                    @for (row, name) in classes.iter().enumerate() {
                        tr {
                            th scope="row" { span.aside aria-hidden="true" { (row + 1) " " } (name) }
                            @for column in 0..n {
                                (share(matrix, row, matrix.count(row, column), row == column))
                            }
                            @if has_outside { (share(matrix, row, matrix.outside(row), false)) }
                        }
                    }
                }
            }
        }
    }
}

fn share(matrix: &ConfusionMatrix, row: usize, count: u64, is_right: bool) -> Markup {
    let labelled = matrix.labelled(row);
    if labelled == 0 {
        return html! { td { "–" } };
    }
    let share = count as f64 / labelled as f64;
    let shown = number(&Digits::new(100.0 * share, 0));
    html! {
        @if shown == "0" { td.none { "0" } }
        @else {
            td class=[is_right.then_some("right")] style=(format!("--share:{share:.2}")) { (shown) }
        }
    }
}

/// The cells off the diagonal that most of their class's pixels fall into.
fn largest(arm: &str, matrix: &ConfusionMatrix, classes: &[String]) -> Table {
    let n = classes.len();
    let mut cells: Vec<(f64, usize, usize)> = (0..n)
        .flat_map(|row| (0..n).map(move |column| (row, column)))
        .filter(|(row, column)| row != column && matrix.count(*row, *column) > 0)
        .map(|(row, column)| {
            (matrix.count(row, column) as f64 / matrix.labelled(row) as f64, row, column)
        })
        .collect();
    cells.sort_by(|a, b| b.0.total_cmp(&a.0));
    let row = |&(share, row, column): &(f64, usize, usize)| {
        let of_class = Cell::number(Some(100.0 * share), 1);
        let name = |class: usize| Cell::Words(classes[class].clone());
        vec![name(row), name(column), of_class, Cell::count(matrix.count(row, column))]
    };
    let columns = ["labelled", "predicted as", "of the class, %", "pixels"].map(Prose::from);
    Table {
        title: Prose::default().name(arm).text(": its most frequent confusions"),
        notes: Prose::default(),
        columns: columns.to_vec(),
        rows: cells.iter().take(LISTED).map(row).collect(),
    }
}

/// The darker, the larger the share of the row's pixels.
fn picture(matrix: &ConfusionMatrix) -> anyhow::Result<String> {
    let side = matrix.classes() as u32 * CELL_PX;
    let picture = image::RgbImage::from_fn(side, side, |x, y| {
        let (row, column) = ((y / CELL_PX) as usize, (x / CELL_PX) as usize);
        let labelled = matrix.labelled(row).max(1) as f64;
        // Square roots, so that small shares can be seen beside the diagonal.
        let share = (matrix.count(row, column) as f64 / labelled).sqrt();
        let mixed = |dark: f64| (255.0 - share * (255.0 - dark)) as u8;
        image::Rgb([mixed(20.0), mixed(50.0), mixed(90.0)])
    });
    data_uri(&picture, image::ImageFormat::Png)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_classes_are_a_picture_and_a_list_of_the_largest_confusions() {
        let classes: Vec<String> = (0..30).map(|class| format!("<class {class}>")).collect();
        let mut matrix = ConfusionMatrix::new(30);
        // Half of class 3 is taken for 5, a quarter of class 4 for 6.
        matrix.add(&[3, 3, 4, 4, 4, 4], &[3, 5, 4, 4, 4, 6]).unwrap();
        let page = confusion("arm", &matrix, &classes, "id").unwrap().into_string();
        assert!(page.starts_with("<img class=\"matrix\" src=\"data:image/png;base64,"), "{page}");
        assert!(page.contains("alt=\"arm: share of each class") && !page.contains("<class"));
        let rows = largest("arm", &matrix, &classes).rows;
        let words = |class: usize| Cell::Words(classes[class].clone());
        let row = |of: usize, taken_for: usize, percent| {
            vec![words(of), words(taken_for), Cell::number(Some(percent), 1), Cell::count(1)]
        };
        assert_eq!(rows, [row(3, 5, 50.0), row(4, 6, 25.0)]);
    }

    #[test]
    fn predictions_outside_the_classes_have_a_column_where_there_are_any() {
        let classes = ["a", "b"].map(str::to_owned);
        let mut matrix = ConfusionMatrix::new(2);
        matrix.add(&[0, 0], &[0, 1]).unwrap();
        let page = |matrix: &ConfusionMatrix| as_table("arm", matrix, &classes, "id").into_string();
        assert!(!page(&matrix).contains(">none<") && page(&matrix).contains(">50<"));
        assert!(page(&matrix).contains(">–<"), "b is not labelled");
        matrix.add(&[0, 0], &[9, 9]).unwrap();
        assert!(page(&matrix).contains(">none<") && page(&matrix).contains(">25<"));
    }
}
