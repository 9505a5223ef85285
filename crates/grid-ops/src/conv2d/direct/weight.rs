//! The weight gradient, tap by tap.
//!
//! A tile's window is turned, so that the channels of a place lie side by side; the gradient of a
//! tap is then a sum over the tile's outputs, of whose places the tap reads a run of channels each.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::super::{Sizes, channels_of_task, runs};
use super::sums::{Sums, row_of_sums};
use super::window::Window;
use super::{Tile, cut, taps};
use crate::{Real, Start, turned};

/// Largest size of all partial sums, in elements.
const PARTIAL_SUMS: usize = 1 << 22;

pub(in super::super) fn backward_weight<T: Real>(s: &Sizes, x: &[T], grad: &[T]) -> Vec<T> {
    let (tiles, window) = cut(s);
    let taps = taps(s, &window);
    let (c, k) = (s.c / s.config.groups, s.k / s.config.groups);
    let parts = (PARTIAL_SUMS / (s.k * taps.len() * row_of_sums(c))).clamp(2, 8);
    let of_task = channels_of_task(k, tiles.len().min(parts));
    // By run of channels, then by part.
    let runs: Vec<Range<usize>> = runs(k, of_task).collect();
    let of_part = |channels: &Range<usize>, tiles: &[Tile]| {
        let size = s.config.groups * taps.len() * channels.len() * row_of_sums(c);
        let mut sums = vec![T::zero(); size];
        let mut laid_out = vec![T::zero(); row_of_sums(c) * window.of_channel()];
        for &tile in tiles {
            let (taps, sums, laid_out, channels) =
                (&taps, &mut sums, &mut laid_out, channels.clone());
            let part = Part { s, x, grad, window, taps, tile, channels, laid_out, sums };
            pulp::Arch::new().dispatch(part);
        }
        sums
    };
    let of_run = |channels: &Range<usize>| -> Vec<Vec<T>> {
        let parts = tiles.par_chunks(tiles.len().div_ceil(parts));
        parts.map(|tiles| of_part(channels, tiles)).collect()
    };
    let sums: Vec<Vec<Vec<T>>> = runs.par_iter().map(of_run).collect();
    let mut d_weight = vec![T::zero(); s.k * c * taps.len()];
    d_weight.par_chunks_mut(c * taps.len()).enumerate().for_each(|(channel, to)| {
        let (group, channel) = (channel / k, channel % k);
        let (run, channel) = (channel / of_task, channel % of_task);
        let parts = &sums[run];
        for tap in 0..taps.len() {
            let at = (group * taps.len() + tap) * runs[run].len() + channel;
            let at = at * row_of_sums(c);
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
    /// The outputs' channels within their group.
    channels: Range<usize>,
    /// The window, its channels rounded up to a row of sums.
    laid_out: &'a mut [T],
    /// `[groups, taps, channels, row of sums]`.
    sums: &'a mut [T],
}

impl<T: Real> WithSimd for Part<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { s, x, grad, window, taps, tile, channels, laid_out, sums } = self;
        let (plane, out_plane, groups) = (s.h * s.w, s.oh * s.ow, s.config.groups);
        let (c, k) = (s.c / groups, s.k / groups);
        let of_row = row_of_sums(c);
        let first = (tile.row * s.config.stride).cast_signed() - s.config.padding.cast_signed();
        let places = (0..tile.rows).flat_map(|i| (0..s.ow).map(move |j| i * window.columns + j));
        let places: Vec<usize> = places.collect();
        let mut offsets = vec![0; places.len()];
        let of_tap = channels.len() * of_row;
        for (group, sums) in sums.chunks_exact_mut(taps.len() * of_tap).enumerate() {
            let planes = &x[(tile.image * s.c + group * c) * plane..][..c * plane];
            window.lay_out(planes, first, laid_out);
            let b = turned(laid_out, (of_row, window.of_channel()), window.of_channel());
            let channel = tile.image * s.k + group * k + channels.start;
            let a = &grad[channel * out_plane + tile.row * s.ow..];
            for (tap, c_sums) in taps.iter().zip(sums.chunks_exact_mut(of_tap)) {
                let at = places.iter().map(|place| (tap + place) * of_row);
                offsets.iter_mut().zip(at).for_each(|(to, at)| *to = at);
                let (a_stride, start) = (out_plane, Start::Kept);
                let (offsets, b) = (&offsets[..], &b[..]);
                Sums { a, a_stride, start, offsets, b, columns: c, c: c_sums }.run(simd);
            }
        }
    }
}
