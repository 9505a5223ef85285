//! Numbers that are reduced side by side, so that loops over them vectorise in a fixed order.

use grid_ops::Real;

/// Partial sums over which additions are spread.
pub(crate) const WIDE: usize = 16;

/// The sum of partial sums, halves added to halves.
#[inline(always)]
pub(crate) fn total<T: Real>(mut sums: [T; WIDE]) -> T {
    let mut width = WIDE / 2;
    while width > 0 {
        for l in 0..width {
            sums[l] = sums[l] + sums[l + width];
        }
        width /= 2;
    }
    sums[0]
}
