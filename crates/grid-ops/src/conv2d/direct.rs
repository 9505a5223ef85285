//! Dense and grouped convolution, and its input gradient, without unfolding.
//!
//! The rows that a tile of outputs sees are laid out with their padding, a phase of rows and columns
//! for each step within a stride, so that every tap of every output of the tile reads one contiguous
//! run; a block of channels and outputs is then summed over taps and channels in registers. The
//! input gradient is such a convolution for each phase of the inputs, by the taps that reach it.
//!
//! How the work is cut depends on the shape alone, never on the number of threads.

mod sums;
mod weight;
mod window;

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use sums::{Sums, row_of_sums};
pub(super) use weight::backward_weight;
use window::Window;

use super::{Sizes, channels_of_task, runs};
use crate::shared::Shared;
use crate::strided::scatter;
use crate::{Real, Start, unwritten};

/// A tile and the channels of its outputs, within a group, that one task works on.
type Task = (Tile, Range<usize>);

/// All of `tiles` with all of `channels`, in tasks.
fn tasks(tiles: Vec<Tile>, channels: usize) -> Vec<Task> {
    let runs = runs(channels, channels_of_task(channels, tiles.len()));
    let of_tile = |tile| runs.clone().map(move |channels| (tile, channels));
    tiles.into_iter().flat_map(of_tile).collect()
}

/// Outputs of one channel that a tile aims at.
const TILE: usize = 512;

/// Channels of a group from which on a row of [`backward_weight`]'s sums is filled well enough.
pub(super) const FEWEST_CHANNELS: usize = 32;

/// Rows of one image; which, depends on the pass.
#[derive(Clone, Copy)]
struct Tile {
    image: usize,
    row: usize,
    rows: usize,
}

/// Tiles of `width × rows` in each of `images`.
fn tiles(images: usize, rows: usize, width: usize) -> Vec<Tile> {
    let most = (TILE / width).clamp(1, rows);
    // Tiles of about the same size.
    let of_tile = rows.div_ceil(rows.div_ceil(most));
    let of_image = |image| {
        let starts = (0..rows).step_by(of_tile);
        starts.map(move |row| Tile { image, row, rows: of_tile.min(rows - row) })
    };
    (0..images).flat_map(of_image).collect()
}

/// Tiles of outputs, and the window of inputs that one sees.
fn cut(s: &Sizes) -> (Vec<Tile>, Window) {
    let (stride, d) = (s.config.stride, s.config.dilation);
    let reach = |outputs: usize, kernel: usize| outputs + (kernel - 1) * d / stride;
    let columns = reach(s.ow, s.kw);
    let tiles = tiles(s.n, s.oh, columns);
    let rows = reach(tiles.iter().map(|tile| tile.rows).max().unwrap_or(0), s.kh);
    let left = s.config.padding.cast_signed();
    (tiles, Window { from: (s.h, s.w), stride, rows, columns, left })
}

/// Where the runs of all taps begin in a channel of the window.
fn taps(s: &Sizes, window: &Window) -> Vec<usize> {
    let d = s.config.dilation;
    (0..s.kh).flat_map(|p| (0..s.kw).map(move |q| window.at(p * d, q * d))).collect()
}

/// What a thread uses anew for every tile.
struct Buffers<T> {
    laid_out: Vec<T>,
    sums: Vec<T>,
}

impl<T: Real> Buffers<T> {
    fn new(laid_out: usize, sums: usize) -> Self {
        let zeros = |len| vec![T::zero(); len];
        Self { laid_out: zeros(laid_out), sums: zeros(sums) }
    }
}

pub(super) fn forward<T: Real>(s: &Sizes, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    // SAFETY: the tiles cover all rows of all planes.
    #[allow(unsafe_code, reason = "results are not zeroed first")]
    let mut y = unsafe { unwritten(s.n * s.k * s.oh * s.ow) };
    let (tiles, window) = cut(s);
    let (c, taps) = (s.c / s.config.groups, taps(s, &window));
    let of_channel = |channel| taps.iter().map(move |tap| channel * window.of_channel() + tap);
    let offsets: Vec<usize> = (0..c).flat_map(of_channel).collect();
    let pass = Forward { s, x, weight, bias, window, offsets: &offsets, y: Shared::new(&mut y) };
    tasks(tiles, s.k / s.config.groups).into_par_iter().for_each_init(
        || pass.buffers(),
        |buffers, task| pulp::Arch::new().dispatch(ForwardTile { pass, task, buffers }),
    );
    y
}

