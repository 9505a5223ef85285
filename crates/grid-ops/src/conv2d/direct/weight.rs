//! The weight gradient, tap by tap.
//!
//! A tile's window is turned, so that the channels of a place lie side by side; the gradient of a
//! tap is then a sum over the tile's outputs, of whose places the tap reads a run of channels each.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::super::Sizes;
use super::sums::{Sums, row_of_sums};
use super::window::Window;
use super::{Tile, cut, taps};
use crate::{Real, Start, turned};

/// Largest size of all partial sums, in elements.
const PARTIAL_SUMS: usize = 1 << 22;

pub(in super::super) fn backward_weight<T: Real>(s: &Sizes, x: &[T], grad: &[T]) -> Vec<T> {
    let (tiles, window) = cut(s);
    let taps = taps(s, &window);
    let c = s.c / s.config.groups;
    let size = s.k * taps.len() * row_of_sums(c);
    let parts = (PARTIAL_SUMS / size).clamp(2, 8);
    let parts: Vec<Vec<T>> = tiles
        .par_chunks(tiles.len().div_ceil(parts))
        .map(|tiles| {
            let mut sums = vec![T::zero(); size];
            let mut laid_out = vec![T::zero(); row_of_sums(c) * window.of_channel()];
            for &tile in tiles {
                let (taps, sums, laid_out) = (&taps, &mut sums, &mut laid_out);
                let part = Part { s, x, grad, window, taps, tile, laid_out, sums };
                pulp::Arch::new().dispatch(part);
            }
            sums
        })
        .collect();
    let k = s.k / s.config.groups;
    let mut d_weight = vec![T::zero(); s.k * c * taps.len()];
    d_weight.par_chunks_mut(c * taps.len()).enumerate().for_each(|(channel, to)| {
        let (group, channel) = (channel / k, channel % k);
        for tap in 0..taps.len() {
            let at = ((group * taps.len() + tap) * k + channel) * row_of_sums(c);
            for (i, to) in to[tap..].iter_mut().step_by(taps.len()).enumerate() {
                // In a fixed order: the bits must not depend on the number of threads.
                *to = parts.iter().fold(T::zero(), |sum, part| sum + part[at + i]);
            }
        }
    });
    d_weight
}

/// What one tile adds.
struct Part<'a, T> {
    s: &'a Sizes,
    x: &'a [T],
    grad: &'a [T],
    window: Window,
    taps: &'a [usize],
    tile: Tile,
    /// The window, its channels rounded up to a row of sums.
    laid_out: &'a mut [T],
    /// `[groups, taps, k, row of sums]`.
    sums: &'a mut [T],
}

impl<T: Real> WithSimd for Part<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { s, x, grad, window, taps, tile, laid_out, sums } = self;
        let (plane, out_plane, groups) = (s.h * s.w, s.oh * s.ow, s.config.groups);
        let (c, k) = (s.c / groups, s.k / groups);
        let of_row = row_of_sums(c);
        let first = (tile.row * s.config.stride).cast_signed() - s.config.padding.cast_signed();
        let places = (0..tile.rows).flat_map(|i| (0..s.ow).map(move |j| i * window.columns + j));
        let places: Vec<usize> = places.collect();
        let mut offsets = vec![0; places.len()];
        for (group, sums) in sums.chunks_exact_mut(taps.len() * k * of_row).enumerate() {
            let planes = &x[(tile.image * s.c + group * c) * plane..][..c * plane];
            window.lay_out(planes, first, laid_out);
            let b = turned(laid_out, (of_row, window.of_channel()), window.of_channel());
            let a = &grad[(tile.image * s.k + group * k) * out_plane + tile.row * s.ow..];
            for (tap, c_sums) in taps.iter().zip(sums.chunks_exact_mut(k * of_row)) {
                let at = places.iter().map(|place| (tap + place) * of_row);
                offsets.iter_mut().zip(at).for_each(|(to, at)| *to = at);
                let (a_stride, start) = (out_plane, Start::Kept);
                let (offsets, b) = (&offsets[..], &b[..]);
                Sums { a, a_stride, start, offsets, b, columns: c, c: c_sums }.run(simd);
            }
        }
    }
}
