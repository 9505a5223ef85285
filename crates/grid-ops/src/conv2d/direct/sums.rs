//! Sums of products in registers, over runs that begin anywhere.

use std::ops::Range;

use pulp::Simd;

use crate::{Real, Start};

/// Products of a sum that are added before the next outputs have their turn: what they read stays in
/// the first cache.
const DEPTH: usize = 128;

/// Elements beyond the last run that may be read: four of the widest vectors.
const SLACK: usize = 64;

/// `c[i, j] = start + Σ_p a[i·a_stride + p] · b[offsets[p] + j]`, whole vectors of `j` at a time.
pub(super) struct Sums<'a, T> {
    pub(super) a: &'a [T],
    pub(super) a_stride: usize,
    /// At zero or at what `c` holds.
    pub(super) start: Start<'a, T>,
    pub(super) offsets: &'a [usize],
    pub(super) b: &'a [T],
    /// Of every row.
    pub(super) columns: usize,
    /// `[rows, columns]`, the columns rounded up to [`SLACK`].
    pub(super) c: &'a mut [T],
}

/// Elements of a row of [`Sums::c`].
pub(super) fn row_of_sums(columns: usize) -> usize {
    columns.next_multiple_of(SLACK)
}

impl<T: Real> Sums<'_, T> {
    #[inline(always)]
    pub(super) fn run<S: Simd>(mut self, simd: S) {
        let (lanes, stride, terms) =
            (T::lanes::<S>(), row_of_sums(self.columns), self.offsets.len());
        let rows = self.c.len() / stride;
        let furthest = self.offsets.iter().max().map_or(0, |last| last + stride);
        assert!(furthest <= self.b.len() && 4 * lanes <= SLACK, "runs within the layout");
        assert!(rows == 0 || (rows - 1) * self.a_stride + terms <= self.a.len(), "factors");
        if matches!(self.start, Start::Zero) && terms == 0 {
            self.c.fill(T::zero());
        }
        let mut j = 0;
        while j < self.columns {
            let left = (self.columns - j).div_ceil(lanes);
            let vectors = if S::REGISTER_COUNT >= 32 && left > 2 { 4 } else { 2 };
            for first in (0..terms).step_by(DEPTH) {
                let depth = first..(first + DEPTH).min(terms);
                let mut i = 0;
                while i < rows {
                    let depth = depth.clone();
                    i += match (vectors, rows - i) {
                        // Rather twice four rows than six and two.
                        (4, 6 | 9..) => self.block::<S, 6, 4>(simd, (i, j), depth),
                        (4, 4..) => self.block::<S, 4, 4>(simd, (i, j), depth),
                        (4, 3) => self.block::<S, 3, 4>(simd, (i, j), depth),
                        (4, _) => self.block::<S, 1, 4>(simd, (i, j), depth),
                        (_, 4..) => self.block::<S, 4, 2>(simd, (i, j), depth),
                        (_, 3) => self.block::<S, 3, 2>(simd, (i, j), depth),
                        (_, _) => self.block::<S, 1, 2>(simd, (i, j), depth),
                    };
                }
            }
            j += vectors * lanes;
        }
    }

    /// `R` rows of `V` vectors of columns, summed in registers; returns `R`.
    #[inline(always)]
    #[allow(unsafe_code, reason = "the innermost loop reads without bounds checks")]
    #[allow(clippy::needless_range_loop, reason = "the indices are those of registers")]
    fn block<S: Simd, const R: usize, const V: usize>(
        &mut self,
        simd: S,
        (i, j): (usize, usize),
        depth: Range<usize>,
    ) -> usize {
        let (lanes, stride) = (T::lanes::<S>(), row_of_sums(self.columns));
        let mut sums = [[T::splat(simd, T::zero()); V]; R];
        let is_fresh = depth.start == 0 && matches!(self.start, Start::Zero);
        // SAFETY: `run` asserts that every offset is followed by a whole row of sums, of which `j`
        // and `V` vectors lie within, for a step of columns divides the slack; rows `i..i + R` and
        // terms `depth` lie within `a` and `c`. Vectors are read and written unaligned.
        unsafe {
            let b = self.b.as_ptr().add(j);
            let a = self.a.as_ptr().add(i * self.a_stride);
            for p in depth {
                let b = b.add(*self.offsets.get_unchecked(p));
                let mut of_b = [T::splat(simd, T::zero()); V];
                for v in 0..V {
                    of_b[v] = b.add(v * lanes).cast::<T::Of<S>>().read_unaligned();
                }
                for r in 0..R {
                    let x = T::splat(simd, *a.add(r * self.a_stride + p));
                    for v in 0..V {
                        sums[r][v] = T::fused(simd, x, of_b[v], sums[r][v]);
                    }
                }
            }
            let c = self.c.as_mut_ptr().add(i * stride + j);
            for r in 0..R {
                for v in 0..V {
                    let to = c.add(r * stride + v * lanes).cast::<T::Of<S>>();
                    if !is_fresh {
                        sums[r][v] = T::plus(simd, to.read_unaligned(), sums[r][v]);
                    }
                    to.write_unaligned(sums[r][v]);
                }
            }
        }
        R
    }
}
