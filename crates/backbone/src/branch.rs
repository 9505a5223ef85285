//! Scaling the branches of residual blocks from outside.

use std::sync::Arc;

use candle_core::Tensor;

use crate::error::{Error, Result};

/// Scales what a residual block adds to its input, as gates and attention over channels do.
///
/// Given to [`crate::BackboneConfig::build_scaled`]; [`crate::BackboneConfig::branches`] says in
/// advance which branches there will be, so that parameters can be made for them.
pub trait BranchScale: Send + Sync {
    /// `y`, the output of `branch`, scaled.
    ///
    /// `memory` is empty at the first branch of a stage and is handed from branch to branch of that
    /// stage in a forward pass: a recurrence over blocks keeps its state there.
    ///
    /// # Shapes
    ///
    /// - `y`: `[n, branch.channels, h, w]`
    /// - returns: the same
    ///
    /// # Errors
    ///
    /// Whatever it likes; it comes out of the forward pass as [`Error::BranchScale`].
    fn scaled(
        &self,
        branch: &Branch,
        y: &Tensor,
        memory: &mut Vec<Tensor>,
    ) -> std::result::Result<Tensor, Box<dyn std::error::Error + Send + Sync>>;
}

/// The branch of one residual block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The block's name in the network.
    pub name: String,
    /// The group of blocks to which it belongs, from 0: all its branches have as many channels.
    pub group: usize,
    /// Its place among the branches of the group, from 0.
    pub place: usize,
    /// Channels of its output.
    pub channels: usize,
}

/// The scale of a network, if it has one.
pub(crate) type Scale = Option<Arc<dyn BranchScale>>;

/// One forward pass through the branches of a stage; by default without a scale.
#[derive(Default)]
pub(crate) struct ScalePass<'a> {
    scale: Option<&'a dyn BranchScale>,
    memory: Vec<Tensor>,
}

impl<'a> ScalePass<'a> {
    pub(crate) fn new(scale: &'a Scale) -> Self {
        Self { scale: scale.as_deref(), memory: Vec::new() }
    }

    /// `y` scaled, or as it is without a scale.
    pub(crate) fn apply(&mut self, branch: &Branch, y: Tensor) -> Result<Tensor> {
        let Some(scale) = self.scale else { return Ok(y) };
        let scaled = scale
            .scaled(branch, &y, &mut self.memory)
            .map_err(|source| Error::BranchScale { branch: branch.name.clone(), source })?;
        if scaled.dims() == y.dims() {
            return Ok(scaled);
        }
        let reason = format!("it returned {:?} for {:?}", scaled.dims(), y.dims());
        Err(Error::BranchScale { branch: branch.name.clone(), source: reason.into() })
    }
}
