//! What a scan without pairs knows of the units behind it, whichever way it sums them.

use attention::Score;
use attention::running::{Border, QuadrantSums, WeightedSums, finish_gradient, normalise};
use grid_ops::Real;

use super::Aggregation;
use super::kernel::Plan;
use super::neighbours::NeighbourSums;
use crate::Graph;

/// The state of a scan within one tile.
pub(super) enum State<T> {
    /// Sums and means over the dense graph.
    Quadrant(QuadrantSums<T>),
    /// Sums and means over neighbours.
    Neighbours(NeighbourSums<T>),
    /// Attention with a linear score over the dense graph; `[x, 1]` or `[g, g·attended]` at hand.
    Weighted(WeightedSums<T>, Vec<T>),
}

impl<T: Real> State<T> {
    /// What lies behind the border of a grid, for one unit.
    pub(super) fn empty(plan: &Plan) -> Vec<T> {
        let d = plan.shape.value;
        match (plan.scan.aggregation, plan.scan.graph) {
            (Aggregation::Attention(Score::LinearAdditive), _) => WeightedSums::empty(d + 1),
            _ => QuadrantSums::empty(d),
        }
    }

    /// The state at the border of a tile of `size`.
    pub(super) fn new(plan: &Plan, size: (usize, usize), border: Border<T>) -> Self {
        let d = plan.shape.value;
        match (plan.scan.aggregation, plan.scan.graph) {
            (Aggregation::Attention(Score::LinearAdditive), _) => {
                Self::Weighted(WeightedSums::new(d + 1, border), vec![T::one(); d + 1])
            }
            (_, Graph::Dense) => Self::Quadrant(QuadrantSums::new(d, border)),
            (_, graph) => Self::Neighbours(NeighbourSums::new(graph, size, d, &border)),
        }
    }

    /// Writes what is behind a unit to the front of `out`, `[d + a]`, attended values normalised.
    /// Returns the log-sum-exp of a linear score.
    #[inline(always)]
    pub(super) fn before(&self, at: (usize, usize), out: &mut [T]) -> T {
        match self {
            Self::Quadrant(sums) => sums.before(at, out),
            Self::Neighbours(sums) => sums.before(at, out),
            Self::Weighted(sums, _) => {
                let top = sums.before(at, out);
                return normalise(out, top);
            }
        }
        T::zero()
    }

    /// Takes in a unit's `row`, value and key.
    #[inline(always)]
    pub(super) fn pass(&mut self, at: (usize, usize), row: &[T]) {
        match self {
            Self::Quadrant(sums) => sums.pass(at, T::one(), row),
            Self::Neighbours(sums) => sums.pass(at, T::one(), row),
            Self::Weighted(sums, handed) => {
                let d = row.len() - 1;
                handed[..d].copy_from_slice(&row[..d]);
                sums.pass(at, row[d], handed);
            }
        }
    }

    /// The other way round: writes the gradient of a unit's `row`, value and key, to `out`.
    #[inline(always)]
    pub(super) fn gradient_before(&self, at: (usize, usize), row: &[T], out: &mut [T]) {
        match self {
            Self::Quadrant(sums) => sums.before(at, out),
            Self::Neighbours(sums) => sums.before(at, out),
            Self::Weighted(sums, _) => {
                let top = sums.before(at, out);
                finish_gradient(row, top, out);
            }
        }
    }

    /// The other way round: takes in the gradient of what a unit aggregated.
    #[inline(always)]
    pub(super) fn pass_gradient(
        &mut self,
        at: (usize, usize),
        scale: T,
        grad: &[T],
        (attended, log_sum): (&[T], T),
    ) {
        match self {
            Self::Quadrant(sums) => sums.pass(at, scale, grad),
            Self::Neighbours(sums) => sums.pass(at, scale, grad),
            Self::Weighted(sums, handed) => {
                let d = grad.len();
                handed[..d].copy_from_slice(grad);
                handed[d] = attention::kernel::dot(grad, attended);
                sums.pass(at, -log_sum, handed);
            }
        }
    }

    /// What the tiles after this one get, once all units have passed.
    pub(super) fn into_border(self) -> Border<T> {
        match self {
            Self::Quadrant(sums) => sums.into_border(),
            Self::Neighbours(sums) => sums.into_border(),
            Self::Weighted(sums, _) => sums.into_border(),
        }
    }
}
