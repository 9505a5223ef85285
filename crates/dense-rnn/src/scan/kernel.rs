//! One direction of one image, forward and backward, on plain slices.
//!
//! Units are in the order of a [`Tiling`]: tile after tile, each by rows. Tiles of one anti-diagonal
//! do not depend on each other, nor do the units of one anti-diagonal of a tile.

use attention::kernel::RowShape;
use attention::{Score, Tile, Tiling, Units};
use grid_ops::{MatMut, MatRef, Product, Real, Start, matmul, turned, unwritten};
use pulp::Simd;

use super::{Aggregation, Scan, by_pairs, few, running};
use crate::Graph;

/// Sizes and modes of a scan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) size: (usize, usize),
    /// Where the first unit lies in a grid that this one is a part of, as the direction sees it.
    pub(super) corner: (usize, usize),
    /// Channels of hidden state (value) and key.
    pub(super) shape: RowShape,
    pub(super) scan: Scan,
}

/// The parameters of one direction.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a, T> {
    /// `[W; Wa]`, `[d + a, d]`.
    pub(super) matrix: &'a [T],
    /// `va`, `[a]`; empty where there is none.
    pub(super) vector: &'a [T],
}

/// What a forward pass hands to the backward pass of the same direction, beside the hidden states.
pub(super) struct Passed<T> {
    /// What attention added to each unit, `[h·w, d]`; empty for other aggregations.
    pub(super) attended: Vec<T>,
    /// The log-sum-exp of each unit's scores; empty for other aggregations.
    pub(super) log_sums: Vec<T>,
}

/// The gradients of one direction's parameters.
pub(super) struct Gradients<T> {
    /// `[d + a, d]`.
    pub(super) matrix: Vec<T>,
    /// `[a]`; empty or unused where there is no scoring vector.
    pub(super) vector: Vec<T>,
}

/// The three ways in which a unit finds what its predecessors hand on.
enum Way {
    /// Sums kept up while passing: sums, means, and attention with a linear score.
    Running,
    /// Tiles that look at tiles: attention over the dense graph.
    Pairs,
    /// Looking at up to three neighbours: attention over the other graphs.
    Few,
}

fn way(scan: &Scan) -> Way {
    match (scan.aggregation, scan.graph) {
        (Aggregation::Sum | Aggregation::Mean, _)
        | (Aggregation::Attention(Score::LinearAdditive), Graph::Dense) => Way::Running,
        (Aggregation::Attention(_), Graph::Dense) => Way::Pairs,
        (Aggregation::Attention(_), Graph::Dag4 | Graph::Dag8) => Way::Few,
    }
}

/// True if a tile can hand on all that the tiles after it need.
pub(super) fn has_border(scan: &Scan) -> bool {
    matches!(way(scan), Way::Running)
}

impl Plan {
    pub(super) fn units(&self) -> usize {
        self.size.0 * self.size.1
    }

    /// True if hidden states take the place of the input, which the backward pass does not read
    /// again.
    pub(super) fn is_in_place(&self) -> bool {
        has_border(&self.scan)
    }

