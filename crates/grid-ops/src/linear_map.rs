//! The `CustomOp` around operations that map every plane of a grid linearly.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor, WithDType, bail};

use crate::{Elements, Reads, Real, Result, apply1, view};

/// A linear map of planes, and its adjoint.
pub(crate) trait LinearMap: Send + Sync + 'static {
    /// The operation's name in candle's errors.
    const NAME: &'static str;

    /// Rows and columns of the output.
    fn to(&self) -> (usize, usize);

    /// Maps all planes of `[n, c, h, w]`.
    fn forward<T: Real>(&self, x: &[T]) -> Vec<T>;

    /// The gradient of `[n, c, h, w]` from that of the output.
    fn backward<T: Real>(&self, grad: &[T]) -> Vec<T>;
}

/// `map` of `x`, differentiable.
pub(crate) fn apply(map: impl LinearMap, x: &Tensor) -> Result<Tensor> {
    Ok(apply1(&x.contiguous()?, Op(map), Reads::NOTHING)?)
}

struct Op<M>(M);

impl<M: LinearMap> Op<M> {
    fn backward<T: Real + WithDType>(
        &self,
        x: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let d_x = self.0.backward(Elements::of(&grad).slice::<T>()?);
        Ok(Some(Tensor::from_vec(d_x, x.shape(), x.device())?))
    }
}

impl<M: LinearMap> CustomOp1 for Op<M> {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = match x.dtype() {
            DType::F32 => f32::to_cpu_storage_owned(self.0.forward(view::<f32>((x, layout))?)),
            DType::F64 => f64::to_cpu_storage_owned(self.0.forward(view::<f64>((x, layout))?)),
            other => bail!("{}: expected f32 or f64, got {other:?}", M::NAME),
        };
        let (dims, (height, width)) = (layout.dims(), self.0.to());
        Ok((y, Shape::from((dims[0], dims[1], height, width))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        match x.dtype() {
            DType::F32 => self.backward::<f32>(x, grad),
            _ => self.backward::<f64>(x, grad),
        }
    }
}