#[derive(Clone, Copy)]
struct Forward<'a, T> {
    s: &'a Sizes,
    x: &'a [T],
    weight: &'a [T],
    bias: &'a [T],
    window: Window,
    offsets: &'a [usize],
    y: Shared<'a, T>,
}

impl<T: Real> Forward<'_, T> {
    fn buffers(&self) -> Buffers<T> {
        let (Window { rows, columns, .. }, groups) = (self.window, self.s.config.groups);
        let laid_out = self.s.c / groups * self.window.of_channel() + row_of_sums(rows * columns);
        Buffers::new(laid_out, self.s.k / groups * row_of_sums(rows * columns))
    }
}

struct ForwardTile<'a, 'b, T> {
    pass: Forward<'a, T>,
    task: Task,
    buffers: &'b mut Buffers<T>,
}

impl<T: Real> WithSimd for ForwardTile<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { pass, task: (tile, channels), buffers } = self;
        let Forward { s, x, weight, bias, window, offsets, y } = pass;
        let (plane, groups) = (s.h * s.w, s.config.groups);
        let (c, k) = (s.c / groups, s.k / groups);
        let gate = s.config.activation.gate::<T>();
        let first = (tile.row * s.config.stride) as isize - s.config.padding as isize;
        let columns = (tile.rows - 1) * window.columns + s.ow;
        let of_row = row_of_sums(columns);
        let sums = &mut buffers.sums[..channels.len() * of_row];
        for group in 0..groups {
            let first_channel = group * k + channels.start;
            let planes = &x[(tile.image * s.c + group * c) * plane..][..c * plane];
            window.lay_out(planes, first, &mut buffers.laid_out);
            let a = &weight[first_channel * offsets.len()..];
            let (a_stride, start) = (offsets.len(), Start::Zero);
            let b = &buffers.laid_out;
            Sums { a, a_stride, start, offsets, b, columns, c: sums }.run(simd);
            for (channel, sums) in sums.chunks_exact(of_row).enumerate() {
                let channel = first_channel + channel;
                let at = (tile.image * s.k + channel) * s.oh * s.ow + tile.row * s.ow;
                // SAFETY: tiles are disjoint blocks of rows, runs are disjoint channels, and each
                // pair is run once.
                #[allow(unsafe_code, reason = "tiles of one output are written side by side")]
                let to = unsafe { y.slice(at, tile.rows * s.ow) };
                for (to, sums) in to.chunks_exact_mut(s.ow).zip(sums.chunks(window.columns)) {
                    let bias = bias[channel];
                    to.iter_mut().zip(sums).for_each(|(to, &sum)| *to = gate.apply(sum + bias));
                }
            }
        }
    }
}

/// The taps that reach inputs of one phase, and the factors of all channels.
struct Phase<T> {
    row: usize,
    column: usize,
    offsets: Vec<usize>,
    /// Of each group: `[c, k · taps]`.
    factors: Vec<T>,
}

pub(super) fn backward_input<T: Real>(s: &Sizes, weight: &[T], grad: &[T]) -> Vec<T> {
    // SAFETY: the tiles cover all rows of all planes, and the phases all columns.
    #[allow(unsafe_code, reason = "results are not zeroed first")]
    let mut d_x = unsafe { unwritten(s.n * s.c * s.h * s.w) };
    let (stride, d, padding) = (s.config.stride, s.config.dilation, s.config.padding);
    // Input `i` is fed by output `o` through tap `p` where `i + padding = o·stride + p·d`. With
    // `m = (i + padding) / stride` the output is `m - p·d / stride`: inputs of one phase are a
    // convolution of stride 1 over the outputs, with as many outputs before the first as reach.
    let reach = |kernel: usize| (kernel - 1) * d / stride;
    let runs = |size: usize| (size - 1 + padding) / stride + 1;
    let (above, left) = (reach(s.kh), reach(s.kw));
    let columns = runs(s.w) + left;
    let begin = padding / stride;
    let tiles = tiles(s.n, runs(s.h) - begin, columns);
    let rows = above + tiles.iter().map(|tile| tile.rows).max().unwrap_or(0);
    let window = Window { from: (s.oh, s.ow), stride: 1, rows, columns, left: left.cast_signed() };
    let (c, k) = (s.c / s.config.groups, s.k / s.config.groups);
    let serving = |phase: usize, kernel: usize| {
        (0..kernel).filter(move |p| p * d % stride == phase).map(move |p| (p, p * d / stride))
    };
    let phase = |(row, column): (usize, usize)| {
        let taps = serving(row, s.kh).flat_map(|p| serving(column, s.kw).map(move |q| (p, q)));
        let taps: Vec<_> = taps.collect();
        let place = |k| {
            let at = move |((_, up), (_, back))| window.at(above - up, left - back);
            taps.iter().map(move |&tap| k * window.of_channel() + at(tap))
        };
        let offsets: Vec<usize> = (0..k).flat_map(place).collect();
        let mut factors = vec![T::zero(); s.c * offsets.len()];
        // Of a phase that no tap reaches there are none.
        let of_channel = factors.par_chunks_mut(offsets.len().max(1));
        of_channel.enumerate().for_each(|(at, to)| {
            let (group, at) = (at / c, at % c);
            for (of_k, to) in to.chunks_exact_mut(taps.len()).enumerate() {
                let kernel = &weight[((group * k + of_k) * c + at) * s.kh * s.kw..];
                for (to, ((p, _), (q, _))) in to.iter_mut().zip(&taps) {
                    *to = kernel[p * s.kw + q];
                }
            }
        });
        Phase { row, column, offsets, factors }
    };
    let phases = (0..stride).flat_map(|row| (0..stride).map(move |column| (row, column)));
    let phases: Vec<Phase<T>> = phases.map(phase).collect();
    let pass =
        Backward { s, grad, window, above, begin, phases: &phases, d_x: Shared::new(&mut d_x) };
    tasks(tiles, c).into_par_iter().for_each_init(
        || pass.buffers(),
        |buffers, task| pulp::Arch::new().dispatch(BackwardTile { pass, task, buffers }),
    );
    d_x
}

