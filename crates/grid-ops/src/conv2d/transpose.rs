//! Transposed convolution: the input gradient of a convolution, as an operation of its own.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use super::op::channel_sums;
use super::{Conv2d, Sizes, backward_input, backward_weight, bias_or_zeros, checked_bias, forward};
use crate::error::checked_grid;
use crate::kernel3::{self, Kernel3};
use crate::{Error, Reads, Real, Result, composed, count_macs, is_composed};

/// The options of [`conv_transpose2d`], the same along both axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvTranspose2d {
    /// Distance of two inputs, in outputs. Default: 1.
    pub stride: usize,
    /// Outputs cut off on every side. Default: 0.
    pub padding: usize,
    /// Outputs added below and to the right, less than the stride or the dilation. Default: 0.
    pub output_padding: usize,
    /// Distance of two taps of the kernel, in outputs. Default: 1.
    pub dilation: usize,
    /// Groups of channels that do not see each other. Default: 1.
    pub groups: usize,
}

impl Default for ConvTranspose2d {
    fn default() -> Self {
        Self { stride: 1, padding: 0, output_padding: 0, dilation: 1, groups: 1 }
    }
}

/// Spreads every input over the outputs that its kernel reaches (learned upsampling).
///
/// It is the adjoint of [`conv2d`](crate::conv2d) with the same options and weight, and runs on
/// that convolution's kernels. Source: Long, Shelhamer & Darrell, *Fully convolutional networks
/// for semantic segmentation*, CVPR 2015 ("deconvolution").
///
/// # Shapes
///
/// - `x`: `[n, c, h, w]`, `f32` or `f64`
/// - `weight`: `[c, k/groups, kh, kw]`
/// - `bias`: `[k]`
/// - returns: `[n, k, oh, ow]`,
///   `oh = (h − 1)·stride − 2·padding + dilation·(kh − 1) + output_padding + 1`
///
/// Differentiable in all three.
///
/// # Errors
///
/// [`Error::Shape`] where shapes do not fit, are zero or nothing is left of the output,
/// [`Error::Config`] for a zero option, groups that do not divide the channels or an output
/// padding that is too large, [`Error::DType`] for other number types.
pub fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: &ConvTranspose2d,
) -> Result<Tensor> {
    let mirror = mirror_of(x, weight, bias, config)?;
    count_macs(mirror.n * mirror.oh * mirror.ow * weight.elem_count());
    if is_composed(x) {
        return composed::conv_transpose2d(x, weight, bias, config);
    }
    let bias = bias_or_zeros(bias, mirror.c, x)?;
    kernel3::apply([x, weight, &bias], Transposed(mirror))
}

/// The output size along one axis; `None` if nothing is left.
fn output_size(size: usize, kernel: usize, config: &ConvTranspose2d) -> Option<usize> {
    let ConvTranspose2d { stride, padding, output_padding, dilation, .. } = *config;
    let whole = (size - 1) * stride + dilation * (kernel - 1) + output_padding + 1;
    whole.checked_sub(2 * padding).filter(|&left| left > 0)
}

/// The convolution whose adjoint this is: it reads what is written here. Or why there is none.
pub(crate) fn mirror_of(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: &ConvTranspose2d,
) -> Result<Sizes> {
    let op = "conv_transpose2d";
    let (n, c, h, w) = checked_grid(op, x)?;
    let (inputs, of_group, kh, kw) = checked_grid(op, weight)?;
    let ConvTranspose2d { stride, padding, output_padding, dilation, groups } = *config;
    for (field, value) in [("stride", stride), ("dilation", dilation), ("groups", groups)] {
        if value == 0 {
            return Err(Error::Config { op, field, value, reason: "expected at least 1" });
        }
    }
    if output_padding >= stride.max(dilation) {
        let reason = "expected less than the stride or the dilation";
        return Err(Error::Config { op, field: "output_padding", value: output_padding, reason });
    }
    if c % groups != 0 {
        let reason = "which does not divide the channels of the input";
        return Err(Error::Config { op, field: "groups", value: groups, reason });
    }
    if inputs != c {
        let expected = "weight: [c, k/groups, kh, kw] with c as in x";
        return Err(Error::Shape { op, expected, got: weight.dims().to_vec() });
    }
    let (Some(oh), Some(ow)) = (output_size(h, kh, config), output_size(w, kw, config)) else {
        let expected = "x: [n, c, h, w] of which the padding leaves an output";
        return Err(Error::Shape { op, expected, got: x.dims().to_vec() });
    };
    checked_bias(op, bias, of_group * groups)?;
    let config = Conv2d { stride, padding, dilation, groups, ..Conv2d::default() };
    Ok(Sizes { n, c: of_group * groups, h: oh, w: ow, k: c, oh: h, ow: w, kh, kw, config })
}

/// Of image, weight and bias; holds the convolution that is its mirror.
struct Transposed(Sizes);

impl Kernel3 for Transposed {
    const NAME: &'static str = "conv-transpose2d";

    fn shape(&self, _: &Shape) -> Shape {
        let Sizes { n, c, h, w, .. } = self.0;
        Shape::from((n, c, h, w))
    }

    fn reads(&self, [d_x, d_weight, _]: [bool; 3]) -> Reads {
        Reads { inputs: [d_weight, d_x, false], output: false }
    }

    fn forward<T: Real>(&self, [x, weight, bias]: [&[T]; 3]) -> Vec<T> {
        let s = &self.0;
        let mut y = backward_input(s, weight, x);
        if bias.iter().any(|&b| b != T::zero()) {
            y.par_chunks_mut(s.h * s.w).enumerate().for_each(|(at, plane)| {
                let bias = bias[at % s.c];
                plane.iter_mut().for_each(|y| *y = *y + bias);
            });
        }
        y
    }

    fn backward<T: Real>(
        &self,
        [x, weight, _]: [&[T]; 3],
        _: &[T],
        grad: &[T],
        wanted: [bool; 3],
    ) -> candle_core::Result<[Option<Vec<T>>; 3]> {
        let s = &self.0;
        Ok([
            wanted[0].then(|| forward(s, grad, weight, &vec![T::zero(); s.k])),
            wanted[1].then(|| backward_weight(s, grad, x)),
            wanted[2].then(|| channel_sums(grad, s.c, s.h * s.w)),
        ])
    }
}
