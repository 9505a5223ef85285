//! The scan of a grid in four directions, as one differentiable operation.

mod behind;
mod by_pairs;
mod few;
mod kernel;
mod neighbours;
mod op;
mod running;
mod state;
mod tiles;

use attention::{Direction, Score, kernel::RowShape};
pub use behind::TileAt;
pub(crate) use behind::{aggregated_behind, behind_in, check_sums, handed_on, nothing_behind};
use candle_core::Tensor;
use grid_ops::{count_macs, is_composed, rows_of_grid};
pub use tiles::{TileBorder, scan_by_tiles, scan_tile};

use crate::rows_op::{checked_rows, of_features, of_rows, one_after_another};
use crate::{Activation, Error, Graph, Result, composed};

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

impl Aggregation {
    /// The score, if it attends.
    pub fn score(self) -> Option<Score> {
        match self {
            Self::Attention(score) => Some(score),
            Self::Sum | Self::Mean => None,
        }
    }
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
/// - `input`: `[n, h, w, 4, d + q]`: `U x + b` and, for attention with a query, `Ua x + ba`, of
///   every unit and direction (`q` = `a` for [`Score::TanhAdditive`] and [`Score::ScaledDot`],
///   else 0)
/// - `weights`: `[4, d + a, d]`: for each direction `W` stacked on `Wa` (`a` = 0 for
///   [`Aggregation::Sum`] and [`Aggregation::Mean`], 1 for [`Score::LinearAdditive`])
/// - `vector`: `[4, a]`, `va` of [`Score::TanhAdditive`]; `None` otherwise
/// - returns: `[n, h, w, 4, d]`, the hidden states, in the image's own orientation
///
/// Differentiable in all three. One direction takes `h + w - 1` dependent steps, one per
/// anti-diagonal. `Sum`, `Mean` and the linear score take O(d²) time a unit; the other scores over
/// the dense graph add O(a + d) for each pair. Memory is O(n·h·w·(d + a)) always: weights are
/// recomputed in the backward pass. Parallel over images × directions and, within one, over tiles;
/// the result does not depend on the number of threads. Off the CPU it runs as
/// [`composed::scan`].
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
    let shape = checked(input.dims(), weights, vector, scan)?;
    count_macs(macs(input.dims(), weights, shape, scan));
    if is_composed(input) {
        return composed::scan(input, weights, vector, scan);
    }
    of_rows(kernel_of(input.dims(), shape, scan), input, &one_after_another(weights, vector)?)
}

/// [`scan`] of a tile of a grid: units count as predecessors wherever they lie in the grid, those
/// behind the tile with what `input` holds of them. Sums and means only.
pub(crate) fn scan_in_grid(
    input: &Tensor,
    weights: &Tensor,
    scan: &Scan,
    at: &TileAt,
) -> Result<Tensor> {
    let shape = checked(input.dims(), weights, None, scan)?;
    count_macs(macs(input.dims(), weights, shape, scan));
    let corners = Direction::ALL.map(|direction| at.corner_of(direction));
    if is_composed(input) {
        return composed::in_grid(input, weights, None, scan, &corners);
    }
    let kernel = op::ScanKernel { corners, ..kernel_of(input.dims(), shape, scan) };
    of_rows(kernel, input, &one_after_another(weights, None)?)
}

/// The recurrent products, and where there are scores those of every pair and the weighted sums; the
/// linear score needs no pairs.
fn macs(input: &[usize], weights: &Tensor, shape: RowShape, scan: &Scan) -> usize {
    let [n, h, w] = [0, 1, 2].map(|at| input[at]);
    let pairs =
        |graph: Graph| -> usize { (0..h * w).map(|unit| graph.count((unit / w, unit % w))).sum() };
    let aggregates = match scan.aggregation.score() {
        None => 0,
        Some(Score::LinearAdditive) => h * w * shape.value,
        Some(_) => pairs(scan.graph) * (shape.key + shape.value),
    };
    n * (h * w * weights.elem_count() + 4 * aggregates)
}

