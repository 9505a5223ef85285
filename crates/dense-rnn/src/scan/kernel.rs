//! One direction of one image, forward and backward, on plain slices.
//!
//! Units are in the direction's own raster order. All units of an anti-diagonal are independent,
//! and in raster order they lie `w - 1` rows apart, so the recurrent product of a whole
//! anti-diagonal is one strided matrix product.

use attention::kernel::{Attender, RowShape, Upstream, add_scaled};
use grid_ops::{MatMut, MatRef, Real, matmul};

use super::running::QuadrantSums;
use super::{Aggregation, Scan};

/// Sizes and modes of a scan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) size: (usize, usize),
    /// Channels of hidden state (value) and key.
    pub(super) shape: RowShape,
    pub(super) scan: Scan,
}

/// The parameters of one direction.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a, T> {
    /// `[W; Wa]`, `[d + a, d]`.
    pub(super) matrix: &'a [T],
    /// `va`, `[a]`.
    pub(super) vector: &'a [T],
}

/// What a forward pass hands to the backward pass of the same direction.
pub(super) struct Passed<T> {
    /// `h`, `[h·w, d]`.
    pub(super) hidden: Vec<T>,
    /// What attention added to each unit, `[h·w, d]`; empty for other aggregations.
    attended: Vec<T>,
    /// The log-sum-exp of each unit's scores; empty for other aggregations.
    log_sums: Vec<T>,
}

/// The gradients of one direction.
pub(super) struct Gradients<T> {
    /// `[h·w, d + a]`.
    pub(super) input: Vec<T>,
    /// `[d + a, d]`.
    pub(super) matrix: Vec<T>,
    /// `[a]`.
    pub(super) vector: Vec<T>,
}

impl Plan {
    fn units(&self) -> usize {
        self.size.0 * self.size.1
    }

    /// Anti-diagonal `s`: its first unit, by row, and the number of its units.
    fn diagonal(&self, s: usize) -> (usize, usize) {
        let (h, w) = self.size;
        let first_row = s.saturating_sub(w - 1);
        let last_row = s.min(h - 1);
        (first_row * w + s - first_row, last_row + 1 - first_row)
    }

    /// Units of the anti-diagonal, with their row and column.
    fn units_of(&self, s: usize) -> impl Iterator<Item = (usize, (usize, usize))> + use<> {
        let w = self.size.1;
        let (first, count) = self.diagonal(s);
        (0..count).map(move |m| first + m * (w - 1)).map(move |unit| (unit, (unit / w, unit % w)))
    }

    /// The rows of an anti-diagonal in a matrix of `width` columns, as offset and row stride.
    fn rows_of(&self, s: usize, width: usize) -> (usize, usize, usize) {
        let (first, count) = self.diagonal(s);
        (first * width, count, ((self.size.1 - 1) * width))
    }

    fn scale<T: Real>(&self, at: (usize, usize)) -> T {
        match self.scan.aggregation {
            Aggregation::Mean => T::of(self.scan.graph.count(at).max(1) as f64).recip(),
            Aggregation::Sum | Aggregation::Attention(_) => T::one(),
        }
    }

    /// `input` is `[h·w, d + a]`.
    #[inline(always)]
    pub(super) fn forward<T: Real>(&self, input: &[T], weights: Weights<'_, T>) -> Passed<T> {
        let (h, w) = self.size;
        let (d, width) = (self.shape.value, self.shape.len());
        let mut gather = Gather::new(self, weights.vector);
        let mut hidden = vec![T::zero(); self.units() * d];
        let mut rows = vec![T::zero(); self.units() * width];
        let attended_len = if matches!(gather, Gather::Attend(..)) { hidden.len() } else { 0 };
        let mut attended = vec![T::zero(); attended_len];
        let mut log_sums = vec![T::zero(); attended_len / d];
        let mut weights_of_unit = Vec::new();
        for s in 0..h + w - 1 {
            for (unit, at) in self.units_of(s) {
                let (own, query) = self.shape.split(input, unit);
                let out = &mut hidden[unit * d..][..d];
                match &mut gather {
                    Gather::Quadrant(sums) => sums.before(at, out),
                    Gather::Neighbours => {
                        for u in self.scan.graph.predecessors(at, w).flatten() {
                            add_scaled(out, T::one(), self.shape.split(&rows, u).0);
                        }
                    }
                    Gather::Attend(attender) => {
                        let runs = self.scan.graph.predecessors(at, w);
                        let kept = &mut attended[unit * d..][..d];
                        log_sums[unit] =
                            attender.attend(query, runs, &rows, &mut weights_of_unit, kept);
                        out.copy_from_slice(kept);
                    }
                }
                let scale: T = self.scale(at);
                for (h, &own) in out.iter_mut().zip(own) {
                    *h = self.scan.activation.apply(scale.mul_add(*h, own));
                }
            }
            let (from, count, stride) = self.rows_of(s, d);
            let (to, _, to_stride) = self.rows_of(s, width);
            matmul(
                MatMut::new(&mut rows[to..], count, width, to_stride, 1),
                T::zero(),
                MatRef::new(&hidden[from..], count, d, stride, 1),
                MatRef::new(weights.matrix, d, width, 1, d),
            );
            for (unit, at) in self.units_of(s) {
                let (value, key) = self.shape.split(&rows, unit);
                match &mut gather {
                    Gather::Quadrant(sums) => sums.pass(at, T::one(), value),
                    Gather::Neighbours => {}
                    Gather::Attend(attender) => attender.absorb(unit, key),
                }
            }
        }
        Passed { hidden, attended, log_sums }
    }

