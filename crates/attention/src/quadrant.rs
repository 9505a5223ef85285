//! The four directions of a grid, and how each sees the planes of an image.

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

/// The place in an image's planes of every unit of a direction, in `order` (raster indices as the
/// direction sees them).
pub fn places(order: &[usize], direction: Direction, (h, w): (usize, usize)) -> Vec<usize> {
    order.iter().map(|&unit| direction.raster((unit / w, unit % w), (h, w))).collect()
}

/// Units copied at once: a cache line of each plane.
const RUN: usize = 16;

/// Planes `[width, h·w]` to rows `[h·w, width]`, the unit at `places[p]` to row `p`.
pub fn rows_of_planes<T: Copy + num_traits::Zero>(planes: &[T], places: &[usize]) -> Vec<T> {
    let (plane, width) = (places.len(), planes.len() / places.len());
    let mut rows = vec![T::zero(); planes.len()];
    for (places, rows) in places.chunks(RUN).zip(rows.chunks_mut(RUN * width)) {
        for (c, plane) in planes.chunks_exact(plane).enumerate() {
            for (place, row) in places.iter().zip(rows.chunks_exact_mut(width)) {
                row[c] = plane[*place];
            }
        }
    }
    rows
}

/// The inverse of [`rows_of_planes`], written to `planes` `[width, h·w]`.
pub fn planes_of_rows<T: Copy>(rows: &[T], places: &[usize], planes: &mut [T]) {
    let (plane, width) = (places.len(), planes.len() / places.len());
    for (places, rows) in places.chunks(RUN).zip(rows.chunks(RUN * width)) {
        for (c, plane) in planes.chunks_exact_mut(plane).enumerate() {
            for (place, row) in places.iter().zip(rows.chunks_exact(width)) {
                plane[*place] = row[c];
            }
        }
    }
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
    fn rows_and_planes_are_each_others_inverse() {
        let (h, w, width) = (5, 7, 3);
        let order: Vec<usize> = (0..h * w).rev().collect();
        let planes: Vec<usize> = (0..h * w * width).collect();
        for direction in Direction::ALL {
            let places = places(&order, direction, (h, w));
            let rows = rows_of_planes(&planes, &places);
            assert_eq!(rows[2 * width + 1], h * w + places[2]);
            let mut back = vec![0; planes.len()];
            planes_of_rows(&rows, &places, &mut back);
            assert_eq!(back, planes);
        }
    }
}
