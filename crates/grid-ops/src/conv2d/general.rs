//! Convolution by 1×1 as matrix products on the image, and the weight gradient where few channels go
//! in: im2col by tiles, straight into matrix products.
//!
//! How the work is cut depends on the shape alone, never on the number of threads.

use rayon::prelude::*;

use super::Sizes;
use super::shared::Shared;
use crate::strided::gather;
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
    pub(super) fn is_pointwise(&self) -> bool {
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

    fn input_row(&self, row: usize, p: usize) -> usize {
        row * self.config.stride + p * self.config.dilation - self.config.padding
    }

    fn input_column(&self, column: usize, q: usize) -> usize {
        column * self.config.stride + q * self.config.dilation - self.config.padding
    }
}

/// Of a convolution that [is pointwise](Sizes::is_pointwise).
pub(super) fn forward<T: Real>(s: &Sizes, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let plane = s.oh * s.ow;
    let (c, k, _) = s.of_group();
    // SAFETY: the tiles cover all rows of all planes.
    #[allow(unsafe_code, reason = "results are not zeroed first")]
    let mut y = unsafe { unwritten(s.n * s.k * plane) };
    let shared = Shared::new(&mut y);
    let gate = s.config.activation.gate::<T>();
    let run = inlined(
        #[inline(always)]
        |product: &mut Vec<T>, tile: Tile| {
            let image = &x[tile.image * s.c * plane..][..s.c * plane];
            let (width, start) = (tile.rows * s.ow, tile.row * s.ow);
            product.resize(k * width, T::zero());
            for group in 0..s.config.groups {
                let right = MatRef::new(&image[group * c * plane + start..], c, width, plane, 1);
                let left = MatRef::new(&weight[group * k * c..], k, c, c, 1);
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
    s.tiles().into_par_iter().for_each_init(Vec::new, |product, tile| {
        simd(
            #[inline(always)]
            || run(product, tile),
        );
    });
    y
}

/// Of a convolution that [is pointwise](Sizes::is_pointwise).
pub(super) fn backward_input<T: Real>(s: &Sizes, weight: &[T], grad: &[T]) -> Vec<T> {
    let (c, k, _) = s.of_group();
    let plane = s.h * s.w;
    // Blocks of input channels of one image: their gradients are disjoint.
    let block = c.div_ceil(4);
    // SAFETY: products that do not read what they write cover every block.
    #[allow(unsafe_code, reason = "results are not zeroed first")]
    let mut d_x = unsafe { unwritten(s.n * s.c * plane) };
    d_x.par_chunks_mut(c * plane).enumerate().for_each(|(at, of_group)| {
        let (image, group) = (at / s.config.groups, at % s.config.groups);
        of_group.par_chunks_mut(block * plane).enumerate().for_each(|(nth, planes)| {
            let rows = planes.len() / plane;
            // The columns of the weight that belong to these channels, transposed.
            let left = MatRef::new(&weight[group * k * c + nth * block..], rows, k, 1, c);
            let grad = &grad[(image * s.k + group * k) * plane..];
            let right = MatRef::new(grad, k, plane, plane, 1);
            matmul(MatMut::new(planes, rows, plane, plane, 1), T::zero(), left, right);
        });
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
