//! Attention of one unit over a few units before it, forward and backward, on plain slices.
//!
//! A scan calls [`Attender::absorb`] once for each unit whose key has become known, and
//! [`Attender::attend`] for each unit that looks back. The backward pass walks the units the other
//! way round with [`Attender::attend_backward`]; it recomputes the weights from the log-sum-exp
//! that `attend` returned.
//!
//! Everything here is `#[inline(always)]` so that a caller's run-time SIMD dispatch reaches the
//! innermost loops.

use std::ops::Range;

use grid_ops::Real;

use crate::lanes::{WIDE, total};
use crate::score::dot_scale;
use crate::{Score, tanh};

/// The dot product of two slices of one length.
#[inline(always)]
pub fn dot<T: Real>(x: &[T], y: &[T]) -> T {
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<WIDE>(), y.as_chunks::<WIDE>());
    let mut sums = [T::zero(); WIDE];
    for (x, y) in x.iter().zip(y) {
        for l in 0..WIDE {
            sums[l] = x[l].mul_add(y[l], sums[l]);
        }
    }
    let rest = x_rest.iter().zip(y_rest).fold(T::zero(), |sum, (&x, &y)| x.mul_add(y, sum));
    total(sums) + rest
}

/// `y += s · x`.
#[inline(always)]
pub fn add_scaled<T: Real>(y: &mut [T], s: T, x: &[T]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = s.mul_add(x, *y);
    }
}

/// The sizes of one row of memory: a unit's value followed by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowShape {
    /// Channels of the value.
    pub value: usize,
    /// Channels of the key.
    pub key: usize,
}

impl RowShape {
    /// Channels of the whole row.
    pub fn len(self) -> usize {
        self.value + self.key
    }

    /// True if a row holds nothing.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Value and key of `unit` in `rows`.
    #[inline(always)]
    pub fn split<T>(self, rows: &[T], unit: usize) -> (&[T], &[T]) {
        rows[unit * self.len()..][..self.len()].split_at(self.value)
    }

    /// The same, to write to.
    #[inline(always)]
    pub fn split_mut<T>(self, rows: &mut [T], unit: usize) -> (&mut [T], &mut [T]) {
        rows[unit * self.len()..][..self.len()].split_at_mut(self.value)
    }
}

/// One unit's gradient on its way back through attention.
#[derive(Debug, Clone, Copy)]
pub struct Upstream<'a, T> {
    /// Gradient of the attended value, `[d]`.
    pub grad: &'a [T],
    /// The attended value itself, `[d]`, as `attend` wrote it.
    pub attended: &'a [T],
    /// The log-sum-exp that `attend` returned.
    pub log_sum: T,
}

/// Attention within one direction of one image.
///
/// `tanh(q + k) = 1 - 2 r` with `r = 1 / (e^{2q} e^{2k} + 1)`: with both exponentials known per
/// unit, a pair costs one product and one division a channel. Where queries or keys are so large
/// that the exponentials could overflow, `tanh` is taken directly.
#[derive(Debug)]
pub struct Attender<'p, T> {
    score: Score,
    shape: RowShape,
    /// The scoring vector, `[a]` (`TanhAdditive` only).
    vector: &'p [T],
    vector_sum: T,
    /// `e^{2k}` of every absorbed unit, `[units, a]` (`TanhAdditive` only).
    exp_keys: Vec<T>,
    keys_in_limit: bool,
    scratch: Vec<T>,
}

impl<'p, T: Real> Attender<'p, T> {
    /// An attender that has absorbed nothing yet; `vector` is `[a]` for
    /// [`Score::TanhAdditive`] and unused otherwise.
    pub fn new(score: Score, shape: RowShape, vector: &'p [T], units: usize) -> Self {
        let exps = if score == Score::TanhAdditive { units * shape.key } else { 0 };
        Self {
            score,
            shape,
            vector,
            vector_sum: vector.iter().fold(T::zero(), |sum, &v| sum + v),
            exp_keys: vec![T::zero(); exps],
            keys_in_limit: true,
            scratch: vec![T::zero(); 4 * shape.key],
        }
    }

