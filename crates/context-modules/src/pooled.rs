//! A branch that sees the mean of the whole grid.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use grid_ops::{Activation, global_avg_pool, upsample_nearest};

use crate::Result;
use crate::pointwise::Pointwise;

/// `relu(weight·mean(x) + bias)`, the same at every unit.
///
/// A bias and no norm: over the single value that is left of an image, a norm would leave its own
/// bias alone and no gradient.
#[derive(Debug)]
pub(crate) struct Pooled(Pointwise);

impl Pooled {
    pub(crate) fn new(c: usize, k: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self(Pointwise::new(c, k, vb)?))
    }

    /// `[n, c, h, w]` to `[n, k, 1, 1]`.
    pub(crate) fn of_image(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward(&global_avg_pool(x)?, Activation::Relu)
    }

    /// `[n, c, h, w]` to `[n, k, h, w]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, h, w) = x.dims4()?;
        Ok(upsample_nearest(&self.of_image(x)?, h, w)?)
    }
}
