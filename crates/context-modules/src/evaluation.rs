//! Modules with norms where candle knows no training.

use candle_core::{Module, ModuleT, Tensor};

/// A module in evaluation: what stands in a [`candle_nn::Sequential`], which does not say whether
/// it is trained.
#[derive(Debug, Clone)]
pub struct Evaluation<M>(
    /// The module.
    pub M,
);

impl<M: ModuleT> Module for Evaluation<M> {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.0.forward_t(x, false)
    }
}
