//! 3×3 convolution of stride 1 with four times fewer multiplications: Winograd's F(4×4, 3×3).
//!
//! Source: Lavin & Gray, *Fast algorithms for convolutional neural networks*, CVPR 2016. With the
//! interpolation points 0, ±1, ±2 and ∞, a tile of 4×4 outputs is `Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A` for
//! the kernel `g` and the 6×6 inputs `d` that the tile sees. Summed over channels, the product in
//! the middle is one matrix product for each of the 36 places, over all tiles of a block.
//! A dilation of `d` is `d` interleaved ordinary convolutions along each axis.
//!
//! The gradients: of the input by the same convolution with the kernel turned round; of the weight
//! by the transposed transforms, `Gᵀ [Σ (A e Aᵀ) ⊙ (Bᵀ d B)] G` for the outputs' gradients `e`.
//!
//! Error. In `f32` the transforms cost digits: with inputs and weights of unit scale, outputs and
//! input gradients differ from the exact ones by at most 3e-6 of the sum of the absolute products
//! behind them, weight gradients by at most 2e-6 of it. A test
//! holds both bounds.
//!
//! How the work is cut depends on the shape alone, never on the number of threads.

mod transforms;

use rayon::prelude::*;
use transforms::{
    LANES, Lanes, across_lanes, each, gradient_1d, input_1d, kernel_1d, kernel_gradient_1d, load,
    output_1d, store,
};

use super::Sizes;
use super::shared::Shared;
use crate::strided::gather;
use crate::{MatMut, MatRef, Real, inlined, matmul, simd, unwritten};

/// Outputs of a tile along each axis, inputs that they see, and inputs squared.
const OUT: usize = 4;
const IN: usize = 6;
const PLACES: usize = IN * IN;

/// Tiles that a block aims at: enough columns for a product, few enough for the cache.
const TILES: usize = 96;

/// Channels in and out below which the transforms cost more than they save.
const FEWEST_CHANNELS: usize = 16;

/// Largest size of all partial sums of a weight gradient, in elements.
const PARTIAL_SUMS: usize = 1 << 24;

impl Sizes {
    /// True where [`forward`], [`backward_input`] and [`backward_weight`] apply and pay.
    pub(super) fn suits_winograd(&self) -> bool {
        let config = &self.config;
        (self.kh, self.kw, config.stride, config.groups) == (3, 3, 1, 1)
            && self.c.min(self.k) >= FEWEST_CHANNELS
            && self.oh.min(self.ow) >= config.dilation * OUT / 2
    }
}

/// One convolution, `x` to `y`.
#[derive(Clone, Copy)]
struct Plan {
    n: usize,
    c: usize,
    h: usize,
    w: usize,
    k: usize,
    oh: usize,
    ow: usize,
    dilation: usize,
    /// Inputs before the first that exists; more than a kernel's reach crops.
    padding: isize,
}

/// The rows of outputs `row + i·dilation` of one image, `i < 4`, cut into tiles.
#[derive(Clone, Copy)]
struct Line {
    image: usize,
    row: usize,
}

impl Plan {
    fn forward(s: &Sizes) -> Self {
        let (dilation, padding) = (s.config.dilation, s.config.padding as isize);
        let Sizes { n, c, h, w, k, oh, ow, .. } = *s;
        Self { n, c, h, w, k, oh, ow, dilation, padding }
    }

    /// From the outputs' gradient to the inputs'.
    fn backward(s: &Sizes) -> Self {
        let (dilation, padding) = (s.config.dilation, s.config.padding as isize);
        let padding = 2 * dilation as isize - padding;
        let Sizes { n, c, h, w, k, oh, ow, .. } = *s;
        Self { n, c: k, h: oh, w: ow, k: c, oh: h, ow: w, dilation, padding }
    }

    /// Tiles side by side in one of the interleaved convolutions.
    fn tiles_across(&self) -> usize {
        self.ow.div_ceil(self.dilation).div_ceil(OUT)
    }

    /// Tiles of one line.
    fn tiles_of_line(&self) -> usize {
        self.dilation * self.tiles_across()
    }

