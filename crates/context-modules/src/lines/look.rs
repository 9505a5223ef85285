//! Forward: what tiles of queries attend to.

use std::ops::Range;

use grid_ops::{Product, Real, Start, inlined, simd};

use super::multiply::multiply;
use super::{Line, Scratch, WIDE};

/// What tiles of queries attend to in a whole line, once run.
pub(crate) struct Look<'a, T> {
    pub(crate) line: &'a Line<T>,
    /// The tiles of queries. Few at a time, so that a tile of keys that was fetched serves all of
    /// them.
    pub(crate) tiles: Range<usize>,
}

/// What tiles of queries attended to.
pub(crate) struct Looked<T> {
    /// Weighted means of values by tiles `[d, width]`; zero where there was nothing to attend to.
    pub(crate) attended: Vec<T>,
    /// Log-sum-exps of scores by tiles `[width]`; −∞ where there were none.
    pub(crate) log_sums: Vec<T>,
}

impl<T: Real> Look<'_, T> {
    pub(crate) fn run(self) -> Looked<T> {
        let Self { line, tiles } = self;
        let (width, d) = (line.cut.width, line.shape.value);
        let mut seen: Vec<Seen<T>> = tiles.clone().map(|_| Seen::new(width, d)).collect();
        let mut scratch = Scratch::new(line.cut);
        for keys in 0..line.cut.tiles() {
            for (queries, seen) in tiles.clone().zip(&mut seen) {
                line.look(queries, keys, seen, &mut scratch);
            }
        }
        let mut looked = Looked { attended: Vec::new(), log_sums: Vec::new() };
        let finish = inlined(
            #[inline(always)]
            |seen: &mut Seen<T>| seen.finish(),
        );
        for seen in &mut seen {
            simd(
                #[inline(always)]
                || finish(seen),
            );
            looked.attended.extend_from_slice(&seen.attended);
            looked.log_sums.extend_from_slice(&seen.top);
        }
        looked
    }
}

/// What a tile of queries has seen so far.
struct Seen<T> {
    /// The largest score, then the log-sum-exp of all, `[width]`.
    top: Vec<T>,
    /// `Σ e^{z − top}`, `[width]`.
    sums: Vec<T>,
    /// `Σ e^{z − top} value`, then the weighted mean of values, `[d, width]`.
    attended: Vec<T>,
    /// What the sums are to be multiplied by for a new maximum, `[width]`.
    factors: Vec<T>,
}

impl<T: Real> Line<T> {
    /// Lets a tile of queries look at a tile of keys.
    fn look(&self, queries: usize, keys: usize, seen: &mut Seen<T>, scratch: &mut Scratch<T>) {
        let (d, width) = (self.shape.value, self.cut.width);
        let count = self.scores(queries, keys, &mut scratch.z);
        let z = &mut scratch.z[..count * width];
        let weigh = inlined(
            #[inline(always)]
            |seen: &mut Seen<T>, z: &mut [T]| {
                if seen.weigh(z, width) {
                    seen.scale();
                }
            },
        );
        simd(
            #[inline(always)]
            || weigh(seen, z),
        );
        let values = &self.values[self.cut.numbers_of(&(keys..keys + 1), d)];
        let (size, a_strides) = ((d, count, width), (width, 1));
        let product = Product { size, a_strides, b_stride: width, c_stride: width };
        multiply(product, values, z, Start::Kept, &mut seen.attended);
    }

    /// The scores of a tile of keys, as many as it returns, from a tile of queries; −∞ where a unit
    /// does not attend to itself.
    pub(super) fn scores(&self, queries: usize, keys: usize, z: &mut [T]) -> usize {
        let (a, width) = (self.shape.key, self.cut.width);
        let count = self.cut.units_of(keys).len();
        let of = |tile: usize| self.cut.numbers_of(&(tile..tile + 1), a);
        let (size, a_strides) = ((count, a, width), (1, width));
        let product = Product { size, a_strides, b_stride: width, c_stride: width };
        multiply(product, &self.keys[of(keys)], &self.queries[of(queries)], Start::Zero, z);
        if queries == keys && !self.to_itself {
            z.iter_mut().step_by(width + 1).take(count).for_each(|z| *z = T::neg_infinity());
        }
        count
    }
}

impl<T: Real> Seen<T> {
    fn new(width: usize, d: usize) -> Self {
        let zeros = |n: usize| vec![T::zero(); n];
        let (sums, attended, factors) = (zeros(width), zeros(d * width), zeros(width));
        Self { top: vec![T::neg_infinity(); width], sums, attended, factors }
    }

    /// Scores to `e^{z − top}`, which join the sums. Returns whether a maximum has changed, so that
    /// what was summed before is to be multiplied by the factors.
    #[inline(always)]
    fn weigh(&mut self, z: &mut [T], width: usize) -> bool {
        let mut changed = false;
        for lanes in (0..width).step_by(WIDE) {
            let Some(top) = self.top[lanes..].first_chunk_mut::<WIDE>() else { break };
            let before = *top;
            for z in z.chunks_exact(width) {
                let Some(z) = z[lanes..].first_chunk::<WIDE>() else { break };
                for l in 0..WIDE {
                    // Passes over NaN; the sum below does not, so NaN still comes out.
                    top[l] = if z[l] > top[l] { z[l] } else { top[l] };
                }
            }
            let mut finite = *top;
            for top in &mut finite {
                // Nothing has been seen yet.
                *top = if *top == T::neg_infinity() { T::zero() } else { *top };
            }
            let mut sums = [T::zero(); WIDE];
            for z in z.chunks_exact_mut(width) {
                let Some(z) = z[lanes..].first_chunk_mut::<WIDE>() else { break };
                for l in 0..WIDE {
                    z[l] = (z[l] - finite[l]).exp_inline();
                    sums[l] = sums[l] + z[l];
                }
            }
            let Some(factors) = self.factors[lanes..].first_chunk_mut::<WIDE>() else { break };
            let Some(all) = self.sums[lanes..].first_chunk_mut::<WIDE>() else { break };
            if *top == before {
                *factors = [T::one(); WIDE];
            } else {
                changed = true;
                for l in 0..WIDE {
                    factors[l] = (before[l] - finite[l]).exp_inline();
                }
            }
            for l in 0..WIDE {
                all[l] = all[l].mul_add(factors[l], sums[l]);
            }
        }
        changed
    }

    /// Ends the looking: means instead of sums, the log-sum-exps instead of the maxima.
    #[inline(always)]
    fn finish(&mut self) {
        for ((factor, &sum), top) in self.factors.iter_mut().zip(&self.sums).zip(&mut self.top) {
            *factor = if sum == T::zero() { T::zero() } else { sum.recip() };
            *top = *top + sum.ln();
        }
        self.scale();
    }

    /// Multiplies what was attended by the factors.
    #[inline(always)]
    fn scale(&mut self) {
        for attended in self.attended.chunks_exact_mut(self.factors.len()) {
            attended.iter_mut().zip(&self.factors).for_each(|(x, &factor)| *x = *x * factor);
        }
    }
}
