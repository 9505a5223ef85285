//! Parts of a network that are computed again in the backward pass instead of being kept.

use std::sync::{Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, DType, Layout, Shape, Storage, Tensor, Var, bail,
};

use crate::backward::backward_within;
use crate::{Elements, apply2, is_composed};

/// `y`, which a part of a network made of `x` without its graph; in the backward pass `again` makes
/// it anew, and the gradients of `x` and of all variables that `again` meets come from that.
///
/// Nothing of the part but `x` and `y` is kept, for one more forward pass of it. What `again` changes
/// besides, such as running statistics, is the caller's to mind. Only in a pass that
/// [`crate::backward`] runs.
///
/// After Chen, Xu, Zhang & Guestrin, *Training deep nets with sublinear memory cost*, 2016.
///
/// # Errors
///
/// What candle reports; in the backward pass what `again` reports, and another shape than `y`'s.
pub fn recomputed(
    x: &Tensor,
    y: &Tensor,
    again: impl Fn(&Tensor) -> candle_core::Result<Tensor> + Send + Sync + 'static,
) -> candle_core::Result<Tensor> {
    // The variables are out of candle's sight; one of no use stands for them.
    let anchor = Var::zeros(1, DType::F32, x.device())?;
    let y = Mutex::new(Some(y.detach().contiguous()?));
    let part = Part { y, again, tracked: x.track_op() };
    let x = x.contiguous()?;
    if is_composed(&x) { x.apply_op2(&anchor, part) } else { apply2(&x, &anchor, part) }
}

struct Part<F> {
    /// Until it has become the result.
    y: Mutex<Option<Tensor>>,
    again: F,
    /// Whether the input wants a gradient.
    tracked: bool,
}

impl<F> Part<F> {
    fn result(&self) -> candle_core::Result<Tensor> {
        let y = self.y.lock().unwrap_or_else(PoisonError::into_inner).take();
        match y {
            Some(y) => Ok(y),
            None => bail!("recomputed: run twice"),
        }
    }
}

impl<F: Fn(&Tensor) -> candle_core::Result<Tensor>> CustomOp2 for Part<F> {
    fn name(&self) -> &'static str {
        "recomputed"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = self.result()?;
        let storage = Elements::of(&y).storage()?.0.clone();
        Ok((storage, y.shape().clone()))
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let y = self.result()?;
        let (storage, layout) = y.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, y.shape().clone())),
            _ => bail!("recomputed: a result on another device"),
        }
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let variable = if self.tracked { Some(Var::from_tensor(x)?) } else { None };
        let again = (self.again)(variable.as_deref().unwrap_or(x))?;
        if again.dims() != y.dims() {
            bail!("recomputed: {:?} the first time, {:?} again", y.dims(), again.dims());
        }
        Ok((backward_within(&again, grad, variable.as_ref())?, None))
    }
}
