//! The layer: features in, context out.

use attention::{DiaLstm, Score};
use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};
use grid_ops::{grid_of_rows, relu, rows_of_grid};

use crate::hippo::memory_channels;
use crate::recurrent::Recurrent;
use crate::{Activation, Cell, DenseRnnConfig, Join, Legs, Result, Scan};
use crate::{default_radius, hippo_scan_features, scan_features};

/// Four directional passes over a feature grid, joined: `o(v) = Σ_d V_d h_d(v) + c`.
///
/// Every unit of the output has seen every unit of the input when the cell is a dense scan or
/// quadrant attention. The caller adds `o` to the features (a residual join).
///
/// Parameters, with `a` the channels of keys and `q` those of queries where the cell attends (both
/// the configured ones, or 1 and 0 for a linear score) and 0 otherwise:
///
/// - `input.weight` `[4·(d + q), c]`, `input.bias`: `U` and `b`, and `Ua` and `ba` for a scan that
///   attends, by direction; `[4·(m + 2·d), c]` for a cell with a memory, `m` = `d / order`;
/// - `memory.input` `[4, m, d]`, `memory.weight` `[4, 2·d, d]`: `W_u`, and `W` stacked on `W_g` (a
///   cell with a memory only), see [`crate::hippo_scan`];
/// - `recurrent.weight` `[4, d + a, d]`: `W`, or `M` where the eigenvalues of `M` are normalised,
///   stacked on `Wa` (scans only);
/// - `recurrent.skew` `[4, l, l]` instead of `W` if it is orthogonal (`l` = `d`), and in place of its
///   parts if it is both: `l` = `⌈d/2⌉`, `recurrent.long_from_short` `[4, l, d − l]`,
///   `recurrent.weight` `[4, d − l, d − l]`; then `recurrent.keys` `[4, a, d]` is `Wa`;
/// - `score.vector` `[4, a]`: `va` (tanh-additive attention only);
/// - `attention.weight` `[4·(q + d + a), c]`, `attention.bias`: query, value and key by direction
///   (quadrant attention only);
/// - `dia.*`: those of an [`attention::DiaLstm`] of `d` channels ([`Join::Dia`] only);
/// - `output.weight` `[k, 4·d]`, `output.bias` `[k]`: `V` and `c`.
///
/// Departure: queries have a bias `ba` whatever the score; scaled dot products are published
/// without.
///
/// Initialisation. `U` keeps the features' scale (normal, variance 2/c; 1/c with a memory, whose own
/// weights have variance 1/d). `W` is normal with
/// standard deviation `r/√d`, `r` the largest spectral radius at which the aggregate cannot grow
/// along the grid: 1 for means and attention (averages), 1/2 and 1/3 for sums over two and three
/// neighbours; other recurrent weights have their radius anyway, see [`crate::RecurrentWeight`], and
/// entries of variance 1/d. `Ua` and `Wa` are normal with variance 1/c and 1/d and `va` with variance 1/a, so
/// that scores start within about ±1 and attention close to a mean. `V` is normal with variance
/// 1/(4 d): the residual join starts with context of about the features' own scale.
#[derive(Debug)]
pub struct DenseRnn {
    pub(crate) config: DenseRnnConfig,
    /// Channels of keys.
    pub(crate) keys: usize,
    pub(crate) input: Product,
    output: Product,
    recurrent: Option<Recurrent>,
    pub(crate) vector: Option<Tensor>,
    pub(crate) attention: Option<Product>,
    memory: Option<Memory>,
    dia: Option<DiaLstm>,
}

