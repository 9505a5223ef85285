//! What an optimizer remembers of one variable.

use candle_core::{Tensor, Var};
use grid_ops::is_composed;

use crate::config::OptimizerKind;

/// Running means of the gradient and of its square; of SGD the first is the momentum.
pub(super) enum Moments {
    /// Of a variable that is moved in place; of SGD the second is empty.
    InPlace([Vec<f32>; 2]),
    /// Of any other, of its shape; of SGD only the first.
    Tensors(Vec<Tensor>),
}

impl Moments {
    /// At the start.
    pub(super) fn of(var: &Var, kind: OptimizerKind) -> candle_core::Result<Self> {
        if is_composed(var) {
            let count = match kind {
                OptimizerKind::AdamW => 2,
                OptimizerKind::Sgd => 1,
            };
            return Ok(Self::Tensors(vec![var.zeros_like()?; count]));
        }
        let zeros = vec![0.0; var.elem_count()];
        Ok(Self::InPlace(match kind {
            OptimizerKind::AdamW => [zeros.clone(), zeros],
            OptimizerKind::Sgd => [zeros, Vec::new()],
        }))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::InPlace(all) => all.iter().filter(|moment| !moment.is_empty()).count(),
            Self::Tensors(all) => all.len(),
        }
    }

    /// As tensors of the variable's shape.
    pub(super) fn tensors(&self, var: &Var) -> candle_core::Result<Vec<Tensor>> {
        match self {
            Self::InPlace(all) => {
                let of = |moment: &Vec<f32>| Tensor::from_slice(moment, var.shape(), var.device());
                all[..self.count()].iter().map(of).collect()
            }
            Self::Tensors(all) => Ok(all.clone()),
        }
    }

    /// Takes the moment of that place from [`Self::tensors`] of another time.
    pub(super) fn set(
        &mut self,
        place: usize,
        tensor: &Tensor,
        var: &Var,
    ) -> candle_core::Result<()> {
        match self {
            Self::InPlace(all) => all[place] = tensor.flatten_all()?.to_vec1::<f32>()?,
            Self::Tensors(all) => all[place] = tensor.to_device(var.device())?,
        }
        Ok(())
    }
}
