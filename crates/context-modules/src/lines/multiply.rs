//! Products of tiles.

use grid_ops::{Product, Real, Start};
use pulp::{Simd, WithSimd};

/// Runs `product` with the vectors of this processor: one function that is compiled for each kind
/// of vectors once, whoever calls it.
pub(super) fn multiply<T: Real>(
    product: Product,
    a: &[T],
    b: &[T],
    start: Start<'_, T>,
    c: &mut [T],
) {
    pulp::Arch::new().dispatch(Multiply { product, a, b, start, c });
}

struct Multiply<'a, T> {
    product: Product,
    a: &'a [T],
    b: &'a [T],
    start: Start<'a, T>,
    c: &'a mut [T],
}

impl<T: Real> WithSimd for Multiply<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.product.run(simd, self.a, self.b, self.start, self.c);
    }
}
