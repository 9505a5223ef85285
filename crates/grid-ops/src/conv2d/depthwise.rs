//! Depthwise convolution: one kernel a channel, without unfolding.
//!
//! A plane's rows are first laid out with their padding, columns a stride apart side by side
//! ([`Padded`]). Every tap of every output of a row then reads a contiguous run, and a few outputs
//! are summed over all taps in registers. Kernels of 3×3 are walked down columns instead, and have
//! both gradients from one reading.

mod ahead;
mod gradients;
mod three;

pub(super) use gradients::gradients;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use three::Walk;

use super::{Activation, Sizes};
use crate::padded::Padded;
use crate::strided::scatter;
use crate::{Real, unwritten};

/// Columns beyond the last that may be read: two of the widest vectors.
const SLACK: usize = 32;

/// Taps whose weight gradients are summed at once.
const TAPS: usize = 9;

/// One tap: its index in the kernel, and where its run begins, from the output's row.
#[derive(Clone, Copy)]
struct Tap {
    index: usize,
    offset: usize,
}

/// One row of outputs: `to[j] = start + Σ weight[tap] · x[tap's run + j]`, whole vectors at a time;
/// there is room for them in `to`, and as much to read.
struct SumTaps<'a, T> {
    start: T,
    taps: &'a [Tap],
    weight: &'a [T],
    x: &'a [T],
    to: &'a mut [T],
}

impl<T: Real> SumTaps<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = T::lanes::<S>();
        for first in (0..self.to.len()).step_by(2 * lanes) {
            let mut sums = [T::splat(simd, self.start); 2];
            for tap in self.taps {
                let weight = T::splat(simd, self.weight[tap.index]);
                let x = &self.x[tap.offset + first..][..2 * lanes];
                sums[0] = T::fused(simd, weight, T::load(simd, x), sums[0]);
                sums[1] = T::fused(simd, weight, T::load(simd, &x[lanes..]), sums[1]);
            }
            let to = &mut self.to[first..];
            T::store(simd, to, sums[0]);
            if to.len() > lanes {
                T::store(simd, &mut to[lanes..], sums[1]);
            }
        }
    }
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
        let columns = reach(self.ow, self.kw).div_ceil(config.stride) + SLACK;
        Padded {
            from: (self.h, self.w),
            before: (before, before),
            rows: reach(self.oh, self.kh),
            columns,
            stride: config.stride,
        }
    }

    /// True for kernels of 3×3 for which [`gradients`] and a [`Walk`] are written.
    pub(super) fn is_three(&self) -> bool {
        let of_kernel = (self.kh, self.kw) == (3, 3);
        of_kernel && matches!((self.config.stride, self.config.dilation), (1, _) | (2, 1))
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
    // SAFETY: every row of every plane is written below.
    #[allow(unsafe_code, reason = "results are not zeroed first")]
    let mut y = unsafe { unwritten(s.n * s.k * s.oh * s.ow) };
    let padded = s.padded_input();
    let taps = s.taps(&padded);
    let planes = y.par_chunks_mut(s.oh * s.ow).enumerate();
    planes.for_each_init(
        || vec![T::zero(); padded.len()],
        |laid_out, (at, y)| {
            let x = &x[at * plane..][..plane];
            let weight = &weight[at % s.k * s.kh * s.kw..][..s.kh * s.kw];
            let bias = bias[at % s.k];
            pulp::Arch::new().dispatch(ForwardPlane {
                s,
                padded,
                taps: &taps,
                x,
                weight,
                bias,
                laid_out,
                y,
            });
        },
    );
    y
}

struct ForwardPlane<'a, T> {
    s: &'a Sizes,
    padded: Padded,
    taps: &'a [Tap],
    x: &'a [T],
    weight: &'a [T],
    bias: T,
    laid_out: &'a mut [T],
    y: &'a mut [T],
}

impl<T: Real> WithSimd for ForwardPlane<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { s, padded, taps, x, weight, bias: start, laid_out, y } = self;
        padded.lay_out(x, laid_out);
        if s.is_three() {
            let mut of_taps = [T::zero(); 9];
            of_taps.copy_from_slice(weight);
            let walk = Walk {
                x: laid_out,
                row: padded.at(1, 0),
                columns: [0, 1, 2].map(|q| padded.at(0, q * s.config.dilation)),
                dilation: s.config.dilation,
                weight: of_taps,
                start,
                width: s.ow,
                y: &mut *y,
            };
            match s.config.stride {
                1 => walk.run(simd),
                _ => walk.run_by_two(simd),
            }
        } else {
            for (i, to) in y.chunks_exact_mut(s.ow).enumerate() {
                let x = &laid_out[padded.at(i * s.config.stride, 0)..];
                SumTaps { start, taps, weight, x, to }.run(simd);
            }
        }
        if s.config.activation != Activation::Identity {
            let gate = s.config.activation.gate::<T>();
            y.iter_mut().for_each(|y| *y = gate.apply(*y));
        }
    }
}

