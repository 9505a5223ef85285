//! From the backbone to the decoder.

use backbone::{ConvNorm, Phase};
use candle_core::Tensor;
use dense_rnn::DenseRnn;
use grid_ops::{Activation, add};

/// Joined stages → 1×1 adapter → context module, added to the adapter's output.
pub(super) struct Neck {
    pub(super) adapter: ConvNorm,
    pub(super) context: Option<DenseRnn>,
}

impl Neck {
    /// # Shapes
    ///
    /// - `joined`: `[n, c, h, w]`
    /// - returns: `[n, p, h, w]`
    pub(super) fn forward(&self, joined: &Tensor, phase: Phase) -> anyhow::Result<Tensor> {
        let x = self.adapter.forward(joined, phase)?;
        Ok(match &self.context {
            Some(context) => add(&x, &context.forward(&x)?, Activation::Identity)?,
            None => x,
        })
    }
}