    /// Takes in the key of `unit`, `[a]`.
    #[inline(always)]
    pub fn absorb(&mut self, unit: usize, key: &[T]) {
        if self.score == Score::TanhAdditive {
            let exps = &mut self.exp_keys[unit * self.shape.key..][..self.shape.key];
            self.keys_in_limit &= exp_twice(key, exps);
        }
    }

    /// Attends from a unit with `query` `[a]` over the units of `runs`; `rows` are
    /// `[units, d + a]`.
    ///
    /// Writes `Σ a(u) value(u)` to `out` `[d]`, leaves the weights in `weights` in the order of
    /// the runs, and returns the log-sum-exp of the scores. Without units, `out` is zero.
    #[inline(always)]
    pub fn attend(
        &mut self,
        query: &[T],
        runs: impl Iterator<Item = Range<usize>> + Clone,
        rows: &[T],
        weights: &mut Vec<T>,
        out: &mut [T],
    ) -> T {
        weights.clear();
        out.fill(T::zero());
        let plan = self.plan(query);
        let (scaled_query, rest) = self.scratch.split_at_mut(self.shape.key);
        let r = &mut rest[..self.shape.key];
        for unit in runs.clone().flatten() {
            let z = match plan {
                Plan::ExpTanh => {
                    let exps = &self.exp_keys[unit * self.shape.key..][..self.shape.key];
                    self.vector_sum - T::of(2.0) * exp_tanh(scaled_query, exps, self.vector, r)
                }
                Plan::Tanh => {
                    let (_, key) = self.shape.split(rows, unit);
                    self.vector_sum - T::of(2.0) * direct_tanh(query, key, self.vector, r)
                }
                Plan::Dot => dot(scaled_query, self.shape.split(rows, unit).1),
                Plan::Key => self.shape.split(rows, unit).1[0],
            };
            weights.push(z);
        }
        if weights.is_empty() {
            return T::zero();
        }
        // `max` passes over NaN; the sum below does not, so NaN still comes out.
        let top = weights.iter().fold(T::neg_infinity(), |top, &z| top.max(z));
        weights.iter_mut().for_each(|z| *z = (*z - top).exp_inline());
        let sum = weights.iter().fold(T::zero(), |sum, &z| sum + z);
        let scale = sum.recip();
        for (unit, weight) in runs.flatten().zip(weights.iter_mut()) {
            *weight = *weight * scale;
            add_scaled(out, *weight, self.shape.split(rows, unit).0);
        }
        top + sum.ln()
    }

    /// The backward pass of [`Self::attend`]: adds to the gradients of the rows `[units, d + a]`,
    /// of the query `[a]` and of the scoring vector `[a]`.
    #[inline(always)]
    pub fn attend_backward(
        &mut self,
        query: &[T],
        runs: impl Iterator<Item = Range<usize>>,
        rows: &[T],
        upstream: Upstream<'_, T>,
        grad_rows: &mut [T],
        grad_query: &mut [T],
        grad_vector: &mut [T],
    ) {
        let plan = self.plan(query);
        let a = self.shape.key;
        // Σ a(u) da(u), the softmax's own term.
        let delta = dot(upstream.grad, upstream.attended);
        let dot_scale = dot_scale(self.shape.key);
        let (scaled_query, rest) = self.scratch.split_at_mut(a);
        let (r, rest) = rest.split_at_mut(a);
        let (sum_r, sum_slope) = rest.split_at_mut(a);
        sum_r.fill(T::zero());
        sum_slope.fill(T::zero());
        for unit in runs.flatten() {
            let (value, key) = self.shape.split(rows, unit);
            let z = match plan {
                Plan::ExpTanh => {
                    let exps = &self.exp_keys[unit * a..][..a];
                    self.vector_sum - T::of(2.0) * exp_tanh(scaled_query, exps, self.vector, r)
                }
                Plan::Tanh => {
                    self.vector_sum - T::of(2.0) * direct_tanh(query, key, self.vector, r)
                }
                Plan::Dot => dot(scaled_query, key),
                Plan::Key => key[0],
            };
            let weight = (z - upstream.log_sum).exp_inline();
            let dz = weight * (dot(upstream.grad, value) - delta);
            let (grad_value, grad_key) = self.shape.split_mut(grad_rows, unit);
            add_scaled(grad_value, weight, upstream.grad);
            match plan {
                Plan::Key => grad_key[0] = grad_key[0] + dz,
                Plan::Dot => {
                    add_scaled(sum_r, dz, key);
                    add_scaled(grad_key, dz, scaled_query);
                }
                Plan::ExpTanh | Plan::Tanh => {
                    // dz/dq = dz/dk = va (1 - t²) = 4 va r (1 - r).
                    let vector = &self.vector[..a];
                    let (r, sum_r, sum_slope) = (&r[..a], &mut sum_r[..a], &mut sum_slope[..a]);
                    let grad_key = &mut grad_key[..a];
                    let four = T::of(4.0);
                    for c in 0..a {
                        let dr = dz * r[c];
                        let slope = dr - dr * r[c];
                        sum_r[c] = sum_r[c] + dr;
                        sum_slope[c] = sum_slope[c] + slope;
                        grad_key[c] = (four * vector[c]).mul_add(slope, grad_key[c]);
                    }
                }
            }
        }
        match plan {
            Plan::Key => {}
            Plan::Dot => add_scaled(grad_query, dot_scale, sum_r),
            Plan::ExpTanh | Plan::Tanh => {
                for c in 0..a {
                    grad_query[c] = grad_query[c] + T::of(4.0) * self.vector[c] * sum_slope[c];
                    // dz/dva = t = 1 - 2 r, and Σ dz is zero in a softmax.
                    grad_vector[c] = grad_vector[c] - T::of(2.0) * sum_r[c];
                }
            }
        }
    }

