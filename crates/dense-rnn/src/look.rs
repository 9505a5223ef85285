//! What a unit attends to, as data.

use attention::Direction;
use attention::composed::{masked_softmax, scores};
use candle_core::{D, Tensor};

use crate::{Aggregation, Cell, DenseRnn, Error, Graph, Result};

impl DenseRnn {
    /// The weight that the unit at row and column `unit` gives to every other unit.
    ///
    /// For attention the softmax weights, for means equal shares, for sums 1 for every predecessor;
    /// zero for units that do not precede it in a direction, and everywhere for a cell that weighs
    /// no units: one without context, or with a memory. Not differentiable.
    ///
    /// # Shapes
    ///
    /// - `features`: `[n, c, h, w]`, as for [`forward`](Self::forward)
    /// - returns: `[n, 4, h, w]`, by direction; each direction's weights sum to 1 (not for sums), or
    ///   to 0 at the corner where it begins
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a unit outside the grid, and what [`forward`](Self::forward) reports.
    pub fn attention_at(&self, features: &Tensor, unit: (usize, usize)) -> Result<Tensor> {
        let (n, _, h, w) = features.dims4()?;
        if unit.0 >= h || unit.1 >= w {
            let (field, value) = ("unit", format!("{unit:?}"));
            return Err(Error::Config { field, value, reason: "it is outside the grid" });
        }
        let features = features.detach();
        let (graph, aggregation) = match self.config.cell {
            Cell::Scan { graph, aggregation } => (graph, aggregation),
            Cell::QuadrantAttention { score } => (Graph::Dense, Aggregation::Attention(score)),
            Cell::None | Cell::Pointwise | Cell::Hippo { .. } => {
                let zeros = Tensor::zeros((n, 4, h, w), features.dtype(), features.device())?;
                return Ok(zeros);
            }
        };
        let rows = match aggregation.score() {
            Some(_) => Some(self.queries_and_keys(&features)?),
            None => None,
        };
        let mut all = Vec::new();
        for direction in Direction::ALL {
            let k = direction as usize;
            let seen = direction.raster(unit, (h, w));
            let mut mask = vec![0f32; h * w];
            for before in graph.predecessors((seen / w, seen % w), w).flatten() {
                mask[direction.raster((before / w, before % w), (h, w))] = 1.0;
            }
            let mask = Tensor::from_vec(mask, (1, h * w), features.device())?;
            let mask = mask.to_dtype(features.dtype())?;
            let weights = match (aggregation, &rows) {
                (Aggregation::Attention(score), Some((queries, keys))) => {
                    let query = match queries {
                        Some(queries) => {
                            let of_unit = queries[k].narrow(1, unit.0 * w + unit.1, 1)?;
                            Some(of_unit.contiguous()?)
                        }
                        None => None,
                    };
                    let vector = match &self.vector {
                        Some(vector) => Some(vector.detach().get(k)?),
                        None => None,
                    };
                    let z = scores(score, query.as_ref(), &keys[k], vector.as_ref())?;
                    masked_softmax(&z, &mask)? //                       [n, 1, units]
                }
                (Aggregation::Mean, _) => {
                    let count = mask.sum_keepdim(D::Minus1)?.maximum(1.0)?;
                    mask.broadcast_div(&count)?.broadcast_as((n, 1, h * w))?.contiguous()?
                }
                _ => mask.broadcast_as((n, 1, h * w))?.contiguous()?,
            };
            all.push(weights.reshape((n, 1, h, w))?);
        }
        Ok(Tensor::cat(&all, 1)?)
    }

    /// Queries, if there are any, and keys of each direction, `[n, units, a]`.
    fn queries_and_keys(&self, features: &Tensor) -> Result<(Option<Vec<Tensor>>, Vec<Tensor>)> {
        let (n, _, h, w) = features.dims4()?;
        let (d, a) = (self.config.hidden_channels, self.keys);
        let queries = self.config.cell.score().map_or(0, |score| score.query_channels(a));
        let rows = |by_unit: &Tensor| -> Result<Tensor> {
            let width = by_unit.dim(4)?;
            // [n, 4, units, width]
            Ok(by_unit.detach().reshape((n, h * w, 4, width))?.transpose(1, 2)?.contiguous()?)
        };
        let part = |rows: &Tensor, from: usize, len: usize| -> Result<Vec<Tensor>> {
            let of = |k: usize| Ok(rows.narrow(3, from, len)?.get_on_dim(1, k)?.contiguous()?);
            (0..4).map(of).collect()
        };
        let (asking, answering, key_at) = match (&self.attention, self.recurrent((h, w))?) {
            (Some(attention), _) => {
                let rows = rows(&attention.by_direction(features)?)?;
                (rows.narrow(3, 0, queries.max(1))?, rows, queries + d)
            }
            (None, recurrent) => {
                let own = rows(&self.input.by_direction(features)?)?;
                let hidden = rows(&self.hidden(features)?)?;
                let keys = match recurrent {
                    // [4, d + a, d], the last `a` rows of which make keys.
                    Some(weights) => {
                        let weights = weights.detach().narrow(1, d, a)?.transpose(1, 2)?;
                        hidden.broadcast_matmul(&weights.contiguous()?)?
                    }
                    None => Tensor::zeros((n, 4, h * w, a), own.dtype(), features.device())?,
                };
                let asking = if queries > 0 { own.narrow(3, d, queries)? } else { own };
                (asking, keys, 0)
            }
        };
        let asked = if queries > 0 { Some(part(&asking, 0, queries)?) } else { None };
        Ok((asked, part(&answering, key_at, a)?))
    }
}
