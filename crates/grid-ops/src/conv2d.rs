//! Two-dimensional convolution with bias and activation in one operation.

mod depthwise;
mod direct;
mod general;
mod op;
mod products;
mod skipping;
mod transpose;
mod winograd;

use std::ops::Range;

use candle_core::Tensor;
pub(crate) use op::channel_sums;
pub(crate) use transpose::mirror_of;
pub use transpose::{ConvTranspose2d, conv_transpose2d};

use crate::error::{checked_bias, checked_grid};
use crate::kernel3;
use crate::{Error, Real, Result, composed, count_macs, is_composed};

/// What is applied to an operation's output, in the same pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
}

impl Activation {
    /// The activation as numbers: the same instructions for all, so that loops vectorise.
    #[inline(always)]
    pub(crate) fn gate<T: Real>(self) -> Gate<T> {
        let (zero, six, none) = (T::zero(), T::of(6.0), T::nan());
        match self {
            Self::Identity => Gate { low: none, high: none },
            Self::Relu => Gate { low: zero, high: none },
            Self::Relu6 => Gate { low: zero, high: six },
        }
    }
}

/// What lets values through between two bounds; NaN bounds nothing, for it compares with nothing.
#[derive(Clone, Copy)]
pub(crate) struct Gate<T> {
    low: T,
    high: T,
}

impl<T: Real> Gate<T> {
    /// The activation of `x`.
    #[inline(always)]
    pub(crate) fn apply(self, x: T) -> T {
        // Comparisons rather than `max`, so that NaN stays NaN.
        let x = if x < self.low { self.low } else { x };
        if x > self.high { self.high } else { x }
    }

    /// `grad` where the activation let the value through, by its output; zero elsewhere.
    #[inline(always)]
    pub(crate) fn held(self, grad: T, y: T) -> T {
        if (y == self.low) | (y == self.high) { T::zero() } else { grad }
    }
}

/// The options of [`conv2d`], the same along both axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2d {
    /// Distance of two outputs, in inputs. Default: 1.
    pub stride: usize,
    /// Zeros on every side. Default: 0.
    pub padding: usize,
    /// Distance of two taps of the kernel, in inputs. Default: 1.
    pub dilation: usize,
    /// Groups of channels that do not see each other. Default: 1.
    pub groups: usize,
    /// What is applied to the output. Default: nothing.
    pub activation: Activation,
}

impl Default for Conv2d {
    fn default() -> Self {
        Self { stride: 1, padding: 0, dilation: 1, groups: 1, activation: Activation::Identity }
    }
}

/// Sizes of one convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) n: usize,
    /// Channels, rows and columns of the input.
    pub(crate) c: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    /// Channels, rows and columns of the output.
    pub(crate) k: usize,
    pub(crate) oh: usize,
    pub(crate) ow: usize,
    /// Rows and columns of the kernel.
    pub(crate) kh: usize,
    pub(crate) kw: usize,
    config: Conv2d,
}

impl Sizes {
    fn is_depthwise(&self) -> bool {
        self.config.groups == self.c && self.c == self.k
    }

    /// The outputs `o` in `0..outputs` whose tap `tap` reads an input in `0..inputs`.
    fn reach(&self, tap: usize, inputs: usize, outputs: usize) -> Range<usize> {
        let Conv2d { stride, padding, dilation, .. } = self.config;
        let shift = tap * dilation;
        let first = padding.saturating_sub(shift).div_ceil(stride);
        let end = (inputs + padding).saturating_sub(shift).div_ceil(stride).min(outputs);
        first.min(end)..end
    }
}

/// Tasks that a convolution is cut into at least, where its channels allow it.
const TASKS: usize = 8;

/// Channels below which a task is not cut further.
const FEWEST_CHANNELS_OF_TASK: usize = 16;

/// The channels that one task works on, of `channels` at each of `tiles`: all, or a part of them
/// where there are too few tiles to share out.
fn channels_of_task(channels: usize, tiles: usize) -> usize {
    channels.div_ceil(TASKS.div_ceil(tiles)).max(FEWEST_CHANNELS_OF_TASK).min(channels)
}

/// `0..channels` in runs of `of_task`.
fn runs(channels: usize, of_task: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    (0..channels).step_by(of_task).map(move |first| first..(first + of_task).min(channels))
}

