//! Products of few rows with a matrix that stays in cache, without packing: what a scan needs at
//! every step.

use pulp::Simd;

use crate::Real;

/// Where the sums of a [`Product`] begin.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a, T> {
    /// At zero; what `c` held is not read.
    Zero,
    /// At what `c` holds.
    Kept,
    /// At what `c` holds, each row by a factor of its own.
    Scaled(&'a [T]),
}

/// `c = start + a · b`, `[m, k] · [k, n]`, on the calling thread only.
///
/// Element `(i, p)` of `a` is at `i·a_strides.0 + p·a_strides.1`; the rows of `b` and `c` are
/// contiguous. Every sum runs over `p` in order, so the bits of a row do not depend on the rows
/// that are multiplied with it.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    /// Rows, inner size and columns.
    pub size: (usize, usize, usize),
    /// Distances of two rows and of two columns of `a`.
    pub a_strides: (usize, usize),
    /// Distance of two rows of `b`.
    pub b_stride: usize,
    /// Distance of two rows of `c`, at least the number of columns.
    pub c_stride: usize,
}

impl Product {
    /// Multiplies. Panics if a matrix does not lie within its slice.
    #[inline(always)]
    #[allow(unsafe_code, reason = "the innermost loops read without bounds checks")]
    pub fn run<T: Real, S: Simd>(
        self,
        simd: S,
        a: &[T],
        b: &[T],
        start: Start<'_, T>,
        c: &mut [T],
    ) {
        let (m, k, n) = self.size;
        if m == 0 || n == 0 {
            return;
        }
        let last = |rows: usize, stride: usize| (rows - 1).checked_mul(stride);
        let of_c = last(m, self.c_stride).and_then(|last| last.checked_add(n));
        assert!(of_c.is_some_and(|end| end <= c.len()), "c's size");
        assert!(m == 1 || self.c_stride >= n, "rows of c overlap");
        if k == 0 {
            return self.without_products(start, c);
        }
        let of_a = last(m, self.a_strides.0).zip(last(k, self.a_strides.1));
        let of_a = of_a.and_then(|(rows, columns)| rows.checked_add(columns));
        assert!(of_a.is_some_and(|last| last < a.len()), "a's size");
        let of_b = last(k, self.b_stride).and_then(|last| last.checked_add(n));
        assert!(of_b.is_some_and(|end| end <= b.len()), "b's size");
        if let Start::Scaled(factors) = start {
            assert!(factors.len() >= m, "a factor a row");
        }
        let lanes = T::lanes::<S>();
        let mut j = 0;
        // SAFETY: the sizes were checked above; all columns of a block are within `n`.
        unsafe {
            if S::REGISTER_COUNT >= 32 {
                while j + 4 * lanes <= n {
                    self.columns::<T, S, 4>(simd, j, a, b, start, c);
                    j += 4 * lanes;
                }
                if j + 3 * lanes <= n {
                    self.columns::<T, S, 3>(simd, j, a, b, start, c);
                    j += 3 * lanes;
                }
            }
            while j + 2 * lanes <= n {
                self.columns::<T, S, 2>(simd, j, a, b, start, c);
                j += 2 * lanes;
            }
            while j + lanes <= n {
                self.columns::<T, S, 1>(simd, j, a, b, start, c);
                j += lanes;
            }
        }
        if j < n {
            self.last_columns(simd, j, a, b, start, c);
        }
    }

    /// `c = start`, where the inner size is zero.
    fn without_products<T: Real>(&self, start: Start<'_, T>, c: &mut [T]) {
        for (i, row) in c.chunks_mut(self.c_stride).take(self.size.0).enumerate() {
            let row = &mut row[..self.size.2];
            match start {
                Start::Zero => row.fill(T::zero()),
                Start::Kept => {}
                Start::Scaled(factors) => row.iter_mut().for_each(|x| *x = *x * factors[i]),
            }
        }
    }

    /// All rows of `V` vectors of columns from `j`.
    ///
    /// # Safety
    ///
    /// The matrices lie within their slices, and the columns within the matrices.
    #[inline(always)]
    #[allow(unsafe_code, reason = "see `run`")]
    unsafe fn columns<T: Real, S: Simd, const V: usize>(
        &self,
        simd: S,
        j: usize,
        a: &[T],
        b: &[T],
        start: Start<'_, T>,
        c: &mut [T],
    ) {
        let m = self.size.0;
        let mut i = 0;
        // SAFETY: as the caller promises; `i` and the rows after it stay below `m`.
        unsafe {
            while i + 6 <= m {
                self.block::<T, S, 6, V>(simd, (i, j), a, b, start, c);
                i += 6;
            }
            match m - i {
                5 => self.block::<T, S, 5, V>(simd, (i, j), a, b, start, c),
                4 => self.block::<T, S, 4, V>(simd, (i, j), a, b, start, c),
                3 => self.block::<T, S, 3, V>(simd, (i, j), a, b, start, c),
                2 => self.block::<T, S, 2, V>(simd, (i, j), a, b, start, c),
                1 => self.block::<T, S, 1, V>(simd, (i, j), a, b, start, c),
                _ => {}
            }
        }
    }

