//! Convolution by 1×1 as matrix products on the image, and the weight gradient where few channels go
//! in: im2col by tiles, straight into matrix products.
//!
//! How the work is cut depends on the shape alone, never on the number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::products::multiply;
use super::{Sizes, channels_of_task, runs};
use crate::shared::Shared;
use crate::strided::gather;
use crate::{MatMut, MatRef, Real, inlined, matmul, simd, unwritten};

/// Outputs a tile aims at: large enough for the product, small enough for the cache.
const TILE: usize = 512;

/// Partial sums of the weight gradient.
const PARTS: usize = 8;

/// Channels on either side up to which a matrix is not read often enough to be worth packing: on two
/// cores of an AMD EPYC SqueezeNet's features of one image take 2 to 3 % less time so.
const FEW_CHANNELS: usize = 64;

/// Tiles below which the weight gradient is cut by channels instead: each of its partial sums would
/// be of few products.
const FEW_TILES: usize = 2 * PARTS;

/// A block of whole output rows of one image.
#[derive(Clone, Copy)]
struct Tile {
    image: usize,
    row: usize,
    rows: usize,
}

impl Sizes {
    fn tiles(&self) -> Vec<Tile> {
        let most = (TILE / self.ow).clamp(1, self.oh);
        // Tiles of about the same size.
        let rows = self.oh.div_ceil(self.oh.div_ceil(most));
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
    fn unfold<T: Real>(&self, image: &[T], channels: Range<usize>, tile: Tile, to: &mut [T]) {
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
        |product: &mut Vec<T>, tile: Tile, channels: Range<usize>| {
            let image = &x[tile.image * s.c * plane..][..s.c * plane];
            let (width, start) = (tile.rows * s.ow, tile.row * s.ow);
            let rows = channels.len();
            product.resize(rows * width, T::zero());
            for group in 0..s.config.groups {
                let first = group * k + channels.start;
                let (x, weight) = (&image[group * c * plane + start..], &weight[first * c..]);
                if rows.min(c) <= FEW_CHANNELS {
                    multiply((rows, c, width), (weight, c), (x, plane), (product, width));
                } else {
                    let left = MatRef::new(weight, rows, c, c, 1);
                    let right = MatRef::new(x, c, width, plane, 1);
                    matmul(MatMut::new(product, rows, width, width, 1), T::zero(), left, right);
                }
                for (channel, from) in product[..rows * width].chunks_exact(width).enumerate() {
                    let channel = first + channel;
                    let at = (tile.image * s.k + channel) * plane + start;
                    // SAFETY: tiles are disjoint blocks of rows, runs are disjoint channels, and
                    // each pair is run once.
                    #[allow(unsafe_code, reason = "tiles of one output are written side by side")]
                    let to = unsafe { shared.slice(at, width) };
                    for (to, &from) in to.iter_mut().zip(from) {
                        *to = gate.apply(from + bias[channel]);
                    }
                }
            }
        },
    );
    let tiles = s.tiles();
    let channels = runs(k, channels_of_task(k, tiles.len()));
    let of_tile = |tile| channels.clone().map(move |channels| (tile, channels));
    let tasks: Vec<(Tile, Range<usize>)> = tiles.into_iter().flat_map(of_tile).collect();
    tasks.into_par_iter().for_each_init(Vec::new, |product, (tile, channels)| {
        simd(
            #[inline(always)]
            || run(product, tile, channels.clone()),
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
    if s.is_pointwise() && tiles.len() < FEW_TILES {
        return weight_by_channels(s, x, grad);
    }
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

/// Of a convolution that [is pointwise](Sizes::is_pointwise): each task sums over all images what
/// belongs to some of the input's channels, which the product turns.
fn weight_by_channels<T: Real>(s: &Sizes, x: &[T], grad: &[T]) -> Vec<T> {
    let (c, k, _) = s.of_group();
    let plane = s.oh * s.ow;
    let of_run = |(group, channels): (usize, Range<usize>)| {
        let width = channels.len();
        let mut sum = vec![T::zero(); k * width];
        for image in 0..s.n {
            let grad = &grad[(image * s.k + group * k) * plane..];
            let left = MatRef::new(grad, k, plane, plane, 1);
            let x = &x[(image * s.c + group * c + channels.start) * plane..];
            let right = MatRef::new(x, plane, width, 1, plane);
            let scale = if image == 0 { T::zero() } else { T::one() };
            matmul(MatMut::new(&mut sum, k, width, width, 1), scale, left, right);
        }
        sum
    };
    let runs = runs(c, channels_of_task(c, s.config.groups));
    let of_group = |group| runs.clone().map(move |channels| (group, channels));
    let tasks: Vec<_> = (0..s.config.groups).flat_map(of_group).collect();
    let sums: Vec<Vec<T>> = tasks.into_par_iter().map(of_run).collect();
    let of_group = sums.len() / s.config.groups;
    let mut d_weight = vec![T::zero(); s.k * c];
    d_weight.par_chunks_mut(c).enumerate().for_each(|(row, to)| {
        let (group, row) = (row / k, row % k);
        let sums = &sums[group * of_group..][..of_group];
        for (sum, channels) in sums.iter().zip(runs.clone()) {
            let width = channels.len();
            to[channels].copy_from_slice(&sum[row * width..][..width]);
        }
    });
    d_weight
}