/// Convolves `x` with `weight`, adds `bias` and applies the activation.
///
/// As in every deep-learning library this is a cross-correlation:
/// `y[k, i, j] = φ(b[k] + Σ w[k, c, p, q] · x[c, i·s + p·d − pad, j·s + q·d − pad])`.
/// Dense 3×3 kernels of stride 1 run by Winograd's algorithm, 1×1 ones as matrix products, others
/// and depthwise ones (`groups` = channels) as sums over taps in registers, without unfolding.
///
/// # Shapes
///
/// - `x`: `[n, c, h, w]`, `f32` or `f64`
/// - `weight`: `[k, c/groups, kh, kw]`
/// - `bias`: `[k]`
/// - returns: `[n, k, oh, ow]`, `oh = (h + 2·padding − dilation·(kh − 1) − 1) / stride + 1`
///
/// Differentiable in all three; no gradient is computed for a tensor that tracks none.
///
/// # Errors
///
/// [`Error::Shape`] where shapes do not fit or are zero, [`Error::Config`] for a zero option or
/// groups that do not divide the channels, [`Error::DType`] for other number types.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: &Conv2d,
) -> Result<Tensor> {
    let sizes = checked(x, weight, bias, config)?;
    count_macs(sizes.n * sizes.oh * sizes.ow * weight.elem_count());
    if is_composed(x) {
        return composed::conv2d(x, weight, bias, config);
    }
    let bias = bias_or_zeros(bias, sizes.k, x)?;
    kernel3::apply([x, weight, &bias], op::Convolution(sizes))
}

fn bias_or_zeros(bias: Option<&Tensor>, k: usize, x: &Tensor) -> Result<Tensor> {
    Ok(match bias {
        Some(bias) => bias.contiguous()?,
        None => Tensor::zeros(k, x.dtype(), x.device())?,
    })
}

/// The sizes of [`conv2d`], or why it cannot run.
pub(crate) fn checked(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: &Conv2d,
) -> Result<Sizes> {
    let op = "conv2d";
    let (n, c, h, w) = checked_grid(op, x)?;
    let (k, of_group, kh, kw) = checked_grid(op, weight)?;
    let Conv2d { stride, padding, dilation, groups, .. } = *config;
    for (field, value) in [("stride", stride), ("dilation", dilation), ("groups", groups)] {
        if value == 0 {
            return Err(Error::Config { op, field, value, reason: "expected at least 1" });
        }
    }
    if c % groups != 0 || k % groups != 0 {
        let reason = "which does not divide the channels of input and output";
        return Err(Error::Config { op, field: "groups", value: groups, reason });
    }
    if of_group != c / groups {
        let expected = "weight: [k, c/groups, kh, kw] with c as in x";
        return Err(Error::Shape { op, expected, got: weight.dims().to_vec() });
    }
    let out = |size: usize, kernel: usize| {
        let reach = dilation * (kernel - 1) + 1;
        (size + 2 * padding).checked_sub(reach).map(|rest| rest / stride + 1)
    };
    let (Some(oh), Some(ow)) = (out(h, kh), out(w, kw)) else {
        let expected = "x: [n, c, h, w] that, padded, is at least as large as the dilated kernel";
        return Err(Error::Shape { op, expected, got: x.dims().to_vec() });
    };
    checked_bias(op, bias, k)?;
    Ok(Sizes { n, c, h, w, k, oh, ow, kh, kw, config: *config })
}

fn forward<T: Real>(s: &Sizes, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    if s.skips() {
        forward(&s.of_read(), &s.read(x), weight, bias)
    } else if s.is_depthwise() {
        depthwise::forward(s, x, weight, bias)
    } else if s.suits_winograd() {
        winograd::forward(s, x, weight, bias)
    } else if s.is_pointwise() {
        general::forward(s, x, weight, bias)
    } else {
        direct::forward(s, x, weight, bias)
    }
}

fn backward_input<T: Real>(s: &Sizes, weight: &[T], grad: &[T]) -> Vec<T> {
    if s.skips() {
        s.spread(&backward_input(&s.of_read(), weight, grad))
    } else if s.is_depthwise() {
        depthwise::backward_input(s, weight, grad)
    } else if s.suits_winograd() {
        winograd::backward_input(s, weight, grad)
    } else if s.is_pointwise() {
        general::backward_input(s, weight, grad)
    } else {
        direct::backward_input(s, weight, grad)
    }
}

fn backward_weight<T: Real>(s: &Sizes, x: &[T], grad: &[T]) -> Vec<T> {
    if s.skips() {
        backward_weight(&s.of_read(), &s.read(x), grad)
    } else if s.is_depthwise() {
        depthwise::backward_weight(s, x, grad)
    } else if s.suits_winograd() {
        winograd::backward_weight(s, x, grad)
    } else if s.is_pointwise() || s.c / s.config.groups < direct::FEWEST_CHANNELS {
        general::backward_weight(s, x, grad)
    } else {
        direct::backward_weight(s, x, grad)
    }
}

/// The gradients of input and weight, those that are wanted.
fn gradients<T: Real>(
    s: &Sizes,
    x: &[T],
    weight: &[T],
    grad: &[T],
    wanted: [bool; 2],
) -> [Option<Vec<T>>; 2] {
    if wanted[0] && s.is_depthwise() && s.is_three() {
        let (d_x, d_weight) = depthwise::gradients(s, x, weight, grad);
        return [Some(d_x), wanted[1].then_some(d_weight)];
    }
    [
        wanted[0].then(|| backward_input(s, weight, grad)),
        wanted[1].then(|| backward_weight(s, x, grad)),
    ]
}