    fn lines(&self) -> Vec<Line> {
        let of_phase = self.oh.div_ceil(self.dilation).div_ceil(OUT);
        let rows = move |image| {
            let starts = (0..self.dilation)
                .flat_map(move |phase| (0..of_phase).map(move |r| phase + r * OUT * self.dilation));
            starts.filter(|&row| row < self.oh).map(move |row| Line { image, row })
        };
        (0..self.n).flat_map(rows).collect()
    }

    /// Lines of one block.
    fn lines_of_block(&self, lines: usize) -> usize {
        let most = (TILES / self.tiles_of_line()).max(1);
        // Blocks of about the same size.
        lines.div_ceil(lines.div_ceil(most))
    }

    /// Tiles of a block of lines, rounded up to whole lanes.
    fn width(&self, lines: usize) -> usize {
        (lines * self.tiles_of_line()).next_multiple_of(LANES)
    }

    /// `Bᵀ d B` of every tile of `lines` for one channel of `x`: `[36, width]`.
    #[inline(always)]
    fn transform_inputs<T: Real>(
        &self,
        x: &[T],
        channel: usize,
        lines: &[Line],
        scratch: &mut Scratch<T>,
        to: &mut [T],
    ) {
        let width = self.width(lines.len());
        let stride = width + LANES;
        let d = self.dilation;
        let across = self.tiles_across();
        let Scratch { raw, line } = scratch;
        raw.resize(PLACES * stride, T::zero());
        line.resize((across + LANES) * OUT + IN, T::zero());
        for (nth, at) in lines.iter().enumerate() {
            let plane = &x[(at.image * self.c + channel) * self.h * self.w..][..self.h * self.w];
            for i in 0..IN {
                let row = (at.row + i * d) as isize - self.padding;
                let inside = (0..self.h as isize).contains(&row);
                for phase in 0..d {
                    let first = (nth * d + phase) * across;
                    if !inside {
                        for u in 0..IN {
                            raw[(i * IN + u) * stride + first..][..across].fill(T::zero());
                        }
                        continue;
                    }
                    let row = &plane[row as usize * self.w..][..self.w];
                    self.read(row, phase as isize - self.padding, &mut line[..across * OUT + 2]);
                    // In steps of whole lanes, beyond the end: what follows is written later.
                    for j in (0..across).step_by(LANES) {
                        let line = &line[j * OUT..][..LANES * OUT + IN];
                        for u in 0..IN {
                            let mut taken = [T::zero(); LANES];
                            for l in 0..LANES {
                                taken[l] = line[l * OUT + u];
                            }
                            store(&mut raw[(i * IN + u) * stride + first + j..], taken);
                        }
                    }
                }
            }
        }
        for at in (0..width).step_by(LANES) {
            for u in 0..IN {
                let column = each(|i| load(&raw[(i * IN + u) * stride + at..]));
                for (i, lanes) in across_lanes(column, input_1d).into_iter().enumerate() {
                    store(&mut raw[(i * IN + u) * stride + at..], lanes);
                }
            }
            for i in 0..IN {
                let row = each(|u| load(&raw[(i * IN + u) * stride + at..]));
                for (u, lanes) in across_lanes(row, input_1d).into_iter().enumerate() {
                    store(&mut to[(i * IN + u) * width + at..], lanes);
                }
            }
        }
    }

    /// `to[m] = row[first + m·dilation]`, zero where there is no such input.
    #[inline(always)]
    fn read<T: Real>(&self, row: &[T], first: isize, to: &mut [T]) {
        let d = self.dilation;
        let begin = (-first).max(0) as usize;
        let begin = begin.div_ceil(d).min(to.len());
        let end = (row.len() as isize - first).max(0) as usize;
        let end = end.div_ceil(d).clamp(begin, to.len());
        to[..begin].fill(T::zero());
        to[end..].fill(T::zero());
        if begin == end {
            return;
        }
        gather(&mut to[begin..end], &row[(first + (begin * d) as isize) as usize..], d);
    }

