//! The gradient of the weight: `Gᵀ [Σ (A e Aᵀ) ⊙ (Bᵀ d B)] G`, summed over tiles.

use std::ops::Range;

use rayon::prelude::*;

use super::tiles::{Line, Plan, Scratch};
use super::transforms::{LANES, Lanes, across_lanes, each, kernel_gradient_1d, store};
use super::{IN, PLACES, channels_of_block};
use crate::conv2d::Sizes;
use crate::conv2d::products::multiply;
use crate::{MatMut, MatRef, Real, inlined, matmul, simd, turned, unwritten, unwritten_in};

/// Largest size of all partial sums, in elements.
const PARTIAL_SUMS: usize = 1 << 24;

pub(in super::super) fn backward_weight<T: Real>(s: &Sizes, x: &[T], grad: &[T]) -> Vec<T> {
    let plan = Plan::forward(s);
    let lines = plan.lines();
    if plan.is_few(&lines) {
        by_channels(s, &plan, &lines, x, grad)
    } else {
        by_lines(s, &plan, &lines, x, grad)
    }
}

/// Sums over some blocks of lines after the other, each `[k, 36, c]`.
fn by_lines<T: Real>(s: &Sizes, plan: &Plan, lines: &[Line], x: &[T], grad: &[T]) -> Vec<T> {
    let of_block = plan.lines_of_block(lines.len());
    let size = s.k * PLACES * s.c;
    let run = inlined(
        #[inline(always)]
        |lines: &[Line]| {
            // SAFETY: the products of the first block cover it without reading it.
            #[allow(unsafe_code, reason = "results are not zeroed first")]
            let mut sum = unsafe { unwritten(size) };
            let (mut inputs, mut gradients) = (Vec::new(), Vec::new());
            let mut scratch = Scratch::default();
            for (nth, lines) in lines.chunks(of_block).enumerate() {
                let width = plan.width(lines.len());
                let tiles = lines.len() * plan.tiles_of_line();
                // SAFETY: every lane of every channel is transformed below.
                #[allow(unsafe_code, reason = "buffers are not zeroed first")]
                unsafe {
                    unwritten_in(&mut inputs, s.c * PLACES * width);
                    unwritten_in(&mut gradients, s.k * PLACES * width);
                }
                for channel in 0..s.c {
                    let to = &mut inputs[channel * width..];
                    plan.transform_inputs(
                        x,
                        channel,
                        lines,
                        &mut scratch,
                        #[inline(always)]
                        |place, at, lanes| store(&mut to[place * s.c * width + at..], lanes),
                    );
                }
                for channel in 0..s.k {
                    let to = &mut gradients[channel * width..];
                    plan.transform_gradients(
                        grad,
                        channel,
                        lines,
                        &mut scratch,
                        #[inline(always)]
                        |place, at, lanes| store(&mut to[place * s.k * width + at..], lanes),
                    );
                }
                let scale = if nth == 0 { T::zero() } else { T::one() };
                for place in 0..PLACES {
                    let left = &gradients[place * s.k * width..];
                    let left = MatRef::new(left, s.k, tiles, width, 1);
                    let right = &inputs[place * s.c * width..];
                    let right = MatRef::new(right, tiles, s.c, 1, width);
                    let to = &mut sum[place * s.c..];
                    let to = MatMut::new(to, s.k, s.c, PLACES * s.c, 1);
                    matmul(to, scale, left, right);
                }
            }
            sum
        },
    );
    let blocks = lines.len().div_ceil(of_block);
    let parts = (PARTIAL_SUMS / size).clamp(2, 8);
    let parts: Vec<Vec<T>> = lines
        .par_chunks(blocks.div_ceil(parts) * of_block)
        .map(|lines| {
            simd(
                #[inline(always)]
                || run(lines),
            )
        })
        .collect();
    // SAFETY: the rows cover it, and each is turned back whole.
    #[allow(unsafe_code, reason = "results are not zeroed first")]
    let mut d_weight = unsafe { unwritten(s.k * s.c * 9) };
    let parts: Vec<&[T]> = parts.iter().map(Vec::as_slice).collect();
    d_weight.par_chunks_mut(s.c * 9).enumerate().for_each(|(k, to)| {
        turn_back(s.c, &parts, k, to);
    });
    d_weight
}

