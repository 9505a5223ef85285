//! Depthwise convolution: one kernel a channel, without unfolding.
//!
//! A plane's rows are first laid out with their padding, columns a stride apart side by side
//! ([`Padded`]). Every tap of every output of a row then reads a contiguous run, and a few outputs
//! are summed over all taps in registers.

use rayon::prelude::*;

use super::Sizes;
use crate::{Real, inlined, simd};

/// Outputs summed side by side.
const LANES: usize = 16;

/// Taps whose weight gradients are summed at once.
const TAPS: usize = 9;

/// How the rows of a plane are laid out.
#[derive(Clone, Copy)]
struct Padded {
    /// Rows and columns of the plane, rows and columns before it (cropped if negative).
    from: (usize, usize),
    before: (isize, isize),
    /// Rows of the layout, columns of each phase.
    rows: usize,
    columns: usize,
    /// Columns `phase, phase + stride, …` lie side by side.
    stride: usize,
}

impl Padded {
    /// Elements of the layout.
    fn len(&self) -> usize {
        self.rows * self.stride * self.columns
    }

    /// Where the run of row `row` begins whose first column is `column`.
    #[inline(always)]
    fn at(&self, row: usize, column: usize) -> usize {
        (row * self.stride + column % self.stride) * self.columns + column / self.stride
    }

    /// Lays `plane` out; `to` holds zeros wherever no plane of this size writes.
    #[inline(always)]
    fn lay_out<T: Real>(&self, plane: &[T], to: &mut [T]) {
        let (h, w) = self.from;
        let (above, left) = self.before;
        for row in 0..self.rows {
            let source = row as isize - above;
            if !(0..h as isize).contains(&source) {
                continue;
            }
            let from = &plane[source as usize * w..][..w];
            for phase in 0..self.stride {
                let to = &mut to[(row * self.stride + phase) * self.columns..][..self.columns];
                // Column m of the phase is column m·stride + phase - left of the plane.
                let shift = phase as isize - left;
                let first = (-shift).max(0).unsigned_abs().div_ceil(self.stride);
                let start = (first * self.stride).cast_signed() + shift;
                let (Some(to), Some(from)) = (to.get_mut(first..), from.get(start as usize..))
                else {
                    continue;
                };
                match self.stride {
                    1 => {
                        let len = to.len().min(from.len());
                        to[..len].copy_from_slice(&from[..len]);
                    }
                    2 => {
                        let (pairs, rest) = from.as_chunks::<2>();
                        let len = to.len().min(pairs.len());
                        to[..len].iter_mut().zip(pairs).for_each(|(to, pair)| *to = pair[0]);
                        if let (Some(to), Some(&x)) = (to.get_mut(pairs.len()), rest.first()) {
                            *to = x;
                        }
                    }
                    stride => {
                        to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, &x)| *to = x);
                    }
                }
            }
        }
    }
}

/// One tap: its index in the kernel, and where its run begins, from the output's row.
#[derive(Clone, Copy)]
struct Tap {
    index: usize,
    offset: usize,
}

/// `sums[l] = start + Σ weight[tap] · x[tap's run + l]`, one block of lanes.
#[inline(always)]
fn sum_taps<T: Real>(start: T, taps: &[Tap], weight: &[T], x: &[T]) -> [T; LANES] {
    let mut sums = [start; LANES];
    for tap in taps {
        let (weight, x) = (weight[tap.index], &x[tap.offset..][..LANES]);
        for l in 0..LANES {
            sums[l] = weight.mul_add(x[l], sums[l]);
        }
    }
    sums
}

impl Sizes {
    /// The layout in which the convolution reads its input.
    fn padded_input(&self) -> Padded {
        let config = &self.config;
        let reach = |outputs: usize, kernel: usize| {
            (outputs - 1) * config.stride + (kernel - 1) * config.dilation + 1
        };
        let before = config.padding as isize;
        // Whole lanes may be read beyond the last column.
        let columns = reach(self.ow, self.kw).div_ceil(config.stride) + LANES;
        Padded {
            from: (self.h, self.w),
            before: (before, before),
            rows: reach(self.oh, self.kh),
            columns,
            stride: config.stride,
        }
    }

