//! Matrix products without packing, of matrices that lie in cache.

use pulp::{Simd, WithSimd};

use crate::{Product, Real, Start};

/// Products of a sum that are added before the next outputs have their turn: the rows of the right
/// matrix that they read stay in the first cache.
const DEPTH: usize = 128;

/// `c = a · b`, of `[m, k] · [k, n]`; each matrix with the distance of two of its rows.
pub(super) fn multiply<T: Real>(
    size: (usize, usize, usize),
    a: (&[T], usize),
    b: (&[T], usize),
    c: (&mut [T], usize),
) {
    pulp::Arch::new().dispatch(Multiply { size, a, b, c });
}

struct Multiply<'a, T> {
    size: (usize, usize, usize),
    a: (&'a [T], usize),
    b: (&'a [T], usize),
    c: (&'a mut [T], usize),
}

impl<T: Real> WithSimd for Multiply<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { size: (m, k, n), a: (a, of_a), b: (b, of_b), c: (c, of_c) } = self;
        for first in (0..k).step_by(DEPTH) {
            let size = (m, DEPTH.min(k - first), n);
            let product = Product { size, a_strides: (of_a, 1), b_stride: of_b, c_stride: of_c };
            let start = if first == 0 { Start::Zero } else { Start::Kept };
            product.run(simd, &a[first..], &b[first * of_b..], start, c);
        }
    }
}
