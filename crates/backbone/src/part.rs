//! Parts of a network: what can be computed again in the backward pass instead of being kept.

use std::fmt::Display;
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

/// `part` of `x`, as [`forward_part`].
pub(crate) fn run<P: Part>(part: &Arc<P>, x: &Tensor, phase: Phase) -> Result<Tensor> {
    let part = Arc::clone(part);
    forward_part([x], phase, move |[x], phase| part.forward(x, phase))
}

/// What `part` of a network makes of one or two `inputs` in a phase; in
/// [`Phase::TrainRecomputing`] of its own making only the result is kept, and the backward pass runs
/// it again in [`Phase::TrainAgain`].
///
/// # Errors
///
/// What the part reports.
pub fn forward_part<const N: usize, E>(
    inputs: [&Tensor; N],
    phase: Phase,
    part: impl Fn([&Tensor; N], Phase) -> Result<Tensor, E> + Send + Sync + 'static,
) -> Result<Tensor, E>
where
    E: From<candle_core::Error> + Display + Send + Sync + 'static,
{
    if phase != Phase::TrainRecomputing {
        return part(inputs, phase);
    }
    let detached = inputs.map(Tensor::detach);
    let y = part(detached.each_ref(), Phase::Train)?;
    let again = move |inputs: [&Tensor; N]| {
        part(inputs, Phase::TrainAgain).map_err(candle_core::Error::wrap)
    };
    Ok(recomputed(inputs, &y, again)?)
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