    /// All taps, in the layout of [`Self::padded_input`].
    fn taps(&self, padded: &Padded) -> Vec<Tap> {
        let d = self.config.dilation;
        let taps = (0..self.kh).flat_map(|p| (0..self.kw).map(move |q| (p, q)));
        taps.map(|(p, q)| Tap { index: p * self.kw + q, offset: padded.at(p * d, q * d) }).collect()
    }
}

pub(super) fn forward<T: Real>(s: &Sizes, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let plane = s.h * s.w;
    let mut y = vec![T::zero(); s.n * s.k * s.oh * s.ow];
    let padded = s.padded_input();
    let taps = s.taps(&padded);
    let run = inlined(
        #[inline(always)]
        |laid_out: &mut Vec<T>, at: usize, y: &mut [T]| {
            padded.lay_out(&x[at * plane..][..plane], laid_out);
            let weight = &weight[at % s.k * s.kh * s.kw..][..s.kh * s.kw];
            for (i, to) in y.chunks_exact_mut(s.ow).enumerate() {
                let rows = &laid_out[padded.at(i * s.config.stride, 0)..];
                for (nth, to) in to.chunks_mut(LANES).enumerate() {
                    let mut sums = sum_taps(bias[at % s.k], &taps, weight, &rows[nth * LANES..]);
                    for sum in &mut sums {
                        *sum = s.config.activation.apply(*sum);
                    }
                    to.copy_from_slice(&sums[..to.len()]);
                }
            }
        },
    );
    let planes = y.par_chunks_mut(s.oh * s.ow).enumerate();
    planes.for_each_init(
        || vec![T::zero(); padded.len()],
        |laid_out, (at, y)| {
            simd(
                #[inline(always)]
                || run(laid_out, at, y),
            );
        },
    );
    y
}

pub(super) fn backward_input<T: Real>(s: &Sizes, weight: &[T], grad: &[T]) -> Vec<T> {
    let out_plane = s.oh * s.ow;
    let (stride, d, padding) = (s.config.stride, s.config.dilation, s.config.padding);
    let mut d_x = vec![T::zero(); s.n * s.c * s.h * s.w];
    // Input `i` feeds output `o` through tap `p` where `i + padding = o·stride + p·d`; inputs that
    // are a stride apart use the same taps. With `m = (i + padding) / stride`, the output is
    // `m - p·d / stride`, so the layout has that many outputs before the first.
    let reach = |kernel: usize| ((kernel - 1) * d).div_ceil(stride);
    let (above, left) = (reach(s.kh), reach(s.kw));
    let runs = |size: usize| (size - 1 + padding) / stride + 1;
    let padded = Padded {
        from: (s.oh, s.ow),
        before: (above as isize, left as isize),
        rows: above + runs(s.h),
        columns: left + runs(s.w) + LANES,
        stride: 1,
    };
    // Along one axis: the taps that serve inputs of this phase, and the outputs they stand back.
    let serving = |phase: usize, kernel: usize| {
        (0..kernel).filter_map(move |p| {
            let back = (p * d).checked_sub(phase).map_or(0, |over| over.div_ceil(stride));
            (back * stride + phase == p * d).then_some((p, back))
        })
    };
    let taps_of = |row_phase: usize, column_phase: usize| -> Vec<Tap> {
        let rows = serving(row_phase, s.kh);
        let taps =
            rows.flat_map(|row| serving(column_phase, s.kw).map(move |column| (row, column)));
        let tap = |((p, up), (q, back)): ((usize, usize), (usize, usize))| Tap {
            index: p * s.kw + q,
            offset: padded.at(above - up, left - back),
        };
        taps.map(tap).collect()
    };
    let phases = (0..stride).flat_map(|row| (0..stride).map(move |column| (row, column)));
    let taps: Vec<Vec<Tap>> = phases.map(|(row, column)| taps_of(row, column)).collect();
    let run = inlined(
        #[inline(always)]
        |(laid_out, line): &mut (Vec<T>, Vec<T>), at: usize, d_x: &mut [T]| {
            padded.lay_out(&grad[at * out_plane..][..out_plane], laid_out);
            let weight = &weight[at % s.k * s.kh * s.kw..][..s.kh * s.kw];
            for (i, to) in d_x.chunks_exact_mut(s.w).enumerate() {
                let row = i + padding;
                for column_phase in 0..stride {
                    let taps = &taps[row % stride * stride + column_phase];
                    let rows = &laid_out[padded.at(row / stride, 0)..];
                    for first in (0..runs(s.w)).step_by(LANES) {
                        let sums = sum_taps(T::zero(), taps, weight, &rows[first..]);
                        line[first..][..LANES].copy_from_slice(&sums);
                    }
                    // Run m holds column m·stride + phase - padding.
                    let m = padding.saturating_sub(column_phase).div_ceil(stride);
                    let column = m * stride + column_phase - padding;
                    if column >= s.w {
                        continue;
                    }
                    let (to, from) = (&mut to[column..], &line[m..]);
                    if stride == 1 {
                        to.copy_from_slice(&from[..to.len()]);
                    } else {
                        to.iter_mut().step_by(stride).zip(from).for_each(|(to, &x)| *to = x);
                    }
                }
            }
        },
    );
    let line_len = runs(s.w) + LANES;
    d_x.par_chunks_mut(s.h * s.w).enumerate().for_each_init(
        || (vec![T::zero(); padded.len()], vec![T::zero(); line_len]),
        |buffers, (at, d_x)| {
            simd(
                #[inline(always)]
                || run(buffers, at, d_x),
            );
        },
    );
    d_x
}

