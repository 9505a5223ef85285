//! A 1×1 convolution with a bias.

use candle_core::Tensor;
use candle_nn::init::DEFAULT_KAIMING_NORMAL;
use candle_nn::{Init, VarBuilder};
use grid_ops::{Activation, Conv2d, conv2d};

use crate::Result;

/// `x ↦ weight·x + bias` at every unit.
#[derive(Debug)]
pub(crate) struct Pointwise {
    /// `[k, c, 1, 1]`.
    pub(crate) weight: Tensor,
    /// `[k]`.
    pub(crate) bias: Tensor,
}

impl Pointwise {
    /// From `c` channels to `k`, normal after He.
    pub(crate) fn new(c: usize, k: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        Self::with_weights(c, k, DEFAULT_KAIMING_NORMAL, vb)
    }

    /// The same that gives 0 at first.
    pub(crate) fn of_zeros(c: usize, k: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        Self::with_weights(c, k, Init::Const(0.0), vb)
    }

    fn with_weights(c: usize, k: usize, init: Init, vb: &VarBuilder<'_>) -> Result<Self> {
        let weight = vb.get_with_hints((k, c, 1, 1), "weight", init)?;
        Ok(Self { weight, bias: vb.get_with_hints(k, "bias", Init::Const(0.0))? })
    }

    /// `[n, c, h, w]` to `[n, k, h, w]`.
    pub(crate) fn forward(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        let config = Conv2d { activation, ..Conv2d::default() };
        Ok(conv2d(x, &self.weight, Some(&self.bias), &config)?)
    }
}

/// Several from the same map as one product.
///
/// # Errors
///
/// What candle reports.
pub(crate) fn side_by_side(x: &Tensor, parts: &[(&Tensor, &Tensor)]) -> Result<Tensor> {
    let (weights, biases): (Vec<_>, Vec<_>) = parts.iter().copied().unzip();
    let (weight, bias) = (Tensor::cat(&weights, 0)?, Tensor::cat(&biases, 0)?);
    Ok(conv2d(x, &weight, Some(&bias), &Conv2d::default())?)
}
