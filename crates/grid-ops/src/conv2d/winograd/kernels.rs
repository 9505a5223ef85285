//! The transform of kernels, `G g Gᵀ`.

use std::ops::Range;

use super::transforms::{LANES, Lanes, across_lanes, each, kernel_1d};
use super::{IN, PLACES};
use crate::{Real, inlined, simd};

/// Kernels of some channels, `[36, channels, c]`; tap `t` of kernel `(k, c)` is
/// `weight[at(k, c, t)]`.
pub(super) fn transform_kernels<T: Real>(
    weight: &[T],
    channels: Range<usize>,
    c: usize,
    at: impl Fn(usize, usize, usize) -> usize,
    to: &mut [T],
) {
    let count = channels.len();
    assert_eq!(to.len(), PLACES * count * c, "room for the kernels");
    let run = inlined(
        #[inline(always)]
        |nth: usize, first: usize, filled: usize, to: &mut [T]| {
            let k = channels.start + nth;
            let mut taps = [[T::zero(); LANES]; 9];
            for l in 0..filled {
                for (tap, lanes) in taps.iter_mut().enumerate() {
                    lanes[l] = weight[at(k, first + l, tap)];
                }
            }
            let mut columns = [[[T::zero(); LANES]; IN]; 3];
            for (q, to) in columns.iter_mut().enumerate() {
                *to = across_lanes([taps[q], taps[3 + q], taps[6 + q]], kernel_1d);
            }
            for i in 0..IN {
                let row: [Lanes<T>; 3] = each(|q| columns[q][i]);
                for (u, lanes) in across_lanes(row, kernel_1d).into_iter().enumerate() {
                    let to = &mut to[((i * IN + u) * count + nth) * c + first..][..filled];
                    to.copy_from_slice(&lanes[..filled]);
                }
            }
        },
    );
    let whole = c / LANES * LANES;
    simd(
        #[inline(always)]
        || {
            for nth in 0..count {
                // With a number of lanes that the compiler knows.
                for first in (0..whole).step_by(LANES) {
                    run(nth, first, LANES, to);
                }
                if whole < c {
                    run(nth, whole, c - whole, to);
                }
            }
        },
    );
}
