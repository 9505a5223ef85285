//! Dense and grouped convolution: im2col by tiles, straight into matrix products.
//!
//! How the work is cut depends on the shape alone, never on the number of threads.

use rayon::prelude::*;

use super::Sizes;
use super::shared::Shared;
use crate::strided::{gather, scatter};
use crate::{MatMut, MatRef, Real, inlined, matmul, simd, unwritten};

/// Outputs a tile aims at: large enough for the product, small enough for the cache.
const TILE: usize = 512;

/// Partial sums of the weight gradient.
const PARTS: usize = 8;

/// A block of whole output rows of one image.
#[derive(Clone, Copy)]
struct Tile {
    image: usize,
    row: usize,
    rows: usize,
}

impl Sizes {
    fn tiles(&self) -> Vec<Tile> {
        let rows = (TILE / self.ow).clamp(1, self.oh);
        let of_image = |image| {
            let starts = (0..self.oh).step_by(rows);
            starts.map(move |row| Tile { image, row, rows: rows.min(self.oh - row) })
        };
        (0..self.n).flat_map(of_image).collect()
    }

    /// True where the unfolded input is the input itself.
    fn is_pointwise(&self) -> bool {
        let config = &self.config;
        let same_plane = (self.h, self.w) == (self.oh, self.ow);
        // Rows that the stride skips, or a transposed convolution adds, make the planes differ.
        self.kh * self.kw == 1 && config.stride == 1 && config.padding == 0 && same_plane
    }

    /// Channels of input and output in one group, and taps of one output.
    fn of_group(&self) -> (usize, usize, usize) {
        let (c, k) = (self.c / self.config.groups, self.k / self.config.groups);
        (c, k, c * self.kh * self.kw)
    }

    /// Unfolds what the outputs of `tile` see of `channels` of one image: `[taps, rows·ow]`.
    #[inline(always)]
    fn unfold<T: Real>(
        &self,
        image: &[T],
        channels: std::ops::Range<usize>,
        tile: Tile,
        to: &mut [T],
    ) {
        let width = tile.rows * self.ow;
        let mut lines = to.chunks_exact_mut(width);
        for channel in channels {
            let plane = &image[channel * self.h * self.w..][..self.h * self.w];
            for p in 0..self.kh {
                let rows = self.reach(p, self.h, self.oh);
                for q in 0..self.kw {
                    let columns = self.reach(q, self.w, self.ow);
                    let Some(line) = lines.next() else { return };
                    for (i, to) in line.chunks_exact_mut(self.ow).enumerate() {
                        let row = tile.row + i;
                        if !rows.contains(&row) || columns.is_empty() {
                            to.fill(T::zero());
                            continue;
                        }
                        let from = &plane[self.input_row(row, p) * self.w..][..self.w];
                        to[..columns.start].fill(T::zero());
                        to[columns.end..].fill(T::zero());
                        let first = self.input_column(columns.start, q);
                        let to = &mut to[columns.clone()];
                        gather(to, &from[first..], self.config.stride);
                    }
                }
            }
        }
    }

    /// The inverse of [`Self::unfold`]: adds every tap to the input it came from.
    #[inline(always)]
    fn fold<T: Real>(&self, from: &[T], tile: Tile, planes: &mut [T]) {
        let width = tile.rows * self.ow;
        let mut lines = from.chunks_exact(width);
        for plane in planes.chunks_exact_mut(self.h * self.w) {
            for p in 0..self.kh {
                let rows = self.reach(p, self.h, self.oh);
                for q in 0..self.kw {
                    let columns = self.reach(q, self.w, self.ow);
                    let Some(line) = lines.next() else { return };
                    for (i, from) in line.chunks_exact(self.ow).enumerate() {
                        let row = tile.row + i;
                        if !rows.contains(&row) || columns.is_empty() {
                            continue;
                        }
                        let to = &mut plane[self.input_row(row, p) * self.w..][..self.w];
                        let to = &mut to[self.input_column(columns.start, q)..];
                        let from = &from[columns.clone()];
                        scatter(
                            to,
                            from,
                            self.config.stride,
                            #[inline(always)]
                            |sum, x| sum + x,
                        );
                    }
                }
            }
        }
    }

    fn input_row(&self, row: usize, p: usize) -> usize {
        row * self.config.stride + p * self.config.dilation - self.config.padding
    }

    fn input_column(&self, column: usize, q: usize) -> usize {
        column * self.config.stride + q * self.config.dilation - self.config.padding
    }
}