/// [`scan`] of `input(v) = weight · x(v) + bias`: what is passed to and fro in between stays within
/// one operation.
///
/// # Shapes
///
/// - `features`: `[n, c, h, w]`
/// - `product`: `weight` `[4·(d + q), c]` and `bias` `[4·(d + q)]`: `U`, `b` and, for attention with
///   a query, `Ua` and `ba` of each direction
/// - `weights`, `vector` and what it returns: as for [`scan`]
///
/// Differentiable in all.
///
/// # Errors
///
/// As [`scan`].
pub fn scan_features(
    features: &Tensor,
    (weight, bias): (&Tensor, &Tensor),
    weights: &Tensor,
    vector: Option<&Tensor>,
    scan: &Scan,
) -> Result<Tensor> {
    let expected =
        ["weight: [4·(d + q), c] with c as in features", "bias: [4·(d + q)] as in weight"];
    let input = checked_rows("scan_features", features, (weight, bias), expected)?;
    let shape = checked(&input, weights, vector, scan)?;
    count_macs(macs(&input, weights, shape, scan));
    if is_composed(features) {
        let input = rows_of_grid(features, weight, bias)?.reshape(&input)?;
        return composed::scan(&input, weights, vector, scan);
    }
    count_macs(weight.elem_count() * input[..3].iter().product::<usize>());
    let kernel = kernel_of(&input, shape, scan);
    of_features(kernel, features, (weight, bias), &one_after_another(weights, vector)?)
}

fn kernel_of(input: &[usize], shape: RowShape, scan: &Scan) -> op::ScanKernel {
    let size = (input[1], input[2]);
    let plan = kernel::Plan { size, corner: (0, 0), shape, scan: *scan };
    op::ScanKernel { plan, corners: [(0, 0); 4] }
}

/// The channels of values and keys, or why the scan of an input of these dimensions cannot run.
pub(crate) fn checked(
    input: &[usize],
    weights: &Tensor,
    vector: Option<&Tensor>,
    scan: &Scan,
) -> Result<RowShape> {
    let op = "scan";
    let shape_error = |expected, got: &[usize]| Error::Shape { op, expected, got: got.into() };
    let &[_, _, _, 4, width] = input else {
        return Err(shape_error("input: [n, h, w, 4, d + q]", input));
    };
    let &[4, rows, d] = weights.dims() else {
        return Err(shape_error("weights: [4, d + a, d]", weights.dims()));
    };
    if input.contains(&0) || d == 0 {
        return Err(shape_error("input: [n, h, w, 4, d + q], none of them zero", input));
    }
    let score = scan.aggregation.score();
    if (score.is_some() != (rows > d)) || rows < d {
        let expected = "weights: [4, d + a, d] with a > 0 for attention and a = 0 otherwise";
        return Err(shape_error(expected, weights.dims()));
    }
    let keys = rows - d;
    if score == Some(Score::LinearAdditive) && keys != 1 {
        return Err(shape_error("weights: [4, d + 1, d] for a linear score", weights.dims()));
    }
    let queries = score.map_or(0, |score| score.query_channels(keys));
    if width != d + queries {
        let expected = "input: [n, h, w, 4, d + q] with d and q as in weights";
        return Err(shape_error(expected, input));
    }
    match (score, vector) {
        (Some(Score::TanhAdditive), Some(vector)) if vector.dims() == [4, keys] => {}
        (Some(Score::TanhAdditive), given) => {
            let got = given.map_or_else(Vec::new, |vector| vector.dims().to_vec());
            return Err(Error::Shape { op, expected: "vector: [4, a] for tanh-additive", got });
        }
        (_, Some(vector)) => {
            return Err(shape_error(
                "no vector: only the tanh-additive score has one",
                vector.dims(),
            ));
        }
        (_, None) => {}
    }
    Ok(RowShape { value: d, key: keys })
}
