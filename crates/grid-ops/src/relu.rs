//! The rectifier of tensors of any shape.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor, WithDType, bail};

use crate::add::each;
use crate::conv2d::Activation;
use crate::error::checked_dtype;
use crate::{Elements, Reads, Real, Result, apply1, composed, is_composed, view};

/// `max(x, 0)`; NaN stays NaN, and where `x` is 0 the gradient is 0, as in PyTorch and wherever
/// [`Activation::Relu`] is part of an operation here. Of candle's own, neither holds.
///
/// # Shapes
///
/// - `x`: any, `f32` or `f64`
/// - returns: the same
///
/// Differentiable.
///
/// # Errors
///
/// [`Error::DType`](crate::Error::DType) for other number types.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    checked_dtype("relu", x)?;
    if is_composed(x) {
        return composed::relu(x);
    }
    Ok(apply1(&x.contiguous()?, Relu, Reads { output: true, ..Reads::NOTHING })?)
}

struct Relu;

impl Relu {
    fn forward<T: Real>(x: &[T]) -> Vec<T> {
        let gate = Activation::Relu.gate::<T>();
        each(x, x, move |x, _| gate.apply(x))
    }

    fn backward<T: Real + WithDType>(y: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let (y, grad) = (y.contiguous()?, grad.contiguous()?);
        let (held, flowing) = (Elements::of(&y), Elements::of(&grad));
        let gate = Activation::Relu.gate::<T>();
        let d_x = each(flowing.slice::<T>()?, held.slice::<T>()?, move |g, y| gate.held(g, y));
        Tensor::from_vec(d_x, grad.shape(), grad.device())
    }
}

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = match x.dtype() {
            DType::F32 => f32::to_cpu_storage_owned(Self::forward(view::<f32>((x, layout))?)),
            DType::F64 => f64::to_cpu_storage_owned(Self::forward(view::<f64>((x, layout))?)),
            other => bail!("relu: expected f32 or f64, got {other:?}"),
        };
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(match x.dtype() {
            DType::F32 => Self::backward::<f32>(y, grad)?,
            _ => Self::backward::<f64>(y, grad)?,
        }))
    }
}
