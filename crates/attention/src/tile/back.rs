//! The backward pass: from what targets attended to back to sources, queries and scoring vector.

use grid_ops::{Product, Real, Start};
use pulp::Simd;

use super::sight::mask;
use super::{Attention, LANES, Queries, Scratch, Sight, Sources};
use crate::Score;
use crate::kernel::RowShape;
use crate::lanes::{WIDE, total};
use crate::score::dot_scale;
use crate::tanh::Slopes;

/// Targets whose upstream gradient is known.
#[derive(Debug, Clone)]
pub struct Known<T> {
    /// Their queries.
    pub queries: Queries<T>,
    /// Gradient of what was attended, `[units, d]`.
    pub grad: Vec<T>,
    /// `grad · attended`, the softmax's own term, `[units]`.
    pub delta: Vec<T>,
    /// What [`Targets::finish`](crate::tile::Targets::finish) returned, `[units]`.
    pub log_sums: Vec<T>,
}

/// Gradients of the sources of a tile.
#[derive(Debug, Clone)]
pub struct SourceGradients<T> {
    /// `[units, d]`.
    pub values: Vec<T>,
    /// `[units, a]` for scaled dot products, `[a, LANES]` and short of a factor for tanh.
    keys: Vec<T>,
    /// The values, `[d, LANES]`.
    turned: Vec<T>,
}

impl<T: Real> SourceGradients<T> {
    /// Zeros for these sources.
    #[inline(always)]
    pub fn new(attention: &Attention<'_, T>, sources: &Sources<T>) -> Self {
        let RowShape { value: d, key: a } = attention.shape;
        let mut turned = vec![T::zero(); d * LANES];
        for (unit, value) in sources.values.chunks_exact(d).enumerate() {
            for (c, &x) in value.iter().enumerate() {
                turned[c * LANES + unit] = x;
            }
        }
        let (values, keys) = (vec![T::zero(); sources.values.len()], vec![T::zero(); a * LANES]);
        Self { values, keys, turned }
    }

    /// Writes a unit's gradient, of value and key, to `row` `[d + a]`.
    #[inline(always)]
    pub fn take(&self, attention: &Attention<'_, T>, unit: usize, row: &mut [T]) {
        let RowShape { value: d, key: a } = attention.shape;
        let (value, key) = row.split_at_mut(d);
        value.copy_from_slice(&self.values[unit * d..][..d]);
        if attention.score == Score::ScaledDot {
            key.copy_from_slice(&self.keys[unit * a..][..a]);
        } else {
            for (c, to) in key.iter_mut().enumerate() {
                *to = T::of(4.0) * attention.vector[c] * self.keys[c * LANES + unit];
            }
        }
    }
}

/// Gradients of queries and scoring vector, summed by one worker and short of factors that
/// [`Attention::finish_queries`] and [`Attention::finish_vector`] bring in.
#[derive(Debug, Clone)]
pub struct QueryGradients<T> {
    /// `[units, a]`, of all tiles.
    pub queries: Vec<T>,
    /// `[a, WIDE]`.
    vector: Vec<T>,
}

impl<T: Real> QueryGradients<T> {
    /// Zeros for a grid of `units`.
    pub fn new(shape: RowShape, units: usize) -> Self {
        let zeros = |n: usize| vec![T::zero(); n];
        Self { queries: zeros(units * shape.key), vector: zeros(shape.key * WIDE) }
    }

    /// Adds another worker's sums.
    pub fn add(&mut self, other: &Self) {
        let queries = self.queries.iter_mut().zip(&other.queries);
        let vector = self.vector.iter_mut().zip(&other.vector);
        queries.chain(vector).for_each(|(sum, &x)| *sum = *sum + x);
    }
}

