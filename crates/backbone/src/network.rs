//! What every backbone offers.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::branch::Branch;
use crate::conv_norm::ConvNorm;
use crate::error::{Error, Result};

/// A convolutional network that makes feature maps at several strides.
pub trait Backbone: Send + Sync {
    /// What [`Self::forward`] returns, finest first.
    fn stages(&self) -> &[Stage];

    /// One feature map a stage, finest first.
    ///
    /// # Shapes
    ///
    /// - `x`: `[n, 3, h, w]`
    /// - returns, for each stage: `[n, channels, h', w']`, with `h'` about `h / stride`: rounded up
    ///   by the small CNN, MobileNetV2 and ResNet, otherwise as the network's configuration says
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for another shape, [`Error::TooSmall`] for an image that the strides leave
    /// nothing of, [`Error::BranchScale`] from such a scale; in training with trained norms [`Error::SingleValue`]
    /// where a grid has shrunk to one value a channel.
    fn forward(&self, x: &Tensor, phase: Phase) -> Result<Vec<Tensor>> {
        self.check_image(x)?;
        let mut maps: Vec<Tensor> = Vec::with_capacity(self.stages().len());
        for nth in 0..self.stages().len() {
            maps.push(self.stage(nth, maps.last().unwrap_or(x), phase)?);
        }
        Ok(maps)
    }

    /// Whether [`Self::forward`] takes such an image.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] and [`Error::TooSmall`] as there.
    fn check_image(&self, x: &Tensor) -> Result<()>;

    /// The map of the stage `nth` from that of the stage before, or from the image for the first.
    ///
    /// # Errors
    ///
    /// As [`Self::forward`], for an image that was checked.
    fn stage(&self, nth: usize, x: &Tensor, phase: Phase) -> Result<Tensor>;

    /// The running statistics of all norms by their full names, in the network's order. They move
    /// during training without being parameters, so a checkpoint must carry them. Empty for a
    /// frozen network: there they are folded into the weights and never move.
    fn running_statistics(&self) -> Vec<(String, Tensor)>;

    /// Sets what [`Self::running_statistics`] returned. Names of other networks are left alone, so
    /// that one map can serve several.
    ///
    /// # Errors
    ///
    /// [`Error::Statistics`] if one is missing or has another shape; nothing is set then. Also if
    /// the network is frozen and `statistics` holds its names: build it from these instead.
    fn load_running_statistics(&self, statistics: &BTreeMap<String, Tensor>) -> Result<()>;

    /// The branches of its residual blocks, in the order of a forward pass; none by default.
    fn branches(&self) -> Vec<Branch> {
        Vec::new()
    }
}

/// One of the feature maps that a backbone returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The module after which it is taken, in the network's own names.
    pub name: String,
    /// Its channels.
    pub channels: usize,
    /// Pixels of the image between two units of the map.
    pub stride: usize,
}

/// Whether a forward pass is part of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Trained norms take the statistics of the batch and update the running ones.
    Train,
    /// The same with less memory: of each block only its input is kept, and the block is computed
    /// again in the backward pass, which [`grid_ops::backward`] must run. Where a
    /// [`crate::BranchScale`] remembers something from block to block, as [`Phase::Train`].
    TrainRecomputing,
    /// As [`Phase::Train`] of a batch that was seen before: the running statistics stay.
    TrainAgain,
    /// All norms take the running statistics; nothing changes.
    Eval,
}

/// Whether a backbone learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormMode {
    /// Nothing learns. Norms always use the running statistics, which are folded into the
    /// convolutions' weights and biases when the network is built; gradients reach the input only.
    Frozen,
    /// Everything learns, with batch statistics in [`Phase::Train`] and running ones in
    /// [`Phase::Eval`].
    Trained,
    /// Everything learns but the running statistics, which never move and are what norms use in
    /// both phases: for fine-tuning with few images a batch.
    Fixed,
}

/// Checks the input of a network that needs at least `least` rows and columns.
pub(crate) fn check_image(network: &'static str, least: usize, x: &Tensor) -> Result<()> {
    match x.dims() {
        &[n, 3, h, w] if n > 0 && h > 0 && w > 0 => {
            let fits = h >= least && w >= least;
            if fits { Ok(()) } else { Err(Error::TooSmall { network, least, got: [h, w] }) }
        }
        got => {
            let expected = "[n, 3, h, w], none empty";
            Err(Error::Shape { op: network, expected, got: got.to_vec() })
        }
    }
}

/// [`Backbone::running_statistics`] of anything made of these layers.
pub fn statistics_of<'a>(layers: impl Iterator<Item = &'a ConvNorm>) -> Vec<(String, Tensor)> {
    layers.filter_map(ConvNorm::statistics).flat_map(|s| s.named()).collect()
}

/// [`Backbone::load_running_statistics`] of anything made of these layers.
///
/// # Errors
///
/// As there.
pub fn load_statistics<'a>(
    layers: impl Iterator<Item = &'a ConvNorm>,
    statistics: &BTreeMap<String, Tensor>,
) -> Result<()> {
    // All are checked before the first is set.
    let mut found = Vec::new();
    for layer in layers {
        match layer.statistics() {
            Some(holder) => found.push((holder, holder.find(statistics)?)),
            None => layer.refuse(statistics)?,
        }
    }
    for (holder, values) in found {
        holder.set(values);
    }
    Ok(())
}