pub(super) fn backward_input<T: Real>(s: &Sizes, weight: &[T], grad: &[T]) -> Vec<T> {
    let out_plane = s.oh * s.ow;
    let (stride, d, padding) = (s.config.stride, s.config.dilation, s.config.padding);
    // SAFETY: every phase of every row of every plane is written below.
    #[allow(unsafe_code, reason = "results are not zeroed first")]
    let mut d_x = unsafe { unwritten(s.n * s.c * s.h * s.w) };
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
        columns: left + runs(s.w) + SLACK,
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
    d_x.par_chunks_mut(s.h * s.w).enumerate().for_each_init(
        || (vec![T::zero(); padded.len()], vec![T::zero(); runs(s.w)]),
        |(laid_out, line), (at, d_x)| {
            let grad = &grad[at * out_plane..][..out_plane];
            let weight = &weight[at % s.k * s.kh * s.kw..][..s.kh * s.kw];
            let taps = &taps;
            pulp::Arch::new().dispatch(InputPlane {
                s,
                padded,
                taps,
                grad,
                weight,
                laid_out,
                line,
                d_x,
            });
        },
    );
    d_x
}

struct InputPlane<'a, T> {
    s: &'a Sizes,
    padded: Padded,
    /// By phase of row and column.
    taps: &'a [Vec<Tap>],
    grad: &'a [T],
    weight: &'a [T],
    laid_out: &'a mut [T],
    /// One phase of a row.
    line: &'a mut [T],
    d_x: &'a mut [T],
}

impl<T: Real> WithSimd for InputPlane<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { s, padded, taps, grad, weight, laid_out, line, d_x } = self;
        let (stride, padding, start) = (s.config.stride, s.config.padding, T::zero());
        padded.lay_out(grad, laid_out);
        for (i, row) in d_x.chunks_exact_mut(s.w).enumerate() {
            let at = i + padding;
            let x = &laid_out[padded.at(at / stride, 0)..];
            for column_phase in 0..stride {
                let taps = &taps[at % stride * stride + column_phase];
                SumTaps { start, taps, weight, x, to: line }.run(simd);
                // Run m holds column m·stride + phase - padding.
                let m = padding.saturating_sub(column_phase).div_ceil(stride);
                let column = m * stride + column_phase - padding;
                let (Some(to), Some(from)) = (row.get_mut(column..), line.get(m..)) else {
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

pub(super) fn backward_weight<T: Real>(s: &Sizes, x: &[T], grad: &[T]) -> Vec<T> {
    let (plane, out_plane, taps_len) = (s.h * s.w, s.oh * s.ow, s.kh * s.kw);
    let mut d_weight = vec![T::zero(); s.k * taps_len];
    let padded = s.padded_input();
    let taps = s.taps(&padded);
    d_weight.par_chunks_mut(taps_len).enumerate().for_each_init(
        || vec![T::zero(); padded.len()],
        |laid_out, (channel, d_weight)| {
            for image in 0..s.n {
                let x = &x[(image * s.c + channel) * plane..][..plane];
                let grad = &grad[(image * s.k + channel) * out_plane..][..out_plane];
                let taps = &taps;
                pulp::Arch::new().dispatch(WeightPlane {
                    s,
                    padded,
                    taps,
                    x,
                    grad,
                    laid_out,
                    d_weight,
                });
            }
        },
    );
    d_weight
}

struct WeightPlane<'a, T> {
    s: &'a Sizes,
    padded: Padded,
    taps: &'a [Tap],
    x: &'a [T],
    grad: &'a [T],
    laid_out: &'a mut [T],
    d_weight: &'a mut [T],
}

impl<T: Real> WithSimd for WeightPlane<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { s, padded, taps, x, grad, laid_out, d_weight } = self;
        let lanes = T::lanes::<S>();
        padded.lay_out(x, laid_out);
        for (taps, d_weight) in taps.chunks(TAPS).zip(d_weight.chunks_mut(TAPS)) {
            // Where there are fewer taps, the rest repeat the first run, unused.
            let mut offsets = [0; TAPS];
            offsets.iter_mut().zip(taps).for_each(|(to, tap)| *to = tap.offset);
            let mut sums = [T::splat(simd, T::zero()); TAPS];
            for (i, grad) in grad.chunks_exact(s.ow).enumerate() {
                let rows = &laid_out[padded.at(i * s.config.stride, 0)..];
                for (nth, grad) in grad.chunks(lanes).enumerate() {
                    // Beyond the row's end the gradient is zero.
                    let grad = T::load(simd, grad);
                    for (sum, offset) in sums.iter_mut().zip(offsets) {
                        let x = T::load(simd, &rows[offset + nth * lanes..][..lanes]);
                        *sum = T::fused(simd, grad, x, *sum);
                    }
                }
            }
            for (d, sum) in d_weight.iter_mut().zip(sums) {
                *d = *d + T::total(simd, sum);
            }
        }
    }
}