impl<T: Real> Attention<'_, T> {
    /// Takes the gradient of the targets within sight to the sources, whose gradients are `into`,
    /// and to the targets' own queries, the units from `first` of `of_queries`.
    #[inline(always)]
    pub fn back<S: Simd>(
        &self,
        simd: S,
        sources: &Sources<T>,
        (known, first): (&Known<T>, usize),
        sight: &Sight,
        into: &mut SourceGradients<T>,
        of_queries: &mut QueryGradients<T>,
        scratch: &mut Scratch<T>,
    ) {
        if sight.limit == 0 {
            return;
        }
        let RowShape { value: d, key: a } = self.shape;
        let (m, limit, step) = (sight.count, sight.limit, sight.step);
        let grad = &known.grad[sight.first * d..];
        // Gradients of the weights.
        let size = (m, d, sight.padded());
        let product = Product { size, a_strides: (step * d, 1), b_stride: LANES, c_stride: LANES };
        product.run(simd, grad, &into.turned, Start::Zero, &mut scratch.dz);
        if self.score == Score::ScaledDot {
            self.scores(simd, &known.queries, sources, sight, scratch);
            for (row, target) in sight.targets() {
                weigh(scratch, row, sight, (known.log_sums[target], known.delta[target]));
            }
            let queries = &known.queries.scored[sight.first * a..];
            let size = (limit, m, a);
            let a_strides = (1, LANES);
            let product = Product { size, a_strides, b_stride: step * a, c_stride: a };
            product.run(simd, &scratch.dz, queries, Start::Kept, &mut into.keys);
            let size = (m, limit, a);
            let a_strides = (LANES, 1);
            let product = Product { size, a_strides, b_stride: a, c_stride: step * a };
            let to = &mut of_queries.queries[(first + sight.first) * a..];
            product.run(simd, &scratch.dz, &sources.raw_keys, Start::Kept, to);
        } else {
            for (row, target) in sight.targets() {
                self.tanh_row(simd, (&known.queries, target), sources, limit, row, scratch);
                mask(&mut scratch.z[row * LANES..][..sight.padded()], sight, target);
                weigh(scratch, row, sight, (known.log_sums[target], known.delta[target]));
                let slopes = Slopes {
                    r: &scratch.r,
                    dz: &scratch.dz[row * LANES..][..LANES],
                    limit,
                    of_keys: &mut into.keys,
                    of_query: &mut of_queries.queries[(first + target) * a..][..a],
                    of_vector: &mut of_queries.vector,
                };
                slopes.add(simd);
            }
        }
        let size = (limit, m, d);
        let product = Product { size, a_strides: (1, LANES), b_stride: step * d, c_stride: d };
        product.run(simd, &scratch.z, grad, Start::Kept, &mut into.values);
    }

    /// Brings in the factors that gradients of queries, `[units, a]`, lack.
    pub fn finish_queries(&self, queries: &mut [T]) {
        let scale = dot_scale(self.shape.key);
        for row in queries.chunks_exact_mut(self.shape.key) {
            for (c, x) in row.iter_mut().enumerate() {
                let factor = match self.score {
                    Score::TanhAdditive => T::of(4.0) * self.vector[c],
                    _ => scale,
                };
                *x = *x * factor;
            }
        }
    }

    /// The gradient of the scoring vector, `[a]`: zero where there is none.
    pub fn finish_vector(&self, of_queries: &QueryGradients<T>) -> Vec<T> {
        // dz/dva = t = 1 - 2 r, and Σ dz is zero in a softmax.
        let (lanes, _) = of_queries.vector.as_chunks::<WIDE>();
        lanes.iter().map(|&sums| T::of(-2.0) * total(sums)).collect()
    }
}

/// Scores of a row to weights, gradients of weights to gradients of scores; zero beyond the limit.
#[inline(always)]
fn weigh<T: Real>(scratch: &mut Scratch<T>, row: usize, sight: &Sight, (log_sum, delta): (T, T)) {
    let z = &mut scratch.z[row * LANES..][..sight.padded()];
    let dz = &mut scratch.dz[row * LANES..][..sight.padded()];
    dz[sight.limit..].fill(delta);
    let (z, dz) = (z.as_chunks_mut::<WIDE>().0, dz.as_chunks_mut::<WIDE>().0);
    for (z, dz) in z.iter_mut().zip(dz) {
        for l in 0..WIDE {
            z[l] = (z[l] - log_sum).exp_inline();
            dz[l] = z[l] * (dz[l] - delta);
        }
    }
}
