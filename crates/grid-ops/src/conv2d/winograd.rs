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
//! Error. In `f32` the transforms cost a digit. Measured against `f64` with inputs, weights and
//! gradients drawn from (-1, 1), on layers of 16 to 512 channels (`tests/winograd.rs`): outputs and
//! both gradients are off by up to 5e-6 to 8e-6 of the largest of them, where direct sums are off by
//! 2e-7 to 7e-7. Relative to the sum of the absolute products behind each,
//! outputs and input gradients are off by at most 3e-6, weight gradients by at most 2e-6. Tests hold
//! these bounds.
//!
//! What is not finite reaches all outputs of the tiles that see it, there as NaN or an infinity, and
//! none beyond.
//!
//! How the work is cut depends on the shape alone, never on the number of threads.

mod gradient;
mod kernels;
mod tiles;
mod transforms;

use std::ops::Range;

pub(super) use gradient::backward_weight;
use kernels::transform_kernels;
use rayon::prelude::*;
use tiles::{Line, Plan, Scratch};
use transforms::{LANES, store};

use super::Sizes;
use super::products::multiply;
use crate::shared::Shared;
use crate::{Real, inlined, simd, unwritten, unwritten_in};

/// Outputs of a tile along each axis, inputs that they see, and inputs squared.
const OUT: usize = 4;
const IN: usize = 6;
const PLACES: usize = IN * IN;

/// Tiles that a block aims at: enough columns for a product, few enough for the cache.
const TILES: usize = 96;

/// Channels in and out below which the transforms cost more than they save.
const FEWEST_CHANNELS: usize = 16;

/// Tiles of all images up to which the work is cut by channels instead of by lines of tiles.
///
/// The transformed kernels of 512 channels to 512 are 38 MB. Where there are few tiles to use them
/// on, they are made a block of channels at a time, used on all tiles and forgotten, still in
/// cache; and one block of lines would leave all but one thread idle. On two cores of an Intel Xeon
/// 512 channels of one image of 23×30, dilation 2, take 7.7 ms so and 14.0 by lines, both gradients
/// 16.5 and 38.6; 256 channels 2.0 and 4.0, and 4.1 and 9.2. With four images, 192 tiles, 512
/// channels take 22 ms so and 28 by lines, 256 channels 5.8 and 6.0.
const FEW_TILES: usize = 2 * TILES;

/// Elements of the transformed kernels of a block of channels: 2 MiB in `f32`.
const BLOCK: usize = 1 << 19;

impl Sizes {
    /// True where [`forward`], [`backward_input`] and [`backward_weight`] apply and pay.
    pub(super) fn suits_winograd(&self) -> bool {
        let config = &self.config;
        (self.kh, self.kw, config.stride, config.groups) == (3, 3, 1, 1)
            && self.c.min(self.k) >= FEWEST_CHANNELS
            && self.oh.min(self.ow) >= config.dilation * OUT / 2
    }
}

pub(super) fn forward<T: Real>(s: &Sizes, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let at = |k: usize, c: usize, tap: usize| (k * s.c + c) * 9 + tap;
    let gate = s.config.activation.gate::<T>();
    let finish = inlined(
        #[inline(always)]
        |channel: usize, y: T| gate.apply(y + bias[channel]),
    );
    Convolution { plan: Plan::forward(s), x, weight, at, finish }.run()
}

pub(super) fn backward_input<T: Real>(s: &Sizes, weight: &[T], grad: &[T]) -> Vec<T> {
    let at = |c: usize, k: usize, tap: usize| (k * s.c + c) * 9 + 8 - tap;
    let finish = inlined(
        #[inline(always)]
        |_: usize, d_x: T| d_x,
    );
    Convolution { plan: Plan::backward(s), x: grad, weight, at, finish }.run()
}

