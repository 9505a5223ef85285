//! A grid cut into tiles, and the order of units in which each tile is contiguous.

use std::ops::Range;

/// A grid of `h × w` units cut into tiles of at most `rows × columns`, by rows of tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiling {
    grid: (usize, usize),
    tile: (usize, usize),
}

/// One tile of a [`Tiling`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Row and column among the tiles.
    pub place: (usize, usize),
    /// Row and column of its first unit in the grid.
    pub corner: (usize, usize),
    /// Rows and columns of units.
    pub size: (usize, usize),
    /// Position of its first unit in the order of tiles.
    pub first: usize,
}

impl Tile {
    /// The number of units.
    pub fn units(&self) -> usize {
        self.size.0 * self.size.1
    }

    /// The positions of its units in the order of tiles.
    pub fn positions(&self) -> Range<usize> {
        self.first..self.first + self.units()
    }

    /// Its part of `rows`, `[units, width]` in the order of tiles.
    pub fn of<'a, T>(&self, rows: &'a [T], width: usize) -> &'a [T] {
        &rows[self.first * width..][..self.units() * width]
    }
}

impl Tiling {
    /// Cuts `h × w` units into tiles; no size may be zero.
    pub fn new(grid: (usize, usize), tile: (usize, usize)) -> Self {
        Self { grid, tile }
    }

    /// Rows and columns of tiles.
    pub fn shape(&self) -> (usize, usize) {
        (self.grid.0.div_ceil(self.tile.0), self.grid.1.div_ceil(self.tile.1))
    }

    /// The number of tiles.
    pub fn count(&self) -> usize {
        self.shape().0 * self.shape().1
    }

    /// The index of the tile at a row and column of tiles.
    pub fn index(&self, (row, column): (usize, usize)) -> usize {
        row * self.shape().1 + column
    }

    /// The tile of an index below [`count`](Self::count).
    pub fn tile(&self, index: usize) -> Tile {
        let ((h, w), (rows, columns)) = (self.grid, self.tile);
        let place = (index / self.shape().1, index % self.shape().1);
        let corner = (place.0 * rows, place.1 * columns);
        let size = (rows.min(h - corner.0), columns.min(w - corner.1));
        Tile { place, corner, size, first: corner.0 * w + corner.1 * size.0 }
    }

    /// The raster index of every unit, tile after tile, each tile by rows.
    pub fn order(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.grid.0 * self.grid.1);
        for index in 0..self.count() {
            let Tile { corner, size, .. } = self.tile(index);
            for i in corner.0..corner.0 + size.0 {
                order.extend((corner.1..corner.1 + size.1).map(|j| i * self.grid.1 + j));
            }
        }
        order
    }

    /// `rows`, `[h·w, width]` in the order of tiles, cut into the parts of all tiles; each can be
    /// taken once.
    pub fn split<'a, T>(&self, mut rows: &'a mut [T], width: usize) -> Vec<Option<&'a mut [T]>> {
        let mut parts = Vec::with_capacity(self.count());
        for index in 0..self.count() {
            let (part, rest) = rows.split_at_mut(self.tile(index).units() * width);
            parts.push(Some(part));
            rows = rest;
        }
        parts
    }

    /// The tiles by anti-diagonals: those of one depend on those of earlier ones only.
    pub fn diagonals(&self) -> impl DoubleEndedIterator<Item = Vec<usize>> + use<> {
        let (this, (rows, columns)) = (*self, self.shape());
        (0..rows + columns - 1).map(move |s| {
            let first = s.saturating_sub(columns - 1);
            (first..=s.min(rows - 1)).map(|row| this.index((row, s - row))).collect()
        })
    }
}

/// The anti-diagonals of a tile of `h × w` units: first unit by rows and number of units, `w - 1`
/// units apart in raster order.
pub fn diagonals_of((h, w): (usize, usize)) -> impl DoubleEndedIterator<Item = (usize, usize)> {
    (0..h + w - 1).map(move |s| {
        let first_row = s.saturating_sub(w - 1);
        (first_row * w + s - first_row, s.min(h - 1) + 1 - first_row)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_in_one_tile() {
        for (grid, tile) in [((5, 7), (2, 3)), ((1, 1), (8, 8)), ((8, 3), (4, 4)), ((3, 9), (3, 1))]
        {
            let tiling = Tiling::new(grid, tile);
            let mut order = tiling.order();
            for index in 0..tiling.count() {
                let at = tiling.tile(index);
                assert_eq!(tiling.index(at.place), index);
                let units = &order[at.positions()];
                assert_eq!(units[0], at.corner.0 * grid.1 + at.corner.1, "{at:?}");
                let last = (at.corner.0 + at.size.0 - 1, at.corner.1 + at.size.1 - 1);
                assert_eq!(units[units.len() - 1], last.0 * grid.1 + last.1, "{at:?}");
            }
            let mut tiles: Vec<usize> = tiling.diagonals().flatten().collect();
            tiles.sort_unstable();
            assert!(tiles.into_iter().eq(0..tiling.count()));
            order.sort_unstable();
            assert!(order.into_iter().eq(0..grid.0 * grid.1));
        }
    }

    #[test]
    fn diagonals_hold_every_unit_once_and_go_down() {
        for (h, w) in [(1, 1), (1, 4), (4, 1), (3, 5)] {
            let mut seen = Vec::new();
            for (s, (first, count)) in diagonals_of((h, w)).enumerate() {
                for m in 0..count {
                    let unit = first + m * (w - 1);
                    assert_eq!(unit / w + unit % w, s);
                    seen.push(unit);
                }
            }
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..h * w));
        }
    }
}