impl DenseRnnConfig {
    /// Checks the values, then makes the layer under `vb`'s prefix: `channels` in, `out` out.
    ///
    /// `None` for [`Cell::None`].
    ///
    /// # Errors
    ///
    /// [`crate::Error::Config`] naming the field; [`crate::Error::Candle`] if `vb` lacks a
    /// parameter.
    pub fn build(
        &self,
        channels: usize,
        out: usize,
        vb: &VarBuilder<'_>,
    ) -> Result<Option<DenseRnn>> {
        self.check()?;
        let d = self.hidden_channels;
        let keys = self.cell.score().map_or(0, |score| score.key_channels(self.attention_channels));
        let queries = self.cell.score().map_or(0, |score| score.query_channels(keys));
        let memory = self.cell.legs().map(|legs| Memory::new(d, legs, vb)).transpose()?;
        let own = match self.cell {
            Cell::None => return Ok(None),
            Cell::Scan { .. } => d + queries,
            Cell::Pointwise | Cell::QuadrantAttention { .. } => d,
            Cell::Hippo { .. } => 2 * d + memory.as_ref().map_or(0, |memory| memory.channels),
        };
        // Gates and candidates start within the bend of their curves.
        let gain = if memory.is_some() { 1.0 } else { 2.0 };
        let stdev = (gain / channels as f64).sqrt();
        let input = Product::new(channels, 4 * own, stdev, &vb.pp("input"))?;
        let stdev = (1.0 / (4 * d) as f64).sqrt();
        let output = Product::new(4 * d, out, stdev, &vb.pp("output"))?;
        let recurrent = match self.cell {
            Cell::Scan { graph, aggregation } => {
                let radius = default_radius(graph, aggregation, (1, 1));
                Some(Recurrent::new(self.recurrent_weight, (d, keys), radius, vb)?)
            }
            _ => None,
        };
        let vector = match self.cell.score() {
            Some(Score::TanhAdditive) => {
                let hint = normal((1.0 / keys as f64).sqrt());
                Some(vb.get_with_hints((4, keys), "score.vector", hint)?)
            }
            _ => None,
        };
        let attention = match self.cell {
            Cell::QuadrantAttention { .. } => {
                let stdev = (1.0 / channels as f64).sqrt();
                let width = queries + d + keys;
                Some(Product::new(channels, 4 * width, stdev, &vb.pp("attention"))?)
            }
            _ => None,
        };
        let dia = match self.join {
            Join::Sum => None,
            Join::Dia => Some(DiaLstm::new(d, &vb.pp("dia"))?),
        };
        Ok(Some(DenseRnn {
            config: self.clone(),
            keys,
            input,
            output,
            recurrent,
            vector,
            attention,
            memory,
            dia,
        }))
    }
}

impl DenseRnn {
    /// What it was built from.
    pub fn config(&self) -> &DenseRnnConfig {
        &self.config
    }

    /// Runs the four directions over `features` and joins them.
    ///
    /// # Shapes
    ///
    /// - `features`: `[n, c, h, w]`
    /// - returns: `[n, k, h, w]`
    ///
    /// # Errors
    ///
    /// [`crate::Error::Grid`] for an empty grid or another number of channels than the layer was
    /// built with.
    pub fn forward(&self, features: &Tensor) -> Result<Tensor> {
        self.joined(self.hidden(features)?)
    }

    /// The output from the hidden states, `[n, h, w, 4, d]`.
    pub(crate) fn joined(&self, mut hidden: Tensor) -> Result<Tensor> {
        if let Some(dia) = &self.dia {
            hidden = weighed(&hidden, dia)?;
        }
        Ok(grid_of_rows(&hidden, &self.output.weight, &self.output.bias)?)
    }

    /// `[W; Wa]` of each direction for a grid of this size, `[4, d + a, d]`, if it is a scan.
    pub(crate) fn recurrent(&self, size: (usize, usize)) -> Result<Option<Tensor>> {
        let (Cell::Scan { graph, aggregation }, Some(recurrent)) =
            (self.config.cell, &self.recurrent)
        else {
            return Ok(None);
        };
        let by_default = || default_radius(graph, aggregation, size);
        Ok(Some(recurrent.weights(self.config.recurrent_radius.unwrap_or_else(by_default))?))
    }

