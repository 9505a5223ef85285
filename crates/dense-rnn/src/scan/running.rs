//! Sums over quadrants, kept up while a scan passes, at O(1) additions a unit.

use grid_ops::Real;

/// Sums over the closed quadrant behind the unit that a scan has reached.
///
/// Holds one row sum per grid row and one quadrant sum per grid column: the whole state of the
/// scan at an anti-diagonal. Only additions, no inclusion–exclusion, so infinities stay
/// infinities and nothing cancels.
pub(super) struct QuadrantSums<T> {
    channels: usize,
    /// `Σ x(i, q)` over the columns `q` passed in row `i`: `[h, channels]`.
    rows: Vec<T>,
    /// `Σ x(p, q)` over the rows `p` passed in column `j` and all `q ≤ j`: `[w, channels]`.
    columns: Vec<T>,
}

impl<T: Real> QuadrantSums<T> {
    pub(super) fn new((h, w): (usize, usize), channels: usize) -> Self {
        let zeros = |n: usize| vec![T::zero(); n * channels];
        Self { channels, rows: zeros(h), columns: zeros(w) }
    }

    /// The sum over all units `(p, q) ≠ (i, j)` with `p ≤ i`, `q ≤ j`, written to `out`.
    #[inline(always)]
    pub(super) fn before(&self, (i, j): (usize, usize), out: &mut [T]) {
        let rows = &self.rows[i * self.channels..][..self.channels];
        let columns = &self.columns[j * self.channels..][..self.channels];
        for ((to, &row), &column) in out.iter_mut().zip(rows).zip(columns) {
            *to = row + column;
        }
    }

    /// Takes in `scale · x(i, j)`; all of the unit's quadrant must have been taken in before.
    #[inline(always)]
    pub(super) fn pass(&mut self, (i, j): (usize, usize), scale: T, x: &[T]) {
        let rows = &mut self.rows[i * self.channels..][..self.channels];
        let columns = &mut self.columns[j * self.channels..][..self.channels];
        for ((row, column), &x) in rows.iter_mut().zip(columns).zip(x) {
            *row = scale.mul_add(x, *row);
            *column = *column + *row;
        }
    }
}