    /// `grad_hidden` is the gradient of the hidden states, `[h·w, d]`; what reaches them by way of
    /// later units is added to it.
    #[inline(always)]
    pub(super) fn backward<T: Real>(
        &self,
        input: &[T],
        weights: Weights<'_, T>,
        passed: &Passed<T>,
        grad_hidden: &mut [T],
    ) -> Gradients<T> {
        let (h, w) = self.size;
        let (d, width) = (self.shape.value, self.shape.len());
        let mut gather = Gather::new(self, weights.vector);
        let rows = self.recomputed_rows(&mut gather, weights, &passed.hidden);
        let mut grad_rows = vec![T::zero(); self.units() * width];
        let mut grad_input = vec![T::zero(); self.units() * width];
        let mut grad_vector = vec![T::zero(); weights.vector.len()];
        for s in (0..h + w - 1).rev() {
            if let Gather::Quadrant(sums) = &gather {
                // What has passed from the far corner is all that this unit precedes.
                for (unit, (i, j)) in self.units_of(s) {
                    sums.before((i, j), self.shape.split_mut(&mut grad_rows, unit).0);
                }
            }
            let (to, count, stride) = self.rows_of(s, d);
            let (from, _, from_stride) = self.rows_of(s, width);
            matmul(
                MatMut::new(&mut grad_hidden[to..], count, d, stride, 1),
                T::one(),
                MatRef::new(&grad_rows[from..], count, width, from_stride, 1),
                MatRef::new(weights.matrix, width, d, d, 1),
            );
            for (unit, at) in self.units_of(s) {
                let hidden = &passed.hidden[unit * d..][..d];
                let (grad, grad_query) = self.shape.split_mut(&mut grad_input, unit);
                for ((to, &g), &h) in grad.iter_mut().zip(&grad_hidden[unit * d..]).zip(hidden) {
                    *to = g * self.scan.activation.slope(h);
                }
                let scale: T = self.scale(at);
                match &mut gather {
                    Gather::Quadrant(sums) => sums.pass(at, scale, grad),
                    Gather::Neighbours => {
                        for u in self.scan.graph.predecessors(at, w).flatten() {
                            add_scaled(self.shape.split_mut(&mut grad_rows, u).0, scale, grad);
                        }
                    }
                    Gather::Attend(attender) => attender.attend_backward(
                        self.shape.split(input, unit).1,
                        self.scan.graph.predecessors(at, w),
                        &rows,
                        Upstream {
                            grad,
                            attended: &passed.attended[unit * d..][..d],
                            log_sum: passed.log_sums[unit],
                        },
                        &mut grad_rows,
                        grad_query,
                        &mut grad_vector,
                    ),
                }
            }
        }
        let mut grad_matrix = vec![T::zero(); width * d];
        matmul(
            MatMut::new(&mut grad_matrix, width, d, d, 1),
            T::zero(),
            MatRef::new(&grad_rows, width, self.units(), 1, width),
            MatRef::new(&passed.hidden, self.units(), d, d, 1),
        );
        Gradients { input: grad_input, matrix: grad_matrix, vector: grad_vector }
    }

    /// Values and keys of all units in one product, absorbed by attention; empty if the backward
    /// pass does not need them.
    #[inline(always)]
    fn recomputed_rows<T: Real>(
        &self,
        gather: &mut Gather<'_, T>,
        weights: Weights<'_, T>,
        hidden: &[T],
    ) -> Vec<T> {
        let Gather::Attend(attender) = gather else { return Vec::new() };
        let (d, width) = (self.shape.value, self.shape.len());
        let mut rows = vec![T::zero(); self.units() * width];
        matmul(
            MatMut::new(&mut rows, self.units(), width, width, 1),
            T::zero(),
            MatRef::new(hidden, self.units(), d, d, 1),
            MatRef::new(weights.matrix, d, width, 1, d),
        );
        for unit in 0..self.units() {
            attender.absorb(unit, self.shape.split(&rows, unit).1);
        }
        rows
    }
}

/// How a unit finds what its predecessors hand on.
enum Gather<'p, T> {
    /// Dense sums and means.
    Quadrant(QuadrantSums<T>),
    /// Sums and means over at most three neighbours.
    Neighbours,
    /// Attention over any graph.
    Attend(Attender<'p, T>),
}

impl<'p, T: Real> Gather<'p, T> {
    fn new(plan: &Plan, vector: &'p [T]) -> Self {
        match (plan.scan.aggregation, plan.scan.graph) {
            (Aggregation::Attention(score), _) => {
                Self::Attend(Attender::new(score, plan.shape, vector, plan.units()))
            }
            (_, crate::Graph::Dense) => {
                Self::Quadrant(QuadrantSums::new(plan.size, plan.shape.value))
            }
            _ => Self::Neighbours,
        }
    }
}