/// Tap `t` of kernel `(k, c)` is `weight[at(k, c, t)]`; outputs are finished by their channel.
struct Convolution<'a, T, At, Finish> {
    plan: Plan,
    x: &'a [T],
    weight: &'a [T],
    at: At,
    finish: Finish,
}

/// What a thread uses anew for every block.
struct Buffers<T> {
    /// `[36, c, width]` of lines, or `[36, channels, c]` of kernels.
    transformed: Vec<T>,
    /// `[36, channels, width]`.
    products: Vec<T>,
    scratch: Scratch<T>,
}

impl<T> Buffers<T> {
    fn new() -> Self {
        Self { transformed: Vec::new(), products: Vec::new(), scratch: Scratch::default() }
    }
}

impl<T, At, Finish> Convolution<'_, T, At, Finish>
where
    T: Real,
    At: Fn(usize, usize, usize) -> usize + Sync,
    Finish: Fn(usize, T) -> T + Sync,
{
    fn run(&self) -> Vec<T> {
        let Plan { n, k, oh, ow, .. } = self.plan;
        // SAFETY: the lines of tiles cover all rows of all planes.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut y = unsafe { unwritten(n * k * oh * ow) };
        let lines = self.plan.lines();
        if self.plan.is_few(&lines) {
            self.by_channels(&lines, Shared::new(&mut y));
        } else {
            self.by_lines(&lines, Shared::new(&mut y));
        }
        y
    }

    /// All kernels, on one block of lines after the other.
    fn by_lines(&self, lines: &[Line], y: Shared<'_, T>) {
        let plan = &self.plan;
        let (k, c) = (plan.k, plan.c);
        let of_block = (BLOCK / (PLACES * c)).clamp(1, k);
        let blocks = || (0..k).step_by(of_block).map(|first| first..(first + of_block).min(k));
        // SAFETY: the blocks cover all kernels.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut kernels = unsafe { unwritten(k * PLACES * c) };
        let by_block: Vec<_> = kernels.chunks_mut(of_block * PLACES * c).zip(blocks()).collect();
        by_block.into_par_iter().for_each(|(to, channels)| {
            transform_kernels(self.weight, channels, c, &self.at, to);
        });
        let transform = inlined(
            #[inline(always)]
            |lines: &[Line], scratch: &mut Scratch<T>, to: &mut [T]| {
                let width = plan.width(lines.len());
                for channel in 0..c {
                    plan.transform_inputs(
                        self.x,
                        channel,
                        lines,
                        scratch,
                        #[inline(always)]
                        |place, at, lanes| {
                            store(&mut to[(place * c + channel) * width + at..], lanes)
                        },
                    );
                }
            },
        );
        let of_lines = lines.par_chunks(plan.lines_of_block(lines.len()));
        of_lines.for_each_init(Buffers::new, |buffers, lines| {
            let Buffers { transformed, products, scratch } = buffers;
            // SAFETY: every lane of every channel is transformed below.
            #[allow(unsafe_code, reason = "buffers are not zeroed first")]
            unsafe {
                unwritten_in(transformed, PLACES * c * plan.width(lines.len()));
            }
            simd(
                #[inline(always)]
                || transform(lines, scratch, transformed),
            );
            for (kernels, channels) in kernels.chunks(of_block * PLACES * c).zip(blocks()) {
                self.outputs(channels, kernels, (lines, transformed), products, scratch, y);
            }
        });
    }

    /// All tiles, by the kernels of one block of channels after the other.
    fn by_channels(&self, lines: &[Line], y: Shared<'_, T>) {
        let plan = &self.plan;
        let (k, c) = (plan.k, plan.c);
        let inputs = plan.all_inputs(self.x, lines);
        let of_block = channels_of_block(k, c);
        (0..k.div_ceil(of_block)).into_par_iter().for_each_init(Buffers::new, |buffers, nth| {
            let Buffers { transformed, products, scratch } = buffers;
            let channels = nth * of_block..((nth + 1) * of_block).min(k);
            // SAFETY: every kernel is transformed below.
            #[allow(unsafe_code, reason = "buffers are not zeroed first")]
            unsafe {
                unwritten_in(transformed, channels.len() * PLACES * c);
            }
            transform_kernels(self.weight, channels.clone(), c, &self.at, transformed);
            self.outputs(channels, transformed, (lines, &inputs), products, scratch, y);
        });
    }

    /// The outputs of some channels, given their transformed kernels, at some lines, given their
    /// transformed inputs.
    fn outputs(
        &self,
        channels: Range<usize>,
        kernels: &[T],
        (lines, inputs): (&[Line], &[T]),
        products: &mut Vec<T>,
        scratch: &mut Scratch<T>,
        y: Shared<'_, T>,
    ) {
        let plan = &self.plan;
        let (k, c, width) = (channels.len(), plan.c, plan.width(lines.len()));
        // SAFETY: a product that does not read what it writes covers every place.
        #[allow(unsafe_code, reason = "buffers are not zeroed first")]
        unsafe {
            unwritten_in(products, PLACES * k * width);
        }
        for (place, to) in products.chunks_exact_mut(k * width).enumerate() {
            let (a, b) = (&kernels[place * k * c..], &inputs[place * c * width..]);
            multiply((k, c, width), (a, c), (b, width), (to, width));
        }
        let plane = plan.oh * plan.ow;
        let transform = inlined(
            #[inline(always)]
            |scratch: &mut Scratch<T>| {
                for (nth, channel) in channels.clone().enumerate() {
                    plan.transform_outputs(
                        (&products[nth * width..], k * width),
                        lines,
                        scratch,
                        #[inline(always)]
                        |y| (self.finish)(channel, y),
                        #[inline(always)]
                        |line, row| {
                            let start = (line.image * plan.k + channel) * plane + row * plan.ow;
                            // SAFETY: every line has rows of its own in every channel, and each
                            // line and channel is run once.
                            #[allow(
                                unsafe_code,
                                reason = "rows of one output are written side by side"
                            )]
                            unsafe {
                                y.slice(start, plan.ow)
                            }
                        },
                    );
                }
            },
        );
        simd(
            #[inline(always)]
            || transform(scratch),
        );
    }
}

