//! Kernels of 3×3, walked down columns of vectors.
//!
//! What a row of inputs holds at the three columns of a kernel's taps serves three rows of outputs.
//! Walking down, it is read once, and the sums of the rows that are not complete stay in registers.

use pulp::Simd;

use crate::Real;

/// One plane of inputs, laid out with its padding, to one of outputs.
pub(super) struct Walk<'a, T> {
    pub(super) x: &'a [T],
    /// Distance of two rows of the layout.
    pub(super) row: usize,
    /// Where the taps of each column begin in a row.
    pub(super) columns: [usize; 3],
    /// Distance of two taps of a column in rows; outputs that share rows are as far apart.
    pub(super) dilation: usize,
    pub(super) weight: [T; 9],
    /// Where every sum begins.
    pub(super) start: T,
    /// Columns of the outputs.
    pub(super) width: usize,
    pub(super) y: &'a mut [T],
}

impl<T: Real> Walk<'_, T> {
    /// A convolution of stride 1.
    #[inline(always)]
    pub(super) fn run<S: Simd>(mut self, simd: S) {
        let lanes = T::lanes::<S>();
        let mut j = 0;
        while j < self.width {
            let vectors = if (self.width - j).div_ceil(lanes) > 2 { 4 } else { 2 };
            for first in 0..self.dilation {
                match vectors {
                    4 => self.down::<S, 4>(simd, first, j),
                    _ => self.down::<S, 2>(simd, first, j),
                }
            }
            j += vectors * lanes;
        }
    }

    /// A convolution of stride 2.
    #[inline(always)]
    pub(super) fn run_by_two<S: Simd>(mut self, simd: S) {
        let lanes = T::lanes::<S>();
        let mut j = 0;
        while j < self.width {
            let vectors = if (self.width - j).div_ceil(lanes) > 2 { 4 } else { 2 };
            match vectors {
                4 => self.down_by_two::<S, 4>(simd, j),
                _ => self.down_by_two::<S, 2>(simd, j),
            }
            j += vectors * lanes;
        }
    }

    /// `V` vectors of columns from `j`, of the rows `first, first + dilation, …`.
    #[inline(always)]
    fn down<S: Simd, const V: usize>(&mut self, simd: S, first: usize, j: usize) {
        let d = self.dilation;
        let weight = splat(simd, self.weight);
        let start = T::splat(simd, self.start);
        // Of the next row to be complete and the one after it.
        let mut sums = [[start; 2]; V];
        let outputs = (self.y.len() / self.width).saturating_sub(first).div_ceil(d);
        for nth in 0..outputs + 2 {
            let x = self.row::<S, V>(simd, first + nth * d, j);
            let mut complete = [start; V];
            for v in 0..V {
                complete[v] = dot::<T, S>(simd, &weight[6..], x[v], sums[v][0]);
                let next = dot::<T, S>(simd, &weight[3..], x[v], sums[v][1]);
                sums[v] = [next, dot::<T, S>(simd, &weight, x[v], start)];
            }
            if nth >= 2 {
                self.put(simd, first + (nth - 2) * d, j, complete);
            }
        }
    }

    /// `V` vectors of columns from `j`.
    #[inline(always)]
    fn down_by_two<S: Simd, const V: usize>(&mut self, simd: S, j: usize) {
        let weight = splat(simd, self.weight);
        let start = T::splat(simd, self.start);
        let x = self.row::<S, V>(simd, 0, j);
        let mut sums = [start; V];
        for v in 0..V {
            sums[v] = dot::<T, S>(simd, &weight, x[v], start);
        }
        for i in 0..self.y.len() / self.width {
            let x = self.row::<S, V>(simd, 2 * i + 1, j);
            for v in 0..V {
                sums[v] = dot::<T, S>(simd, &weight[3..], x[v], sums[v]);
            }
            let x = self.row::<S, V>(simd, 2 * i + 2, j);
            let mut complete = [start; V];
            for v in 0..V {
                complete[v] = dot::<T, S>(simd, &weight[6..], x[v], sums[v]);
                sums[v] = dot::<T, S>(simd, &weight, x[v], start);
            }
            self.put(simd, i, j, complete);
        }
    }

    /// What a row of inputs holds for `V` vectors of outputs from `j`, at the taps of each column.
    #[inline(always)]
    fn row<S: Simd, const V: usize>(&self, simd: S, row: usize, j: usize) -> [[T::Of<S>; 3]; V] {
        let lanes = T::lanes::<S>();
        let mut taken = [[T::splat(simd, self.start); 3]; V];
        for (q, column) in self.columns.into_iter().enumerate() {
            let x = &self.x[row * self.row + column + j..][..V * lanes];
            for v in 0..V {
                taken[v][q] = T::load(simd, &x[v * lanes..][..lanes]);
            }
        }
        taken
    }

    /// Writes `V` vectors of a row of outputs from `j`, as far as it reaches.
    #[inline(always)]
    fn put<S: Simd, const V: usize>(&mut self, simd: S, row: usize, j: usize, y: [T::Of<S>; V]) {
        let lanes = T::lanes::<S>();
        let to = &mut self.y[row * self.width..][..self.width][j..];
        if let Some(to) = to.get_mut(..V * lanes) {
            for v in 0..V {
                T::store(simd, &mut to[v * lanes..][..lanes], y[v]);
            }
            return;
        }
        for (to, y) in to.chunks_mut(lanes).zip(y) {
            T::store(simd, to, y);
        }
    }
}

/// Each of the weights in all lanes.
#[inline(always)]
pub(super) fn splat<T: Real, S: Simd>(simd: S, weight: [T; 9]) -> [T::Of<S>; 9] {
    let mut lanes = [T::splat(simd, T::zero()); 9];
    for (lanes, weight) in lanes.iter_mut().zip(weight) {
        *lanes = T::splat(simd, weight);
    }
    lanes
}

/// `start` and the products with the first three of `weight`.
#[inline(always)]
pub(super) fn dot<T: Real, S: Simd>(
    simd: S,
    weight: &[T::Of<S>],
    x: [T::Of<S>; 3],
    start: T::Of<S>,
) -> T::Of<S> {
    let sum = T::fused(simd, weight[0], x[0], start);
    let sum = T::fused(simd, weight[1], x[1], sum);
    T::fused(simd, weight[2], x[2], sum)
}
