//! Attention over all units of the grid.

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;
use grid_ops::Activation;

use crate::error::checked_channels;
use crate::pointwise::{Pointwise, side_by_side};
use crate::{Result, pair_attention};

/// Hyper-parameters of a [`NonLocal`].
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NonLocalConfig {
    /// Channels of queries, keys and values. Default: half of the map's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner_channels: Option<usize>,
}

impl NonLocalConfig {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Config`] naming the field.
    pub fn check(&self) -> Result<()> {
        checked_channels("inner_channels", self.inner_channels)
    }
}

/// `o = Wz Σ_u softmax_u(θ(x_v)·φ(x_u)) g(x_u)`, over all units `u` of the grid.
///
/// Source: Wang et al., *Non-local neural networks*, CVPR 2018: the embedded Gaussian, whose scores
/// have no scale. The pairs are scored by tiles and never all held.
///
/// Parameters: `theta`, `phi` and `g`, each `weight` `[a, p, 1, 1]` and `bias`; `output.weight`
/// `[p, a, 1, 1]` and `output.bias`, `Wz`, which are 0 at first.
#[derive(Debug)]
pub struct NonLocal {
    theta: Pointwise,
    phi: Pointwise,
    g: Pointwise,
    output: Pointwise,
}

impl NonLocal {
    /// For maps of so many channels, with parameters under `vb`'s prefix.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Config`] naming the field; [`crate::Error::Candle`] if `vb` lacks a
    /// parameter.
    pub fn new(config: &NonLocalConfig, channels: usize, vb: VarBuilder<'_>) -> Result<Self> {
        config.check()?;
        checked_channels("channels", Some(channels))?;
        let inner = config.inner_channels.unwrap_or((channels / 2).max(1));
        let part = |name: &str| Pointwise::new(channels, inner, &vb.pp(name));
        let (theta, phi, g) = (part("theta")?, part("phi")?, part("g")?);
        let output = Pointwise::of_zeros(inner, channels, &vb.pp("output"))?;
        Ok(Self { theta, phi, g, output })
    }

    /// `o` of `x`.
    ///
    /// # Shapes
    ///
    /// - `x`: `[n, p, h, w]`
    /// - returns: the same
    ///
    /// # Errors
    ///
    /// [`crate::Error::Grid`] for an empty map or one of other channels.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let parts = [&self.theta, &self.phi, &self.g].map(|part| (&part.weight, &part.bias));
        let attended = pair_attention(&side_by_side(x, &parts)?, self.theta.bias.dim(0)?)?;
        self.output.forward(&attended, Activation::Identity)
    }
}

impl Module for NonLocal {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.forward(x)?)
    }
}
