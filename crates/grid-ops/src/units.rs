//! One matrix applied to the channels of every unit, between planes and rows, as tensors.
//!
//! Convolutions want planes `[n, c, h, w]`; a recurrence wants the channels of a unit side by side,
//! `[n, h, w, c]`. A matrix product can write either, so from planes to rows the change of layout is
//! free where a product is due anyway; from rows to planes each image is turned first.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use crate::conv2d::channel_sums;
use crate::error::{checked_bias, checked_dtype};
use crate::kernel3::{self, Kernel3};
use crate::rows::{RowsProduct, Wanted};
use crate::{
    Error, MatMut, MatRef, Reads, Real, Result, composed, count_macs, is_composed, matmul, turned,
    unwritten,
};

/// `y = weight · x + bias` at every unit, from planes to rows.
///
/// # Shapes
///
/// - `x`: `[n, c, h, w]`, `f32` or `f64`
/// - `weight`: `[k, c]`, `bias`: `[k]`
/// - returns: `[n, h, w, k]`
///
/// Differentiable in all three.
///
/// # Errors
///
/// [`Error::Shape`] where shapes do not fit or are zero, [`Error::DType`] for other number types.
pub fn rows_of_grid(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let op = "rows_of_grid";
    let got = || x.dims().to_vec();
    let &[n, c, h, w] = x.dims() else {
        return Err(Error::Shape { op, expected: "x: [n, c, h, w]", got: got() });
    };
    let k = checked(op, x, c, weight, bias)?;
    count_macs(n * h * w * c * k);
    if is_composed(x) {
        return composed::rows_of_grid(x, weight, bias);
    }
    let op = Rows { product: RowsProduct { units: h * w, c, k }, out: [n, h, w, k] };
    kernel3::apply([x, weight, bias], op)
}

/// `y = weight · x + bias` at every unit, from rows to planes.
///
/// # Shapes
///
/// - `x`: `[n, h, w, c]`, `f32` or `f64`; the channels may be of several dimensions, as in
///   `[n, h, w, 4, d]`
/// - `weight`: `[k, c]`, `bias`: `[k]`
/// - returns: `[n, k, h, w]`
///
/// Differentiable in all three.
///
/// # Errors
///
/// As [`rows_of_grid`].
pub fn grid_of_rows(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let op = "grid_of_rows";
    let got = || x.dims().to_vec();
    let &[n, h, w, _, ..] = x.dims() else {
        return Err(Error::Shape { op, expected: "x: [n, h, w, c]", got: got() });
    };
    let c = x.dims()[3..].iter().product();
    let k = checked(op, x, c, weight, bias)?;
    count_macs(n * h * w * c * k);
    if is_composed(x) {
        return composed::grid_of_rows(x, weight, bias);
    }
    let op = Grid { n, units: h * w, c, k, out: [n, k, h, w] };
    kernel3::apply([x, weight, bias], op)
}

/// The channels of the output, or why the product cannot run.
pub(crate) fn checked(
    op: &'static str,
    x: &Tensor,
    c: usize,
    weight: &Tensor,
    bias: &Tensor,
) -> Result<usize> {
    checked_dtype(op, x)?;
    if x.elem_count() == 0 {
        let expected = "x: no dimension zero";
        return Err(Error::Shape { op, expected, got: x.dims().to_vec() });
    }
    match *weight.dims() {
        [k, of_x] if of_x == c && k > 0 => {
            checked_bias(op, Some(bias), k)?;
            Ok(k)
        }
        _ => {
            let expected = "weight: [k, c] with c as in x";
            Err(Error::Shape { op, expected, got: weight.dims().to_vec() })
        }
    }
}

/// From planes to rows.
struct Rows {
    product: RowsProduct,
    out: [usize; 4],
}

impl Kernel3 for Rows {
    const NAME: &'static str = "rows-of-grid";

    fn shape(&self, _: &Shape) -> Shape {
        Shape::from(&self.out[..])
    }

    /// The gradient of the weight comes with every other.
    fn reads(&self, _: [bool; 3]) -> Reads {
        Reads { inputs: [true, true, false], output: false }
    }

    fn forward<T: Real>(&self, [x, weight, bias]: [&[T]; 3]) -> Vec<T> {
        self.product.forward(x, weight, bias)
    }

