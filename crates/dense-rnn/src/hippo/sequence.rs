//! The cell as a layer of sequences.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};

use super::{Legs, hippo_scan};
use crate::layer::normal;
use crate::{Error, Result};

/// Hyper-parameters of a [`HippoRnn`]; [`build`](Self::build) is the only way to make one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HippoRnnConfig {
    /// Channels of the hidden state and of the memory, a multiple of its order. Default: 64.
    pub hidden_channels: usize,
    /// The memory.
    pub legs: Legs,
}

impl Default for HippoRnnConfig {
    fn default() -> Self {
        Self { hidden_channels: 64, legs: Legs::default() }
    }
}

/// The gated cell with a LegS memory along sequences, see [`hippo_scan`].
///
/// Parameters, `m` = `d / order`: `input.weight` `[m + 2·d, c]` and `input.bias`, the part of the
/// features in `u`, candidate and gate; `memory.input` `[1, m, d]`, `W_u`; `memory.weight`
/// `[1, 2·d, d]`, `W` stacked on `W_g`. All start normal with variance 1/c and 1/d, the bias zero.
#[derive(Debug)]
pub struct HippoRnn {
    legs: Legs,
    /// Weight and bias.
    input: [Tensor; 2],
    to_memory: Tensor,
    from_memory: Tensor,
}

impl HippoRnnConfig {
    /// Checks the values, then makes the layer under `vb`'s prefix, for `channels` in.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field; [`Error::Candle`] if `vb` lacks a parameter.
    pub fn build(&self, channels: usize, vb: &VarBuilder<'_>) -> Result<HippoRnn> {
        let (d, legs) = (self.hidden_channels, self.legs);
        let m = memory_channels(d, &legs)?;
        let of = |channels: usize| normal((channels as f64).sqrt().recip());
        let weight = vb.get_with_hints((m + 2 * d, channels), "input.weight", of(channels))?;
        let bias = vb.get_with_hints(m + 2 * d, "input.bias", Init::Const(0.0))?;
        let to_memory = vb.get_with_hints((1, m, d), "memory.input", of(d))?;
        let from_memory = vb.get_with_hints((1, 2 * d, d), "memory.weight", of(d))?;
        Ok(HippoRnn { legs, input: [weight, bias], to_memory, from_memory })
    }
}

/// Channels of what is remembered, with `d` channels of the hidden state.
pub(crate) fn memory_channels(d: usize, legs: &Legs) -> Result<usize> {
    legs.check()?;
    if d > 0 && d.is_multiple_of(legs.order) {
        return Ok(d / legs.order);
    }
    let (field, value) = ("hidden_channels", d.to_string());
    Err(Error::Config { field, value, reason: "must be a multiple of the memory's order" })
}

impl HippoRnn {
    /// The hidden states of all steps.
    ///
    /// # Shapes
    ///
    /// - `sequences`: `[n, t, c]`
    /// - returns: `[n, t, d]`
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for sequences of no steps, [`Error::Candle`] for another number of channels
    /// than the layer was built with.
    pub fn forward(&self, sequences: &Tensor) -> Result<Tensor> {
        let [weight, bias] = &self.input;
        let (n, t, c) = sequences.dims3()?;
        let rows = sequences.contiguous()?.reshape((n * t, c))?;
        let rows = rows.matmul(&weight.t()?)?.broadcast_add(bias)?;
        let rows = rows.reshape((n, 1, t, 1, bias.dim(0)?))?; //    [n, 1, t, 1, m + 2 d]
        let hidden = hippo_scan(&rows, &self.to_memory, &self.from_memory, &self.legs)?;
        Ok(hidden.squeeze(3)?.squeeze(1)?)
    }
}
