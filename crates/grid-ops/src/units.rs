//! One matrix applied to the channels of every unit, between planes and rows.
//!
//! Convolutions want planes `[n, c, h, w]`; a recurrence wants the channels of a unit side by side,
//! `[n, h, w, c]`. A matrix product can write either, so from planes to rows the change of layout is
//! free where a product is due anyway; from rows to planes each image is turned first.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Layout as TensorLayout, Shape, Tensor};
use candle_core::{WithDType, bail};
use rayon::prelude::*;

use crate::error::{checked_bias, checked_dtype};
use crate::{
    Elements, Error, MatMut, MatRef, Real, Result, composed, count_macs, matmul, turned, unwritten,
    view,
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
    if !x.device().is_cpu() {
        return composed::rows_of_grid(x, weight, bias);
    }
    let sizes = Sizes { n, units: h * w, c, k };
    apply(
        UnitsOp { sizes, from: Layout::Planes, to: Layout::Rows, out: [n, h, w, k] },
        x,
        weight,
        bias,
    )
}

/// `y = weight · x + bias` at every unit, from rows to planes.
///
/// # Shapes
///
/// - `x`: `[n, h, w, c]`, `f32` or `f64`
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
    let &[n, h, w, c] = x.dims() else {
        return Err(Error::Shape { op, expected: "x: [n, h, w, c]", got: got() });
    };
    let k = checked(op, x, c, weight, bias)?;
    count_macs(n * h * w * c * k);
    if !x.device().is_cpu() {
        return composed::grid_of_rows(x, weight, bias);
    }
    let sizes = Sizes { n, units: h * w, c, k };
    apply(
        UnitsOp { sizes, from: Layout::Rows, to: Layout::Planes, out: [n, k, h, w] },
        x,
        weight,
        bias,
    )
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

fn apply(op: UnitsOp, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Ok(x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)?)
}

/// Where the number of a unit and channel lies in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `[channels, units]`.
    Planes,
    /// `[units, channels]`.
    Rows,
}

impl Layout {
    /// The image as a matrix `[units, channels]`.
    fn matrix<T>(self, image: &[T], units: usize, channels: usize) -> MatRef<'_, T> {
        match self {
            Self::Planes => MatRef::new(image, units, channels, 1, units),
            Self::Rows => MatRef::new(image, units, channels, channels, 1),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    n: usize,
    units: usize,
    c: usize,
    k: usize,
}

struct UnitsOp {
    sizes: Sizes,
    from: Layout,
    to: Layout,
    out: [usize; 4],
}

/// Parts into which an image's output is cut, whatever the number of threads: at most 8, and none of
/// fewer units than pay for packing the matrix anew.
fn part_of_units(units: usize) -> usize {
    units.div_ceil(8).max(512)
}

/// The same for its channels.
fn part_of_channels(k: usize) -> usize {
    k.div_ceil(4)
}

/// `[units, k]` in layout `to` from `[units, c]` in layout `from`, for each of `n` images:
/// `start + x · matrix`, where element `(c, k)` of the matrix is at `c·strides.0 + k·strides.1`.
fn multiply<T: Real>(
    Sizes { units, c, k, .. }: Sizes,
    (x, from): (&[T], Layout),
    (matrix, strides): (&[T], (usize, usize)),
    (y, to): (&mut [T], Layout),
    start: T,
) {
    let images = y.par_chunks_mut(units * k).zip(x.par_chunks(units * c));
    images.for_each(|(y, x)| match to {
        Layout::Rows => {
            let part = part_of_units(units);
            y.par_chunks_mut(part * k).enumerate().for_each(|(nth, y)| {
                let (m, first) = (y.len() / k, nth * part);
                let x = match from {
                    Layout::Planes => MatRef::new(&x[first..], m, c, 1, units),
                    Layout::Rows => MatRef::new(&x[first * c..], m, c, c, 1),
                };
                let matrix = MatRef::new(matrix, c, k, strides.0, strides.1);
                matmul(MatMut::new(y, m, k, k, 1), start, x, matrix);
            });
        }
        Layout::Planes => {
            // The parts share one image, which products want by planes.
            let by_planes;
            let x = match from {
                Layout::Planes => x,
                Layout::Rows => {
                    by_planes = turned(x, (units, c), c);
                    &by_planes
                }
            };
            let part = part_of_channels(k);
            y.par_chunks_mut(part * units).enumerate().for_each(|(nth, y)| {
                let m = y.len() / units;
                let matrix = &matrix[nth * part * strides.1..];
                let matrix = MatRef::new(matrix, m, c, strides.1, strides.0);
                let x = MatRef::new(x, c, units, units, 1);
                matmul(MatMut::new(y, m, units, units, 1), start, matrix, x);
            });
        }
    });
}

impl UnitsOp {
    fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
        let Sizes { n, units, c, k } = self.sizes;
        let mut y = Vec::with_capacity(n * units * k);
        match self.to {
            Layout::Rows => (0..n * units).for_each(|_| y.extend_from_slice(bias)),
            Layout::Planes => {
                for _ in 0..n {
                    bias.iter().for_each(|&b| y.extend(std::iter::repeat_n(b, units)));
                }
            }
        }
        multiply(self.sizes, (x, self.from), (weight, (1, c)), (&mut y, self.to), T::one());
        y
    }

