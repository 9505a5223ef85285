//! Parts of a network: what can be computed again in the backward pass instead of being kept.

use std::sync::Arc;

use candle_core::Tensor;
use grid_ops::recomputed;

use crate::branch::{Scale, ScalePass};
use crate::error::Result;
use crate::network::Phase;

/// A stretch of a network from one map to the next.
pub(crate) trait Part: Send + Sync + 'static {
    fn forward(&self, x: &Tensor, phase: Phase) -> Result<Tensor>;
}

/// `part` of `x`; in [`Phase::TrainRecomputing`] so that only `x` is kept.
pub(crate) fn run<P: Part>(part: &Arc<P>, x: &Tensor, phase: Phase) -> Result<Tensor> {
    if phase != Phase::TrainRecomputing {
        return part.forward(x, phase);
    }
    let y = part.forward(&x.detach(), Phase::Train)?;
    let part = Arc::clone(part);
    let again =
        move |x: &Tensor| part.forward(x, Phase::TrainAgain).map_err(candle_core::Error::wrap);
    Ok(recomputed(x, &y, again)?)
}

/// A residual block, whose branch may be scaled.
pub(crate) trait Block: Send + Sync + 'static {
    fn forward(&self, x: &Tensor, phase: Phase, scales: &mut ScalePass) -> Result<Tensor>;
}

/// A block without a scale stands for itself.
impl<B: Block> Part for B {
    fn forward(&self, x: &Tensor, phase: Phase) -> Result<Tensor> {
        Block::forward(self, x, phase, &mut ScalePass::default())
    }
}

/// `blocks` one after the other; with a scale, which may remember something from one to the next,
/// everything is kept.
pub(crate) fn run_blocks<B: Block>(
    blocks: &[Arc<B>],
    x: Tensor,
    phase: Phase,
    scale: &Scale,
) -> Result<Tensor> {
    let mut scales = ScalePass::new(scale);
    blocks.iter().try_fold(x, |x, block| match scale {
        Some(_) => Block::forward(&**block, &x, phase, &mut scales),
        None => run(block, &x, phase),
    })
}