pub(super) fn backward_weight<T: Real>(s: &Sizes, x: &[T], grad: &[T]) -> Vec<T> {
    let (plane, out_plane, taps_len) = (s.h * s.w, s.oh * s.ow, s.kh * s.kw);
    let mut d_weight = vec![T::zero(); s.k * taps_len];
    let padded = s.padded_input();
    let taps = s.taps(&padded);
    let run = inlined(
        #[inline(always)]
        |laid_out: &mut Vec<T>, channel: usize, d_weight: &mut [T]| {
            for image in 0..s.n {
                padded.lay_out(&x[(image * s.c + channel) * plane..][..plane], laid_out);
                let grad = &grad[(image * s.k + channel) * out_plane..][..out_plane];
                for (taps, d_weight) in taps.chunks(TAPS).zip(d_weight.chunks_mut(TAPS)) {
                    let sums = tap_sums(s, &padded, taps, laid_out, grad);
                    for (d, sums) in d_weight.iter_mut().zip(sums) {
                        *d = *d + sums.into_iter().fold(T::zero(), |sum, x| sum + x);
                    }
                }
            }
        },
    );
    d_weight.par_chunks_mut(taps_len).enumerate().for_each_init(
        || vec![T::zero(); padded.len()],
        |laid_out, (channel, d_weight)| {
            simd(
                #[inline(always)]
                || run(laid_out, channel, d_weight),
            );
        },
    );
    d_weight
}

/// For each of up to [`TAPS`] taps, `Σ grad · x` over a plane, by lanes.
#[inline(always)]
fn tap_sums<T: Real>(
    s: &Sizes,
    padded: &Padded,
    taps: &[Tap],
    laid_out: &[T],
    grad: &[T],
) -> [[T; LANES]; TAPS] {
    let mut offsets = [0; TAPS];
    offsets.iter_mut().zip(taps).for_each(|(to, tap)| *to = tap.offset);
    let mut sums = [[T::zero(); LANES]; TAPS];
    for (i, grad) in grad.chunks_exact(s.ow).enumerate() {
        let rows = &laid_out[padded.at(i * s.config.stride, 0)..];
        for (nth, grad) in grad.chunks(LANES).enumerate() {
            // Beyond the row's end the gradient is zero.
            let mut lanes = [T::zero(); LANES];
            lanes[..grad.len()].copy_from_slice(grad);
            // Taps there are not all of: the rest repeat the first run, unused.
            for (sums, offset) in sums.iter_mut().zip(offsets) {
                let x = &rows[offset + nth * LANES..][..LANES];
                for l in 0..LANES {
                    sums[l] = lanes[l].mul_add(x[l], sums[l]);
                }
            }
        }
    }
    sums
}
