//! Sums over the neighbours behind a unit.

use attention::running::Border;
use grid_ops::Real;

use crate::Graph;

/// What the units of a tile hand to their neighbours, with one row and one column before them.
pub(super) struct NeighbourSums<T> {
    diagonal: bool,
    size: (usize, usize),
    channels: usize,
    /// `[h + 1, w + 1, channels]`.
    handed: Vec<T>,
}

impl<T: Real> NeighbourSums<T> {
    /// The state at the border of a tile of `size`.
    pub(super) fn new(
        graph: Graph,
        size: (usize, usize),
        channels: usize,
        border: &Border<T>,
    ) -> Self {
        let mut handed = Vec::with_capacity((size.0 + 1) * (size.1 + 1) * channels);
        handed.extend_from_slice(&border.corner);
        handed.extend_from_slice(&border.columns);
        for row in border.rows.chunks_exact(channels) {
            handed.extend_from_slice(row);
            handed.extend(std::iter::repeat_n(T::zero(), size.1 * channels));
        }
        Self { diagonal: graph == Graph::Dag8, size, channels, handed }
    }

    /// Of the place `(i, j)`, counted with the row and the column before the tile.
    #[inline(always)]
    fn at(&self, i: usize, j: usize) -> usize {
        (i * (self.size.1 + 1) + j) * self.channels
    }

    /// The sum over the neighbours of `(i, j)`, written to `out`.
    #[inline(always)]
    pub(super) fn before(&self, (i, j): (usize, usize), out: &mut [T]) {
        let of = |place: usize| &self.handed[place..][..self.channels];
        let pairs = of(self.at(i, j + 1)).iter().zip(of(self.at(i + 1, j)));
        if self.diagonal {
            for ((to, (&above, &before)), &corner) in
                out.iter_mut().zip(pairs).zip(of(self.at(i, j)))
            {
                *to = above + before + corner;
            }
        } else {
            for (to, (&above, &before)) in out.iter_mut().zip(pairs) {
                *to = above + before;
            }
        }
    }

    /// Takes in `scale · x(i, j)`.
    #[inline(always)]
    pub(super) fn pass(&mut self, (i, j): (usize, usize), scale: T, x: &[T]) {
        let place = self.at(i + 1, j + 1);
        for (to, &x) in self.handed[place..][..self.channels].iter_mut().zip(x) {
            *to = scale * x;
        }
    }

    /// What the tiles after this one get, once all units have passed.
    pub(super) fn into_border(self) -> Border<T> {
        let (h, w) = self.size;
        let of = |i: usize, j: usize| &self.handed[self.at(i, j)..][..self.channels];
        Border {
            columns: (1..=w).flat_map(|j| of(h, j).iter().copied()).collect(),
            rows: (1..=h).flat_map(|i| of(i, w).iter().copied()).collect(),
            corner: of(h, w).to_vec(),
        }
    }
}
