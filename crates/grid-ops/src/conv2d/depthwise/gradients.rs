//! Both gradients of a depthwise 3×3 convolution from one reading of the outputs' gradient.
//!
//! Laid out with zeros around it, the gradient at a tap's distance from an input is what that
//! input's gradient takes by the tap's weight, and what the weight's gradient takes by the input:
//! every vector that is read serves both.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::super::Sizes;
use super::SLACK;
use super::ahead::Ahead;
use super::three::{dot, splat};
use crate::padded::Padded;
use crate::strided::{gather, interleave};
use crate::{Real, unwritten};

/// Of input and weight, of a convolution that [has three rows](Sizes::is_three).
pub(in super::super) fn gradients<T: Real>(
    s: &Sizes,
    x: &[T],
    weight: &[T],
    grad: &[T],
) -> (Vec<T>, Vec<T>) {
    let (plane, out_plane) = (s.h * s.w, s.oh * s.ow);
    // SAFETY: every row of every plane is written below.
    #[allow(unsafe_code, reason = "results are not zeroed first")]
    let mut d_x = unsafe { unwritten(s.n * s.c * plane) };
    let mut parts = vec![[T::zero(); 9]; s.n * s.c];
    let padded = s.padded_gradient();
    let planes = d_x.par_chunks_mut(plane).zip(&mut parts).enumerate();
    planes.for_each_init(
        || Buffers::new(s, &padded),
        |buffers, (at, (d_x, part))| {
            let next = x.get((at + 1) * plane..).unwrap_or(&[]);
            let next = &next[..plane.min(next.len())];
            let next_grad = grad.get((at + 1) * out_plane..).unwrap_or(&[]);
            let next_grad = &next_grad[..out_plane.min(next_grad.len())];
            let x = &x[at * plane..][..plane];
            let grad = &grad[at * out_plane..][..out_plane];
            let mut taps = [T::zero(); 9];
            taps.copy_from_slice(&weight[at % s.c * 9..][..9]);
            let pass =
                Plane { s, padded, x, weight: taps, grad, next: [next, next_grad], buffers, d_x };
            *part = pulp::Arch::new().dispatch(pass);
        },
    );
    let mut d_weight = vec![T::zero(); s.c * 9];
    // In a fixed order: the bits must not depend on the number of threads.
    for image in parts.chunks_exact(s.c) {
        let sums = d_weight.iter_mut().zip(image.as_flattened());
        sums.for_each(|(sum, &part)| *sum = *sum + part);
    }
    (d_x, d_weight)
}

impl Sizes {
    /// Half of the inputs of a stride of 2, all of a stride of 1.
    fn runs(&self, size: usize) -> usize {
        match self.config.stride {
            1 => size,
            _ => (size - 1 + self.config.padding) / 2 + 1,
        }
    }

    /// The layout in which [`gradients`] reads the outputs' gradient.
    fn padded_gradient(&self) -> Padded {
        let before = match self.config.stride {
            1 => 2 * self.config.dilation.cast_signed() - self.config.padding.cast_signed(),
            _ => 1,
        };
        let reach = if self.config.stride == 1 { 2 * self.config.dilation } else { 1 };
        Padded {
            from: (self.oh, self.ow),
            before: (before, before),
            rows: self.runs(self.h) + reach,
            columns: self.runs(self.w) + reach + SLACK,
            stride: 1,
        }
    }
}

/// What a thread uses anew for every plane.
struct Buffers<T> {
    laid_out: Vec<T>,
    /// Of a stride of 2: two rows of inputs and of their gradients, each by phase of columns.
    x: [Vec<T>; 4],
    d_x: [Vec<T>; 4],
}

impl<T: Real> Buffers<T> {
    fn new(s: &Sizes, padded: &Padded) -> Self {
        let lines = || std::array::from_fn(|_| vec![T::zero(); s.runs(s.w) + SLACK]);
        Self { laid_out: vec![T::zero(); padded.len()], x: lines(), d_x: lines() }
    }
}

struct Plane<'a, T> {
    s: &'a Sizes,
    padded: Padded,
    x: &'a [T],
    weight: [T; 9],
    grad: &'a [T],
    /// Of input and gradient, the planes after these.
    next: [&'a [T]; 2],
    buffers: &'a mut Buffers<T>,
    d_x: &'a mut [T],
}

impl<T: Real> WithSimd for Plane<'_, T> {
    /// The weight's gradient.
    type Output = [T; 9];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [T; 9] {
        self.padded.lay_out(self.grad, &mut self.buffers.laid_out);
        let sums = match self.s.config.stride {
            1 => self.run(simd),
            _ => self.run_by_two(simd),
        };
        let mut totals = [T::zero(); 9];
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = T::total(simd, sum);
        }
        totals
    }
}

