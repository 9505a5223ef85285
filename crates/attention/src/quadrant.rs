//! The four directions of a grid, and how each sees the units of an image.

use std::ops::Range;

use grid_ops::{Real, unwritten};
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

/// The raster index in the image of every unit of a direction, in `order` (raster indices as the
/// direction sees them).
pub fn places(order: &[usize], direction: Direction, (h, w): (usize, usize)) -> Vec<usize> {
    order.iter().map(|&unit| direction.raster((unit / w, unit % w), (h, w))).collect()
}

/// The rows of one direction of one image, where they lie among those of all.
#[derive(Debug, Clone, Copy)]
pub struct Units<'a, T> {
    /// Of the image, `[h·w, 4, width]`.
    all: &'a [T],
    direction: Direction,
    /// See [`places`].
    places: &'a [usize],
    width: usize,
}

impl<'a, T> Units<'a, T> {
    /// Those of `direction` among the rows of an image, `[h·w, 4, width]`.
    pub fn new(all: &'a [T], direction: Direction, places: &'a [usize]) -> Self {
        Self { all, direction, places, width: all.len() / (4 * places.len()) }
    }

    /// The row of the unit at a position in the direction's order.
    #[inline(always)]
    pub fn row(&self, position: usize) -> &'a [T] {
        let at = self.places[position] * 4 + self.direction as usize;
        &self.all[at * self.width..][..self.width]
    }

    /// The rows of the units at some positions, one after the other.
    pub fn rows(&self, positions: Range<usize>) -> Vec<T>
    where
        T: Copy,
    {
        let mut rows = Vec::with_capacity(positions.len() * self.width);
        positions.for_each(|position| rows.extend_from_slice(self.row(position)));
        rows
    }
}

/// The same to write to: for each direction, the row of each of its units in its order, from the
/// rows of an image, `[h·w, 4, width]`.
pub fn units_mut<'a, T>(
    image: &'a mut [T],
    places: &[Vec<usize>; 4],
    width: usize,
) -> [Vec<&'a mut [T]>; 4] {
    let mut rows: Vec<_> = image.chunks_exact_mut(width).map(Some).collect();
    Direction::ALL.map(|direction| {
        let k = direction as usize;
        places[k].iter().filter_map(|place| rows[place * 4 + k].take()).collect()
    })
}

/// One image's rows of one direction: from `all` `[n, h·w, 4, width]` to `[h·w, width]`, the unit at
/// `places[p]` to row `p`.
pub fn take_direction<T: Copy>(
    all: &[T],
    image: usize,
    direction: Direction,
    places: &[usize],
    width: usize,
) -> Vec<T> {
    let mut rows = Vec::with_capacity(places.len() * width);
    for place in places {
        let at = (image * places.len() + place) * 4 + direction as usize;
        rows.extend_from_slice(&all[at * width..][..width]);
    }
    rows
}

/// The inverse of [`take_direction`] for all images and directions at once.
///
/// `parts` holds `[h·w, width]` for each image and, within it, each direction, units where
/// `places` of the direction say; returns `[n, h·w, 4, width]`.
pub fn join_directions<T: Real>(parts: &[&[T]], places: &[Vec<usize>; 4], width: usize) -> Vec<T> {
    let units = places[0].len();
    // SAFETY: every unit of every image is written below.
    #[allow(unsafe_code, reason = "results are not zeroed first")]
    let mut all = unsafe { unwritten(parts.len() * units * width) };
    let rows_of_units = places.each_ref().map(|places| {
        let mut rows = vec![0; units];
        places.iter().enumerate().for_each(|(row, &place)| rows[place] = row);
        rows
    });
    // Some units at a time, so that small grids and large ones are shared out.
    const RUN: usize = 64;
    let images = all.par_chunks_mut(units * 4 * width).zip(parts.par_chunks(4));
    images.for_each(|(all, parts)| {
        all.par_chunks_mut(RUN * 4 * width).enumerate().for_each(|(run, all)| {
            for (slot, to) in all.chunks_exact_mut(width).enumerate() {
                let (unit, direction) = (run * RUN + slot / 4, slot % 4);
                let row = rows_of_units[direction][unit];
                to.copy_from_slice(&parts[direction][row * width..][..width]);
            }
        });
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
    fn directions_are_taken_apart_and_joined_again() {
        let (n, h, w, width) = (2, 5, 7, 3);
        let order: Vec<usize> = (0..h * w).rev().collect();
        let all: Vec<f64> = (0..n * h * w * 4 * width).map(|i| i as f64).collect();
        let places = Direction::ALL.map(|direction| places(&order, direction, (h, w)));
        let parts: Vec<Vec<f64>> = (0..n * 4)
            .map(|task| {
                let direction = Direction::ALL[task % 4];
                take_direction(&all, task / 4, direction, &places[task % 4], width)
            })
            .collect();
        // The last unit's row comes first; south-west sees the last unit of its row first.
        assert_eq!(parts[1][0], (((h - 1) * w * 4 + 1) * width) as f64);
        let parts: Vec<&[f64]> = parts.iter().map(Vec::as_slice).collect();
        assert_eq!(join_directions(&parts, &places, width), all);
    }
}
