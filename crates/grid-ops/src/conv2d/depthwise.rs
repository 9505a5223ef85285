//! Depthwise convolution: one kernel a channel, row by row, without unfolding.

use std::ops::Range;

use rayon::prelude::*;

use super::Sizes;
use crate::{Real, inlined, simd};

/// One tap on one output row: the input row, its first column, and the outputs it reaches.
struct Reach {
    row: usize,
    first: usize,
    columns: Range<usize>,
}

impl Sizes {
    /// What tap `(p, q)` reads for output row `i`; `None` where it reads padding only.
    #[inline(always)]
    fn tap(&self, i: usize, p: usize, q: usize) -> Option<Reach> {
        let columns = self.reach(q, self.w, self.ow);
        if columns.is_empty() || !self.reach(p, self.h, self.oh).contains(&i) {
            return None;
        }
        let config = &self.config;
        let row = i * config.stride + p * config.dilation - config.padding;
        let first = columns.start * config.stride + q * config.dilation - config.padding;
        Some(Reach { row, first, columns })
    }
}

pub(super) fn forward<T: Real>(s: &Sizes, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let plane = s.h * s.w;
    let mut y = vec![T::zero(); s.n * s.k * s.oh * s.ow];
    let run = inlined(
        #[inline(always)]
        |at: usize, y: &mut [T]| {
            let x = &x[at * plane..][..plane];
            let weight = &weight[at % s.k * s.kh * s.kw..][..s.kh * s.kw];
            for (i, to) in y.chunks_exact_mut(s.ow).enumerate() {
                to.fill(bias[at % s.k]);
                for p in 0..s.kh {
                    for q in 0..s.kw {
                        let Some(reach) = s.tap(i, p, q) else { continue };
                        let from = &x[reach.row * s.w + reach.first..(reach.row + 1) * s.w];
                        add_strided(&mut to[reach.columns], weight[p * s.kw + q], from, s);
                    }
                }
                to.iter_mut().for_each(|y| *y = s.config.activation.apply(*y));
            }
        },
    );
    y.par_chunks_mut(s.oh * s.ow).enumerate().for_each(|(at, y)| {
        simd(
            #[inline(always)]
            || run(at, y),
        );
    });
    y
}

/// `to[j] += weight · from[j · stride]`.
#[inline(always)]
fn add_strided<T: Real>(to: &mut [T], weight: T, from: &[T], s: &Sizes) {
    match s.config.stride {
        1 => to.iter_mut().zip(from).for_each(|(to, &x)| *to = weight.mul_add(x, *to)),
        stride => {
            let from = from.iter().step_by(stride);
            to.iter_mut().zip(from).for_each(|(to, &x)| *to = weight.mul_add(x, *to));
        }
    }
}

pub(super) fn backward_input<T: Real>(s: &Sizes, weight: &[T], grad: &[T]) -> Vec<T> {
    let out_plane = s.oh * s.ow;
    let mut d_x = vec![T::zero(); s.n * s.c * s.h * s.w];
    let run = inlined(
        #[inline(always)]
        |at: usize, d_x: &mut [T]| {
            let grad = &grad[at * out_plane..][..out_plane];
            let weight = &weight[at % s.k * s.kh * s.kw..][..s.kh * s.kw];
            for (i, grad) in grad.chunks_exact(s.ow).enumerate() {
                for p in 0..s.kh {
                    for q in 0..s.kw {
                        let Some(reach) = s.tap(i, p, q) else { continue };
                        let to = &mut d_x[reach.row * s.w + reach.first..(reach.row + 1) * s.w];
                        let (weight, grad) = (weight[p * s.kw + q], &grad[reach.columns]);
                        let add = inlined(
                            #[inline(always)]
                            |(to, &g): (&mut T, &T)| *to = weight.mul_add(g, *to),
                        );
                        match s.config.stride {
                            1 => to.iter_mut().zip(grad).for_each(add),
                            stride => to.iter_mut().step_by(stride).zip(grad).for_each(add),
                        }
                    }
                }
            }
        },
    );
    d_x.par_chunks_mut(s.h * s.w).enumerate().for_each(|(at, d_x)| {
        simd(
            #[inline(always)]
            || run(at, d_x),
        );
    });
    d_x
}

pub(super) fn backward_weight<T: Real>(s: &Sizes, x: &[T], grad: &[T]) -> Vec<T> {
    let (plane, out_plane, taps) = (s.h * s.w, s.oh * s.ow, s.kh * s.kw);
    let mut d_weight = vec![T::zero(); s.k * taps];
    let run = inlined(
        #[inline(always)]
        |channel: usize, d_weight: &mut [T]| {
            for image in 0..s.n {
                let x = &x[(image * s.c + channel) * plane..][..plane];
                let grad = &grad[(image * s.k + channel) * out_plane..][..out_plane];
                for (i, grad) in grad.chunks_exact(s.ow).enumerate() {
                    for p in 0..s.kh {
                        for q in 0..s.kw {
                            let Some(reach) = s.tap(i, p, q) else { continue };
                            let from = &x[reach.row * s.w + reach.first..(reach.row + 1) * s.w];
                            let sum = dot_strided(&grad[reach.columns], from, s.config.stride);
                            d_weight[p * s.kw + q] = d_weight[p * s.kw + q] + sum;
                        }
                    }
                }
            }
        },
    );
    d_weight.par_chunks_mut(taps).enumerate().for_each(|(channel, d_weight)| {
        simd(
            #[inline(always)]
            || run(channel, d_weight),
        );
    });
    d_weight
}

/// `Σ grad[j] · from[j · stride]`, over eight sums so that it vectorises.
#[inline(always)]
fn dot_strided<T: Real>(grad: &[T], from: &[T], stride: usize) -> T {
    let mut sums = [T::zero(); 8];
    if stride == 1 {
        let from = &from[..grad.len()];
        let ((g, g_rest), (x, x_rest)) = (grad.as_chunks::<8>(), from.as_chunks::<8>());
        for (g, x) in g.iter().zip(x) {
            for l in 0..8 {
                sums[l] = g[l].mul_add(x[l], sums[l]);
            }
        }
        for (l, (&g, &x)) in g_rest.iter().zip(x_rest).enumerate() {
            sums[l] = g.mul_add(x, sums[l]);
        }
    } else {
        for (l, (&g, &x)) in grad.iter().zip(from.iter().step_by(stride)).enumerate() {
            sums[l % 8] = g.mul_add(x, sums[l % 8]);
        }
    }
    sums.into_iter().fold(T::zero(), |sum, x| sum + x)
}
