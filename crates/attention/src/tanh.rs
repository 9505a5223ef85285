//! The tanh of sums of queries and keys, by reciprocals.
//!
//! `tanh(q + k) = 1 - 2 r` with `r = 1 / (e^{2q} e^{2k} + 1)`: with both exponentials known per
//! unit, a pair costs a product and a reciprocal a channel. `Σ va · tanh` is then `Σ va - 2 Σ va r`.

use grid_ops::Real;
use pulp::Simd;

use crate::lanes::WIDE;
use crate::tile::LANES;

/// The largest |q| and |k| whose exponentials are multiplied: e^{4·limit} is within the range of
/// [`Vectors::reciprocal`](grid_ops::Vectors::reciprocal).
pub(crate) fn limit<T: Real>() -> T {
    T::max_value().ln() / T::of(5.5)
}

/// Writes `Σ va r` of the first `limit` sources to `z` and `r` itself to `r`, `[a, LANES]`.
///
/// `query` is `e^{2q}`, `[a]`, `keys` are `e^{2k}`, `[a, LANES]`. Whole vectors are written.
#[inline(always)]
pub(crate) fn sums<T: Real, S: Simd>(
    simd: S,
    query: &[T],
    keys: &[T],
    vector: &[T],
    limit: usize,
    r: &mut [T],
    z: &mut [T],
) {
    let lanes = T::lanes::<S>();
    let mut at = 0;
    while at < limit {
        at += match (limit - at).div_ceil(lanes) {
            1 => sums_of::<T, S, 1>(simd, query, keys, vector, at, r, z),
            2 => sums_of::<T, S, 2>(simd, query, keys, vector, at, r, z),
            3 => sums_of::<T, S, 3>(simd, query, keys, vector, at, r, z),
            _ => sums_of::<T, S, 4>(simd, query, keys, vector, at, r, z),
        };
    }
}

/// The same for `V` vectors of sources from `at`; returns how many sources that are.
#[inline(always)]
fn sums_of<T: Real, S: Simd, const V: usize>(
    simd: S,
    query: &[T],
    keys: &[T],
    vector: &[T],
    at: usize,
    r: &mut [T],
    z: &mut [T],
) -> usize {
    let lanes = T::lanes::<S>();
    let one = T::splat(simd, T::one());
    let mut sums = [T::splat(simd, T::zero()); V];
    let channels = query.iter().zip(vector).zip(keys.chunks_exact(LANES));
    for (((&q, &va), keys), r) in channels.zip(r.chunks_exact_mut(LANES)) {
        let (q, va) = (T::splat(simd, q), T::splat(simd, va));
        let (keys, r) = (&keys[at..at + V * lanes], &mut r[at..at + V * lanes]);
        for v in 0..V {
            let sum = T::fused(simd, q, T::load(simd, &keys[v * lanes..]), one);
            let of_pair = T::reciprocal(simd, sum);
            T::store(simd, &mut r[v * lanes..], of_pair);
            sums[v] = T::fused(simd, va, of_pair, sums[v]);
        }
    }
    for v in 0..V {
        T::store(simd, &mut z[at + v * lanes..], sums[v]);
    }
    V * lanes
}

/// The same from the logarithms, for queries and `raw_keys` `[units, a]` whose exponentials would
/// overflow.
#[inline(always)]
pub(crate) fn sums_directly<T: Real>(
    query: &[T],
    raw_keys: &[T],
    vector: &[T],
    limit: usize,
    r: &mut [T],
    z: &mut [T],
) {
    for (unit, key) in raw_keys.chunks_exact(query.len()).take(limit).enumerate() {
        let mut sum = T::zero();
        for (c, ((&q, &k), &va)) in query.iter().zip(key).zip(vector).enumerate() {
            let of_pair = (T::one() - (q + k).tanh()) / T::of(2.0);
            r[c * LANES + unit] = of_pair;
            sum = va.mul_add(of_pair, sum);
        }
        z[unit] = sum;
    }
}

/// The backward pass of one target: dz/dq = dz/dk = va (1 - t²) = 4 va r (1 - r).
pub(crate) struct Slopes<'a, T> {
    /// Of every pair, `[a, LANES]`.
    pub(crate) r: &'a [T],
    /// Gradients of the scores, `[LANES]`; zero beyond the limit.
    pub(crate) dz: &'a [T],
    pub(crate) limit: usize,
    /// `Σ dz r (1 - r)` is added, `[a, LANES]`.
    pub(crate) of_keys: &'a mut [T],
    /// The same over sources, `[a]`.
    pub(crate) of_query: &'a mut [T],
    /// `Σ dz r` is added, `[a, WIDE]`, spread over lanes.
    pub(crate) of_vector: &'a mut [T],
}

impl<T: Real> Slopes<'_, T> {
    #[inline(always)]
    pub(crate) fn add<S: Simd>(mut self, simd: S) {
        let lanes = T::lanes::<S>();
        let mut at = 0;
        while at < self.limit {
            at += match (self.limit - at).div_ceil(lanes) {
                1 => self.add_of::<S, 1>(simd, at),
                2 => self.add_of::<S, 2>(simd, at),
                3 => self.add_of::<S, 3>(simd, at),
                _ => self.add_of::<S, 4>(simd, at),
            };
        }
    }

    #[inline(always)]
    fn add_of<S: Simd, const V: usize>(&mut self, simd: S, at: usize) -> usize {
        let lanes = T::lanes::<S>();
        let zero = T::splat(simd, T::zero());
        let mut dz = [zero; V];
        for (v, dz) in dz.iter_mut().enumerate() {
            *dz = T::load(simd, &self.dz[at + v * lanes..]);
        }
        let rows = self.r.chunks_exact(LANES).zip(self.of_keys.chunks_exact_mut(LANES));
        let sums = self.of_query.iter_mut().zip(self.of_vector.chunks_exact_mut(WIDE));
        for ((r, of_keys), (of_query, of_vector)) in rows.zip(sums) {
            let (r, of_keys) = (&r[at..at + V * lanes], &mut of_keys[at..at + V * lanes]);
            let (mut sum_r, mut sum_slope) = (zero, zero);
            for v in 0..V {
                let r = T::load(simd, &r[v * lanes..]);
                let to = &mut of_keys[v * lanes..];
                let dr = T::times(simd, dz[v], r);
                let slope = T::minus(simd, dr, T::times(simd, dr, r));
                T::store(simd, to, T::plus(simd, T::load(simd, to), slope));
                sum_r = T::plus(simd, sum_r, dr);
                sum_slope = T::plus(simd, sum_slope, slope);
            }
            *of_query = *of_query + T::total(simd, sum_slope);
            T::store(simd, of_vector, T::plus(simd, T::load(simd, of_vector), sum_r));
        }
        V * lanes
    }
}