#[derive(Clone, Copy)]
struct Backward<'a, T> {
    s: &'a Sizes,
    grad: &'a [T],
    window: Window,
    /// Outputs above the first of a window.
    above: usize,
    /// The first `m` of an input that exists.
    begin: usize,
    phases: &'a [Phase<T>],
    d_x: Shared<'a, T>,
}

impl<T: Real> Backward<'_, T> {
    fn buffers(&self) -> Buffers<T> {
        let (Window { rows, columns, .. }, groups) = (self.window, self.s.config.groups);
        let laid_out = self.s.k / groups * self.window.of_channel() + row_of_sums(rows * columns);
        Buffers::new(laid_out, self.s.c / groups * row_of_sums(rows * columns))
    }
}

struct BackwardTile<'a, 'b, T> {
    pass: Backward<'a, T>,
    task: Task,
    buffers: &'b mut Buffers<T>,
}

impl<T: Real> WithSimd for BackwardTile<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { pass, task: (tile, channels), buffers } = self;
        let Backward { s, grad, window, above, begin, phases, d_x } = pass;
        let (plane, groups) = (s.oh * s.ow, s.config.groups);
        let (c, k) = (s.c / groups, s.k / groups);
        let (stride, padding) = (s.config.stride, s.config.padding);
        let top = begin + tile.row;
        let first = top.cast_signed() - above.cast_signed();
        let columns = tile.rows * window.columns;
        let of_row = row_of_sums(columns);
        let sums = &mut buffers.sums[..channels.len() * of_row];
        for group in 0..groups {
            let first_channel = group * c + channels.start;
            let planes = &grad[(tile.image * s.k + group * k) * plane..][..k * plane];
            window.lay_out(planes, first, &mut buffers.laid_out);
            for Phase { row, column, offsets, factors } in phases {
                let a = &factors[first_channel * offsets.len()..];
                let (a_stride, start) = (offsets.len(), Start::Zero);
                let b = &buffers.laid_out;
                Sums { a, a_stride, start, offsets, b, columns, c: sums }.run(simd);
                // Run m holds column m·stride + phase - padding.
                let m = padding.saturating_sub(*column).div_ceil(stride);
                let start = m * stride + column - padding;
                for (channel, sums) in sums.chunks_exact(of_row).enumerate() {
                    let at = (tile.image * s.c + first_channel + channel) * s.h;
                    for (nth, sums) in sums.chunks(window.columns).take(tile.rows).enumerate() {
                        let i = ((top + nth) * stride + row).checked_sub(padding);
                        let Some(i) = i.filter(|&i| i < s.h) else { continue };
                        // SAFETY: tiles hold rows of their own, runs channels of their own, and
                        // each pair is run once.
                        #[allow(
                            unsafe_code,
                            reason = "rows of one result are written side by side"
                        )]
                        let to = unsafe { d_x.slice((at + i) * s.w, s.w) };
                        let (Some(to), Some(from)) = (to.get_mut(start..), sums.get(m..)) else {
                            continue;
                        };
                        scatter(
                            to,
                            from,
                            stride,
                            #[inline(always)]
                            |_, x| x,
                        );
                    }
                }
            }
        }
    }
}