    /// `A e Aᵀ` of every tile of `lines` for one channel of the outputs' gradient: `[36, width]`.
    #[inline(always)]
    fn transform_gradients<T: Real>(
        &self,
        grad: &[T],
        channel: usize,
        lines: &[Line],
        scratch: &mut Scratch<T>,
        to: &mut [T],
    ) {
        let width = self.width(lines.len());
        let stride = width + LANES;
        let d = self.dilation;
        let across = self.tiles_across();
        let Scratch { raw, line } = scratch;
        raw.resize(PLACES * stride, T::zero());
        line.resize((across + LANES) * OUT + IN, T::zero());
        let filled = lines.len() * self.tiles_of_line();
        let of_plane = self.oh * self.ow;
        for (nth, at) in lines.iter().enumerate() {
            let plane = &grad[(at.image * self.k + channel) * of_plane..][..of_plane];
            for i in 0..OUT {
                let row = at.row + i * d;
                for phase in 0..d {
                    let first = (nth * d + phase) * across;
                    if row >= self.oh {
                        for u in 0..OUT {
                            raw[(i * OUT + u) * stride + first..][..across].fill(T::zero());
                        }
                        continue;
                    }
                    let row = &plane[row * self.ow..][..self.ow];
                    self.read(row, phase as isize, &mut line[..across * OUT]);
                    for j in (0..across).step_by(LANES) {
                        let line = &line[j * OUT..][..LANES * OUT];
                        for u in 0..OUT {
                            let mut taken = [T::zero(); LANES];
                            for l in 0..LANES {
                                taken[l] = line[l * OUT + u];
                            }
                            store(&mut raw[(i * OUT + u) * stride + first + j..], taken);
                        }
                    }
                }
            }
        }
        // The last lanes hold no tile: their zeros add nothing to the sum over tiles.
        for u in 0..OUT * OUT {
            raw[u * stride + filled..(u + 1) * stride].fill(T::zero());
        }
        for at in (0..width).step_by(LANES) {
            let mut columns = [[[T::zero(); LANES]; IN]; OUT];
            for (u, to) in columns.iter_mut().enumerate() {
                let column = each(|i| load(&raw[(i * OUT + u) * stride + at..]));
                *to = across_lanes(column, gradient_1d);
            }
            for i in 0..IN {
                let row: [Lanes<T>; OUT] = each(|u| columns[u][i]);
                for (u, lanes) in across_lanes(row, gradient_1d).into_iter().enumerate() {
                    store(&mut to[(i * IN + u) * width + at..], lanes);
                }
            }
        }
    }

    /// Writes `φ(Aᵀ m A + bias)` of every tile of `lines` for one channel.
    #[inline(always)]
    fn transform_outputs<T: Real>(
        &self,
        m: &[T],
        lines: &[Line],
        scratch: &mut Scratch<T>,
        finish: impl Fn(T) -> T,
        mut write: impl FnMut(Line, usize, &mut dyn FnMut(&mut [T])),
    ) {
        let width = self.width(lines.len());
        let stride = width + LANES;
        let d = self.dilation;
        let across = self.tiles_across();
        let Scratch { raw, line } = scratch;
        raw.resize(PLACES * stride, T::zero());
        line.resize((across + LANES) * OUT + IN, T::zero());
        for at in (0..width).step_by(LANES) {
            let mut rows = [[[T::zero(); LANES]; OUT]; IN];
            for (i, to) in rows.iter_mut().enumerate() {
                let row = each(|u| load(&m[(i * IN + u) * width + at..]));
                *to = across_lanes(row, output_1d);
            }
            for u in 0..OUT {
                let column: [Lanes<T>; IN] = each(|i| rows[i][u]);
                for (i, lanes) in across_lanes(column, output_1d).into_iter().enumerate() {
                    let mut finished = lanes;
                    for l in 0..LANES {
                        finished[l] = finish(lanes[l]);
                    }
                    store(&mut raw[(i * OUT + u) * stride + at..], finished);
                }
            }
        }
        for (nth, &at) in lines.iter().enumerate() {
            for i in 0..OUT {
                let row = at.row + i * d;
                if row >= self.oh {
                    break;
                }
                write(at, row, &mut |to: &mut [T]| {
                    for phase in 0..d.min(to.len()) {
                        let first = (nth * d + phase) * across;
                        for j in (0..across).step_by(LANES) {
                            let lanes: [Lanes<T>; OUT] =
                                each(|u| load(&raw[(i * OUT + u) * stride + first + j..]));
                            let line = &mut line[j * OUT..][..LANES * OUT];
                            for l in 0..LANES {
                                for u in 0..OUT {
                                    line[l * OUT + u] = lanes[u][l];
                                }
                            }
                        }
                        if d == 1 {
                            let len = to.len();
                            to.copy_from_slice(&line[..len]);
                        } else {
                            let to = to[phase..].iter_mut().step_by(d);
                            to.zip(line.iter()).for_each(|(to, &y)| *to = y);
                        }
                    }
                });
            }
        }
    }

