//! The four directions of a grid, and the quadrant of units that precede one.

use std::ops::Range;

use rayon::prelude::*;

/// A corner-to-corner direction; the name says where it heads.
///
/// Every direction is `SouthEast` on a flipped grid: the index's bit 0 flips columns, bit 1 rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the top-left corner.
    SouthEast,
    /// From the top-right corner (columns flipped).
    SouthWest,
    /// From the bottom-left corner (rows flipped).
    NorthEast,
    /// From the bottom-right corner (both flipped).
    NorthWest,
}

impl Direction {
    /// All four, in the order in which tensors hold them.
    pub const ALL: [Self; 4] = [Self::SouthEast, Self::SouthWest, Self::NorthEast, Self::NorthWest];

    /// The raster index of the unit that this direction sees at row `i`, column `j` of `h × w`.
    ///
    /// The map is its own inverse.
    pub fn raster(self, (i, j): (usize, usize), (h, w): (usize, usize)) -> usize {
        let i = if self as usize & 2 == 0 { i } else { h - 1 - i };
        let j = if self as usize & 1 == 0 { j } else { w - 1 - j };
        i * w + j
    }
}

/// The units that precede `(i, j)` in the dense graph, as runs of indices into a grid of width `w`
/// in the direction's own order: rows above up to column `j`, then the row itself before `j`.
pub fn predecessors_dense(
    (i, j): (usize, usize),
    w: usize,
) -> impl Iterator<Item = Range<usize>> + Clone {
    (0..=i).map(move |p| p * w..p * w + if p < i { j + 1 } else { j }).filter(|run| !run.is_empty())
}

/// One image's rows of one direction, in that direction's own order.
///
/// From `all` `[n, h, w, 4, width]` to `[h·w, width]`.
pub fn take_direction<T: Copy>(
    all: &[T],
    image: usize,
    direction: Direction,
    (h, w): (usize, usize),
    width: usize,
) -> Vec<T> {
    let mut rows = Vec::with_capacity(h * w * width);
    for unit in 0..h * w {
        let raster = image * h * w + direction.raster((unit / w, unit % w), (h, w));
        rows.extend_from_slice(&all[(raster * 4 + direction as usize) * width..][..width]);
    }
    rows
}

/// The inverse of [`take_direction`] for all images and directions at once.
///
/// `parts` holds `[h·w, width]` for each image and, within it, each direction of
/// [`Direction::ALL`]; returns `[n, h, w, 4, width]`.
pub fn join_directions<T: Copy + num_traits::Zero + Send + Sync>(
    parts: &[&[T]],
    (h, w): (usize, usize),
    width: usize,
) -> Vec<T> {
    let mut all = vec![T::zero(); parts.len() * h * w * width];
    if all.is_empty() {
        return all;
    }
    all.par_chunks_mut(w * 4 * width).enumerate().for_each(|(line, units)| {
        let (image, i) = (line / h, line % h);
        for (slot, to) in units.chunks_exact_mut(width).enumerate() {
            let (j, direction) = (slot / 4, Direction::ALL[slot % 4]);
            let unit = direction.raster((i, j), (h, w));
            to.copy_from_slice(&parts[image * 4 + slot % 4][unit * width..][..width]);
        }
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flips_are_their_own_inverse_and_permute_the_grid() {
        let (h, w) = (3, 5);
        for direction in Direction::ALL {
            for unit in 0..h * w {
                let seen = direction.raster((unit / w, unit % w), (h, w));
                assert_eq!(direction.raster((seen / w, seen % w), (h, w)), unit);
            }
        }
        assert_eq!(Direction::SouthWest.raster((0, 0), (h, w)), 4);
        assert_eq!(Direction::NorthEast.raster((0, 0), (h, w)), 10);
    }

    #[test]
    fn the_quadrant_leaves_out_the_unit_itself() {
        let runs: Vec<usize> = predecessors_dense((1, 1), 4).flatten().collect();
        assert_eq!(runs, [0, 1, 4]);
        assert_eq!(predecessors_dense((0, 0), 4).count(), 0);
    }
}