    /// Fills the first part of the scratch with what the query contributes to every pair.
    #[inline(always)]
    fn plan(&mut self, query: &[T]) -> Plan {
        let scale: T = dot_scale(self.shape.key);
        let scaled_query = &mut self.scratch[..self.shape.key];
        match self.score {
            Score::ScaledDot => {
                for (to, &q) in scaled_query.iter_mut().zip(query) {
                    *to = scale * q;
                }
                Plan::Dot
            }
            Score::LinearAdditive => Plan::Key,
            Score::TanhAdditive => {
                if exp_twice(query, scaled_query) && self.keys_in_limit {
                    Plan::ExpTanh
                } else {
                    Plan::Tanh
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Plan {
    ExpTanh,
    Tanh,
    Dot,
    Key,
}

/// Writes `e^{2x}`; false if some |x| is beyond the limit.
#[inline(always)]
fn exp_twice<T: Real>(x: &[T], out: &mut [T]) -> bool {
    let limit = tanh::limit();
    let mut within = true;
    for (to, &x) in out.iter_mut().zip(x) {
        *to = (x + x).exp_inline();
        within &= x.abs() <= limit;
    }
    within
}

/// Writes `r = 1 / (e^{2q} e^{2k} + 1)` and returns `va · r`.
#[inline(always)]
fn exp_tanh<T: Real>(exp_query: &[T], exp_key: &[T], vector: &[T], r: &mut [T]) -> T {
    let ((q, q_rest), (k, k_rest)) = (exp_query.as_chunks::<WIDE>(), exp_key.as_chunks::<WIDE>());
    let (v, v_rest) = vector.as_chunks::<WIDE>();
    let (r, r_rest) = r.as_chunks_mut::<WIDE>();
    let one = T::one();
    let mut sums = [T::zero(); WIDE];
    for (((q, k), v), r) in q.iter().zip(k).zip(v).zip(r) {
        for l in 0..WIDE {
            r[l] = one / q[l].mul_add(k[l], one);
            sums[l] = v[l].mul_add(r[l], sums[l]);
        }
    }
    let mut rest = T::zero();
    for (((&q, &k), &v), r) in q_rest.iter().zip(k_rest).zip(v_rest).zip(r_rest) {
        *r = one / q.mul_add(k, one);
        rest = v.mul_add(*r, rest);
    }
    total(sums) + rest
}

/// The same from the logarithms, for arguments whose exponentials would overflow.
#[inline(always)]
fn direct_tanh<T: Real>(query: &[T], key: &[T], vector: &[T], r: &mut [T]) -> T {
    let mut sum = T::zero();
    for (((&q, &k), &v), r) in query.iter().zip(key).zip(vector).zip(r) {
        *r = (T::one() - (q + k).tanh()) / T::of(2.0);
        sum = v.mul_add(*r, sum);
    }
    sum
}