pub(super) fn forward<T: Real>(s: &Sizes, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let plane = s.oh * s.ow;
    let (_, k, taps) = s.of_group();
    let c = s.c / s.config.groups;
    // SAFETY: the tiles cover all rows of all planes.
    #[allow(unsafe_code, reason = "results are not zeroed first")]
    let mut y = unsafe { unwritten(s.n * s.k * plane) };
    let shared = Shared::new(&mut y);
    let gate = s.config.activation.gate::<T>();
    let run = inlined(
        #[inline(always)]
        |(unfolded, product): &mut (Vec<T>, Vec<T>), tile: Tile| {
            let image = &x[tile.image * s.c * s.h * s.w..][..s.c * s.h * s.w];
            let (width, start) = (tile.rows * s.ow, tile.row * s.ow);
            product.resize(k * width, T::zero());
            for group in 0..s.config.groups {
                let right = if s.is_pointwise() {
                    MatRef::new(&image[group * c * plane + start..], c, width, plane, 1)
                } else {
                    unfolded.resize(taps * width, T::zero());
                    s.unfold(image, group * c..(group + 1) * c, tile, unfolded);
                    MatRef::new(unfolded, taps, width, width, 1)
                };
                let left = MatRef::new(&weight[group * k * taps..], k, taps, taps, 1);
                matmul(MatMut::new(product, k, width, width, 1), T::zero(), left, right);
                for (channel, from) in product[..k * width].chunks_exact(width).enumerate() {
                    let channel = group * k + channel;
                    let at = (tile.image * s.k + channel) * plane + start;
                    // SAFETY: tiles are disjoint blocks of rows, and each is run once.
                    #[allow(unsafe_code, reason = "tiles of one output are written side by side")]
                    let to = unsafe { shared.slice(at, width) };
                    for (to, &from) in to.iter_mut().zip(from) {
                        *to = gate.apply(from + bias[channel]);
                    }
                }
            }
        },
    );
    s.tiles().into_par_iter().for_each_init(Default::default, |unfolded, tile| {
        simd(
            #[inline(always)]
            || run(unfolded, tile),
        );
    });
    y
}

pub(super) fn backward_input<T: Real>(s: &Sizes, weight: &[T], grad: &[T]) -> Vec<T> {
    let (c, k, taps) = s.of_group();
    let (plane, out_plane) = (s.h * s.w, s.oh * s.ow);
    // Blocks of input channels of one image: their gradients are disjoint.
    let block = c.div_ceil(4);
    // SAFETY: every block is filled before it is added to, or a product that does not read it.
    #[allow(unsafe_code, reason = "results are not zeroed first")]
    let mut d_x = unsafe { unwritten(s.n * s.c * plane) };
    let of_channel = s.kh * s.kw;
    let run = inlined(
        #[inline(always)]
        |unfolded: &mut Vec<T>, image: usize, first: usize, planes: &mut [T]| {
            let group = first / c;
            let channels = planes.len() / plane;
            let grad = &grad[(image * s.k + group * k) * out_plane..];
            let rows = channels * of_channel;
            // The columns of the weight that belong to these channels, transposed.
            let left_at = group * k * taps + (first - group * c) * of_channel;
            let left = MatRef::new(&weight[left_at..], rows, k, 1, taps);
            if s.is_pointwise() {
                let right = MatRef::new(grad, k, out_plane, out_plane, 1);
                matmul(MatMut::new(planes, rows, out_plane, out_plane, 1), T::zero(), left, right);
                return;
            }
            planes.fill(T::zero());
            for tile in s.tiles().into_iter().filter(|tile| tile.image == 0) {
                let (width, start) = (tile.rows * s.ow, tile.row * s.ow);
                unfolded.resize(rows * width, T::zero());
                let right = MatRef::new(&grad[start..], k, width, out_plane, 1);
                matmul(MatMut::new(unfolded, rows, width, width, 1), T::zero(), left, right);
                s.fold(&unfolded[..rows * width], tile, planes);
            }
        },
    );
    d_x.par_chunks_mut(c * plane).enumerate().for_each(|(at, of_group)| {
        let (image, group) = (at / s.config.groups, at % s.config.groups);
        of_group.par_chunks_mut(block * plane).enumerate().for_each_init(
            Vec::new,
            |unfolded, (nth, planes)| {
                simd(
                    #[inline(always)]
                    || run(unfolded, image, group * c + nth * block, planes),
                );
            },
        );
    });
    d_x
}

pub(super) fn backward_weight<T: Real>(s: &Sizes, x: &[T], grad: &[T]) -> Vec<T> {
    let (c, k, taps) = s.of_group();
    let out_plane = s.oh * s.ow;
    let tiles = s.tiles();
    let run = inlined(
        #[inline(always)]
        |tiles: &[Tile]| {
            let mut sum = vec![T::zero(); s.k * taps];
            let mut unfolded = Vec::new();
            for &tile in tiles {
                let image = &x[tile.image * s.c * s.h * s.w..][..s.c * s.h * s.w];
                let (width, start) = (tile.rows * s.ow, tile.row * s.ow);
                for group in 0..s.config.groups {
                    let right = if s.is_pointwise() {
                        MatRef::new(&image[group * c * out_plane + start..], width, c, 1, out_plane)
                    } else {
                        unfolded.resize(taps * width, T::zero());
                        s.unfold(image, group * c..(group + 1) * c, tile, &mut unfolded);
                        MatRef::new(&unfolded, width, taps, 1, width)
                    };
                    let from = (tile.image * s.k + group * k) * out_plane + start;
                    let left = MatRef::new(&grad[from..], k, width, out_plane, 1);
                    let to = &mut sum[group * k * taps..][..k * taps];
                    matmul(MatMut::new(to, k, taps, taps, 1), T::one(), left, right);
                }
            }
            sum
        },
    );
    let parts: Vec<Vec<T>> = tiles
        .par_chunks(tiles.len().div_ceil(PARTS))
        .map(|tiles| {
            simd(
                #[inline(always)]
                || run(tiles),
            )
        })
        .collect();
    // In a fixed order: the bits must not depend on the number of threads.
    let mut parts = parts.into_iter();
    let mut sum = parts.next().unwrap_or_default();
    for part in parts {
        sum.iter_mut().zip(part).for_each(|(sum, x)| *sum = *sum + x);
    }
    sum
}
