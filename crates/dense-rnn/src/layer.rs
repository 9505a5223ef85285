//! The layer: features in, context out.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};

use crate::{Activation, Aggregation, Cell, DenseRnnConfig, Graph, Result, Scan, scan};

/// Four directional passes over a feature grid, joined: `o(v) = Σ_d V_d h_d(v) + c`.
///
/// Every unit of the output has seen every unit of the input when the cell is a dense scan or
/// quadrant attention. The caller adds `o` to the features (a residual join).
///
/// Parameters, with `e` = `d` + `a` for a cell that attends over hidden states and `d` otherwise:
///
/// - `input.weight` `[4·e, c]`, `input.bias` `[4·e]`: `U` and `b` (and `Ua`, `ba`) by direction;
/// - `recurrent.weight` `[4, e, d]`: `W` stacked on `Wa` (scans only);
/// - `score.vector` `[4, a]`: `va` (tanh-additive attention only);
/// - `attention.weight` `[4·(a + d + a), c]`, `attention.bias`: query, value and key
///   (quadrant attention only);
/// - `output.weight` `[k, 4·d]`, `output.bias` `[k]`: `V` and `c`.
///
/// Initialisation. `U` keeps the features' scale (normal, variance 2/c). `W` is normal with
/// standard deviation `r/√d`, `r` the largest spectral radius at which the aggregate cannot grow
/// along the grid: 1 for means and attention (averages), 1/2 and 1/3 for sums over two and three
/// neighbours. `Ua` and `Wa` are normal with variance 1/c and 1/d and `va` with variance 1/a, so
/// that scores start within about ±1 and attention close to a mean. `V` is normal with variance
/// 1/(4 d): the residual join starts with context of about the features' own scale.
#[derive(Debug)]
pub struct DenseRnn {
    config: DenseRnnConfig,
    input: Product,
    output: Product,
    recurrent: Option<Tensor>,
    vector: Option<Tensor>,
    attention: Option<Product>,
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
        let (d, a) = (self.hidden_channels, self.attention_channels);
        let mut layer = match self.cell {
            Cell::None => return Ok(None),
            Cell::Scan { aggregation: Aggregation::Attention(_), .. } => {
                // Queries have weights of their own kind; rows per direction: pre, then query.
                DenseRnn::new(self, Product::of_direction_blocks(channels, d, a, vb)?, out, vb)?
            }
            _ => DenseRnn::new(self, Product::of_direction_blocks(channels, d, 0, vb)?, out, vb)?,
        };
        let vector = |score| match score {
            crate::Score::TanhAdditive => {
                let hint = normal((1.0 / a as f64).sqrt());
                vb.get_with_hints((4, a), "score.vector", hint).map(Some)
            }
            crate::Score::ScaledDot => Ok(None),
        };
        match self.cell {
            Cell::None | Cell::Pointwise => {}
            Cell::Scan { graph, aggregation } => {
                let radius = match (aggregation, graph) {
                    (Aggregation::Mean | Aggregation::Attention(_), _) => 1.0,
                    (Aggregation::Sum, Graph::Dag4) => 1.0 / 2.0,
                    (Aggregation::Sum, _) => 1.0 / 3.0,
                };
                let hint = normal(radius / (d as f64).sqrt());
                let rows = if self.cell.score().is_some() { d + a } else { d };
                layer.recurrent =
                    Some(vb.get_with_hints((4, rows, d), "recurrent.weight", hint)?);
                if let Some(score) = self.cell.score() {
                    layer.vector = vector(score)?;
                }
            }
            Cell::QuadrantAttention { score } => {
                let vb = vb.pp("attention");
                let stdev = (1.0 / channels as f64).sqrt();
                layer.attention = Some(Product::new(channels, 4 * (a + d + a), stdev, &vb)?);
                layer.vector = vector(score)?;
            }
        }
        Ok(Some(layer))
    }
}

impl DenseRnn {
    fn new(
        config: &DenseRnnConfig,
        input: Product,
        out: usize,
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        let hidden = 4 * config.hidden_channels;
        let stdev = (1.0 / hidden as f64).sqrt();
        let output = Product::new(hidden, out, stdev, &vb.pp("output"))?;
        let (recurrent, vector, attention) = (None, None, None);
        Ok(Self { config: config.clone(), input, output, recurrent, vector, attention })
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
    /// [`crate::Error::Shape`] for an empty grid, [`crate::Error::Candle`] for another number of
    /// channels than the layer was built with.
    pub fn forward(&self, features: &Tensor) -> Result<Tensor> {
        let (n, c, h, w) = features.dims4()?;
        let units = features.permute((0, 2, 3, 1))?.reshape((n * h * w, c))?; // [n·h·w, c]
        let hidden = self.hidden(&units, (n, h, w))?; //                        [n, h, w, 4, d]
        let d = self.config.hidden_channels;
        let joined = self.output.apply(&hidden.reshape((n * h * w, 4 * d))?)?; // [n·h·w, k]
        let k = joined.dim(1)?;
        Ok(joined.reshape((n, h, w, k))?.permute((0, 3, 1, 2))?.contiguous()?) // [n, k, h, w]
    }

    fn hidden(&self, units: &Tensor, (n, h, w): (usize, usize, usize)) -> Result<Tensor> {
        let by_direction = |product: &Product| -> Result<Tensor> {
            let rows = product.apply(units)?;
            let width = rows.dim(1)? / 4;
            Ok(rows.reshape((n, h, w, 4, width))?)
        };
        let own = by_direction(&self.input)?; //                                [n, h, w, 4, e]
        let activate = |pre: Tensor| match self.config.activation {
            Activation::Relu => pre.relu(),
            Activation::Tanh => pre.tanh(),
        };
        match (self.config.cell, &self.recurrent, &self.attention) {
            (Cell::Scan { graph, aggregation }, Some(recurrent), _) => {
                let activation = self.config.activation;
                let mode = Scan { graph, aggregation, activation };
                scan(&own, recurrent, self.vector.as_ref(), &mode)
            }
            (Cell::QuadrantAttention { score }, _, Some(attention)) => {
                let input = by_direction(attention)?; //                        [n, h, w, 4, a+d+a]
                let keys = self.config.attention_channels;
                let vector = self.vector.as_ref();
                let attended = attention::quadrant_attention(&input, vector, keys, score)?;
                Ok(activate((own + attended)?)?)
            }
            _ => Ok(activate(own)?),
        }
    }
}

/// `x ↦ x·weightᵀ + bias` over rows.
#[derive(Debug)]
struct Product {
    weight: Tensor,
    bias: Tensor,
}

impl Product {
    fn new(channels: usize, out: usize, stdev: f64, vb: &VarBuilder<'_>) -> Result<Self> {
        let weight = vb.get_with_hints((out, channels), "weight", normal(stdev))?;
        let bias = vb.get_with_hints(out, "bias", Init::Const(0.0))?;
        Ok(Self { weight, bias })
    }

    /// The input product of a scan: for each direction `d` rows of `U` and `a` of `Ua`.
    fn of_direction_blocks(
        channels: usize,
        d: usize,
        a: usize,
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        let stdev = (2.0 / channels as f64).sqrt();
        Self::new(channels, 4 * (d + a), stdev, &vb.pp("input"))
    }

    /// `[rows, channels]` to `[rows, out]`.
    fn apply(&self, rows: &Tensor) -> Result<Tensor> {
        Ok(rows.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)?)
    }
}

fn normal(stdev: f64) -> Init {
    Init::Randn { mean: 0.0, stdev }
}