    /// The convolution, with the transformed kernels `[k, 36, c]`.
    fn run<T: Real>(
        &self,
        x: &[T],
        kernels: &[T],
        finish: impl Fn(usize, T) -> T + Sync,
    ) -> Vec<T> {
        let plane = self.oh * self.ow;
        // SAFETY: the lines of tiles cover all rows of all planes.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut y = unsafe { unwritten(self.n * self.k * plane) };
        let shared = Shared::new(&mut y);
        let lines = self.lines();
        let finish = &finish;
        let run = inlined(
            #[inline(always)]
            |(inputs, products, scratch): &mut (Vec<T>, Vec<T>, Scratch<T>), lines: &[Line]| {
                let width = self.width(lines.len());
                let tiles = lines.len() * self.tiles_of_line();
                inputs.resize(self.c * PLACES * width, T::zero());
                products.resize(self.k * PLACES * width, T::zero());
                for (channel, to) in inputs.chunks_exact_mut(PLACES * width).enumerate() {
                    self.transform_inputs(x, channel, lines, scratch, to);
                }
                for place in 0..PLACES {
                    let left =
                        MatRef::new(&kernels[place * self.c..], self.k, self.c, PLACES * self.c, 1);
                    let right = &inputs[place * width..];
                    let right = MatRef::new(right, self.c, tiles, PLACES * width, 1);
                    let to = &mut products[place * width..];
                    let to = MatMut::new(to, self.k, tiles, PLACES * width, 1);
                    matmul(to, T::zero(), left, right);
                }
                for (channel, m) in products.chunks_exact(PLACES * width).enumerate() {
                    self.transform_outputs(
                        m,
                        lines,
                        scratch,
                        #[inline(always)]
                        |y| finish(channel, y),
                        #[inline(always)]
                        |line, row, fill| {
                            let start = (line.image * self.k + channel) * plane + row * self.ow;
                            // SAFETY: every line has rows of its own, and each is run once.
                            #[allow(
                                unsafe_code,
                                reason = "rows of one output are written side by side"
                            )]
                            fill(unsafe { shared.slice(start, self.ow) });
                        },
                    );
                }
            },
        );
        let scratch = || (Vec::new(), Vec::new(), Scratch::default());
        let blocks = lines.par_chunks(self.lines_of_block(lines.len()));
        blocks.for_each_init(scratch, |buffers, lines| {
            simd(
                #[inline(always)]
                || run(buffers, lines),
            );
        });
        y
    }
}

/// Memory that every channel uses anew.
struct Scratch<T> {
    raw: Vec<T>,
    line: Vec<T>,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        Self { raw: Vec::new(), line: Vec::new() }
    }
}

pub(super) fn forward<T: Real>(s: &Sizes, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let at = |k: usize, c: usize, tap: usize| (k * s.c + c) * 9 + tap;
    let kernels = transform_kernels(weight, s.k, s.c, at);
    let gate = s.config.activation.gate::<T>();
    Plan::forward(s).run(
        x,
        &kernels,
        #[inline(always)]
        |channel, y| gate.apply(y + bias[channel]),
    )
}

pub(super) fn backward_input<T: Real>(s: &Sizes, weight: &[T], grad: &[T]) -> Vec<T> {
    let at = |c: usize, k: usize, tap: usize| (k * s.c + c) * 9 + 8 - tap;
    let kernels = transform_kernels(weight, s.c, s.k, at);
    Plan::backward(s).run(
        grad,
        &kernels,
        #[inline(always)]
        |_, d_x| d_x,
    )
}

