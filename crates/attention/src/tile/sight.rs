//! What the units of one tile see of another.

use grid_ops::Real;

use super::LANES;
use crate::lanes::WIDE;
use crate::{Tile, diagonals_of};

/// Which sources of a tile some targets see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// The targets, by their index in their tile: the first, how many, and how far apart.
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) step: usize,
    /// They see no source from this index on.
    pub(super) limit: usize,
    seen: Seen,
}

/// Which of the sources below the limit a target sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// All of them.
    All,
    /// In tiles this wide, those in the target's own column or before it.
    Columns(usize),
    /// In the target's own tile, this wide: those in its quadrant.
    Own(usize),
}

impl Sight {
    /// The rows of scores and the targets that they belong to.
    #[inline(always)]
    pub(super) fn targets(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.count).map(move |row| (row, self.first + row * self.step))
    }

    /// The limit in whole vectors.
    #[inline(always)]
    pub(super) fn padded(self) -> usize {
        self.limit.next_multiple_of(WIDE).min(LANES)
    }
}

/// What the units of `target` see of `source`, a tile that is nowhere behind it.
pub fn sights(target: &Tile, source: &Tile) -> Vec<Sight> {
    let (width, from) = (target.size.1, source.size.1);
    let (units, sources) = (target.units(), source.units());
    let all = Sight { first: 0, count: units, step: 1, limit: sources, seen: Seen::All };
    match (source.place.0 < target.place.0, source.place.1 < target.place.1) {
        (true, true) => vec![all],
        (true, false) => vec![Sight { seen: Seen::Columns(width), ..all }],
        (false, true) => (0..target.size.0)
            .map(|i| Sight { first: i * width, count: width, limit: (i + 1) * from, ..all })
            .collect(),
        (false, false) => {
            diagonals_of(target.size).map(|diagonal| own_sight(diagonal, width)).collect()
        }
    }
}

/// What an anti-diagonal of units, its first one and their number, sees of its own tile of columns
/// `width`.
pub fn own_sight((first, count): (usize, usize), width: usize) -> Sight {
    let step = (width - 1).max(1);
    Sight { first, count, step, limit: first + (count - 1) * step, seen: Seen::Own(width) }
}

/// Puts −∞ where `target` does not see.
#[inline(always)]
pub(super) fn mask<T: Real>(z: &mut [T], sight: &Sight, target: usize) {
    let (limit, columns) = match sight.seen {
        Seen::All => (sight.limit, None),
        Seen::Columns(width) => (sight.limit, Some(width)),
        Seen::Own(width) => (target, Some(width)),
    };
    z[limit..].fill(T::neg_infinity());
    if let Some(width) = columns {
        let behind = target % width + 1;
        for row in z[..limit].chunks_mut(width) {
            if let Some(behind) = row.get_mut(behind..) {
                behind.fill(T::neg_infinity());
            }
        }
    }
}