    /// `R` rows of `V` vectors of columns, summed in registers.
    ///
    /// # Safety
    ///
    /// As [`Self::columns`], and the rows lie within the matrix.
    #[inline(always)]
    #[allow(unsafe_code, reason = "see `run`")]
    #[allow(clippy::needless_range_loop, reason = "the indices are those of registers")]
    unsafe fn block<T: Real, S: Simd, const R: usize, const V: usize>(
        &self,
        simd: S,
        (i, j): (usize, usize),
        a: &[T],
        b: &[T],
        start: Start<'_, T>,
        c: &mut [T],
    ) {
        let lanes = T::lanes::<S>();
        let (row, column) = self.a_strides;
        let mut sums = [[T::splat(simd, T::zero()); V]; R];
        // SAFETY: rows `i..i + R` and columns `j..j + V·lanes` lie within the matrices, and those
        // within their slices; vectors are read and written unaligned.
        unsafe {
            let a = a.as_ptr().add(i * row);
            let b = b.as_ptr().add(j);
            for p in 0..self.size.1 {
                let b = b.add(p * self.b_stride);
                let mut of_b = [T::splat(simd, T::zero()); V];
                for v in 0..V {
                    of_b[v] = b.add(v * lanes).cast::<T::Of<S>>().read_unaligned();
                }
                for r in 0..R {
                    let x = T::splat(simd, *a.add(r * row + p * column));
                    for v in 0..V {
                        sums[r][v] = T::fused(simd, x, of_b[v], sums[r][v]);
                    }
                }
            }
            for r in 0..R {
                let c = c.as_mut_ptr().add((i + r) * self.c_stride + j);
                for v in 0..V {
                    let to = c.add(v * lanes).cast::<T::Of<S>>();
                    let sum = match start {
                        Start::Zero => sums[r][v],
                        Start::Kept => T::plus(simd, to.read_unaligned(), sums[r][v]),
                        Start::Scaled(factors) => {
                            let factor = T::splat(simd, factors[i + r]);
                            T::fused(simd, factor, to.read_unaligned(), sums[r][v])
                        }
                    };
                    to.write_unaligned(sum);
                }
            }
        }
    }

    /// The columns from `j` on, fewer than a vector holds.
    #[inline(always)]
    fn last_columns<T: Real, S: Simd>(
        &self,
        simd: S,
        j: usize,
        a: &[T],
        b: &[T],
        start: Start<'_, T>,
        c: &mut [T],
    ) {
        let (m, k, n) = self.size;
        for i in 0..m {
            let mut sum = T::splat(simd, T::zero());
            for p in 0..k {
                let x = T::splat(simd, a[i * self.a_strides.0 + p * self.a_strides.1]);
                let row = &b[p * self.b_stride + j..p * self.b_stride + n];
                sum = T::fused(simd, x, T::load(simd, row), sum);
            }
            let to = &mut c[i * self.c_stride + j..i * self.c_stride + n];
            let sum = match start {
                Start::Zero => sum,
                Start::Kept => T::plus(simd, T::load(simd, to), sum),
                Start::Scaled(factors) => {
                    T::fused(simd, T::splat(simd, factors[i]), T::load(simd, to), sum)
                }
            };
            T::store(simd, to, sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pulp::{Simd, WithSimd};

    use super::*;

    struct Run<'a, T>(Product, &'a [T], &'a [T], Start<'a, T>, &'a mut [T]);

    impl<T: Real> WithSimd for Run<'_, T> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            self.0.run(simd, self.1, self.2, self.3, self.4);
        }
    }

    proptest! {
        #[test]
        fn equals_three_loops(
            (m, k, n) in (1usize..10, 0usize..12, 1usize..150),
            (by_columns, kind) in (proptest::bool::ANY, 0usize..3),
            seed in 0u64..1 << 32,
        ) {
            let a_strides = if by_columns { (1, m + 1) } else { (k + 2, 1) };
            let product = Product { size: (m, k, n), a_strides, b_stride: n + 3, c_stride: n + 1 };
            let a = testkit::values(seed, (m + 2) * (k + 2));
            let b = testkit::values(seed + 1, (k + 1) * (n + 3));
            let factors = testkit::values(seed + 2, m);
            let before = testkit::values(seed + 3, m * (n + 1));
            let start = [Start::Zero, Start::Kept, Start::Scaled(&factors)][kind];
            let mut c = before.clone();
            pulp::Arch::new().dispatch(Run(product, &a, &b, start, &mut c));
            for i in 0..m {
                for j in 0..n {
                    let from = before[i * (n + 1) + j];
                    let from = match kind { 0 => 0.0, 1 => from, _ => factors[i] * from };
                    let expected = (0..k).fold(from, |sum, p| {
                        sum + a[i * a_strides.0 + p * a_strides.1] * b[p * (n + 3) + j]
                    });
                    prop_assert!((c[i * (n + 1) + j] - expected).abs() < 1e-12);
                }
                prop_assert!(c[i * (n + 1) + n] == before[i * (n + 1) + n], "written beyond a row");
            }
        }
    }

    #[test]
    fn reciprocals_are_within_two_units_in_the_last_place() {
        struct Reciprocals<'a>(&'a [f32], &'a mut [f32]);

        impl WithSimd for Reciprocals<'_> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                use crate::Vectors;
                let lanes = f32::lanes::<S>();
                for (x, to) in self.0.chunks(lanes).zip(self.1.chunks_mut(lanes)) {
                    let x = f32::reciprocal(simd, f32::load(simd, x));
                    f32::store(simd, to, x);
                }
            }
        }

        let xs: Vec<f32> = (0..100_000).map(|i| 1.000_7f32.powi(i % 90_000)).collect();
        let mut got = vec![0.0; xs.len()];
        pulp::Arch::new().dispatch(Reciprocals(&xs, &mut got));
        for (x, got) in xs.iter().zip(got).filter(|(x, _)| **x < 1e30) {
            let exact = 1.0 / f64::from(*x);
            let unit = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
            assert!((f64::from(got) - exact).abs() <= 2.0 * unit, "1/{x}: {got}");
        }
    }
}