    fn backward<T: Real + WithDType>(
        &self,
        [x, weight, bias]: [&Tensor; 3],
        grad: &Tensor,
    ) -> candle_core::Result<[Option<Tensor>; 3]> {
        let grad = grad.contiguous()?;
        let [xs, weights, grads] = [x, weight, &grad].map(Elements::of);
        let (xs, weights, grads) = (xs.slice::<T>()?, weights.slice::<T>()?, grads.slice::<T>()?);
        let Sizes { n, units, c, k } = self.sizes;
        let on = x.device();
        let d_x = if x.track_op() {
            // SAFETY: the product does not read what it writes.
            #[allow(unsafe_code, reason = "results are not zeroed first")]
            let mut d_x = unsafe { unwritten(xs.len()) };
            let turned = Sizes { n, units, c: k, k: c };
            let to = (&mut d_x[..], self.from);
            multiply(turned, (grads, self.to), (weights, (c, 1)), to, T::zero());
            Some(Tensor::from_vec(d_x, x.shape(), on)?)
        } else {
            None
        };
        let d_weight = self.weight_gradient(xs, grads);
        let mut d_bias = vec![T::zero(); k];
        match self.to {
            Layout::Rows => {
                // Runs of units in their own precision, sums of runs in f64.
                let mut total = vec![0.0; k];
                for run in grads.chunks(k * 256) {
                    let mut of_run = vec![T::zero(); k];
                    for row in run.chunks_exact(k) {
                        of_run.iter_mut().zip(row).for_each(|(sum, &g)| *sum += g);
                    }
                    let of_run = of_run.into_iter().map(|sum| sum.to_f64());
                    total.iter_mut().zip(of_run).for_each(|(total, sum)| *total += sum);
                }
                d_bias.iter_mut().zip(total).for_each(|(to, sum)| *to = T::of(sum));
            }
            Layout::Planes => {
                for (nth, plane) in grads.chunks_exact(units).enumerate() {
                    d_bias[nth % k] += T::of(crate::simd::sum(plane));
                }
            }
        }
        Ok([
            d_x,
            Some(Tensor::from_vec(d_weight, weight.shape(), on)?),
            Some(Tensor::from_vec(d_bias, bias.shape(), on)?),
        ])
    }

    /// `[k, c]`, summed over images in order.
    fn weight_gradient<T: Real>(&self, xs: &[T], grads: &[T]) -> Vec<T> {
        let Sizes { n, units, c, k } = self.sizes;
        // Of `[rows, columns]` with `left` as the rows' side, which should be laid out by rows.
        let gradient = |left: (&[T], Layout, usize), right: (&[T], Layout, usize)| {
            let ((a, of_a, rows), (b, of_b, columns)) = (left, right);
            let mut sum = vec![T::zero(); rows * columns];
            let part = part_of_channels(rows);
            sum.par_chunks_mut(part * columns).enumerate().for_each(|(nth, sum)| {
                let (m, first) = (sum.len() / columns, nth * part);
                for image in 0..n {
                    let a = &a[image * units * rows..][..units * rows];
                    let a = match of_a {
                        Layout::Planes => MatRef::new(&a[first * units..], m, units, units, 1),
                        Layout::Rows => MatRef::new(&a[first..], m, units, 1, rows),
                    };
                    let b = of_b.matrix(&b[image * units * columns..], units, columns);
                    let start = if image == 0 { T::zero() } else { T::one() };
                    matmul(MatMut::new(sum, m, columns, columns, 1), start, a, b);
                }
            });
            sum
        };
        let (x, grad) = ((xs, self.from, c), (grads, self.to, k));
        match self.to {
            Layout::Planes => gradient(grad, x),
            // A product with contiguous rows of gradients: its own rows and columns exchanged.
            Layout::Rows => turned(&gradient(x, grad), (c, k), k),
        }
    }

    fn forward_storage<T: Real + WithDType>(
        &self,
        args: [(&CpuStorage, &TensorLayout); 3],
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let [x, weight, bias] = args;
        let y = self.forward(view::<T>(x)?, view::<T>(weight)?, view::<T>(bias)?);
        let [a, b, c, d] = self.out;
        Ok((T::to_cpu_storage_owned(y), Shape::from((a, b, c, d))))
    }
}

impl CustomOp3 for UnitsOp {
    fn name(&self) -> &'static str {
        "units"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &TensorLayout,
        weight: &CpuStorage,
        weight_layout: &TensorLayout,
        bias: &CpuStorage,
        bias_layout: &TensorLayout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let args = [(x, x_layout), (weight, weight_layout), (bias, bias_layout)];
        match x.dtype() {
            DType::F32 => self.forward_storage::<f32>(args),
            DType::F64 => self.forward_storage::<f64>(args),
            other => bail!("units: expected f32 or f64, got {other:?}"),
        }
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [d_x, d_weight, d_bias] = match x.dtype() {
            DType::F32 => self.backward::<f32>([x, weight, bias], grad)?,
            _ => self.backward::<f64>([x, weight, bias], grad)?,
        };
        Ok((d_x, d_weight, d_bias))
    }
}
