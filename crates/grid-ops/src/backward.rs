//! Backward passes whose gradients of variables candle does not sum either.
//!
//! What [`crate::graph`] spares the gradients between operations, this spares those of variables:
//! while a pass runs, operations hand them over here instead of to candle, which would make zeros
//! of their shape and add.

use std::cell::RefCell;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, TensorId, Var, bail};

use crate::graph::{Reads, apply1, number};
use crate::{add, is_composed};

thread_local! {
    /// While [`backward`] runs on this thread: the gradients of variables so far, in the order in
    /// which they came.
    static HANDED_OVER: RefCell<Option<Vec<(TensorId, Tensor)>>> = const { RefCell::new(None) };
}

/// The gradients of `loss` with respect to all variables: as [`Tensor::backward`], which this
/// crate's operations work with as well, but faster and in less memory: what an operation kept for
/// its gradient is gone when it has made it. So a graph has one such pass.
///
/// # Errors
///
/// What the operations report; a graph that has had a pass.
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

/// The gradients of a loss of which only its gradient with respect to `y` is known.
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
    backward(&loss_of(y, grad)?)
}

/// Whether a pass runs on this thread that frees the graph as it goes, as [`backward`] does: an
/// operation may then use up what it has kept.
#[must_use]
pub fn frees_graph() -> bool {
    HANDED_OVER.with_borrow(Option::is_some)
}

/// Takes the gradient of a variable; gives it back where candle is to sum it.
pub(crate) fn hand_over(variable: &Tensor, grad: Tensor) -> candle_core::Result<Option<Tensor>> {
    HANDED_OVER.with_borrow_mut(|all| {
        let Some(all) = all else { return Ok(Some(grad)) };
        collect(all, variable.id(), &grad)?;
        Ok(None)
    })
}

fn collect(
    all: &mut Vec<(TensorId, Tensor)>,
    id: TensorId,
    grad: &Tensor,
) -> candle_core::Result<()> {
    match all.iter_mut().find(|(of, _)| *of == id) {
        Some((_, sum)) => *sum = add::sum(sum, grad)?,
        None => all.push((id, grad.detach())),
    }
    Ok(())
}

/// Within the pass that runs on this thread: from the gradient of `y` to those of `inputs`, where
/// there are any; those of all other variables are handed over to the pass.
pub(crate) fn backward_within<const N: usize>(
    y: &Tensor,
    grad: &Tensor,
    inputs: &[Option<Var>; N],
) -> candle_core::Result<[Option<Tensor>; N]> {
    let mut of_inputs = [const { None }; N];
    if !y.track_op() {
        return Ok(of_inputs);
    }
    if !frees_graph() {
        bail!("parts that are computed again need a pass that grid_ops::backward runs");
    }
    let by_candle = loss_of(y, grad)?.backward()?;
    HANDED_OVER.with_borrow_mut(|all| {
        let Some(all) = all else { return Ok(()) };
        for &id in by_candle.get_ids() {
            if let Some(grad) = by_candle.get_id(id) {
                collect(all, id, grad)?;
            }
        }
        for (to, input) in of_inputs.iter_mut().zip(inputs) {
            let place = |input: &Var| all.iter().position(|(id, _)| *id == input.id());
            *to = input.as_ref().and_then(place).map(|at| all.swap_remove(at).1);
        }
        candle_core::Result::Ok(())
    })?;
    Ok(of_inputs)
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

/// A loss whose gradient with respect to `y` is `grad`.
fn loss_of(y: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
    if is_composed(y) {
        return (y * grad.detach())?.sum_all();
    }
    apply1(y, Given(grad.detach()), Reads::NOTHING)
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
