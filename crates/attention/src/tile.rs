//! Attention of the units of one tile over those of another, forward and backward, on slices.
//!
//! A *target* looks back at *sources*. All pairs of two tiles are scored together, with the sources
//! as the lanes of vectors; what a target does not see is masked. Scores are exponentiated against
//! a running maximum ([`Targets`]), so tiles can be looked at one after another; the backward pass
//! ([`Attention::back`]) recomputes the weights from the log-sum-exp. Memory is O(units).
//!
//! Everything here is `#[inline(always)]` and takes the vectors it computes with, so that a
//! caller's run-time SIMD dispatch reaches the innermost loops.

mod back;
mod sight;

pub use back::{Known, QueryGradients, SourceGradients};
use grid_ops::{Product, Real, Start};
use pulp::Simd;
use sight::mask;
pub use sight::{Sight, own_sight, sights};

use crate::kernel::RowShape;
use crate::lanes::{WIDE, total};
use crate::score::dot_scale;
use crate::{Score, tanh};

/// Rows and columns of units in a tile.
pub const TILE: (usize, usize) = (16, 4);

/// Units of a whole tile: the lanes of one channel of keys.
pub const LANES: usize = TILE.0 * TILE.1;

/// The attention of one direction.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'p, T> {
    pub(crate) score: Score,
    /// Channels of values and keys.
    pub shape: RowShape,
    /// `va`, `[a]`, of [`Score::TanhAdditive`]; unused otherwise.
    pub(crate) vector: &'p [T],
    vector_sum: T,
}

/// Queries of a tile, `[units, a]`, as they came and as they are scored.
#[derive(Debug, Clone)]
pub struct Queries<T> {
    raw: Vec<T>,
    scored: Vec<T>,
    moderate: bool,
}

/// Values and keys of a tile.
#[derive(Debug, Clone)]
pub struct Sources<T> {
    /// `[units, d]`.
    pub values: Vec<T>,
    /// `[units, a]`.
    raw_keys: Vec<T>,
    /// As they are scored, `[a, LANES]`.
    keys: Vec<T>,
    /// No exponential can overflow.
    moderate: bool,
    /// All values are numbers: what is not seen may be multiplied by a weight of zero.
    finite: bool,
}

/// Buffers that every look uses anew.
#[derive(Debug, Clone)]
pub struct Scratch<T> {
    /// Scores, then weights, `[targets, LANES]`.
    z: Vec<T>,
    /// Gradients of scores, `[targets, LANES]`.
    dz: Vec<T>,
    /// See [`tanh`], `[a, LANES]`.
    r: Vec<T>,
    factors: Vec<T>,
}

impl<T: Real> Scratch<T> {
    /// Buffers for rows of this shape.
    pub fn new(shape: RowShape) -> Self {
        let zeros = |n: usize| vec![T::zero(); n];
        let (z, dz) = (zeros(LANES * LANES), zeros(LANES * LANES));
        Self { z, dz, r: zeros(shape.key * LANES), factors: zeros(LANES) }
    }
}

impl<T: Real> Sources<T> {
    /// Room for the values and keys of `units` units.
    pub fn new(shape: RowShape, units: usize) -> Self {
        let zeros = |n: usize| vec![T::zero(); n];
        Self {
            values: zeros(units * shape.value),
            raw_keys: zeros(units * shape.key),
            keys: zeros(shape.key * LANES),
            moderate: true,
            finite: true,
        }
    }

    /// Takes in a unit's `row`, its value and then its key.
    #[inline(always)]
    pub fn put(&mut self, attention: &Attention<'_, T>, unit: usize, row: &[T]) {
        let RowShape { value: d, key: a } = attention.shape;
        let (value, key) = row.split_at(d);
        self.values[unit * d..][..d].copy_from_slice(value);
        // The sum of numbers and infinities is finite only if all of them are (or it overflows,
        // which the slower path bears).
        self.finite &= value.iter().fold(T::zero(), |sum, &x| sum + x.abs()).is_finite();
        let raw = &mut self.raw_keys[unit * a..][..a];
        raw.copy_from_slice(key);
        for (c, &k) in raw.iter().enumerate() {
            self.keys[c * LANES + unit] = attention.scored(k);
            self.moderate &= attention.is_moderate(k);
        }
    }

