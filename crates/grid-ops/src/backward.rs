//! Backward passes whose gradients of variables candle does not sum either.
//!
//! What [`crate::graph`] spares the gradients between operations, this spares those of variables:
//! while a pass runs, operations hand them over here instead of to candle, which would make zeros
//! of their shape and add.

use std::cell::RefCell;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, TensorId, bail};

use crate::add;
use crate::graph::{apply1, number};

thread_local! {
    /// While [`backward`] runs on this thread: the gradients of variables so far, in the order in
    /// which they came.
    static HANDED_OVER: RefCell<Option<Vec<(TensorId, Tensor)>>> = const { RefCell::new(None) };
}

/// The gradients of `loss` with respect to all variables: as [`Tensor::backward`], which this
/// crate's operations work with as well, but faster.
///
/// # Errors
///
/// What the operations report.
pub fn backward(loss: &Tensor) -> candle_core::Result<GradStore> {
    let pass = Pass::begin();
    let mut grads = loss.backward()?;
    for (id, grad) in pass.end() {
        // Operations of candle's own may have seen the variable as well.
        let grad = match grads.get_id(id) {
            Some(others) => (others + grad)?,
            None => grad,
        };
        grads.insert_id(id, grad);
    }
    Ok(grads)
}

/// The gradients of a loss of which only its gradient with respect to `y` is known, on the CPU.
///
/// # Shapes
///
/// - `grad`: as `y`
///
/// # Errors
///
/// Another shape or number type; what the operations report.
pub fn backward_from(y: &Tensor, grad: &Tensor) -> candle_core::Result<GradStore> {
    if (y.shape(), y.dtype()) != (grad.shape(), grad.dtype()) {
        bail!(
            "backward_from: expected a gradient {:?} of {:?} as the result, got {:?} of {:?}",
            y.dims(),
            y.dtype(),
            grad.dims(),
            grad.dtype()
        );
    }
    backward(&apply1(y, Given(grad.detach()))?)
}

/// Takes the gradient of a variable; gives it back where candle is to sum it.
pub(crate) fn hand_over(variable: &Tensor, grad: Tensor) -> candle_core::Result<Option<Tensor>> {
    HANDED_OVER.with_borrow_mut(|all| {
        let Some(all) = all else { return Ok(Some(grad)) };
        match all.iter_mut().find(|(id, _)| *id == variable.id()) {
            Some((_, sum)) => *sum = add::sum(sum, &grad)?,
            None => all.push((variable.id(), grad.detach())),
        }
        Ok(None)
    })
}

/// A pass of this thread; one that fails or panics leaves nothing to the next.
struct Pass;

impl Pass {
    fn begin() -> Self {
        HANDED_OVER.set(Some(Vec::new()));
        Self
    }

    fn end(self) -> Vec<(TensorId, Tensor)> {
        HANDED_OVER.take().unwrap_or_default()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        HANDED_OVER.set(None);
    }
}

/// A loss whose gradient is given.
struct Given(Tensor);

impl CustomOp1 for Given {
    fn name(&self) -> &'static str {
        "given-gradient"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        number()
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}
