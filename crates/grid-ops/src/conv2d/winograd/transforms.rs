//! The transforms of F(4×4, 3×3) along one axis, and doing them for several lines at once.

use crate::Real;

/// Numbers that are transformed side by side.
pub(super) const LANES: usize = 16;

pub(super) type Lanes<T> = [T; LANES];

/// An array of what `make` gives for each index.
#[inline(always)]
pub(super) fn each<X, const N: usize>(make: impl FnMut(usize) -> X) -> [X; N] {
    std::array::from_fn(make)
}

#[inline(always)]
pub(super) fn load<T: Real>(from: &[T]) -> Lanes<T> {
    let mut lanes = [T::zero(); LANES];
    lanes.copy_from_slice(&from[..LANES]);
    lanes
}

#[inline(always)]
pub(super) fn store<T: Real>(to: &mut [T], lanes: Lanes<T>) {
    to[..LANES].copy_from_slice(&lanes);
}

/// A transform of numbers, done for all lanes.
#[inline(always)]
pub(super) fn across_lanes<T: Real, const A: usize, const B: usize>(
    from: [Lanes<T>; A],
    transform: impl Fn([T; A]) -> [T; B],
) -> [Lanes<T>; B] {
    let mut to = [[T::zero(); LANES]; B];
    for l in 0..LANES {
        let transformed = transform(each(|i| from[i][l]));
        for (to, x) in to.iter_mut().zip(transformed) {
            to[l] = x;
        }
    }
    to
}

/// `Bᵀ d`.
#[inline(always)]
pub(super) fn input_1d<T: Real>([d0, d1, d2, d3, d4, d5]: [T; 6]) -> [T; 6] {
    let (two, four, five) = (T::of(2.0), T::of(4.0), T::of(5.0));
    let (even, odd) = ((-four).mul_add(d2, d4), (-four).mul_add(d1, d3));
    let (near, far) = (d4 - d2, two * (d3 - d1));
    [
        four.mul_add(d0, (-five).mul_add(d2, d4)),
        even + odd,
        even - odd,
        near + far,
        near - far,
        four.mul_add(d1, (-five).mul_add(d3, d5)),
    ]
}

/// `Aᵀ m`.
#[inline(always)]
pub(super) fn output_1d<T: Real>([m0, m1, m2, m3, m4, m5]: [T; 6]) -> [T; 4] {
    let (two, four, eight) = (T::of(2.0), T::of(4.0), T::of(8.0));
    let (sum, difference) = (m1 + m2, m1 - m2);
    let (far_sum, far_difference) = (m3 + m4, m3 - m4);
    [
        m0 + sum + far_sum,
        two.mul_add(far_difference, difference),
        four.mul_add(far_sum, sum),
        eight.mul_add(far_difference, difference) + m5,
    ]
}

/// `A e`, the transpose of [`output_1d`].
#[inline(always)]
pub(super) fn gradient_1d<T: Real>([e0, e1, e2, e3]: [T; 4]) -> [T; 6] {
    let (two, four) = (T::of(2.0), T::of(4.0));
    let (even, odd) = (e0 + e2, e1 + e3);
    let (far_even, far_odd) = (four.mul_add(e2, e0), two * four.mul_add(e3, e1));
    [e0, even + odd, even - odd, far_even + far_odd, far_even - far_odd, e3]
}

/// `G g`.
#[inline(always)]
pub(super) fn kernel_1d<T: Real>([g0, g1, g2]: [T; 3]) -> [T; 6] {
    let (sixth, twelfth) = (T::of(1.0 / 6.0), T::of(1.0 / 12.0));
    let (even, odd) = (-sixth * (g0 + g2), -sixth * g1);
    let (far_even, far_odd) = (T::of(1.0 / 24.0).mul_add(g0, sixth * g2), twelfth * g1);
    [T::of(0.25) * g0, even + odd, even - odd, far_even + far_odd, far_even - far_odd, g2]
}

/// `Gᵀ v`, the transpose of [`kernel_1d`].
#[inline(always)]
pub(super) fn kernel_gradient_1d<T: Real>([v0, v1, v2, v3, v4, v5]: [T; 6]) -> [T; 3] {
    let (sixth, twelfth) = (T::of(1.0 / 6.0), T::of(1.0 / 12.0));
    let (sum, far_sum) = (v1 + v2, v3 + v4);
    [
        T::of(0.25).mul_add(v0, T::of(1.0 / 24.0).mul_add(far_sum, -sixth * sum)),
        sixth.mul_add(v2 - v1, twelfth * (v3 - v4)),
        sixth * (far_sum - sum) + v5,
    ]
}
