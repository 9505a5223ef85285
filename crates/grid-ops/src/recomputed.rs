//! Parts of a network that are computed again in the backward pass instead of being kept.

use std::sync::{Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp3, DType, Layout, Shape, Storage, Tensor, Var, bail,
};

use crate::backward::backward_within;
use crate::{Elements, Reads, apply3, is_composed};

/// `y`, which a part of a network made of one or two `inputs` without its graph; in the backward
/// pass `again` makes it anew, and the gradients of the inputs and of all variables that `again`
/// meets come from that.
///
/// Nothing of the part but `inputs` and `y` is kept, for one more forward pass of it. What `again`
/// changes besides, such as running statistics, is the caller's to mind. Only in a pass that
/// [`crate::backward`] runs.
///
/// After Chen, Xu, Zhang & Guestrin, *Training deep nets with sublinear memory cost*, 2016.
///
/// # Errors
///
/// What candle reports; in the backward pass what `again` reports, and another shape than `y`'s.
pub fn recomputed<const N: usize>(
    inputs: [&Tensor; N],
    y: &Tensor,
    again: impl Fn([&Tensor; N]) -> candle_core::Result<Tensor> + Send + Sync + 'static,
) -> candle_core::Result<Tensor> {
    const { assert!(N == 1 || N == 2, "parts of one or two inputs") };
    // The variables are out of candle's sight; one of no use stands for them, and for a second
    // input.
    let anchor = Var::zeros(1, DType::F32, y.device())?;
    let y = Mutex::new(Some(y.detach().contiguous()?));
    let part = Part { y, again, tracked: inputs.map(Tensor::track_op) };
    let first = inputs[0].contiguous()?;
    let second = match inputs.get(1) {
        Some(second) => second.contiguous()?,
        None => anchor.as_tensor().clone(),
    };
    if is_composed(&first) {
        first.apply_op3(&second, &anchor, part)
    } else {
        apply3(&first, &second, &anchor, part, Reads { output: false, ..Reads::ALL })
    }
}

struct Part<F, const N: usize> {
    /// Until it has become the result.
    y: Mutex<Option<Tensor>>,
    again: F,
    /// Whether the inputs want gradients.
    tracked: [bool; N],
}

impl<F, const N: usize> Part<F, N> {
    fn result(&self) -> candle_core::Result<Tensor> {
        let y = self.y.lock().unwrap_or_else(PoisonError::into_inner).take();
        match y {
            Some(y) => Ok(y),
            None => bail!("recomputed: run twice"),
        }
    }
}

impl<F, const N: usize> CustomOp3 for Part<F, N>
where
    F: Fn([&Tensor; N]) -> candle_core::Result<Tensor>,
{
    fn name(&self) -> &'static str {
        "recomputed"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
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
        first: &Tensor,
        second: &Tensor,
        _: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let given: [&Tensor; N] = std::array::from_fn(|at| if at == 0 { first } else { second });
        let mut variables = [const { None }; N];
        for ((to, input), &tracked) in variables.iter_mut().zip(given).zip(&self.tracked) {
            *to = if tracked { Some(Var::from_tensor(input)?) } else { None };
        }
        let inputs: [&Tensor; N] =
            std::array::from_fn(|at| variables[at].as_deref().unwrap_or(given[at]));
        let again = (self.again)(inputs)?;
        if again.dims() != y.dims() {
            bail!("recomputed: {:?} the first time, {:?} again", y.dims(), again.dims());
        }
        let mut grads = backward_within(&again, grad, &variables)?.into_iter();
        let mut next = || grads.next().flatten();
        Ok((next(), next(), None))
    }
}
