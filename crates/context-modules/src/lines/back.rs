//! Backward: from what a line's units attended to back to their queries, keys and values.

use std::ops::Range;

use grid_ops::{Product, Real, Start, inlined, simd};

use super::multiply::multiply;
use super::{Cut, Line, Scratch, WIDE};

/// What is known of all queries of a line when gradients go back.
pub(crate) struct Upstream<T> {
    /// Queries by tiles `[width, a]`.
    queries: Vec<T>,
    /// The gradient of what was attended, by tiles `[d, width]` and `[width, d]`.
    grad: [Vec<T>; 2],
    /// The log-sum-exps of all that a unit attends to, by tiles `[width]`.
    log_sums: Vec<T>,
    /// `grad · attended`, the softmax's own term, by tiles `[width]`.
    deltas: Vec<T>,
}

impl<T: Real> Upstream<T> {
    /// For `line`; planes of the gradient lie `plane` apart, and all slices begin at the line's
    /// first unit.
    pub(crate) fn new(
        line: &Line<T>,
        grad: &[T],
        plane: usize,
        log_sums: &[T],
        deltas: &[T],
    ) -> Self {
        let Line { cut, shape, .. } = line;
        let grad = cut.tiles_of(grad, plane, shape.value);
        let by_units = cut.by_units(&grad, shape.value);
        let of_units = |x| cut.tiles_of(x, plane, 1);
        Self {
            queries: line.queries_by_units(),
            grad: [grad, by_units],
            log_sums: of_units(log_sums),
            deltas: of_units(deltas),
        }
    }
}

/// The gradients of some tiles of keys and values, once run.
pub(crate) struct Back<'a, T> {
    pub(crate) line: &'a Line<T>,
    pub(crate) upstream: &'a Upstream<T>,
    /// The tiles of keys. Few at a time, so that a tile of queries that was fetched serves all of
    /// them.
    pub(crate) tiles: Range<usize>,
    /// The gradients of all queries, by tiles `[a, width]`, are added to these.
    pub(crate) of_queries: &'a mut [T],
}

impl<T: Real> Back<'_, T> {
    /// Gradients of keys and values, by tiles `[width, a]` and `[width, d]`.
    pub(crate) fn run(self) -> [Vec<T>; 2] {
        let Self { line, upstream, tiles, of_queries } = self;
        let Line { cut, shape, .. } = line;
        let zeros = |channels| vec![T::zero(); cut.numbers_of(&tiles, channels).len()];
        let (mut of_keys, mut of_values) = (zeros(shape.key), zeros(shape.value));
        let mut scratch = Scratch::new(*cut);
        for queries in 0..cut.tiles() {
            for (nth, keys) in tiles.clone().enumerate() {
                let own = nth..nth + 1;
                let into = Gradients {
                    queries: &mut of_queries[cut.numbers_of(&(queries..queries + 1), shape.key)],
                    keys: &mut of_keys[cut.numbers_of(&own, shape.key)],
                    values: &mut of_values[cut.numbers_of(&own, shape.value)],
                };
                line.back(upstream, (queries, keys), into, &mut scratch);
            }
        }
        [of_keys, of_values]
    }
}

/// Where the gradients of a pair of tiles go.
struct Gradients<'a, T> {
    /// `[a, width]`.
    queries: &'a mut [T],
    /// `[width, a]`.
    keys: &'a mut [T],
    /// `[width, d]`.
    values: &'a mut [T],
}

impl<T: Real> Line<T> {
    /// Takes the gradient of a tile of queries to a tile of keys.
    fn back(
        &self,
        upstream: &Upstream<T>,
        (queries, keys): (usize, usize),
        into: Gradients<'_, T>,
        scratch: &mut Scratch<T>,
    ) {
        let Cut { width, .. } = self.cut;
        let (a, d) = (self.shape.key, self.shape.value);
        let of = |tile: usize, channels| self.cut.numbers_of(&(tile..tile + 1), channels);
        let count = self.scores(queries, keys, &mut scratch.z);
        let Scratch { z, dz } = scratch;
        // Gradients of the weights.
        let (size, a_strides) = ((count, d, width), (1, width));
        let product = Product { size, a_strides, b_stride: width, c_stride: width };
        let [by_channels, by_units] = &upstream.grad;
        let grad = &by_channels[of(queries, d)];
        multiply(product, &self.values[of(keys, d)], grad, Start::Zero, dz);
        let lanes = of(queries, 1);
        let (z, dz) = (&mut z[..count * width], &mut dz[..count * width]);
        let weights = inlined(
            #[inline(always)]
            |z: &mut [T], dz: &mut [T]| {
                weigh(z, dz, &upstream.log_sums[lanes.clone()], &upstream.deltas[lanes.clone()]);
            },
        );
        simd(
            #[inline(always)]
            || weights(z, dz),
        );

        let (size, a_strides) = ((count, width, d), (width, 1));
        let product = Product { size, a_strides, b_stride: d, c_stride: d };
        multiply(product, z, &by_units[of(queries, d)], Start::Kept, into.values);
        let (size, a_strides) = ((count, width, a), (width, 1));
        let product = Product { size, a_strides, b_stride: a, c_stride: a };
        multiply(product, dz, &upstream.queries[of(queries, a)], Start::Kept, into.keys);
        let (size, a_strides) = ((a, count, width), (width, 1));
        let product = Product { size, a_strides, b_stride: width, c_stride: width };
        multiply(product, &self.keys[of(keys, a)], dz, Start::Kept, into.queries);
    }
}

/// Scores to weights, gradients of weights to gradients of scores; of `[keys, queries]`.
#[inline(always)]
fn weigh<T: Real>(z: &mut [T], dz: &mut [T], log_sums: &[T], deltas: &[T]) {
    let width = log_sums.len();
    let (log_sums, deltas) = (log_sums.as_chunks::<WIDE>().0, deltas.as_chunks::<WIDE>().0);
    for (z, dz) in z.chunks_exact_mut(width).zip(dz.chunks_exact_mut(width)) {
        let (z, dz) = (z.as_chunks_mut::<WIDE>().0, dz.as_chunks_mut::<WIDE>().0);
        for (((z, dz), log_sums), deltas) in z.iter_mut().zip(dz).zip(log_sums).zip(deltas) {
            for l in 0..WIDE {
                z[l] = (z[l] - log_sums[l]).exp_inline();
                dz[l] = z[l] * (dz[l] - deltas[l]);
            }
        }
    }
}
