//! Attention over the row and the column of a unit, and from there over all others.

use candle_core::{Module, Tensor};
use candle_nn::{Init, VarBuilder};
use grid_ops::{Activation, add};

use crate::error::checked_channels;
use crate::pointwise::{Pointwise, side_by_side};
use crate::{Error, Result, cross_attention};

/// Hyper-parameters of a [`CrissCross`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrissCrossConfig {
    /// Channels of queries and keys. Default: an eighth of the map's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_channels: Option<usize>,
    /// How often units attend to their row and column: after two, each has seen all others. Default:
    /// 2, as in the paper.
    pub passes: usize,
}

impl Default for CrissCrossConfig {
    fn default() -> Self {
        Self { key_channels: None, passes: 2 }
    }
}

impl CrissCrossConfig {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field.
    pub fn check(&self) -> Result<()> {
        if !(1..=8).contains(&self.passes) {
            let (value, reason) = (self.passes.to_string(), "must be between 1 and 8");
            return Err(Error::Config { field: "passes", value, reason });
        }
        checked_channels("key_channels", self.key_channels)
    }
}

/// Twice with the same weights `x ← x + γ Σ_u softmax_u(q(x_v)·k(x_u)) v(x_u)`, over the units `u` of
/// the row of `v` and of its column without itself; `o` is the result without the `x` that came in.
///
/// Source: Huang et al., *CCNet: criss-cross attention for semantic segmentation*, ICCV 2019.
///
/// Parameters: `query` and `key`, each `weight` `[a, p, 1, 1]` and `bias`; `value.weight`
/// `[p, p, 1, 1]` and `value.bias`; `gamma` `[1]`, which is 0 at first.
#[derive(Debug)]
pub struct CrissCross {
    query: Pointwise,
    key: Pointwise,
    value: Pointwise,
    gamma: Tensor,
    passes: usize,
}

impl CrissCross {
    /// For maps of so many channels, with parameters under `vb`'s prefix.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field; [`Error::Candle`] if `vb` lacks a parameter.
    pub fn new(config: &CrissCrossConfig, channels: usize, vb: VarBuilder<'_>) -> Result<Self> {
        config.check()?;
        checked_channels("channels", Some(channels))?;
        let keys = config.key_channels.unwrap_or((channels / 8).max(1));
        let part = |name: &str, k: usize| Pointwise::new(channels, k, &vb.pp(name));
        Ok(Self {
            query: part("query", keys)?,
            key: part("key", keys)?,
            value: part("value", channels)?,
            gamma: vb.get_with_hints(1, "gamma", Init::Const(0.0))?,
            passes: config.passes,
        })
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
    /// [`Error::Grid`] for an empty map or one of other channels.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        // What is attended is linear in the values: γ scales their weights instead of the grid.
        let of_values = |t: &Tensor| t.broadcast_mul(&self.gamma.reshape(vec![1; t.rank()])?);
        let value = (of_values(&self.value.weight)?, of_values(&self.value.bias)?);
        let parts = [
            (&self.query.weight, &self.query.bias),
            (&self.key.weight, &self.key.bias),
            (&value.0, &value.1),
        ];
        let keys = self.key.bias.dim(0)?;
        let mut o = cross_attention(&side_by_side(x, &parts)?, keys)?;
        for _ in 1..self.passes {
            let x = add(x, &o, Activation::Identity)?;
            let attended = cross_attention(&side_by_side(&x, &parts)?, keys)?;
            o = add(&o, &attended, Activation::Identity)?;
        }
        Ok(o)
    }
}

impl Module for CrissCross {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.forward(x)?)
    }
}