    /// The parameters of the `k`-th direction in those of all: `[4, d + a, d]` and, where there is
    /// a scoring vector, `[4, a]`.
    pub(super) fn weights<'a, T>(&self, k: usize, params: &'a [T]) -> Weights<'a, T> {
        let (matrix, vector) = params.split_at(4 * self.shape.len() * self.shape.value);
        let part = |all: &'a [T]| &all[k * (all.len() / 4)..][..all.len() / 4];
        Weights { matrix: part(matrix), vector: part(vector) }
    }

    /// Channels of an input row: `U x + b`, and the query if there is one.
    pub(super) fn width(&self) -> usize {
        let queries = self.scan.aggregation.score().map_or(0, |s| s.query_channels(self.shape.key));
        self.shape.value + queries
    }

    /// The order of units that all rows are in.
    pub(super) fn tiling(&self) -> Tiling {
        match way(&self.scan) {
            Way::Running => Tiling::new(self.size, running::TILE),
            Way::Pairs => Tiling::new(self.size, attention::tile::TILE),
            Way::Few => Tiling::new(self.size, self.size),
        }
    }

    /// The factor of a unit's sum, `(i, j)` in its tile.
    #[inline(always)]
    pub(super) fn scale<T: Real>(&self, tile: &Tile, (i, j): (usize, usize)) -> T {
        let at = (self.corner.0 + tile.corner.0 + i, self.corner.1 + tile.corner.1 + j);
        match self.scan.aggregation {
            Aggregation::Mean => T::of(self.scan.graph.count(at).max(1) as f64).recip(),
            Aggregation::Sum | Aggregation::Attention(_) => T::one(),
        }
    }

    /// The scan where hidden states take the place of the input, `rows`.
    pub(super) fn forward_in_place<T: Real>(
        &self,
        rows: &mut [&mut [T]],
        weights: Weights<'_, T>,
    ) -> Passed<T> {
        running::forward(self, rows, weights, &mut running::outside(self))
    }

    /// The other scans: the hidden states, `[h·w, d]`, of `input` `[h·w, d + q]`.
    pub(super) fn forward<T: Real>(
        &self,
        input: &[T],
        weights: Weights<'_, T>,
    ) -> (Vec<T>, Passed<T>) {
        match way(&self.scan) {
            Way::Few => few::forward(self, input, weights),
            _ => by_pairs::forward(self, input, weights),
        }
    }

    /// The way back from the hidden states and their gradient: `rows` become that of the input,
    /// which they hold before unless the scan is [in place](Self::is_in_place).
    pub(super) fn backward<T: Real>(
        &self,
        weights: Weights<'_, T>,
        passed: &Passed<T>,
        seen: (Units<'_, T>, Units<'_, T>),
        rows: &mut [&mut [T]],
    ) -> Gradients<T> {
        match way(&self.scan) {
            Way::Running => running::backward(self, weights, passed, seen, rows),
            Way::Pairs => by_pairs::backward(self, weights, passed, seen, rows),
            Way::Few => few::backward(self, weights, passed, seen, rows),
        }
    }

    /// `matrix` `[d + a, d]` with rows and columns exchanged.
    pub(super) fn turned<T: Real>(&self, matrix: &[T]) -> Vec<T> {
        let (d, rows) = (self.shape.value, self.shape.len());
        turned(matrix, (rows, d), d)
    }

    /// Values and keys of all units, `[h·w, d + a]`.
    pub(super) fn memory<T: Real>(&self, hidden: &[T], matrix: &[T]) -> Vec<T> {
        let (d, rows) = (self.shape.value, self.shape.len());
        let units = hidden.len() / d;
        // SAFETY: the product does not read what it writes.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut memory = unsafe { unwritten(units * rows) };
        matmul(
            MatMut::new(&mut memory, units, rows, rows, 1),
            T::zero(),
            MatRef::new(hidden, units, d, d, 1),
            MatRef::new(matrix, d, rows, 1, d),
        );
        memory
    }

    /// Values and keys, `rows` `[count, d + a]`, of an anti-diagonal of a tile of columns `w`: its
    /// first unit and their number.
    #[inline(always)]
    pub(super) fn remember<T: Real, S: Simd>(
        &self,
        simd: S,
        ((first, count), w): ((usize, usize), usize),
        hidden: &[T],
        turned: &[T],
        rows: &mut [T],
    ) {
        let (d, width) = (self.shape.value, self.shape.len());
        let product = Product {
            size: (count, d, width),
            a_strides: ((w - 1) * d, 1),
            b_stride: width,
            c_stride: width,
        };
        product.run(simd, &hidden[first * d..], turned, Start::Zero, rows);
    }

    /// The way back: adds to the gradient of the hidden states what reaches them by way of `rows`,
    /// the gradient of values and keys.
    #[inline(always)]
    pub(super) fn recall<T: Real, S: Simd>(
        &self,
        simd: S,
        ((first, count), w): ((usize, usize), usize),
        rows: &[T],
        matrix: &[T],
        grad_hidden: &mut [T],
    ) {
        let (d, width) = (self.shape.value, self.shape.len());
        let product = Product {
            size: (count, width, d),
            a_strides: (width, 1),
            b_stride: d,
            c_stride: (w - 1) * d,
        };
        product.run(simd, rows, matrix, Start::Kept, &mut grad_hidden[first * d..]);
    }

    /// The gradient of `[W; Wa]` from that of values and keys, `[h·w, d + a]`.
    pub(super) fn matrix_gradient<T: Real>(&self, of_memory: &[T], hidden: &[T]) -> Vec<T> {
        let (d, rows) = (self.shape.value, self.shape.len());
        let units = hidden.len() / d;
        let mut matrix = vec![T::zero(); rows * d];
        matmul(
            MatMut::new(&mut matrix, rows, d, d, 1),
            T::zero(),
            MatRef::new(of_memory, rows, units, 1, rows),
            MatRef::new(hidden, units, d, d, 1),
        );
        matrix
    }
}
