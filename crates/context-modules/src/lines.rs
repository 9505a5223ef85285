//! Attention by dot products along lines of units, by tiles of queries and of keys.
//!
//! A *line* is a run of units whose channels lie in planes: a whole image, a row of it or a column.
//! Every unit of a line attends to all of the line, or to all but itself. Scores of two tiles stand
//! keys by queries, so that the queries are the lanes of vectors: a tile of scores, what it attends
//! and all gradients are small matrix products that read planes as they are, and maxima and sums
//! over keys never cross lanes. Scores are exponentiated against a running maximum
//! ([`Line::look`]); the backward pass ([`Line::back`]) computes the weights again from the
//! log-sum-exp. Memory is O(units).
//!
//! What lies beyond a line in its last tile is zero: as a query it is not read, as a key it is left
//! out.

mod back;
mod look;
mod multiply;

use std::ops::Range;

pub(crate) use back::{Back, Upstream};
pub(crate) use look::{Look, Looked};

use grid_ops::{Real, turned};

use crate::planes_op::UnitShape;

/// Numbers that loops over lanes take side by side.
const WIDE: usize = 16;

/// Units of a tile at most: the scores of two tiles and the four operands of a product fit a
/// core's second cache many times over, each by itself the first.
const UNITS: usize = 64;

/// A line cut into tiles of about one size, each a multiple of [`WIDE`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// Units of the line.
    pub(crate) units: usize,
    /// Units of a tile, those beyond the line included.
    width: usize,
}

impl Cut {
    pub(crate) fn new(units: usize) -> Self {
        let tiles = units.div_ceil(UNITS);
        Self { units, width: units.div_ceil(tiles).next_multiple_of(WIDE) }
    }

    /// The number of tiles.
    pub(crate) fn tiles(self) -> usize {
        self.units.div_ceil(self.width)
    }

    /// The units of a tile that are of the line.
    fn units_of(self, tile: usize) -> Range<usize> {
        tile * self.width..((tile + 1) * self.width).min(self.units)
    }

    /// The numbers of all tiles of so many channels.
    pub(crate) fn numbers(self, channels: usize) -> usize {
        self.tiles() * self.width * channels
    }

    /// Those of some tiles among them.
    fn numbers_of(self, tiles: &Range<usize>, channels: usize) -> Range<usize> {
        tiles.start * self.width * channels..tiles.end * self.width * channels
    }

    /// Tiles `[channels, width]`, of planes that lie `plane` apart and begin at the line's first
    /// unit.
    pub(crate) fn tiles_of<T: Real>(self, planes: &[T], plane: usize, channels: usize) -> Vec<T> {
        let mut tiles = vec![T::zero(); self.numbers(channels)];
        for (tile, to) in tiles.chunks_exact_mut(channels * self.width).enumerate() {
            let units = self.units_of(tile);
            for (channel, to) in to.chunks_exact_mut(self.width).enumerate() {
                let from = &planes[channel * plane..][units.clone()];
                to[..from.len()].copy_from_slice(from);
            }
        }
        tiles
    }

    /// Writes tiles `[channels, width]`, the first of them `first`, back to planes.
    pub(crate) fn put_back<T: Real>(
        self,
        (first, tiles): (usize, &[T]),
        channels: usize,
        planes: &mut [T],
        plane: usize,
    ) {
        for (nth, from) in tiles.chunks_exact(channels * self.width).enumerate() {
            let units = self.units_of(first + nth);
            for (channel, from) in from.chunks_exact(self.width).enumerate() {
                let to = &mut planes[channel * plane..][units.clone()];
                to.copy_from_slice(&from[..units.len()]);
            }
        }
    }

    /// Tiles `[channels, width]` as `[width, channels]`.
    pub(crate) fn by_units<T: Real>(self, tiles: &[T], channels: usize) -> Vec<T> {
        self.each_turned(tiles, (channels, self.width))
    }

    /// Tiles `[width, channels]` as `[channels, width]`.
    pub(crate) fn by_channels<T: Real>(self, tiles: &[T], channels: usize) -> Vec<T> {
        self.each_turned(tiles, (self.width, channels))
    }

    fn each_turned<T: Real>(self, tiles: &[T], size: (usize, usize)) -> Vec<T> {
        let mut all = Vec::with_capacity(tiles.len());
        for tile in tiles.chunks_exact(size.0 * size.1) {
            all.extend_from_slice(&turned(tile, size, size.1));
        }
        all
    }
}

/// Queries, keys and values of a line, by tiles `[channels, width]`.
#[derive(Debug)]
pub(crate) struct Line<T> {
    pub(crate) cut: Cut,
    pub(crate) shape: UnitShape,
    /// Whether a unit attends to itself.
    to_itself: bool,
    queries: Vec<T>,
    keys: Vec<T>,
    values: Vec<T>,
}

impl<T: Real> Line<T> {
    /// The line of `units` whose planes of queries, keys and values, one after another, lie `plane`
    /// apart and begin at its first unit.
    pub(crate) fn new(
        planes: &[T],
        plane: usize,
        units: usize,
        shape: UnitShape,
        to_itself: bool,
    ) -> Self {
        let (cut, a) = (Cut::new(units), shape.key);
        let from = |first: usize, channels| cut.tiles_of(&planes[first * plane..], plane, channels);
        let (queries, keys, values) = (from(0, a), from(a, a), from(2 * a, shape.value));
        Self { cut, shape, to_itself, queries, keys, values }
    }

    /// All queries by tiles `[width, a]`.
    pub(crate) fn queries_by_units(&self) -> Vec<T> {
        self.cut.by_units(&self.queries, self.shape.key)
    }
}

/// Buffers that every pair of tiles uses anew.
struct Scratch<T> {
    /// Scores, then weights, `[keys, queries]`.
    z: Vec<T>,
    /// Gradients of scores, alike.
    dz: Vec<T>,
}

impl<T: Real> Scratch<T> {
    fn new(cut: Cut) -> Self {
        let zeros = || vec![T::zero(); cut.width * cut.width];
        Self { z: zeros(), dz: zeros() }
    }
}