/// The sums over all tiles, of one block of channels after the other.
fn by_channels<T: Real>(s: &Sizes, plan: &Plan, lines: &[Line], x: &[T], grad: &[T]) -> Vec<T> {
    let (k, c, width) = (s.k, s.c, plan.width(lines.len()));
    let tiles = lines.len() * plan.tiles_of_line();
    let inputs = plan.all_inputs(x, lines);
    let inputs: Vec<Vec<T>> = inputs
        .par_chunks_exact(c * width)
        .map(|of_place| turned(of_place, (c, tiles), width))
        .collect();
    let of_block = channels_of_block(k, c);
    // SAFETY: the blocks cover it, and each of their rows is turned back whole.
    #[allow(unsafe_code, reason = "results are not zeroed first")]
    let mut d_weight = unsafe { unwritten(k * c * 9) };
    let transform = inlined(
        #[inline(always)]
        |channels: Range<usize>, scratch: &mut Scratch<T>, to: &mut [T]| {
            let count = channels.len();
            for (nth, channel) in channels.enumerate() {
                plan.transform_gradients(
                    grad,
                    channel,
                    lines,
                    scratch,
                    #[inline(always)]
                    |place, at, lanes| store(&mut to[(place * count + nth) * width + at..], lanes),
                );
            }
        },
    );
    let blocks = d_weight.par_chunks_mut(of_block * c * 9).enumerate();
    blocks.for_each_init(
        || (Vec::new(), Vec::new(), Scratch::default()),
        |(gradients, sums, scratch), (nth, to)| {
            let channels = nth * of_block..((nth + 1) * of_block).min(k);
            let count = channels.len();
            // SAFETY: the transforms cover the first, products that do not read what they write
            // the second.
            #[allow(unsafe_code, reason = "buffers are not zeroed first")]
            unsafe {
                unwritten_in(gradients, PLACES * count * width);
                unwritten_in(sums, count * PLACES * c);
            }
            simd(
                #[inline(always)]
                || transform(channels.clone(), scratch, gradients),
            );
            for (place, inputs) in inputs.iter().enumerate() {
                let gradients = &gradients[place * count * width..];
                let to = (&mut sums[place * c..], PLACES * c);
                multiply((count, tiles, c), (gradients, width), (inputs, c), to);
            }
            for (nth, to) in to.chunks_exact_mut(c * 9).enumerate() {
                turn_back(c, &[sums.as_slice()], nth, to);
            }
        },
    );
    d_weight
}

/// `Gᵀ v G` of row `k` of the sums of `parts`, each `[k, 36, c]`: `[c, 3, 3]`.
fn turn_back<T: Real>(c: usize, parts: &[&[T]], k: usize, to: &mut [T]) {
    let run = inlined(
        #[inline(always)]
        |first: usize, filled: usize, to: &mut [T]| {
            let mut rows = [[[T::zero(); LANES]; 3]; IN];
            for (i, to) in rows.iter_mut().enumerate() {
                let row = each(|u| {
                    let mut sum = [T::zero(); LANES];
                    // In a fixed order: the bits must not depend on the number of threads.
                    for part in parts {
                        let start = (k * PLACES + i * IN + u) * c + first;
                        let from = &part[start..][..filled];
                        sum.iter_mut().zip(from).for_each(|(sum, &x)| *sum = *sum + x);
                    }
                    sum
                });
                *to = across_lanes(row, kernel_gradient_1d);
            }
            for q in 0..3 {
                let column: [Lanes<T>; IN] = each(|i| rows[i][q]);
                let taps = across_lanes(column, kernel_gradient_1d);
                for (p, lanes) in taps.into_iter().enumerate() {
                    for l in 0..filled {
                        to[(first + l) * 9 + p * 3 + q] = lanes[l];
                    }
                }
            }
        },
    );
    let whole = c / LANES * LANES;
    simd(
        #[inline(always)]
        || {
            // With a number of lanes that the compiler knows.
            for first in (0..whole).step_by(LANES) {
                run(first, LANES, to);
            }
            if whole < c {
                run(whole, c - whole, to);
            }
        },
    );
}