    /// The hidden states of all units and directions, `[n, h, w, 4, d]`.
    pub(crate) fn hidden(&self, features: &Tensor) -> Result<Tensor> {
        let (_, _, h, w) = features.dims4()?;
        if let (Cell::Scan { graph, aggregation }, Some(recurrent)) =
            (self.config.cell, self.recurrent((h, w))?)
        {
            let mode = Scan { graph, aggregation, activation: self.config.activation };
            let Product { weight, bias } = &self.input;
            return scan_features(
                features,
                (weight, bias),
                &recurrent,
                self.vector.as_ref(),
                &mode,
            );
        }
        if let Some(Memory { legs, input, weight: from_memory, .. }) = &self.memory {
            let Product { weight, bias } = &self.input;
            return hippo_scan_features(features, (weight, bias), input, from_memory, legs);
        }
        let own = self.input.by_direction(features)?; //     [n, h, w, 4, d]
        let pre = match (self.config.cell, &self.attention) {
            (Cell::QuadrantAttention { score }, Some(attention)) => {
                let input = attention.by_direction(features)?; // [n, h, w, 4, q + d + a]
                let vector = self.vector.as_ref();
                (own + attention::quadrant_attention(&input, vector, self.keys, score)?)?
            }
            _ => own,
        };
        Ok(match self.config.activation {
            Activation::Relu => relu(&pre)?,
            Activation::Tanh => pre.tanh()?,
        })
    }
}

/// `g_d ⊙ h_d` from the hidden states of the four directions, `[n, h, w, 4, d]`.
fn weighed(hidden: &Tensor, dia: &DiaLstm) -> Result<Tensor> {
    let means = hidden.mean((1, 2))?; //                     [n, 4, d]
    let (mut state, mut gates) = (None, Vec::new());
    for direction in 0..4 {
        let next = dia.step(&means.narrow(1, direction, 1)?.squeeze(1)?, state.as_ref())?;
        gates.push(next.hidden.clone());
        state = Some(next);
    }
    let gates = Tensor::stack(&gates, 1)?; //                [n, 4, d]
    Ok(hidden.broadcast_mul(&gates.unsqueeze(1)?.unsqueeze(1)?)?)
}

/// The parameters of a cell with a memory.
#[derive(Debug)]
struct Memory {
    legs: Legs,
    /// Channels of what is remembered.
    channels: usize,
    /// `[4, m, d]`.
    input: Tensor,
    /// `[4, 2·d, d]`.
    weight: Tensor,
}

impl Memory {
    fn new(d: usize, legs: Legs, vb: &VarBuilder<'_>) -> Result<Self> {
        let channels = memory_channels(d, &legs)?;
        let (vb, hint) = (vb.pp("memory"), normal((1.0 / d as f64).sqrt()));
        let input = vb.get_with_hints((4, channels, d), "input", hint)?;
        let weight = vb.get_with_hints((4, 2 * d, d), "weight", hint)?;
        Ok(Self { legs, channels, input, weight })
    }
}

/// `x ↦ weight·x + bias` at every unit.
#[derive(Debug)]
pub(crate) struct Product {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
}

impl Product {
    fn new(channels: usize, out: usize, stdev: f64, vb: &VarBuilder<'_>) -> Result<Self> {
        let weight = vb.get_with_hints((out, channels), "weight", normal(stdev))?;
        let bias = vb.get_with_hints(out, "bias", Init::Const(0.0))?;
        Ok(Self { weight, bias })
    }

    /// `[n, channels, h, w]` to `[n, h, w, 4, out/4]`.
    pub(crate) fn by_direction(&self, x: &Tensor) -> Result<Tensor> {
        let rows = rows_of_grid(x, &self.weight, &self.bias)?;
        let (n, h, w, out) = rows.dims4()?;
        Ok(rows.reshape((n, h, w, 4, out / 4))?)
    }
}

pub(crate) fn normal(stdev: f64) -> Init {
    Init::Randn { mean: 0.0, stdev }
}