/// Channels whose transformed kernels are worked on at once where there are few tiles: blocks of
/// about the same size, in fours, so that threads end together.
fn channels_of_block(k: usize, c: usize) -> usize {
    let most = (BLOCK / (PLACES * c)).max(1);
    k.div_ceil(k.div_ceil(most).max(8).next_multiple_of(4))
}

impl Plan {
    /// True where the work is cut by channels.
    fn is_few(&self, lines: &[Line]) -> bool {
        lines.len() * self.tiles_of_line() <= FEW_TILES
    }

    /// The transformed inputs of all tiles, `[36, c, width]`.
    fn all_inputs<T: Real>(&self, x: &[T], lines: &[Line]) -> Vec<T> {
        let (c, width) = (self.c, self.width(lines.len()));
        // SAFETY: every lane of every channel is written below.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut inputs = unsafe { unwritten(PLACES * c * width) };
        let to = Shared::new(&mut inputs);
        let transform = inlined(
            #[inline(always)]
            |channel: usize, scratch: &mut Scratch<T>| {
                self.transform_inputs(
                    x,
                    channel,
                    lines,
                    scratch,
                    #[inline(always)]
                    |place, at, lanes| {
                        // SAFETY: every channel has runs of its own.
                        #[allow(
                            unsafe_code,
                            reason = "runs of one matrix are written side by side"
                        )]
                        let to = unsafe { to.slice((place * c + channel) * width + at, LANES) };
                        store(to, lanes);
                    },
                );
            },
        );
        (0..c).into_par_iter().for_each_init(Scratch::default, |scratch, channel| {
            simd(
                #[inline(always)]
                || transform(channel, scratch),
            );
        });
        inputs
    }
}
