//! Resizing to the nearest cell.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor, WithDType, bail};
use rayon::prelude::*;

use crate::resize::checked_size;
use crate::{Elements, Real, Result, composed, view};

/// Resizes every channel of `x` to `height × width`, up or down and by any factor: output `i` of
/// `H` is input `⌊i·h/H⌋`, as in PyTorch's `interpolate(mode="nearest")`.
///
/// # Shapes
///
/// - `x`: `[n, c, h, w]`, `f32` or `f64`
/// - returns: `[n, c, height, width]`
///
/// Differentiable.
///
/// # Errors
///
/// [`Error::Shape`](crate::Error::Shape) or [`Error::Config`](crate::Error::Config) for an empty
/// grid, [`Error::DType`](crate::Error::DType) for other numbers.
pub fn upsample_nearest(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let from = checked_size("upsample_nearest", x, height, width)?;
    if !x.device().is_cpu() {
        return composed::upsample_nearest(x, height, width);
    }
    Ok(x.contiguous()?.apply_op1(Nearest { from, to: (height, width) })?)
}

/// The input that each output shows.
pub(crate) fn sources(inputs: usize, outputs: usize) -> Vec<usize> {
    (0..outputs).map(|output| output * inputs / outputs).collect()
}

struct Nearest {
    from: (usize, usize),
    to: (usize, usize),
}

impl Nearest {
    fn forward<T: Real>(&self, x: &[T]) -> Vec<T> {
        let ((h, w), (height, width)) = (self.from, self.to);
        let (rows, columns) = (sources(h, height), sources(w, width));
        let mut y = vec![T::zero(); x.len() / (h * w) * height * width];
        y.par_chunks_mut(height * width).zip(x.par_chunks(h * w)).for_each(|(y, x)| {
            for (y, &row) in y.chunks_exact_mut(width).zip(&rows) {
                let line = &x[row * w..][..w];
                y.iter_mut().zip(&columns).for_each(|(y, &column)| *y = line[column]);
            }
        });
        y
    }

    fn backward<T: Real>(&self, grad: &[T]) -> Vec<T> {
        let ((h, w), (height, width)) = (self.from, self.to);
        let (rows, columns) = (sources(h, height), sources(w, width));
        let mut d_x = vec![T::zero(); grad.len() / (height * width) * h * w];
        d_x.par_chunks_mut(h * w).zip(grad.par_chunks(height * width)).for_each(|(d_x, grad)| {
            for (grad, &row) in grad.chunks_exact(width).zip(&rows) {
                let line = &mut d_x[row * w..][..w];
                grad.iter().zip(&columns).for_each(|(&g, &c)| line[c] = line[c] + g);
            }
        });
        d_x
    }

    fn backward_tensor<T: Real + WithDType>(
        &self,
        x: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let d_x = self.backward(Elements::of(&grad).slice::<T>()?);
        Ok(Some(Tensor::from_vec(d_x, x.shape(), x.device())?))
    }
}

impl CustomOp1 for Nearest {
    fn name(&self) -> &'static str {
        "upsample-nearest"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = match x.dtype() {
            DType::F32 => f32::to_cpu_storage_owned(self.forward(view::<f32>((x, layout))?)),
            DType::F64 => f64::to_cpu_storage_owned(self.forward(view::<f64>((x, layout))?)),
            other => bail!("upsample-nearest: expected f32 or f64, got {other:?}"),
        };
        let dims = layout.dims();
        Ok((y, Shape::from((dims[0], dims[1], self.to.0, self.to.1))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        match x.dtype() {
            DType::F32 => self.backward_tensor::<f32>(x, grad),
            _ => self.backward_tensor::<f64>(x, grad),
        }
    }
}