    /// All of `rows`, `[units, d + a]`.
    #[inline(always)]
    pub fn of_rows(attention: &Attention<'_, T>, rows: &[T]) -> Self {
        let width = attention.shape.len();
        let mut sources = Self::new(attention.shape, rows.len() / width);
        for (unit, row) in rows.chunks_exact(width).enumerate() {
            sources.put(attention, unit, row);
        }
        sources
    }
}

impl<'p, T: Real> Attention<'p, T> {
    /// The attention with this score and, for [`Score::TanhAdditive`], scoring vector.
    pub fn new(score: Score, shape: RowShape, vector: &'p [T]) -> Self {
        let vector_sum = vector.iter().fold(T::zero(), |sum, &v| sum + v);
        Self { score, shape, vector, vector_sum }
    }

    #[inline(always)]
    fn scored(&self, x: T) -> T {
        if self.score == Score::TanhAdditive { (x + x).exp_inline() } else { x }
    }

    #[inline(always)]
    fn is_moderate(&self, x: T) -> bool {
        self.score != Score::TanhAdditive || x.abs() <= tanh::limit()
    }

    /// Queries of a tile: the last `a` channels of each of `rows`, `[units, width]`.
    #[inline(always)]
    pub fn queries(&self, rows: &[T], width: usize) -> Queries<T> {
        let a = self.shape.key;
        let mut raw = Vec::with_capacity(rows.len() / width * a);
        for row in rows.chunks_exact(width) {
            raw.extend_from_slice(&row[width - a..]);
        }
        let scale =
            if self.score == Score::ScaledDot { dot_scale(self.shape.key) } else { T::one() };
        let mut scored = raw.clone();
        let mut moderate = true;
        for x in &mut scored {
            moderate &= self.is_moderate(*x);
            *x = self.scored(scale * *x);
        }
        Queries { raw, scored, moderate }
    }

    /// Writes the scores of the targets, `[targets, LANES]`, with −∞ for what is not seen.
    #[inline(always)]
    fn scores<S: Simd>(
        &self,
        simd: S,
        queries: &Queries<T>,
        sources: &Sources<T>,
        sight: &Sight,
        scratch: &mut Scratch<T>,
    ) {
        let a = self.shape.key;
        if self.score == Score::ScaledDot {
            let size = (sight.count, a, sight.padded());
            let a_strides = (sight.step * a, 1);
            let product = Product { size, a_strides, b_stride: LANES, c_stride: LANES };
            let scored = &queries.scored[sight.first * a..];
            product.run(simd, scored, &sources.keys, Start::Zero, &mut scratch.z);
        } else {
            for (row, target) in sight.targets() {
                self.tanh_row(simd, (queries, target), sources, sight.limit, row, scratch);
            }
        }
        for (row, target) in sight.targets() {
            mask(&mut scratch.z[row * LANES..][..sight.padded()], sight, target);
        }
    }

    /// The tanh-additive scores of one target; leaves `r` of every pair in the scratch.
    #[inline(always)]
    fn tanh_row<S: Simd>(
        &self,
        simd: S,
        (queries, target): (&Queries<T>, usize),
        sources: &Sources<T>,
        limit: usize,
        row: usize,
        scratch: &mut Scratch<T>,
    ) {
        let a = self.shape.key;
        let z = &mut scratch.z[row * LANES..][..LANES];
        if queries.moderate && sources.moderate {
            let query = &queries.scored[target * a..][..a];
            tanh::sums(simd, query, &sources.keys, self.vector, limit, &mut scratch.r, z);
        } else {
            let query = &queries.raw[target * a..][..a];
            tanh::sums_directly(query, &sources.raw_keys, self.vector, limit, &mut scratch.r, z);
        }
        let two = T::of(2.0);
        z[..limit].iter_mut().for_each(|z| *z = self.vector_sum - two * *z);
    }
}

/// The units of a tile while they look at one tile after another.
#[derive(Debug, Clone)]
pub struct Targets<T> {
    queries: Queries<T>,
    top: Vec<T>,
    /// `Σ e^{z − top}`, spread over lanes.
    sums: Vec<[T; WIDE]>,
    /// `Σ e^{z − top} value` until a unit is finished, `Σ a(u) value(u)` then; `[units, d]`.
    pub attended: Vec<T>,
}

