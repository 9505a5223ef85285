//! The linear score: weighted sums kept up while passing the units by rows.

use grid_ops::{Real, inlined, simd};

use super::{Gradients, Passed};
use crate::kernel::{RowShape, dot};
use crate::running::{Border, WeightedSums, finish_gradient, normalise};

/// `rows` are `[h·w, d + 1]`, value and score, in raster order.
pub(super) fn forward<T: Real>(size: (usize, usize), shape: RowShape, rows: &[T]) -> Passed<T> {
    simd(inlined(
        #[inline(always)]
        || forward_here(size, shape, rows),
    ))
}

#[inline(always)]
fn forward_here<T: Real>(size: (usize, usize), shape: RowShape, rows: &[T]) -> Passed<T> {
    let d = shape.value;
    // Values and, beside them, ones: both are summed with the same weights.
    let mut sums = outside(size, d + 1);
    let mut attended = Vec::with_capacity(size.0 * size.1 * d);
    let mut log_sums = Vec::with_capacity(size.0 * size.1);
    let (mut found, mut handed) = (vec![T::zero(); d + 1], vec![T::one(); d + 1]);
    for (unit, row) in rows.chunks_exact(d + 1).enumerate() {
        let at = (unit / size.1, unit % size.1);
        let top = sums.before(at, &mut found);
        log_sums.push(normalise(&mut found, top));
        attended.extend_from_slice(&found[..d]);
        handed[..d].copy_from_slice(&row[..d]);
        sums.pass(at, row[d], &handed);
    }
    Passed { attended, log_sums }
}

fn outside<T: Real>(size: (usize, usize), channels: usize) -> WeightedSums<T> {
    let empty = WeightedSums::empty(channels);
    WeightedSums::new(channels, Border::outside(size, &empty))
}

/// With `a(v, u) = e^{s(u) − L(v)}`: `dvalue(u) = e^{s(u)} Σ_v e^{−L(v)} g(v)` over the units `v`
/// behind which `u` lies, which is the same scan the other way round, and
/// `ds(u) = value(u) · dvalue(u) − e^{s(u)} Σ_v e^{−L(v)} g(v) · attended(v)`.
pub(super) fn backward<T: Real>(
    size: (usize, usize),
    shape: RowShape,
    rows: &[T],
    passed: &Passed<T>,
    grad: &[T],
) -> Gradients<T> {
    simd(inlined(
        #[inline(always)]
        || backward_here(size, shape, rows, passed, grad),
    ))
}

#[inline(always)]
fn backward_here<T: Real>(
    (h, w): (usize, usize),
    shape: RowShape,
    rows: &[T],
    passed: &Passed<T>,
    grad: &[T],
) -> Gradients<T> {
    let d = shape.value;
    let mut sums = outside((h, w), d + 1);
    let mut d_rows = vec![T::zero(); rows.len()];
    let mut handed = vec![T::zero(); d + 1];
    for unit in (0..h * w).rev() {
        let at = (h - 1 - unit / w, w - 1 - unit % w);
        let (row, to) = (&rows[unit * (d + 1)..][..d + 1], &mut d_rows[unit * (d + 1)..][..d + 1]);
        let top = sums.before(at, to);
        finish_gradient(row, top, to);
        let (grad, attended) = (&grad[unit * d..][..d], &passed.attended[unit * d..][..d]);
        handed[..d].copy_from_slice(grad);
        handed[d] = dot(grad, attended);
        // The corner saw nothing, and its log-sum is no measure of anything.
        if unit > 0 {
            sums.pass(at, -passed.log_sums[unit], &handed);
        }
    }
    Gradients { rows: d_rows, vector: vec![T::zero(); shape.key] }
}
