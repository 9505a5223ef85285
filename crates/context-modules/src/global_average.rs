//! The mean of the whole grid at every unit.

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;
use grid_ops::{Activation, upsample_nearest};

use crate::Result;
use crate::error::checked_channels;
use crate::pointwise::Pointwise;
use crate::pooled::Pooled;

/// Hyper-parameters of a [`GlobalAverage`].
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GlobalAverageConfig {
    /// Channels between the two products. Default: those of the map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden_channels: Option<usize>,
}

impl GlobalAverageConfig {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Config`] naming the field.
    pub fn check(&self) -> Result<()> {
        checked_channels("hidden_channels", self.hidden_channels)
    }
}

/// `o = V relu(U mean(x) + b) + c`, the same at every unit.
///
/// After Liu, Rabinovich & Berg, *ParseNet: looking wider to see better*, 2015, adapted: two
/// products instead of a norm and one.
///
/// Parameters: `input.weight` `[k, p, 1, 1]` and `input.bias`, `U` and `b`; `output.weight`
/// `[p, k, 1, 1]` and `output.bias`, `V` and `c`.
#[derive(Debug)]
pub struct GlobalAverage {
    input: Pooled,
    output: Pointwise,
}

impl GlobalAverage {
    /// For maps of so many channels, with parameters under `vb`'s prefix.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Config`] naming the field; [`crate::Error::Candle`] if `vb` lacks a
    /// parameter.
    pub fn new(config: &GlobalAverageConfig, channels: usize, vb: VarBuilder<'_>) -> Result<Self> {
        config.check()?;
        checked_channels("channels", Some(channels))?;
        let hidden = config.hidden_channels.unwrap_or(channels);
        let input = Pooled::new(channels, hidden, &vb.pp("input"))?;
        Ok(Self { input, output: Pointwise::new(hidden, channels, &vb.pp("output"))? })
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
        let (_, _, h, w) = x.dims4()?;
        let o = self.output.forward(&self.input.of_image(x)?, Activation::Identity)?;
        Ok(upsample_nearest(&o, h, w)?)
    }
}

impl Module for GlobalAverage {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.forward(x)?)
    }
}