    fn backward<T: Real>(
        &self,
        [x, weight, _]: [&[T]; 3],
        _: &[T],
        grad: &[T],
        wanted: [bool; 3],
    ) -> candle_core::Result<[Option<Vec<T>>; 3]> {
        let wanted = if wanted[0] { Wanted::All } else { Wanted::Parameters };
        let gradients = self.product.backward(x, weight, grad, wanted);
        Ok([gradients.x, Some(gradients.weight), Some(gradients.bias)])
    }
}

/// From rows to planes.
struct Grid {
    n: usize,
    units: usize,
    c: usize,
    k: usize,
    out: [usize; 4],
}

/// Units of a part of an image, whatever the number of threads: at most 8 parts, none of fewer than
/// pay for packing the matrix anew.
fn part_of_units(units: usize) -> usize {
    units.div_ceil(8).max(512)
}

/// The same for channels.
fn part_of_channels(k: usize) -> usize {
    k.div_ceil(4)
}

impl Kernel3 for Grid {
    const NAME: &'static str = "grid-of-rows";

    fn shape(&self, _: &Shape) -> Shape {
        Shape::from(&self.out[..])
    }

    fn reads(&self, [d_x, d_weight, _]: [bool; 3]) -> Reads {
        Reads { inputs: [d_weight, d_x, false], output: false }
    }

    fn forward<T: Real>(&self, [x, weight, bias]: [&[T]; 3]) -> Vec<T> {
        let Self { n, units, c, k, .. } = *self;
        let mut y = Vec::with_capacity(n * units * k);
        for _ in 0..n {
            bias.iter().for_each(|&b| y.extend(std::iter::repeat_n(b, units)));
        }
        let images = y.par_chunks_mut(units * k).zip(x.par_chunks(units * c));
        images.for_each(|(y, x)| {
            // The parts share one image, which products want by planes.
            let x = turned(x, (units, c), c);
            let part = part_of_channels(k);
            y.par_chunks_mut(part * units).enumerate().for_each(|(nth, y)| {
                let m = y.len() / units;
                let weight = MatRef::new(&weight[nth * part * c..], m, c, c, 1);
                let x = MatRef::new(&x, c, units, units, 1);
                matmul(MatMut::new(y, m, units, units, 1), T::one(), weight, x);
            });
        });
        y
    }

    fn backward<T: Real>(
        &self,
        [x, weight, _]: [&[T]; 3],
        _: &[T],
        grad: &[T],
        wanted: [bool; 3],
    ) -> candle_core::Result<[Option<Vec<T>>; 3]> {
        Ok([
            wanted[0].then(|| self.gradient_of_rows(weight, grad)),
            wanted[1].then(|| self.gradient_of_weight(x, grad)),
            wanted[2].then(|| channel_sums(grad, self.k, self.units)),
        ])
    }
}

impl Grid {
    /// `[n, units, c]`.
    fn gradient_of_rows<T: Real>(&self, weight: &[T], grads: &[T]) -> Vec<T> {
        let Self { n, units, c, k, .. } = *self;
        // SAFETY: the product does not read what it writes.
        #[allow(unsafe_code, reason = "results are not zeroed first")]
        let mut d_x = unsafe { unwritten(n * units * c) };
        let images = d_x.par_chunks_mut(units * c).zip(grads.par_chunks(units * k));
        images.for_each(|(d_x, grads)| {
            let part = part_of_units(units);
            d_x.par_chunks_mut(part * c).enumerate().for_each(|(nth, d_x)| {
                let m = d_x.len() / c;
                let grads = MatRef::new(&grads[nth * part..], m, k, 1, units);
                let weight = MatRef::new(weight, k, c, c, 1);
                matmul(MatMut::new(d_x, m, c, c, 1), T::zero(), grads, weight);
            });
        });
        d_x
    }

    /// `[k, c]`, summed over images in order.
    fn gradient_of_weight<T: Real>(&self, xs: &[T], grads: &[T]) -> Vec<T> {
        let Self { n, units, c, k, .. } = *self;
        let mut sum = vec![T::zero(); k * c];
        let part = part_of_channels(k);
        sum.par_chunks_mut(part * c).enumerate().for_each(|(nth, sum)| {
            let m = sum.len() / c;
            for image in 0..n {
                let grads = &grads[(image * k + nth * part) * units..];
                let grads = MatRef::new(grads, m, units, units, 1);
                let x = MatRef::new(&xs[image * units * c..], units, c, c, 1);
                let start = if image == 0 { T::zero() } else { T::one() };
                matmul(MatMut::new(sum, m, c, c, 1), start, grads, x);
            }
        });
        sum
    }
}
