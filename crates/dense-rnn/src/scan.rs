//! The scan of a grid in four directions, as one differentiable operation.

mod kernel;
mod op;
mod running;

use attention::{Score, kernel::RowShape};
use candle_core::Tensor;

use crate::{Activation, Error, Graph, Result};

/// How the hidden states of a unit's predecessors become one vector `hhat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregation {
    /// Their sum. Over the dense graph it explodes unless the recurrent weight's spectral radius
    /// is about 1/(h·w).
    Sum,
    /// Their mean.
    Mean,
    /// `Σ a(v, u) h(u)` with `a(v, ·)` the softmax of a score over the predecessors.
    Attention(Score),
}

/// What a [`scan`] computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// Which units precede one.
    pub graph: Graph,
    /// How their hidden states are put together.
    pub aggregation: Aggregation,
    /// The non-linearity.
    pub activation: Activation,
}

/// Runs `h(v) = φ(input(v) + W hhat(v))` over a grid in all four directions.
///
/// `W` is applied once per unit rather than once per pair: `W Σ a h = Σ a (W h)`, so one product
/// `[W; Wa] h(u)` gives a unit's value and, for attention, its key. Zero is aggregated where a
/// unit has no predecessor.
///
/// # Shapes
///
/// - `input`: `[n, h, w, 4, d + a]`: `U x + b` and, for attention, the query `Ua x + ba`, of every
///   unit and direction (`a` = 0 for [`Aggregation::Sum`] and [`Aggregation::Mean`])
/// - `weights`: `[4, d + a, d]`: `W` stacked on `Wa`, a pair for each direction
/// - `vector`: `[4, a]`, `va` of [`Score::TanhAdditive`]; `None` otherwise
/// - returns: `[n, h, w, 4, d]`, the hidden states, in the image's own orientation
///
/// Differentiable in all three. One direction takes `h + w - 1` dependent steps, one per
/// anti-diagonal. `Sum` and `Mean` take O(d²) time a unit; attention over the dense graph adds
/// O(a + d) for each pair. Memory is O(n·h·w·(d + a)) always: weights are recomputed in the
/// backward pass. Parallel over images × directions; the result does not depend on the number of
/// threads.
///
/// # Errors
///
/// [`Error::Shape`] where the shapes differ from the above or a dimension is zero,
/// [`Error::Candle`] for integer tensors.
pub fn scan(
    input: &Tensor,
    weights: &Tensor,
    vector: Option<&Tensor>,
    scan: &Scan,
) -> Result<Tensor> {
    let op = "scan";
    let shape_error =
        |expected, got: &Tensor| Error::Shape { op, expected, got: got.dims().into() };
    let &[_, h, w, 4, width] = input.dims() else {
        return Err(shape_error("input: [n, h, w, 4, d + a]", input));
    };
    let &[4, rows, d] = weights.dims() else {
        return Err(shape_error("weights: [4, d + a, d]", weights));
    };
    if input.elem_count() == 0 || d == 0 {
        return Err(shape_error("input: [n, h, w, 4, d + a] with n, h, w and d positive", input));
    }
    if rows != width {
        return Err(shape_error("weights: [4, d + a, d] with d + a as in input", weights));
    }
    let attends = matches!(scan.aggregation, Aggregation::Attention(_));
    if attends != (rows > d) || rows < d {
        let expected = "weights: [4, d + a, d] with a > 0 for attention and a = 0 otherwise";
        return Err(shape_error(expected, weights));
    }
    let shape = RowShape { value: d, key: rows - d };
    let vector = match (scan.aggregation, vector) {
        (Aggregation::Attention(Score::TanhAdditive), Some(vector))
            if vector.dims() == [4, shape.key] =>
        {
            vector.contiguous()?
        }
        (Aggregation::Attention(Score::TanhAdditive), given) => {
            let got = given.map_or_else(Vec::new, |vector| vector.dims().to_vec());
            return Err(Error::Shape { op, expected: "vector: [4, a] for tanh-additive", got });
        }
        (_, Some(vector)) => {
            return Err(shape_error("no vector: only the tanh-additive score has one", vector));
        }
        (_, None) => Tensor::zeros((4, shape.key.max(1)), input.dtype(), input.device())?,
    };
    let op = op::ScanOp::new(kernel::Plan { size: (h, w), shape, scan: *scan });
    Ok(input.contiguous()?.apply_op3(&weights.contiguous()?, &vector, op)?)
}
