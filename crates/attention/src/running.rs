//! What a scan knows of the units behind it, kept up at O(1) a unit and handed over the borders of
//! tiles.
//!
//! All states take units in by [`pass`](QuadrantSums::pass) in an order in which a unit's whole
//! quadrant comes before it, and answer with [`before`](QuadrantSums::before). Only additions, no
//! inclusion–exclusion: infinities stay infinities and nothing cancels.

use grid_ops::Real;

use crate::kernel::dot;

/// What a tile hands to the tiles after it, or gets from those before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Border<T> {
    /// By column, `[w, s]`: from the tile above, or for the tile below.
    pub columns: Vec<T>,
    /// By row, `[h, s]`: from the tile before, or for the tile after.
    pub rows: Vec<T>,
    /// From or for the tile diagonally opposite, `[s]`.
    pub corner: Vec<T>,
}

impl<T: Real> Border<T> {
    /// The border of a grid: nothing is behind it.
    pub fn outside((h, w): (usize, usize), empty: &[T]) -> Self {
        let repeat = |n: usize| empty.iter().copied().cycle().take(n * empty.len()).collect();
        Self { columns: repeat(w), rows: repeat(h), corner: empty.to_vec() }
    }
}

/// Sums over the closed quadrant behind the unit that a scan has reached: one sum a grid row, one
/// quadrant sum a grid column.
#[derive(Debug, Clone)]
pub struct QuadrantSums<T> {
    channels: usize,
    /// `rows[i]`: `Σ x(i, q)` over the columns `q` passed in row `i`. `columns[j]`: `Σ x(p, q)` over
    /// the rows `p` passed in column `j` and all `q ≤ j`.
    border: Border<T>,
}

impl<T: Real> QuadrantSums<T> {
    /// The state at the border of a tile.
    pub fn new(channels: usize, border: Border<T>) -> Self {
        Self { channels, border }
    }

    /// What an empty quadrant is, `[s]`.
    pub fn empty(channels: usize) -> Vec<T> {
        vec![T::zero(); channels]
    }

    /// The sum over all units `(p, q) ≠ (i, j)` with `p ≤ i`, `q ≤ j`, written to `out`.
    #[inline(always)]
    pub fn before(&self, (i, j): (usize, usize), out: &mut [T]) {
        let rows = &self.border.rows[i * self.channels..][..self.channels];
        let columns = &self.border.columns[j * self.channels..][..self.channels];
        for ((to, &row), &column) in out.iter_mut().zip(rows).zip(columns) {
            *to = row + column;
        }
    }

    /// Takes in `scale · x(i, j)`.
    #[inline(always)]
    pub fn pass(&mut self, (i, j): (usize, usize), scale: T, x: &[T]) {
        let rows = &mut self.border.rows[i * self.channels..][..self.channels];
        let columns = &mut self.border.columns[j * self.channels..][..self.channels];
        for ((row, column), &x) in rows.iter_mut().zip(columns).zip(x) {
            *row = scale.mul_add(x, *row);
            *column = *column + *row;
        }
    }

    /// What the tiles after this one get, once all units have passed.
    pub fn into_border(self) -> Border<T> {
        self.border
    }
}

/// Sums `Σ e^{weight} x` over quadrants, each against a running maximum of the weights.
///
/// A state is `[top, x…]`: the maximum, and the sum of `e^{weight − top} x`.
#[derive(Debug, Clone)]
pub struct WeightedSums<T> {
    /// Channels of `x`.
    channels: usize,
    border: Border<T>,
}

impl<T: Real> WeightedSums<T> {
    /// The state at the border of a tile.
    pub fn new(channels: usize, border: Border<T>) -> Self {
        Self { channels, border }
    }

    /// What an empty quadrant is, `[s]`.
    pub fn empty(channels: usize) -> Vec<T> {
        let mut empty = vec![T::zero(); channels + 1];
        empty[0] = T::neg_infinity();
        empty
    }

    /// The sum over all units `(p, q) ≠ (i, j)` with `p ≤ i`, `q ≤ j`, times `e^{−top}`, written to
    /// `out`; returns `top`, −∞ where there is no such unit.
    #[inline(always)]
    pub fn before(&self, (i, j): (usize, usize), out: &mut [T]) -> T {
        let s = self.channels + 1;
        let rows = &self.border.rows[i * s..][..s];
        let columns = &self.border.columns[j * s..][..s];
        let (top, [of_row, of_column]) = balance(rows[0], columns[0]);
        for ((to, &row), &column) in out.iter_mut().zip(&rows[1..]).zip(&columns[1..]) {
            *to = of_row.mul_add(row, of_column * column);
        }
        top
    }

    /// Takes in `e^{weight} x(i, j)`.
    #[inline(always)]
    pub fn pass(&mut self, (i, j): (usize, usize), weight: T, x: &[T]) {
        let s = self.channels + 1;
        let rows = &mut self.border.rows[i * s..][..s];
        let columns = &mut self.border.columns[j * s..][..s];
        let (top_row, [of_row, of_x]) = balance(rows[0], weight);
        let (top, [of_column, of_sum]) = balance(columns[0], top_row);
        (rows[0], columns[0]) = (top_row, top);
        for ((row, column), &x) in rows[1..].iter_mut().zip(&mut columns[1..]).zip(x) {
            *row = of_row.mul_add(*row, of_x * x);
            *column = of_column.mul_add(*column, of_sum * *row);
        }
    }

    /// What the tiles after this one get, once all units have passed.
    pub fn into_border(self) -> Border<T> {
        self.border
    }
}

/// The larger of two logarithms, and what both are in its measure. Two times −∞ are both nothing.
#[inline(always)]
fn balance<T: Real>(a: T, b: T) -> (T, [T; 2]) {
    // `max` passes over NaN; the exponentials do not.
    let top = a.max(b);
    let share = |x: T| if x == T::neg_infinity() { T::zero() } else { (x - top).exp_inline() };
    (top, [share(a), share(b)])
}

/// Sums `[Σ e^{z − top} x, Σ e^{z − top}]` to weighted means; returns the log-sum-exp, 0 for
/// nothing.
#[inline(always)]
pub fn normalise<T: Real>(sums: &mut [T], top: T) -> T {
    let [values @ .., sum] = sums else { return T::zero() };
    if top == T::neg_infinity() && *sum == T::zero() {
        return T::zero();
    }
    let scale = sum.recip();
    values.iter_mut().for_each(|x| *x = *x * scale);
    top + sum.ln()
}

/// Gradient sums of a unit, `[Σ e^{−L − top} g, Σ e^{−L − top} g·attended]` to the gradient of its value and
/// score, its `row`.
#[inline(always)]
pub fn finish_gradient<T: Real>(row: &[T], top: T, to: &mut [T]) {
    let d = row.len() - 1;
    if top == T::neg_infinity() {
        return to.fill(T::zero());
    }
    let factor = (row[d] + top).exp_inline();
    to.iter_mut().for_each(|x| *x = *x * factor);
    to[d] = dot(&row[..d], &to[..d]) - to[d];
}