pub(super) fn backward_weight<T: Real>(s: &Sizes, x: &[T], grad: &[T]) -> Vec<T> {
    let plan = Plan::forward(s);
    let lines = plan.lines();
    let of_block = plan.lines_of_block(lines.len());
    let size = s.k * PLACES * s.c;
    let run = inlined(
        #[inline(always)]
        |lines: &[Line]| {
            let mut sum = vec![T::zero(); size];
            let (mut inputs, mut gradients) = (Vec::new(), Vec::new());
            let mut scratch = Scratch::default();
            for (nth, lines) in lines.chunks(of_block).enumerate() {
                let width = plan.width(lines.len());
                let tiles = lines.len() * plan.tiles_of_line();
                inputs.resize(s.c * PLACES * width, T::zero());
                gradients.resize(s.k * PLACES * width, T::zero());
                for (channel, to) in inputs.chunks_exact_mut(PLACES * width).enumerate() {
                    plan.transform_inputs(x, channel, lines, &mut scratch, to);
                }
                for (channel, to) in gradients.chunks_exact_mut(PLACES * width).enumerate() {
                    plan.transform_gradients(grad, channel, lines, &mut scratch, to);
                }
                let scale = if nth == 0 { T::zero() } else { T::one() };
                for place in 0..PLACES {
                    let left = &gradients[place * width..];
                    let left = MatRef::new(left, s.k, tiles, PLACES * width, 1);
                    let right = &inputs[place * width..];
                    let right = MatRef::new(right, tiles, s.c, 1, PLACES * width);
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
    let mut d_weight = vec![T::zero(); s.k * s.c * 9];
    let run = inlined(
        #[inline(always)]
        |k: usize, to: &mut [T]| {
            for first in (0..s.c).step_by(LANES) {
                let count = LANES.min(s.c - first);
                let mut rows = [[[T::zero(); LANES]; 3]; IN];
                for (i, to) in rows.iter_mut().enumerate() {
                    let row = each(|u| {
                        let mut sum = [T::zero(); LANES];
                        // In a fixed order: the bits must not depend on the number of threads.
                        for part in &parts {
                            let start = (k * PLACES + i * IN + u) * s.c + first;
                            let from = &part[start..][..count];
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
                        for l in 0..count {
                            to[(first + l) * 9 + p * 3 + q] = lanes[l];
                        }
                    }
                }
            }
        },
    );
    d_weight.par_chunks_mut(s.c * 9).enumerate().for_each(|(k, to)| {
        simd(
            #[inline(always)]
            || run(k, to),
        );
    });
    d_weight
}

/// `G g Gᵀ` of `k × c` kernels, `[k, 36, c]`; tap `t` of kernel `(k, c)` is `weight[at(k, c, t)]`.
fn transform_kernels<T: Real>(
    weight: &[T],
    k: usize,
    c: usize,
    at: impl Fn(usize, usize, usize) -> usize + Sync,
) -> Vec<T> {
    let mut kernels = vec![T::zero(); k * PLACES * c];
    let run = inlined(
        #[inline(always)]
        |k: usize, to: &mut [T]| {
            for first in (0..c).step_by(LANES) {
                let count = LANES.min(c - first);
                let mut taps = [[T::zero(); LANES]; 9];
                for l in 0..count {
                    for (tap, lanes) in taps.iter_mut().enumerate() {
                        lanes[l] = weight[at(k, first + l, tap)];
                    }
                }
                let mut columns = [[[T::zero(); LANES]; IN]; 3];
                for (q, to) in columns.iter_mut().enumerate() {
                    *to = across_lanes([taps[q], taps[3 + q], taps[6 + q]], kernel_1d);
                }
                for i in 0..IN {
                    let row: [Lanes<T>; 3] = each(|q| columns[q][i]);
                    for (u, lanes) in across_lanes(row, kernel_1d).into_iter().enumerate() {
                        to[(i * IN + u) * c + first..][..count].copy_from_slice(&lanes[..count]);
                    }
                }
            }
        },
    );
    kernels.par_chunks_mut(PLACES * c).enumerate().for_each(|(k, to)| {
        simd(
            #[inline(always)]
            || run(k, to),
        );
    });
    kernels
}
