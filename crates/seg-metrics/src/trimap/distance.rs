//! Distance to the nearest pixel of another class.

use crate::{IGNORE, Result, image};

use super::envelope::Envelope;

/// Of every pixel that is not ignored, the square of the distance to the nearest pixel of another
/// class, in pixels from centre to centre; `u32::MAX` for ignored pixels and where no other class is
/// in the image.
///
/// Exact, in time linear in the pixels, whatever the number of classes.
///
/// Ignored pixels are no class, and so no border: where a class ends there is not known, and the
/// rim of what Cityscapes ignores, the car's bonnet and the rectified image's frame, is no border of
/// anything. They take up room, though: two classes with a strip of ignored pixels between them, as
/// PASCAL VOC has around every object, are as far apart as the strip is wide, and the borders are
/// where they would be without it. Departure from Chen et al. (*DeepLab*, TPAMI 40, 2018), who take
/// a band around that strip itself: here it begins at the classes and is narrower by the strip.
///
/// # Shapes
///
/// - `labels`: `[h · w]`, row by row; `width`: `w`
/// - returns: `[h · w]`
///
/// # Errors
///
/// [`Error::Width`](crate::Error::Width) unless the pixels are whole rows.
pub fn border_distance(labels: &[u8], width: usize) -> Result<Vec<u32>> {
    let height = image::rows(labels.len(), width)?;
    let mut squares = vec![u32::MAX; labels.len()];
    if labels.is_empty() {
        return Ok(squares);
    }
    let below = seen_from_below(labels, width);
    let mut above = vec![Seen::NOTHING; width];
    let mut envelope = Envelope::default();
    for y in 0..height {
        let in_row = y * width..(y + 1) * width;
        let row = &labels[in_row.clone()];
        above.iter_mut().zip(row).for_each(|(seen, label)| seen.look(*label, y));
        let columns = Columns { y: y as u32, above: &above, below: &below[in_row.clone()] };
        of_row(row, &columns, &mut envelope, &mut squares[in_row]);
    }
    Ok(squares)
}

/// The labels of a column up to a row, as far as they matter.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// The class seen last.
    class: u8,
    /// Its row.
    row: u32,
    /// The row in which a class other than that was seen last.
    other: u32,
}

/// No row.
const NEVER: u32 = u32::MAX;

impl Seen {
    const NOTHING: Self = Self { class: IGNORE, row: NEVER, other: NEVER };

    fn look(&mut self, label: u8, row: usize) {
        if label == IGNORE {
            return;
        }
        if label != self.class {
            (self.class, self.other) = (label, self.row);
        }
        self.row = row as u32;
    }

    /// Rows from `y` to the nearest pixel of a class other than `class`.
    fn other_than(&self, class: u8, y: u32) -> u32 {
        let row = if self.class == class { self.other } else { self.row };
        if row == NEVER { NEVER } else { row.abs_diff(y) }
    }
}

fn seen_from_below(labels: &[u8], width: usize) -> Vec<Seen> {
    let mut seen = vec![Seen::NOTHING; labels.len()];
    let mut column = vec![Seen::NOTHING; width];
    let rows = labels.chunks_exact(width).zip(seen.chunks_exact_mut(width)).enumerate();
    for (y, (labels, seen)) in rows.rev() {
        column.iter_mut().zip(labels).for_each(|(column, label)| column.look(*label, y));
        seen.copy_from_slice(&column);
    }
    seen
}

/// What the columns hold, looked at from a row.
struct Columns<'a> {
    y: u32,
    above: &'a [Seen],
    below: &'a [Seen],
}

impl Columns<'_> {
    /// Rows to the column's nearest pixel of another class.
    fn other_than(&self, class: u8, x: usize) -> Option<u32> {
        let [above, below] = [self.above, self.below].map(|of| of[x].other_than(class, self.y));
        Some(above.min(below)).filter(|rows| *rows != NEVER)
    }
}

/// The squares of a row, stretch by stretch.
///
/// A stretch is of one class and of the ignored pixels in it and on both sides, up to pixels of
/// another class. Those are points on the row itself, so nothing beyond them is nearer, and a
/// stretch is all that its pixels have to know. An ignored pixel is in two stretches at most, which
/// keeps the whole linear.
fn of_row(row: &[u8], columns: &Columns<'_>, envelope: &mut Envelope, squares: &mut [u32]) {
    let next = |from: usize, is: &dyn Fn(u8) -> bool| {
        row[from..].iter().position(|label| *label != IGNORE && is(*label)).map(|at| from + at)
    };
    let mut start = 0;
    while let Some(first) = next(start, &|_| true) {
        let class = row[first];
        let end = next(first, &|label| label != class);
        // With the pixels of other classes on both sides, where there are any.
        let (low, high) = (start.saturating_sub(1), end.unwrap_or(row.len() - 1));
        envelope.build(low, (low..=high).map(|x| columns.other_than(class, x)));
        envelope.each_falling(first..end.unwrap_or(row.len()), |x, square| {
            if row[x] == class {
                squares[x] = u32::try_from(square).unwrap_or(u32::MAX - 1);
            }
        });
        let Some(end) = end else { return };
        let ignored = row[..end].iter().rev().take_while(|label| **label == IGNORE).count();
        start = end - ignored;
    }
}