impl<T: Real> Plane<'_, T> {
    /// A stride of 1: a convolution of the gradient with the kernel turned round.
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [T::Of<S>; 9] {
        let Self { s, padded, x, mut weight, next, buffers, d_x, .. } = self;
        let (lanes, d, zero) = (T::lanes::<S>(), s.config.dilation, T::splat(simd, T::zero()));
        weight.reverse();
        let weight = splat(simd, weight);
        let mut d_weight = [zero; 9];
        let mut ahead = next.map(|next| Ahead::new(next, s.h * s.w.div_ceil(lanes)));
        for j in (0..s.w).step_by(lanes) {
            for first in 0..d.min(s.h) {
                let rows = (s.h - first).div_ceil(d);
                // Sums of the next row to be complete and the one after it; inputs of the last row
                // and the one before it.
                let mut sums = [zero; 2];
                let mut above = [zero; 2];
                for nth in 0..rows + 2 {
                    let grad = &buffers.laid_out[padded.at(first + nth * d, j)..];
                    let grad = [
                        T::load(simd, &grad[..lanes]),
                        T::load(simd, &grad[d..][..lanes]),
                        T::load(simd, &grad[2 * d..][..lanes]),
                    ];
                    let input = match nth < rows {
                        true => T::load(simd, &x[(first + nth * d) * s.w..][..s.w][j..]),
                        false => zero,
                    };
                    for q in 0..3 {
                        d_weight[q] = T::fused(simd, input, grad[q], d_weight[q]);
                        d_weight[3 + q] = T::fused(simd, above[0], grad[q], d_weight[3 + q]);
                        d_weight[6 + q] = T::fused(simd, above[1], grad[q], d_weight[6 + q]);
                    }
                    above = [input, above[0]];
                    let complete = dot::<T, S>(simd, &weight[6..], grad, sums[0]);
                    let next = dot::<T, S>(simd, &weight[3..], grad, sums[1]);
                    sums = [next, dot::<T, S>(simd, &weight, grad, zero)];
                    if nth >= 2 {
                        ahead.iter_mut().for_each(Ahead::step);
                        let to = &mut d_x[(first + (nth - 2) * d) * s.w..][..s.w][j..];
                        T::store(simd, to, complete);
                    }
                }
            }
        }
        d_weight.reverse();
        d_weight
    }

    /// A stride of 2: the inputs of each phase of rows and columns have taps of their own.
    ///
    /// Input `i` is fed by output `o` through tap `p` where `i + padding = 2·o + p`: with
    /// `i + padding = 2·m + phase`, through taps 0 and 2 by outputs `m` and `m - 1` in phase 0, and
    /// through tap 1 by output `m` in phase 1.
    #[inline(always)]
    fn run_by_two<S: Simd>(self, simd: S) -> [T::Of<S>; 9] {
        let Self { s, padded, x, weight, next, buffers, d_x, .. } = self;
        let (lanes, padding) = (T::lanes::<S>(), s.config.padding);
        let zero = T::splat(simd, T::zero());
        let w = splat(simd, weight);
        let mut d = [zero; 9];
        let Buffers { laid_out, x: xs, d_x: d_xs } = buffers;
        // The phase of the first input.
        let phase = padding % 2;
        let mut ahead = next.map(|next| Ahead::new(next, s.runs(s.h) - padding / 2));
        for m in padding / 2..s.runs(s.h) {
            ahead.iter_mut().for_each(Ahead::step);
            for (nth, line) in xs.iter_mut().enumerate() {
                let row = (2 * m + nth / 2).checked_sub(padding).filter(|&row| row < s.h);
                let Some(row) = row else {
                    line.fill(T::zero());
                    continue;
                };
                // Run l holds column 2·l + phase - padding.
                let l = padding.saturating_sub(nth % 2).div_ceil(2);
                let from = &x[row * s.w..][..s.w];
                if let Some(from) = from.get(2 * l + nth % 2 - padding..) {
                    gather(&mut line[l..], from, 2);
                }
            }
            for l in (padding / 2..s.runs(s.w)).step_by(lanes) {
                // Output (m, l) is at (m + 1, l + 1).
                let (row, row_above) =
                    (&laid_out[padded.at(m + 1, l)..], &laid_out[padded.at(m, l)..]);
                let here = T::load(simd, &row[1..][..lanes]);
                let left = T::load(simd, &row[..lanes]);
                let above = T::load(simd, &row_above[1..][..lanes]);
                let corner = T::load(simd, &row_above[..lanes]);
                let x = T::load(simd, &xs[0][l..][..lanes]);
                d[0] = T::fused(simd, x, here, d[0]);
                d[2] = T::fused(simd, x, left, d[2]);
                d[6] = T::fused(simd, x, above, d[6]);
                d[8] = T::fused(simd, x, corner, d[8]);
                let x = T::load(simd, &xs[1][l..][..lanes]);
                d[1] = T::fused(simd, x, here, d[1]);
                d[7] = T::fused(simd, x, above, d[7]);
                let x = T::load(simd, &xs[2][l..][..lanes]);
                d[3] = T::fused(simd, x, here, d[3]);
                d[5] = T::fused(simd, x, left, d[5]);
                let x = T::load(simd, &xs[3][l..][..lanes]);
                d[4] = T::fused(simd, x, here, d[4]);
                let sum = T::times(simd, w[0], here);
                let sum = T::fused(simd, w[2], left, sum);
                let sum = T::fused(simd, w[6], above, sum);
                let sum = T::fused(simd, w[8], corner, sum);
                T::store(simd, &mut d_xs[0][l..][..lanes], sum);
                let sum = T::fused(simd, w[7], above, T::times(simd, w[1], here));
                T::store(simd, &mut d_xs[1][l..][..lanes], sum);
                let sum = T::fused(simd, w[5], left, T::times(simd, w[3], here));
                T::store(simd, &mut d_xs[2][l..][..lanes], sum);
                T::store(simd, &mut d_xs[3][l..][..lanes], T::times(simd, w[4], here));
            }
            for nth in 0..2 {
                let row = (2 * m + nth).checked_sub(padding).filter(|&row| row < s.h);
                let Some(row) = row else { continue };
                // Column 0 is run ⌊padding / 2⌋ of its phase, column 1 the next one of the other.
                let even = &d_xs[2 * nth + phase][padding / 2..];
                let odd = &d_xs[2 * nth + 1 - phase][padding.div_ceil(2)..];
                interleave(&mut d_x[row * s.w..][..s.w], even, odd);
            }
        }
        d
    }
}