impl<T: Real> Targets<T> {
    /// `units` units that have seen nothing yet.
    pub fn new(attention: &Attention<'_, T>, queries: Queries<T>, units: usize) -> Self {
        let attended = vec![T::zero(); units * attention.shape.value];
        let (top, sums) = (vec![T::neg_infinity(); units], vec![[T::zero(); WIDE]; units]);
        Self { queries, top, sums, attended }
    }

    /// Looks at the sources within sight.
    #[inline(always)]
    pub fn look<S: Simd>(
        &mut self,
        simd: S,
        attention: &Attention<'_, T>,
        sources: &Sources<T>,
        sight: &Sight,
        scratch: &mut Scratch<T>,
    ) {
        if sight.limit == 0 {
            return;
        }
        attention.scores(simd, &self.queries, sources, sight, scratch);
        for (row, target) in sight.targets() {
            let z = &mut scratch.z[row * LANES..][..sight.padded()];
            let before = self.top[target];
            // `max` passes over NaN; the sum below does not, so NaN still comes out.
            let top = largest(z).max(before);
            // Once the largest score has been seen, which is soon, nothing is scaled any more.
            let factor = if top == before { T::one() } else { (before - top).exp_inline() };
            weigh_up(z, top, factor, &mut self.sums[target]);
            self.top[target] = top;
            scratch.factors[row] = factor;
        }
        let d = attention.shape.value;
        if !sources.finite {
            return self.gather_seen(d, sources, sight, scratch);
        }
        let size = (sight.count, sight.limit, d);
        let c_stride = sight.step * d;
        let product = Product { size, a_strides: (LANES, 1), b_stride: d, c_stride };
        let attended = &mut self.attended[sight.first * d..];
        product.run(simd, &scratch.z, &sources.values, Start::Scaled(&scratch.factors), attended);
    }

    /// The weighted sums of values some of which are no numbers: what has no weight is left out, so
    /// that it reaches only the units that see it.
    #[inline(always)]
    fn gather_seen(&mut self, d: usize, sources: &Sources<T>, sight: &Sight, scratch: &Scratch<T>) {
        for (row, target) in sight.targets() {
            let attended = &mut self.attended[target * d..][..d];
            attended.iter_mut().for_each(|x| *x = *x * scratch.factors[row]);
            let weights = &scratch.z[row * LANES..][..sight.limit];
            for (&weight, value) in weights.iter().zip(sources.values.chunks_exact(d)) {
                if weight != T::zero() {
                    crate::kernel::add_scaled(attended, weight, value);
                }
            }
        }
    }

    /// Ends a unit's looking: its part of [`Self::attended`] becomes the weighted mean of values,
    /// zero if it has seen nothing. Returns the log-sum-exp of its scores.
    #[inline(always)]
    pub fn finish(&mut self, unit: usize) -> T {
        let sum = total(self.sums[unit]);
        if self.top[unit] == T::neg_infinity() && sum == T::zero() {
            return T::zero();
        }
        let d = self.attended.len() / self.sums.len();
        let scale = sum.recip();
        self.attended[unit * d..][..d].iter_mut().for_each(|x| *x = *x * scale);
        self.top[unit] + sum.ln()
    }
}

#[inline(always)]
fn largest<T: Real>(z: &[T]) -> T {
    let (chunks, _) = z.as_chunks::<WIDE>();
    let mut tops = [T::neg_infinity(); WIDE];
    for chunk in chunks {
        for l in 0..WIDE {
            tops[l] = if chunk[l] > tops[l] { chunk[l] } else { tops[l] };
        }
    }
    tops.into_iter().fold(T::neg_infinity(), |top, z| top.max(z))
}

/// Scores to `e^{z − top}`, whose sum joins `factor · sums`.
#[inline(always)]
fn weigh_up<T: Real>(z: &mut [T], top: T, factor: T, sums: &mut [T; WIDE]) {
    let mut joined = sums.map(|sum| sum * factor);
    let (chunks, _) = z.as_chunks_mut::<WIDE>();
    for chunk in chunks {
        for l in 0..WIDE {
            chunk[l] = (chunk[l] - top).exp_inline();
            joined[l] = joined[l] + chunk[l];
        }
    }
    *sums = joined;
}
